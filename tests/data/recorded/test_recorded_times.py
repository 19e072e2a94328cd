"""Stamps: their unit, the rate that they show, and the grid that they are brought to."""

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.data.recorded.grid import GridCounts, fill_or_leave_out, parts_between_gaps
from mmkd.data.recorded.times import Rate, nice_rate, read_stamps

START = 1_764_500_000  # seconds from 1970


@pytest.mark.parametrize(
    ("values", "rate", "unit"),
    [
        (np.arange(9) * 0.02, None, "s"),
        (np.arange(9) * 20, None, "ms"),
        (np.arange(9) * 20_000, 50, "us"),
        (np.arange(9) * 20_000_000, None, "ns"),
        (START + np.arange(9) * 0.02, None, "s"),
        (START * 10**3 + np.arange(9) * 20, None, "ms"),
        (START * 10**6 + np.arange(9) * 20_000, None, "us"),
        (START * 10**9 + np.arange(9) * 20_000_000, None, "ns"),
        (np.array([str(START * 10**9 + n * 20_000_000) for n in range(9)]), None, "ns"),
        (np.array([f"2026-05-01T12:00:00.{20 * n:03d}" for n in range(9)]), None, "ISO"),
        (np.array([f"2026-05-01 12:00:00.{20 * n:03d}+02:00" for n in range(9)]), None, "ISO"),
        (np.array([f"00:59:59.{20 * n:03d}" for n in range(9)]), None, "ISO"),
        (np.array([f"59:59.{20 * n:03d}" for n in range(9)]), None, "ISO"),
        (np.datetime64("2026-05-01") + np.arange(9) * np.timedelta64(20, "ms"), None, "ISO"),
    ],
)
def test_every_unit_is_found(values, rate, unit):
    found = read_stamps(values, "t", rate_hz=rate)
    assert found.unit == unit
    np.testing.assert_allclose(found.seconds, np.arange(9) * 0.02, atol=3e-7)


def test_stamps_of_nanoseconds_are_exact():
    """Float64 cannot hold nanoseconds from 1970; their differences must be exact all the same."""
    odd = START * 10**9 + np.array([0, 20_000_001, 40_000_003])
    assert read_stamps(odd, "t").seconds.tolist() == [0, 20_000_001 * 1e-9, 40_000_003 * 1e-9]


def test_what_counts_samples():
    assert read_stamps(np.arange(5), "t", rate_hz=50).unit == "samples"
    assert read_stamps(np.arange(5), "t", rate_hz=1).unit == "s"
    assert read_stamps(np.arange(5), "t", rate_hz=1000).unit == "ms"
    assert read_stamps(np.arange(5), "t", unit="samples").seconds.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("values", "rate", "words"),
    [
        (np.arange(9), None, "whose unit is not clear; say --rate HZ, or --time-unit s|ms"),
        (np.arange(9) * 1000, None, "not clear"),
        (np.arange(9) * 7, 50, "steps of 7: 0.1429 Hz if seconds, 142.9 Hz if milliseconds"),
        (np.array([0, np.nan, 1]), None, "missing in 1 of 3 rows, the first is row 2"),
        (np.array(["2026-05-01T12:00:00", "", "x"]), None, "missing in 1 of 3 rows"),
        (np.array(["01/05/2026 12:00", "01/05/2026 12:01"]), None, "ISO stamps such as"),
        (np.array(["2026-05-01T12:00:00", "noon"]), None, "holds 'noon'"),
    ],
)
def test_stamps_that_are_not_clear(values, rate, words):
    with pytest.raises(MmkdError) as error:
        read_stamps(values, "column 't'", rate_hz=rate)
    assert words in str(error.value)


def test_the_rate_is_that_of_the_steps_of_sampling():
    """Milliseconds at 30 Hz are 33, 33, 34: their mean says 30 Hz, the middle one 30.3; gaps do not count."""
    seconds = np.round(np.arange(300) / 30, 3)
    seconds[200:] += 5
    rate = Rate()
    rate.add(seconds)
    assert rate.measured_hz == pytest.approx(30, rel=1e-3)
    assert 0.4e-3 < rate.jitter_s < 0.7e-3
    assert nice_rate(rate.measured_hz) == 30
    assert nice_rate(31.25) == 31.25


def grid(seconds, signal, labels=None, rate=50.0, longest=0.08, resolution=0.0):
    counts = GridCounts()
    labels = np.zeros(len(seconds), np.int64) if labels is None else labels
    parts = list(parts_between_gaps(seconds, np.atleast_2d(signal), labels, rate, longest, resolution, counts))
    return parts, counts


