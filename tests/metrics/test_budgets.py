"""The best of few configurations: against all orders, one by one."""

import itertools

import numpy as np
import pytest

from mmkd.metrics.budgets import best_of, best_of_range, budgets_up_to


def every_order(first, others, budget):
    """The best of the first `budget` of each order, the default at its head."""
    return [max([first, *order][:budget]) for order in itertools.permutations(others)]


@pytest.mark.parametrize("first", [0.1, 0.55, 0.9])
@pytest.mark.parametrize("budget", [1, 2, 3, 4, 5, 6])
def test_it_is_the_mean_over_all_orders(first, budget):
    others = [0.5, 0.8, 0.2, 0.5, 0.65]
    slow = every_order(first, others, budget)
    assert best_of(first, others, budget) == pytest.approx(np.mean(slow), abs=1e-12)
    low, high = best_of_range(first, others, budget)
    slow = sorted(slow)
    assert low == slow[int(np.ceil(0.05 * len(slow))) - 1]
    assert high == slow[int(np.ceil(0.95 * len(slow))) - 1]


def test_the_whole_budget_has_the_best_and_the_least_the_default():
    others = np.random.default_rng(0).normal(size=40)
    assert best_of(0.3, others, 1) == 0.3
    assert best_of(-9.0, others, 41) == others.max()
    curve = [best_of(-1.0, others, budget) for budget in range(1, 42)]
    steps = np.diff(curve)
    assert (steps >= 0).all()
    assert (np.diff(steps)[1:] <= 1e-12).all(), "each further one adds less"


@pytest.mark.parametrize("budget", [0, 7])
def test_a_budget_is_of_what_was_tried(budget):
    with pytest.raises(ValueError, match=f"a budget of {budget} of 6 configurations"):
        best_of(0.0, [1.0, 2.0, 3.0, 4.0, 5.0], budget)


def test_budgets_end_with_what_was_tried():
    usual = (1, 5, 10, 25)
    assert budgets_up_to(25, usual) == [1, 5, 10, 25]
    assert budgets_up_to(10, usual) == [1, 5, 10]
    assert budgets_up_to(3, usual) == [1, 3]
    assert budgets_up_to(40, usual) == [1, 5, 10, 25, 40]
    assert budgets_up_to(1, usual) == [1]
