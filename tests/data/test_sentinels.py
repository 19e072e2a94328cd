"""Values that stand for missing ones, such as -999: what is found, and what is no false alarm."""

import numpy as np
import pytest

from mmkd.data import load_file
from mmkd.data.sentinels import find_sentinels


def rates(n=50, width=30):
    """Heart rates."""
    return np.random.default_rng(0).normal(90, 20, (n, width)).round().astype(np.float32)


def found(values, offset=0.0):
    return [(value, int(held.sum())) for value, held in find_sentinels(values, offset)]


@pytest.mark.parametrize("value", [-999, -9999, 9999, -1e9, 1e10, -200000, 32767])
def test_a_repeated_value_far_from_all_others(value):
    x = rates()
    assert found(x) == []
    x[3, 4:8] = value
    assert found(x) == []  # too few
    x[9] = value
    assert found(x) == [(value, 34)]
    x[:40] = value  # most of the channel
    assert found(x) == [(value, 1200)]


def test_several_values_of_a_channel():
    x = rates()
    x[3], x[4], x[5] = -999, 9999, -9999
    assert sorted(found(x)) == [(-9999, 30), (-999, 30), (9999, 30)]


def test_zeros_far_from_all_others():
    x = 300 + rates() / 100
    x[7] = 0
    assert found(x) == [(0, 30)]


def test_an_offset_was_subtracted():
    x = (rates().astype(np.float64) - 1e6).astype(np.float32)
    x[2] = np.float32(-999 - 1e6)
    assert found(x, 1e6) == [(-999, 30)]


def test_no_false_alarms():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((50, 30)).astype(np.float32)
    clipped = np.clip(rng.standard_cauchy((50, 30)), -20, 20).astype(np.float32)
    events = (rng.random((50, 30)) < 0.02).astype(np.float32)  # mostly 0
    spikes = np.where(rng.random((50, 30)) < 0.02, 1e3 * rng.random((50, 30)), noise).astype(np.float32)
    scaled = rates() / 7
    scaled[3] = -142.7
    huge = np.where(noise > 1, 1e30, noise)
    for x in (
        huge,
        noise,
        clipped,
        events,
        spikes,
        scaled,
        rng.integers(0, 4, (50, 30)),
        np.zeros((50, 30)),
        5 * events,
    ):
        assert found(np.asarray(x, np.float32)) == []


def test_it_is_a_warning_of_a_file(tmp_path):
    x = np.stack([rates(width=40), rates(width=40) / 3], axis=1)
    x[10:13, 0, 5:20] = -999
    np.savez(
        tmp_path / "own.npz",
        x=x,
        y=np.arange(50) % 2,
        subject=np.arange(50) // 5,
        channels=["hr", "breath"],
        rate_hz=50,
    )
    line = "values far from all others of their channel: hr has -999 in 3 windows: do they stand for missing ones?"
    assert load_file(tmp_path / "own.npz").warnings == (line,)
    assert load_file(tmp_path / "own.npz", rate_hz=25).warnings == (line,)  # found before they are smeared