def test_regular_samples_are_taken_as_they_are():
    values = np.random.default_rng(0).normal(size=100)
    for seconds, resolution in (
        (np.arange(100) / 50, 0),
        (np.arange(100) / 50 + 1e-4 * np.random.default_rng(1).normal(size=100), 0),
        (np.round(np.arange(100) / 50, 2), 0.01),
    ):
        (part,), counts = grid(seconds, values, resolution=resolution)
        assert part.signal.tobytes() == values.tobytes()
        assert (counts.moved, counts.missing, counts.gaps) == (0, 0, 0)


def test_rounded_stamps_of_an_odd_rate_are_no_jitter():
    values = np.random.default_rng(0).normal(size=200)
    (part,), counts = grid(np.round(np.arange(200) / 128, 3), values, rate=128, resolution=0.001)
    assert part.signal.tobytes() == values.tobytes()
    assert counts.moved == 0


def test_missing_samples_are_on_the_line_between_their_neighbours_and_a_long_step_is_a_gap():
    seconds = np.array([0, 1, 2, 5, 6, 20, 21, 22]) / 50
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    parts, counts = grid(seconds, [0, 1, 2, 8, 9, 0, 0, 0], labels)
    assert [part.signal.tolist() for part in parts] == [[[0, 1, 2, 4, 6, 8, 9]], [[0, 0, 0]]]
    assert [part.labels.tolist() for part in parts] == [[0, 0, 0, 0, 1, 1, 1], [2, 2, 2]]
    assert (counts.missing, counts.gaps) == (2, 1)
    assert counts.lost_s == pytest.approx(14 / 50)


def test_a_step_of_exactly_the_longest_is_no_gap():
    parts, counts = grid(np.array([0, 1, 5, 6]) / 50, [0, 1, 5, 6], longest=0.08)
    assert len(parts) == 1
    assert counts.missing == 3
    assert len(grid(np.array([0, 1, 6, 7]) / 50, [0, 1, 6, 7], longest=0.08)[0]) == 2


def test_jittered_samples_are_interpolated_linearly_and_have_the_nearest_label():
    """Beside a loop that looks for the neighbours of each moment of the grid."""
    rng = np.random.default_rng(0)
    seconds = np.sort(np.arange(60) / 50 + rng.normal(0, 0.004, 60))
    values = rng.normal(size=60)
    labels = rng.integers(0, 3, 60)
    (part,), counts = grid(seconds, values, labels, longest=1.0)
    assert counts.moved == len(part.labels) == counts.samples
    for n, label in enumerate(part.labels):
        moment = seconds[0] + n / 50
        after = next(i for i in range(60) if seconds[i] >= moment - 1e-12)
        before = max(after - 1, 0)
        share = (moment - seconds[before]) / max(seconds[after] - seconds[before], 1e-12)
        assert part.signal[0, n] == pytest.approx((1 - share) * values[before] + share * values[after], abs=1e-9)
        assert label == labels[min(range(60), key=lambda i: (round(abs(seconds[i] - moment), 12), i))]


def test_a_clock_that_is_slow_keeps_the_time():
    """A sensor at 49.9 Hz that was called 50 Hz: after 1000 samples its grid is the clock's, not a count of samples."""
    seconds = np.arange(1000) / 49.9
    (part,), counts = grid(seconds, seconds)
    assert counts.moved > 0
    np.testing.assert_allclose(part.signal[0], np.arange(len(part.labels)) / 50, atol=1e-9)


def test_missing_values_are_filled_up_to_the_longest_gap():
    seconds = np.arange(12) / 50
    signal = np.array([[0, np.nan, np.nan, 3, 4, np.nan, np.nan, np.nan, np.nan, 9, 10, np.nan]])
    for rule, filled in (("linear", [1, 2]), ("hold", [0, 0]), ("gap", [np.nan, np.nan])):
        counts = GridCounts()
        found, kept = fill_or_leave_out(seconds, signal, rule, 0.06, counts)
        np.testing.assert_allclose(found[0, 1:3], filled)
        assert np.isnan(found[0, 5:9]).all()
        assert counts.filled == 2 * (rule != "gap")
        assert kept.tolist() == (~np.isnan(found[0])).tolist()
        assert counts.left_out == (~kept).sum()
    assert np.isnan(signal[0, 1]), "what was given is as before"


@pytest.mark.parametrize("kind", [np.int16, np.uint16, np.int32])
def test_stamps_of_few_bytes_do_not_overflow(kind):
    values = np.linspace(np.iinfo(kind).min, np.iinfo(kind).max, 9).astype(kind)
    found = read_stamps(values, "t", unit="ms").seconds
    assert found.tolist() == [(int(value) - int(values[0])) * 1e-3 for value in values.tolist()]


@pytest.mark.parametrize("rate", [51.2, 102.4, 204.8, 56.25, 112.5, 31.25, 12.5])
def test_rates_of_divided_clocks_are_kept(rate):
    """They are within half a per cent of a whole number, to which their samples would have to be interpolated."""
    assert nice_rate(rate * (1 + 1e-5)) == rate
