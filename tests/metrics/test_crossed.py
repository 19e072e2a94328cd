"""The interval of a mean over subjects and seeds, against loops over the same draws and against the plain bootstrap."""

import numpy as np
import pytest

from mmkd.metrics.crossed import crossed_interval
from mmkd.metrics.pairs import RESAMPLES, bootstrap_interval


def slow_interval(table, seed):
    """By loops: each draw repeats whole rows and whole columns."""
    rows, columns = table.shape
    draws = [
        np.random.default_rng(seed + n).multinomial(k, np.full(k, 1 / k), RESAMPLES) for n, k in enumerate(table.shape)
    ]
    means = []
    for a, b in zip(*draws, strict=True):
        cells = [
            table[i, j]
            for i in range(rows)
            for _ in range(a[i])
            for j in range(columns)
            for _ in range(b[j])
            if np.isfinite(table[i, j])
        ]
        means += [sum(cells) / len(cells)] if cells else []
    means.sort()
    return means[int(np.ceil(0.025 * len(means))) - 1], means[int(np.ceil(0.975 * len(means))) - 1]


@pytest.mark.parametrize("holes", [False, True])
def test_it_is_that_of_loops_over_the_same_draws(holes):
    table = np.random.default_rng(3).normal(size=(5, 3))
    if holes:
        table[0, :] = table[3, 1] = np.nan
        table[1, 0] = np.nan
    assert crossed_interval(table, seed=7) == pytest.approx(slow_interval(table, 7))


def test_with_one_seed_it_is_the_bootstrap_over_subjects():
    values = np.random.default_rng(0).normal(0.3, 1, 40)
    low, high, _ = bootstrap_interval(values)
    own = crossed_interval(values[:, None])
    assert own == pytest.approx((low, high), abs=0.03)
    assert own[1] - own[0] == pytest.approx(2 * 1.96 * values.std() / np.sqrt(40), rel=0.05)


def test_it_holds_both_subjects_and_seeds():
    rng = np.random.default_rng(1)
    subjects, seeds = rng.normal(0, 1, (30, 1)), rng.normal(0, 1, (1, 30))
    both, one = (crossed_interval(table) for table in (subjects + seeds, subjects + 0 * seeds))
    wide, narrow = both[1] - both[0], one[1] - one[0]
    assert wide == pytest.approx(2 * 1.96 * np.sqrt(subjects.var() / 30 + seeds.var() / 30), rel=0.06)
    assert narrow == pytest.approx(2 * 1.96 * np.sqrt(subjects.var() / 30), rel=0.06)
