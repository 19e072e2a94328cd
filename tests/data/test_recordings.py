"""Windows out of recordings, each rule against slow words, and what becomes of gaps, missing values and rates."""

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.data.recordings import Recording, fill_missing, split_at_gaps, subsample, window_labels, window_starts
from mmkd.data.resampling import resample

NAN = np.nan


def slow_label(window: list[int], rule: str) -> int:
    if rule == "last":
        return window[-1]
    if rule == "strict":
        return window[0] if len(set(window)) == 1 else -1
    counts = {label: window.count(label) for label in set(window)}
    most = max(counts.values())
    best = [label for label, count in counts.items() if count == most]
    return min((label for label in best if label >= 0), default=-1)


@pytest.mark.parametrize("rule", ["majority", "last", "strict"])
@pytest.mark.parametrize("seed", range(4))
def test_label_rules_against_slow_words(rule, seed):
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.integers(-1, 3, 40), rng.integers(1, 13, 40))
    starts = window_starts(labels, 8, 3)
    found = window_labels(labels, starts, 8, rule)
    assert found.tolist() == [slow_label(labels[s : s + 8].tolist(), rule) for s in starts]
    assert len(set(found.tolist())) > 2


def test_windows_of_a_recording_lie_within_it():
    assert window_starts(np.zeros(10), 4, 3).tolist() == [0, 3, 6]
    assert window_starts(np.zeros(4), 4, 3).tolist() == [0]
    assert window_starts(np.zeros(3), 4, 3).tolist() == []


def test_windows_of_labels_begin_with_each_stretch_and_stay_in_it():
    labels = np.array([0] * 5 + [-1] * 4 + [2] * 3 + [1] * 6)
    assert window_starts(labels, 4, 2, "label").tolist() == [0, 12, 14]
    assert window_starts(labels, 3, 1, "label").tolist() == [0, 1, 2, 9, 12, 13, 14, 15]
    assert (window_labels(labels, window_starts(labels, 3, 1, "label"), 3, "strict") >= 0).all()
    assert window_starts(np.zeros(0, int), 4, 2, "label").tolist() == []


def test_policies_for_missing_values():
    signal = np.array([[NAN, 1, NAN, NAN, 4, NAN], [NAN] * 6, [0, 1, 2, 3, 4, 5]], np.float32)
    expected = {
        "linear": [1, 1, 2, 3, 4, 4],
        "hold": [1, 1, 1, 1, 4, 4],
        "zero": [0, 1, 0, 0, 4, 0],
    }
    for policy, first in expected.items():
        found = fill_missing(signal, policy)
        never = [0 if policy == "zero" else NAN] * 6  # a channel without any value is not made up
        np.testing.assert_array_equal(found, [first, never, signal[2]])
    assert np.isnan(signal[0, 0]), "what was given is left alone"
    assert fill_missing(signal, "keep") is signal
    assert fill_missing(signal[2:], "linear").base is signal
    with pytest.raises(MmkdError, match="unknown policy for missing values 'liner'; did you mean 'linear'"):
        fill_missing(signal, "liner")


def test_gaps_in_time_end_a_piece():
    times = np.array([0, 1, 2, 9, 10, 10, 4, 5.0])
    recording = Recording(np.arange(8.0)[None], np.arange(8), 7)
    pieces = [p.labels.tolist() for p in split_at_gaps(recording, times, 1.5)]
    assert pieces == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert [p.labels.tolist() for p in split_at_gaps(recording)] == [list(range(8))]
    assert {p.subject for p in split_at_gaps(recording, times, 1.5)} == {7}


def test_missing_values_as_gaps():
    signal = np.array([[NAN, 1, 2, NAN, NAN, 5], [0, 1, 2, 3, 4, 5]])
    pieces = list(split_at_gaps(Recording(signal, np.arange(6), 0), missing="gap"))
    assert [p.labels.tolist() for p in pieces] == [[1, 2], [5]]
    assert not any(np.isnan(p.signal).any() for p in pieces)
    assert list(split_at_gaps(Recording(signal[:, :0], np.arange(0), 0))) == []


def test_pieces_are_filled_on_their_own():
    signal = np.array([[0, NAN, 8, NAN, 4.0]])
    pieces = list(split_at_gaps(Recording(signal, np.zeros(5), 0), np.array([0, 1, 9, 10, 11.0]), 2, "linear"))
    assert [p.signal[0].tolist() for p in pieces] == [[0, 0], [8, 6, 4]]


def test_every_third_sample():
    found = subsample(Recording(np.arange(10.0)[None], np.arange(10), 0), 3)
    assert found.signal[0].tolist() == found.labels.tolist() == [0, 3, 6, 9]


def test_resampling_keeps_what_the_new_rate_holds_and_nothing_else():
    time = np.arange(3000) / 100
    low, high = np.sin(2 * np.pi * 2 * time), np.sin(2 * np.pi * 23 * time)
    found = resample(Recording(np.stack([low, high]), np.arange(3000), 1), 100, 40)
    assert found.signal.shape == (2, 1200)
    middle = slice(100, 1100)
    wanted = np.sin(2 * np.pi * 2 * np.arange(1200) / 40)
    np.testing.assert_allclose(found.signal[0, middle], wanted[middle], atol=0.01)
    aliased = subsample(Recording(high[None], np.arange(3000), 1), 2).signal[0]
    assert np.abs(aliased).max() > 0.9, "without a filter 23 Hz stays"
    assert np.abs(found.signal[1, middle]).max() < 0.05, "23 Hz is past half of 40 Hz"
    assert np.abs(found.labels - np.arange(1200) * 2.5).max() <= 0.5


def test_resampling_upwards_and_not_at_all():
    recording = Recording(np.linspace(0, 1, 50)[None], np.repeat([3, 4], 25), 1)
    assert resample(recording, 25, 25) is recording
    found = resample(recording, 25, 50)
    assert found.signal.shape == (1, 100)
    assert np.bincount(found.labels)[3:].tolist() in ([50, 50], [49, 51], [51, 49])
    np.testing.assert_allclose(found.signal[0, 20:80], np.arange(20, 80) / 98, atol=0.01)


def test_what_cannot_be_resampled():
    with pytest.raises(MmkdError, match="missing values cannot be resampled; fill them first"):
        resample(Recording(np.array([[0, NAN, 1]]), np.zeros(3), 0), 50, 25)
    with pytest.raises(MmkdError, match="from 1e"):
        resample(Recording(np.zeros((1, 9)), np.zeros(9), 0), 1e6, 1)


def test_names_that_are_none():
    labels = np.zeros(9, int)
    with pytest.raises(MmkdError, match="unknown label rule 'majorty'; did you mean 'majority'"):
        window_labels(labels, np.array([0]), 4, "majorty")
    with pytest.raises(MmkdError, match="unknown grid of windows 'labels'; did you mean 'label'"):
        window_starts(labels, 4, 2, "labels")
