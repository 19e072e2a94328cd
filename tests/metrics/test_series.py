"""Scores of anomaly detection against numbers frozen from TSB-AD 1.5 (numpy 1.26), and by hand.

`tests/oracles/anomaly.npz`: CASE/score, /labels, /predicted, /window and /numbers in the order of
`SERIES_METRICS`; flagsN:
the last four of them; period/NAME and length/NAME: a series and the wheel's `find_length_rank(series, rank=1)`.
"""

import time
from pathlib import Path

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.metrics import series as m

with np.load(Path(__file__).parents[1] / "oracles" / "anomaly.npz", allow_pickle=False) as _z:
    ORACLE = {name: _z[name] for name in _z.files}
CASES = sorted({name.split("/")[0] for name in ORACLE if name.endswith("/window")})
FLAGS = sorted({name.split("/")[0] for name in ORACLE if name.startswith("flags")})
PERIODS = sorted(name.removeprefix("period/") for name in ORACLE if name.startswith("period/"))


def runs(n, *spans):
    labels = np.zeros(n, np.int8)
    for start, stop in spans:
        labels[start:stop] = 1
    return labels


@pytest.mark.parametrize("case", CASES)
def test_equals_the_wheel(case):
    score, labels, predicted, window, numbers = (
        ORACLE[f"{case}/{name}"] for name in ("score", "labels", "predicted", "window", "numbers")
    )
    found = m.evaluate(score, labels, predicted, int(window))
    assert list(found) == list(m.SERIES_METRICS)
    np.testing.assert_allclose(list(found.values()), numbers, rtol=0, atol=1e-10)


@pytest.mark.parametrize("case", FLAGS)
def test_flags_equal_the_wheel(case):
    labels, predicted, numbers = (ORACLE[f"{case}/{name}"] for name in ("labels", "predicted", "numbers"))
    found = [f(labels, predicted) for f in (m.range_f1, m.affiliation_f1, m.event_f1, m.point_adjusted_f1)]
    np.testing.assert_allclose(found, numbers, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", PERIODS)
def test_the_window_equals_the_wheels(name):
    assert m.window_length(ORACLE[f"period/{name}"]) == int(ORACLE[f"length/{name}"])


def test_the_oracle_covers_what_is_hard():
    """Edge events, one-point events, merged events: in the cases, so that equality says something."""
    spans = {case: m.events(ORACLE[f"{case}/labels"]) for case in CASES}
    assert any(first[0] == 0 for first, _ in spans.values())
    assert any(last[-1] == len(ORACLE[f"{case}/labels"]) - 1 for case, (_, last) in spans.items())
    assert any((first == last).any() for first, last in spans.values())
    window = {case: int(ORACLE[f"{case}/window"]) for case in CASES}
    assert any((first[1:] - last[:-1] <= 2 * (window[case] // 2)).any() for case, (first, last) in spans.items())


def test_a_perfect_score_is_best_and_a_reversed_one_worst():
    labels = runs(400, (100, 140), (300, 330))
    score = np.convolve(labels, np.ones(31) / 31, "same") + labels
    good, bad = m.volumes(score, labels, 20), m.volumes(-score, labels, 20)
    assert min(good) > 0.97
    assert max(bad) < 0.3
    assert m.average_precision(score, labels) == m.roc_area(score, labels) == pytest.approx(1)


def test_scores_do_not_hang_on_the_scale_of_the_score():
    rng = np.random.default_rng(0)
    score, labels = rng.normal(size=500), runs(500, (100, 140))
    assert m.volumes(score, labels, 30) == pytest.approx(m.volumes(np.exp(3 * score), labels, 30), abs=1e-12)


def test_a_constant_score_has_the_share_of_events_as_average_precision():
    labels = runs(200, (50, 70))
    assert m.average_precision(np.ones(200), labels) == pytest.approx(0.1)
    assert m.roc_area(np.ones(200), labels) == pytest.approx(0.5)


def test_random_scores_look_good_only_point_adjusted():
    """Why that column is a warning."""
    rng = np.random.default_rng(1)
    labels = runs(4000, (1000, 1200), (3000, 3200))
    score = rng.uniform(size=4000)
    predicted = score > 0.98
    assert m.point_adjusted_f1(labels, predicted) > 0.85
    assert max(m.range_f1(labels, predicted), m.event_f1(labels, predicted), m.volumes(score, labels, 50)[0]) < 0.25


@pytest.mark.parametrize(("labels", "what"), [(runs(50), "no event"), (runs(50, (0, 50)), "nothing but an event")])
def test_without_an_event_there_is_no_score(labels, what):
    with pytest.raises(MmkdError, match=what):
        m.evaluate(np.arange(50.0), labels, labels, 5)


def test_what_is_no_score_is_refused():
    with pytest.raises(MmkdError, match="1 of 50 scores"):
        m.volumes(np.where(np.arange(50) == 3, np.nan, 0.0), runs(50, (3, 9)), 5)
    with pytest.raises(MmkdError, match=r"\(40,\) and labels \(50,\)"):
        m.volumes(np.zeros(40), runs(50, (3, 9)), 5)


def test_nothing_predicted_scores_nothing():
    labels, none = runs(50, (3, 9)), np.zeros(50, np.int8)
    assert [f(labels, none) for f in (m.range_f1, m.affiliation_f1, m.event_f1, m.point_adjusted_f1)] == [0.0] * 4


def test_affiliation_by_hand():
    """One event [4, 6) in a zone [0, 10), predicted [7, 8): by the definition, as slow sums over fine points."""
    labels, predicted = runs(10, (4, 6)), runs(10, (7, 8))
    fine = (np.arange(20_000) + 0.5) / 2000
    to_event = np.maximum(np.maximum(4 - fine, fine - 6), 0)
    precision = np.mean([(to_event > max(t - 6, 0)).mean() for t in np.linspace(7, 8, 401)])
    recall = np.mean([(np.abs(fine - t) > 7 - t).mean() for t in np.linspace(4, 6, 401)])
    expected = 2 * precision * recall / (precision + recall)
    assert m.affiliation_f1(labels, predicted) == pytest.approx(expected, abs=1e-3)


def test_a_long_series_takes_a_second_or_so():
    rng = np.random.default_rng(0)
    score = rng.normal(size=20_000)
    labels = runs(20_000, *[(start, start + 150) for start in range(2000, 20_000, 3000)])
    started = time.process_time()
    m.evaluate(score, labels, score > 2, 300)
    assert time.process_time() - started < 6  # 0.5 s on one core of ours
