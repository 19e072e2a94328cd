"""Windows at another rate: the numbers, what is left as it was, the key of a unit, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from mmkd import MmkdError, load_student
from mmkd.bench import main
from mmkd.core.options import recorded
from mmkd.data import Dataset, load_dataset
from mmkd.data.dataset import resample_dataset
from mmkd.data.recordings import Recording
from mmkd.data.resampling import resample
from mmkd.engines.execution import execute
from mmkd.report.run_rows import rows
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import expand
from mmkd.units.names import title
from mmkd.units.request import Request


def dataset(rate_hz=50.0, length=128, **more):
    """Windows of a slow and a fast sine, one of each a class."""
    time, rng = np.arange(length) / 50, np.random.default_rng(0)
    phase = rng.uniform(0, 6, (600, 1, 1))
    x = np.concatenate([np.sin(2 * np.pi * 3 * time + phase), np.sin(2 * np.pi * 17 * time + phase)], axis=1)
    y = np.arange(600) % 2
    data = Dataset("own", x.astype(np.float32), y, y, y == 1, ("a", "b"), ("slow", "fast"), rate_hz, "0" * 64)
    return replace(data, **more)


@pytest.mark.parametrize(("rate", "length"), [(25.0, 64), (20.0, 52), (100.0, 256), (31.25, 80)])
def test_each_window_by_itself_and_nothing_past_half_the_new_rate(rate, length):
    data = dataset()
    found = resample_dataset(data, rate)
    assert found.x.shape == (600, 2, length)
    assert (found.x.dtype, found.rate_hz, found.resampled) == (np.float32, rate, True)
    for row in (0, 511, 512, 599):
        alone = resample(Recording(data.x[row], np.zeros(128), 0), 50, rate)
        np.testing.assert_allclose(found.x[row], alone.signal, atol=1e-6)
    middle = found.x[:, :, length // 4 : -length // 4]
    assert np.abs(middle[:, 0]).max() == pytest.approx(1, abs=0.05)
    assert (np.abs(middle[:, 1]).max() > 0.9) == (rate > 34), "17 Hz"
    for name in ("y", "subject", "test", "classes", "channels", "name"):
        assert getattr(found, name) is getattr(data, name)
    assert found.window_s == pytest.approx(data.window_s, rel=0.02)
    assert found.sha256 not in (data.sha256, resample_dataset(data, 40.0).sha256)


def test_its_own_rate_is_the_data_set_itself():
    data = dataset()
    assert resample_dataset(data, 50.0) is data


@pytest.mark.parametrize(
    ("changes", "rate", "message"),
    [
        ({"rate_hz": None}, 25.0, "--rate 25: data 'own' has no known rate"),
        ({"y": np.zeros((600, 128), int)}, 25.0, "its recordings are scored at their rate"),
        ({"series": object()}, 25.0, "its series are scored at their rate"),
        ({}, 5.0, "its windows of 128 samples would have 13; take 6 Hz or more"),
        ({}, 501.0, "data 'own' has 50 Hz; take at most 500"),
        ({}, 49.97123, "no ratio of whole numbers up to 1000"),
    ],
)
def test_rates_that_cannot_be(changes, rate, message):
    with pytest.raises(MmkdError, match=message):
        resample_dataset(dataset(**changes), rate)
    assert resample_dataset(dataset(), 6.0).window == 16


@pytest.mark.parametrize("rate", [0, -5, float("nan"), float("inf"), True, "25", "fast", 10**400, [25], 2e6])
def test_rates_that_are_none(rate):
    with pytest.raises(MmkdError, match="rate = .* (must be [<>]|is not a (finite )?number)"):
        Request(("student",), rate=rate)


def test_a_file_that_says_no_rate(sines):
    with pytest.raises(MmkdError, match="--rate 25: data 'sines' has no known rate of its own; add an array rate_hz"):
        list(expand(Request(("student",), data=str(sines), rate=25)))


def units(**fields):
    return [spec for spec, _ in expand(Request(("student",), students=("sig",), **fields))]


def test_a_rate_is_part_of_a_units_key_only_where_it_changes_something():
    (without,), (five,), (own,) = units(), units(rate=5), units(rate=10)
    assert load_dataset("basic-motions").rate_hz == 10
    assert "rate" not in recorded(without.data)
    assert own.key == without.key != five.key == units(rate=5.0)[0].key
    assert (without.data.rate, five.data.rate) == (0.0, 5.0)
    assert five.teacher_training == without.teacher_training
    with pytest.raises(MmkdError, match="--rate 5: data .coffee. has no known rate"):
        units(datasets=("coffee",), rate=5.0)


def test_a_worker_reads_the_same_windows():
    spec = units(rate=5.0)[0].data
    found = Workspace().load(spec)
    assert (found.sha256, found.window) == (spec.sha256, 50)


def test_a_run_at_another_rate(tmp_path, capsys):
    """The record and the table say it; what the task cannot do is said in one line."""
    fields = {"students": ("sig",), "epochs": 1, "rate": 5}
    (done,) = execute(Request(("student",), **fields), Workspace(tmp_path)).results
    assert rows([done], [], {})[0].group.startswith("basic-motions at 5 Hz, student sig")
    assert title(done.spec).startswith("basic-motions at 5 Hz, student sig")
    assert done.record.spec.data.rate == 5.0
    assert (done.record.result["data"]["window"], done.record.result["data"]["rate_hz"]) == (50, 5.0)
    assert load_student(done.record).predict(load_dataset("basic-motions", rate_hz=5.0).x).shape == (80,)
    given = ("--method", "student", "--dataset", "coffee", "--rate", "5", "--runs", str(tmp_path / "none"))
    assert main(given) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "none").exists()
