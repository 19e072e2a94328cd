"""Curves over a budget: their points, and names that do not cover each other."""

import re

import numpy as np
import pytest

from mmkd.drawing.budgets import apart, budget_chart
from mmkd.drawing.ends import STEP, spread
from mmkd.drawing.lines import Line
from mmkd.drawing.scales import Scale
from mmkd.drawing.svg import NARROW, inline
from mmkd.drawing.text import text_width


def numbers(text):
    return [float(n) for n in re.findall(r"-?[\d.]+", text)]


def slow_spread(wanted, step, low, high):
    """The same from the min-max formula of the least squares of ascending values."""
    order = np.argsort(wanted, kind="stable")
    places = np.array(wanted, float)[order]
    offsets = step * np.arange(len(wanted))
    flat = places - offsets
    fitted = [
        max(min(np.mean(flat[a : b + 1]) for b in range(n, len(flat))) for a in range(n + 1)) for n in range(len(flat))
    ]
    fitted = np.clip(fitted, low, high - step * (len(wanted) - 1)) + offsets
    result = np.empty(len(wanted))
    result[order] = fitted
    return result


@pytest.mark.parametrize("seed", range(12))
def test_places_are_the_nearest_that_stand_apart(seed):
    rng = np.random.default_rng(seed)
    wanted = rng.uniform(0, 100, rng.integers(1, 9)).round(0 if seed % 2 else 3).tolist()
    places = spread(wanted, 10.0, -50.0, 150.0)
    assert places == pytest.approx(slow_spread(wanted, 10.0, -50.0, 150.0))
    assert (np.diff(np.sort(places)) >= 10 - 1e-9).all()


def test_places_stay_within_and_share_what_room_there_is():
    assert spread([99.0, 99.0], 10.0, 0.0, 100.0) == [90.0, 100.0]
    assert spread([1.0], 10.0, 5.0, 100.0) == [5.0]
    assert spread([50.0] * 5, 100.0, 0.0, 100.0) == pytest.approx([0, 25, 50, 75, 100])
    assert spread([], 10.0, 0.0, 1.0) == []


def test_ticks_that_would_touch_are_left_out():
    scale = Scale(1, 12, 0, 110)
    assert apart([1, 10, 12], scale) == [1, 12]
    assert apart([1, 5, 12], scale) == [1, 5, 12]


@pytest.mark.parametrize("count", [1, 13, 40])
def test_names_stand_beside_the_curves_in_the_order_of_their_ends(count):
    rng = np.random.default_rng(count)
    lines = [
        Line(f"method-{n}", n, [1, 2, 3 + 7 * (n % 3 > 0)], np.sort(rng.uniform(0.7, 0.9, 3)).tolist(), marks=[0, 2])
        for n in range(count)
    ]
    chart = budget_chart("Budgets", "Expected score", lines, "student trainings", "macro-F1", [1, 10])
    found = {e.text: (float(e.get("x")), float(e.get("y"))) for e in chart.iter("text")}
    ends = sorted(lines, key=lambda line: -line.y[-1])
    heights = [found[line.name][1] for line in ends]
    assert heights == sorted(heights)
    assert (np.diff(heights) >= STEP - 0.11).all(), "no name covers another"
    assert all(found[line.name][0] + text_width(line.name) <= NARROW + 1 for line in lines)
    assert max(heights) < float(chart.get("height"))
    curves = [e for e in chart.iter("path") if "line" in e.get("class").split()]
    assert len(curves) == count
    for curve, line in zip(curves, lines, strict=True):
        y = numbers(curve.get("d"))[1::2]
        assert len(y) == 3
        assert y == sorted(y, reverse=True), "scores that grow rise"
        assert (y[0] - y[2] > 0) == (line.y[2] > line.y[0])
    tips = [e.text for e in chart.iter("title")]
    assert sum(tip.startswith("method-0: ") for tip in tips) == 2, "a marker each marked point says what it is"


def test_long_names_are_cut_and_told_in_full():
    long = [f"a very long name of a method T={n}" for n in (2, 4)]
    lines = [Line(name, n, [1, 2], [0.1 * n, 0.2 + n]) for n, name in enumerate([*long, "<b>"])]
    chart = budget_chart("Budgets", "", lines, "seconds", "score")
    shown = [e.text for e in chart.iter("text") if "…" in (e.text or "")]
    assert len(set(shown)) == 2
    assert set(long) <= {e.text for e in chart.iter("title")}
    assert "&lt;b&gt;" in inline(chart)
