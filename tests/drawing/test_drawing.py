"""Figures: positions computed from the data, files of their own, and harmful names."""

import base64
import io
import itertools
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from mmkd.drawing.axes import TILTED_WIDTH
from mmkd.drawing.changes import Change, change_chart
from mmkd.drawing.confusion import confusion_chart, reliability_chart
from mmkd.drawing.cost import Point, cost_chart, pareto_front
from mmkd.drawing.images import heatmap_grid, heatmap_uri, strips
from mmkd.drawing.labels import labelled_image, labelled_recording
from mmkd.drawing.lines import Line, Plot, learning_curves, line_chart, thin_epochs
from mmkd.drawing.ranks import rank_chart
from mmkd.drawing.scales import Scale, format_number, scale_over, thin_curve
from mmkd.drawing.series import scored_series
from mmkd.drawing.style import CLASS_COLOURS, DARK, LIGHT, SERIES, css, series_class, series_dash, series_shape
from mmkd.drawing.svg import add_heading, add_text, coordinate, inline, path_data, standalone
from mmkd.drawing.text import fit_names, fit_text, text_width
from mmkd.drawing.views import upright, views_chart
from mmkd.metrics import classes
from mmkd.metrics import pairs as st

SVG = "{http://www.w3.org/2000/svg}"


def elements(chart, tag, style=""):
    return [e for e in chart.iter(tag) if style in e.get("class", "").split() or not style]


def texts(chart):
    return [e.text for e in chart.iter("text")]


def numbers(text):
    return [float(n) for n in re.findall(r"-?[\d.]+", text)]


# Scales ---------------------------------------------------------------------------------------------------------------


def test_a_scale_maps_its_ends_and_its_middle():
    scale = Scale(2, 4, 100, 300)
    assert [scale(2), scale(3), scale(4)] == [100, 200, 300]
    assert Scale(1, 100, 0, 10, log=True)(10) == pytest.approx(5)
    assert Scale(3, 3, 0, 10)(3) == 5, "one value stands in the middle"


@pytest.mark.parametrize("low", [-3.7, 0.0, 0.9012, 12.0, 1e6])
@pytest.mark.parametrize("span", [0.0021, 0.3, 7.0, 6.4e6])
def test_ticks_are_round_and_within(low, span):
    ticks = Scale(low, low + span, 0, 1).ticks()
    assert 3 <= len(ticks) <= 12
    assert min(ticks) >= low - 1e-9 * span
    assert max(ticks) <= low + span * (1 + 1e-9)
    steps = np.diff(ticks)
    assert steps == pytest.approx(steps[0])
    digits = f"{steps[0]:.6e}"
    assert digits[0] in "125"
    assert float(digits.split("e")[0]) % 1 == pytest.approx(0, abs=1e-4)


def test_logarithmic_ticks():
    assert Scale(0.8, 2000, 0, 1, True).ticks() == [1, 10, 100, 1000]
    assert Scale(0.35, 3.6, 0, 1, True).ticks() == pytest.approx([0.5, 1, 2])


def test_scales_over_data_hold_all_of_it():
    scale = scale_over([1.0, 5.0, float("nan"), float("inf")], 0, 100)
    assert 0 < scale(1.0) < scale(5.0) < 100
    assert scale_over([1, 100], 0, 1, log=True).log
    assert not scale_over([1, 2], 0, 1, log=True).log
    assert not scale_over([0, 100], 0, 1, log=True).log
    assert scale_over([], 0, 1)(0.5) == 0.5


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.93, "0.93"), (28294, "28.3k"), (1.2e6, "1.2M"), (3.0000000001, "3"), (-0.5, "-0.5"), (0, "0")],
)
def test_short_numbers(value, text):
    assert format_number(value) == text


def test_coordinates():
    assert [coordinate(v) for v in (1.0, 1.25, -0.04, 0.0, -3.96)] == ["1", "1.2", "0", "0", "-4"]
    assert path_data([0, 1, 2, 3], [5, float("nan"), 7, 8]) == "M0 5M2 7L3 8"


def test_long_curves_keep_their_peaks():
    values = np.sin(np.arange(5000) / 300)
    values[1234], values[4321] = 9, -9
    places, kept = thin_curve(values)
    assert len(kept) <= 240
    assert (max(kept), min(kept)) == (9, -9)
    assert places == sorted(places)
    assert all(values[int(place)] == value for place, value in zip(places, kept, strict=True))
    assert thin_curve(values[:10]) == (list(range(10)), values[:10].tolist())


def test_texts_are_cut_to_their_room():
    assert fit_text("short", 100) == "short"
    cut = fit_text("WALKING_DOWNSTAIRS_AND_UP", 100)
    assert cut.endswith("…")
    assert text_width(cut) <= 100
    root = ET.Element("svg")
    add_text(root, 0, 0, "WALKING_DOWNSTAIRS_AND_UP", room=100)
    assert root[0].find("title").text == "WALKING_DOWNSTAIRS_AND_UP", "the whole name is there on pointing"


# The front ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("costs", "scores", "front"),
    [
        ([1, 2, 3], [0.5, 0.7, 0.9], [0, 1, 2]),
        ([1, 2, 3], [0.9, 0.7, 0.5], [0]),
        ([2, 2, 1], [0.9, 0.8, 0.7], [2, 0]),
        ([1, 2, 3], [0.7, 0.7, 0.7], [0]),
        ([3, 1, 2, 2], [0.9, 0.2, 0.1, 0.95], [1, 3]),
        ([], [], []),
    ],
)
def test_pareto_front(costs, scores, front):
    assert pareto_front(costs, scores) == front


def test_pareto_front_against_its_definition():
    rng = np.random.default_rng(0)
    for _ in range(30):
        costs, scores = rng.integers(1, 6, 12).tolist(), (rng.integers(1, 6, 12) / 5).tolist()
        best = pareto_front(costs, scores)
        for n in range(12):
            beaten = any(
                (c <= costs[n] and s > scores[n]) or (c < costs[n] and s >= scores[n])
                for c, s in zip(costs, scores, strict=True)
            )
            same = [m for m in best if (costs[m], scores[m]) == (costs[n], scores[n])]
            assert bool(same) == (not beaten)


def test_cost_chart():
    points = [
        Point("teacher", 1000.0, 0.9, 1),
        Point("small", 100.0, 0.8, 0, 0.05),
        Point("poor", 1000.0, 0.7, 0, hollow=True),
    ]
    chart = cost_chart("t", "a", points, "parameters", "macro-F1", ["students", "teachers"])
    dots = [e for e in elements(chart, "circle", "s0") if e.find("title") is not None]
    small, poor = (next(d for d in dots if d.find("title").text.startswith(name)) for name in ("small", "poor"))
    assert small.find("title").text.endswith("on the front")
    assert "front" not in poor.find("title").text
    assert float(small.get("cx")) < float(poor.get("cx"))
    assert float(small.get("cy")) < float(poor.get("cy")), "higher scores stand higher"
    assert "hollow" in poor.get("class")
    (teacher,) = (e for e in elements(chart, "polygon", "s1") if e.find("title") is not None)
    assert teacher.find("title").text == "teacher: 0.9 at 1k, on the front"
    bar = next(e for e in elements(chart, "line", "thin"))
    middle = (float(bar.get("y1")) + float(bar.get("y2"))) / 2
    assert middle == pytest.approx(float(small.get("cy")), abs=0.11)
    (stair,) = elements(chart, "path", "guide")
    steps = numbers(stair.get("d"))
    assert steps[:2] == [float(small.get("cx")), float(small.get("cy"))]
    assert steps[3] == steps[1], "first to the right, then up"
    assert "parameters (logarithmic)" in texts(chart)
    assert {"teacher", "small"} <= set(texts(chart))
    assert "poor" not in texts(chart), "only networks of the front are named"


def box(text):
    """Where a text of a chart stands: left, top, right, bottom."""
    x, y, wide = float(text.get("x")), float(text.get("y")), text_width(text.text)
    left = {"end": x - wide, "middle": x - wide / 2}.get(text.get("text-anchor"), x)
    return left, y - 10, left + wide, y + 3


def apart(one, other):
    return one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def meet(lead, line):
    """Whether a slanted line crosses one of a grid, whose ends are in order."""
    (a, b, c, d), (left, top, right, bottom) = lead, line
    share = (left - a) / (c - a) if left == right else (top - b) / (d - b)
    x, y = a + share * (c - a), b + share * (d - b)
    return 0 < share < 1 and left - 1e-6 <= x <= right + 1e-6 and top - 1e-6 <= y <= bottom + 1e-6


@pytest.mark.parametrize("seed", range(12))
def test_names_on_the_cost_chart_cover_nothing(seed):
    rng = np.random.default_rng(seed)
    costs = rng.choice([28e3, 60e3, 180e3], 30) if seed % 2 else np.exp(rng.normal(4, 2, 30))
    points = [
        Point(f"method-{n}", float(cost), float(rng.normal(0.9, 0.02)), n % 3, 0.004, labelled=n < 5)
        for n, cost in enumerate(costs)
    ]
    chart = cost_chart("t", "a", points, "parameters", "macro-F1", ["a", "b", "c"])
    names = [box(t) for t in chart.iter("text") if t.text.startswith("method")]
    assert names, "some are named"
    (stair,) = elements(chart, "path", "guide")
    corners = np.reshape(numbers(stair.get("d")), (-1, 2))
    assert len(corners) > 1
    lines = [(a, min(b, d), c, max(b, d)) for (a, b), (c, d) in itertools.pairwise(corners)]
    bars = [tuple(float(e.get(k)) for k in ("x1", "y2", "x2", "y1")) for e in elements(chart, "line", "thin")]
    bars = [(a, min(b, d), c, max(b, d)) for a, b, c, d in bars]
    dots = [(float(e.get("cx")) - 5, float(e.get("cy")) - 5, float(e.get("cx")) + 5, float(e.get("cy")) + 5)
            for e in elements(chart, "circle", "s0") if e.find("title") is not None]  # fmt: skip
    assert len(dots) == 10
    for n, name in enumerate(names):
        assert all(apart(name, other) for other in (*names[n + 1 :], *lines, *bars, *dots))
    leads = [[float(e.get(k)) for k in ("x1", "y1", "x2", "y2")] for e in elements(chart, "line", "axis")]
    leads = [(a, b, c, d) for a, b, c, d in leads if a != c and b != d]
    for a, b, c, d in leads:
        along = [(a + n / 9 * (c - a), b + n / 9 * (d - b)) for n in range(10)]
        crossed = [name for name in names for x, y in along if name[0] < x < name[2] and name[1] < y < name[3]]
        assert not crossed
        elsewhere = [line for line in lines if apart((a - 1, b - 1, a + 1, b + 1), line)]
        assert not any(meet((a, b, c, d), line) for line in elsewhere)
    tooltips = [e.text.split(":")[0] for e in chart.iter("title")][1:]
    assert sorted(tooltips) == sorted(p.name for p in points), "one without room is named on pointing"


def test_a_name_that_stands_nearer_to_another_mark_has_a_line_to_its_own():
    near = [Point("student", 1.0, 0.0, 0, labelled=True), Point("other", 1.2, 0.5, 0), Point("far", 9.0, 9.0, 0)]
    chart = cost_chart("t", "a", near, "cost", "score", ["a"])
    dots = {e.find("title").text.split(":")[0]: (float(e.get("cx")), float(e.get("cy")))
            for e in elements(chart, "circle", "s0") if e.find("title") is not None}  # fmt: skip
    starts = [(float(e.get("x1")), float(e.get("y1"))) for e in elements(chart, "line", "axis")]
    names = {t.text: box(t) for t in chart.iter("text") if t.text in dots}
    assert set(names) == set(dots)
    led = {name for name, (a, b, c, d) in names.items() for own in [dots[name]]
           if any(np.hypot(max(a - x, x - c, 0), max(b - y, y - d, 0)) <= np.hypot(max(a - own[0], own[0] - c, 0),
                  max(b - own[1], own[1] - d, 0)) for other, (x, y) in dots.items() if other != name)}  # fmt: skip
    assert led == {name for name, dot in dots.items() if dot in starts} == {"student"}


# Lines and changes ----------------------------------------------------------------------------------------------------


def test_lines_bands_and_markers():
    line = Line("kd", 0, [0, 1, 2], [0.0, 0.5, 1.0], [-0.1, 0.4, 0.9], [0.1, 0.6, 1.1], marks=[2])
    chart = line_chart("t", "a", [Plot("noise", "level", "macro-F1", [line])])
    curve = next(e for e in elements(chart, "path", "line") if "L" in e.get("d"))
    xs, ys = numbers(curve.get("d"))[::2], numbers(curve.get("d"))[1::2]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.11)
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.11)
    band = numbers(elements(chart, "polygon", "band")[0].get("points"))
    upper, lower = band[1:6:2], band[7::2][::-1]
    assert [(a + b) / 2 for a, b in zip(upper, lower, strict=True)] == pytest.approx(ys, abs=0.11)
    dots = [e for e in elements(chart, "circle") if e.find("title") is not None]
    assert [(float(d.get("cx")), float(d.get("cy"))) for d in dots] == [(xs[2], ys[2])]
    assert dots[0].find("title").text == "kd: 1"


def test_categories_are_not_joined():
    lines = [Line(name, n, [0, 1], [0.9, 0.5], [0.8, 0.4], [1.0, 0.6]) for n, name in enumerate(("kd", "fam"))]
    chart = line_chart("t", "a", [Plot("dead", "channel", "macro-F1", lines, ["none", "acc_x"])])
    assert not [e for e in elements(chart, "path", "line") if "L" in e.get("d")]
    assert len(elements(chart, "line", "thin")) == 4, "an interval a point"
    assert {"none", "acc_x", "kd", "fam"} <= set(texts(chart))
    kd = [e for e in elements(chart, "circle", "s0") if e.find("title") is not None]
    fam = [e for e in elements(chart, "polygon", "s1") if e.find("title") is not None]
    assert len(kd) == len(fam) == 2
    assert float(kd[0].get("cx")) < numbers(fam[0].get("points"))[0] + 4, "beside each other"


def tilted(chart):
    return [t for t in chart.iter("text") if "rotate" in t.get("transform", "")]


def dead(names):
    line = Line("kd", 0, list(range(len(names))), [0.5] * len(names))
    return line_chart("t", "a", [Plot("dead", "channel", "macro-F1", [line], names)])


def test_long_names_of_channels_are_tilted_and_told_apart():
    short, long = ["none", "acc_x", "acc_y"], [f"chest_accelerometer_left_{axis}" for axis in "xyz"] * 2
    long = [f"{name}_{n}" for n, name in enumerate(long)]
    assert tilted(dead(short)) == []
    chart = dead(long)
    assert len({t.text for t in tilted(chart)}) == 6
    assert [t.find("title").text for t in tilted(chart)] == long, "whole on pointing"
    assert text_width(tilted(chart)[0].text) <= TILTED_WIDTH
    label, other = (
        next(float(t.get("y")) for t in c.iter("text") if t.text == "channel") for c in (chart, dead(short))
    )
    assert label > other + 50, "the axis is named below them"
    assert label < float(chart.get("height"))
    said = [e.find("title").text for e in elements(chart, "circle") if e.find("title") is not None]
    assert said[0] == f"kd, {long[0]}: 0.5"


def test_of_very_many_channels_some_are_named():
    places = [float(t.get("x")) for t in tilted(dead([f"channel {n}" for n in range(113)]))]
    assert 10 < len(places) < 113
    assert min(np.diff(places)) >= 14 - 0.2, "a line of text apart"


def test_names_that_differ_look_different():
    assert fit_names(["a", "b"], 50) == ["a", "b"]
    cut = fit_names(["WALKING_UPSTAIRS_SLOWLY", "WALKING_UPSTAIRS_FAST", "RUN"], 100)
    assert len(set(cut)) == 3
    assert cut[2] == "RUN"
    assert all(text_width(name) <= 100 for name in cut)


def test_series_differ_without_colour():
    looks = {(series_class(n), series_dash(n), series_shape(n)) for n in range(24)}
    assert len(looks) == 24
    assert len({(series_dash(n), series_shape(n)) for n in range(8)}) == 8


def test_changes_stand_where_their_numbers_are():
    changes = [Change("kd", 2.0, 1.0, 3.0, [1.0, 3.0]), Change("fam", -1.0)]
    chart = change_chart("t", "a", changes, "points")
    kd, fam = (np.mean(numbers(e.get("points"))[::2]) for e in elements(chart, "polygon", "solid"))
    (zero,) = (float(e.get("x1")) for e in elements(chart, "line", "axis"))
    assert kd - zero == pytest.approx(2 * (zero - fam), abs=0.3)
    (interval,) = elements(chart, "line", "line")
    ends = float(interval.get("x1")), float(interval.get("x2"))
    assert ends[0] - zero == pytest.approx((kd - zero) / 2, abs=0.3)
    assert sorted(float(e.get("cx")) for e in elements(chart, "circle", "hollow")) == list(ends)


# Tested windows -------------------------------------------------------------------------------------------------------


def test_confusion_cells():
    counts = np.array([[6, 2, 0], [0, 4, 0], [1, 0, 3]])
    chart = confusion_chart("t", "a", counts, ["a", "b", "c"])
    cells = elements(chart, "rect", "cell")
    assert [e.find("title").text.split(":")[0] for e in cells] == [
        "a taken for a", "a taken for b", "b taken for b", "c taken for a", "c taken for c",
    ]  # fmt: skip
    assert [float(e.get("fill-opacity")) for e in cells] == pytest.approx([0.38, 0.12, 0.5, 0.12, 0.38], abs=0.006)
    x = [float(e.get("x")) for e in cells]
    y = [float(e.get("y")) for e in cells]
    assert x[0] == x[3] < x[1] == x[2] < x[4]
    assert y[0] == y[1] < y[2] < y[3] == y[4]
    assert [t for t in texts(chart) if t.isdigit()] == ["6", "2", "4", "1", "3"]


@pytest.mark.parametrize("k", [2, 3, 6, 14])
def test_names_of_classes_do_not_collide(k):
    for name in ("WALKING_DOWNSTAIRS", "a very long name of an activity, class"):
        chart = confusion_chart("t", "a", np.eye(k, dtype=int), [f"{name} {n}" for n in range(k)])
        named = tilted(chart)
        assert len({t.text for t in named}) == k
        assert min(np.diff([float(t.get("x")) for t in named])) >= 14, "tilted, a line of text apart"
        rows = [t for t in chart.iter("text") if t.get("text-anchor") == "end" and t not in named]
        assert [t.text for t in rows] == [t.text for t in named]
        assert min(box(t)[0] for t in rows) >= -1
        lowest = max(float(t.get("y")) + text_width(t.text) * np.sin(np.pi / 3) for t in named)
        assert lowest <= float(chart.get("height")) + 1
    chart = confusion_chart("t", "a", np.eye(3, dtype=int), ["sit", "walk", "run"])
    assert tilted(chart) == []


def test_many_classes_stay_small():
    chart = confusion_chart("t", "a", np.eye(52, dtype=int), [f"a long name of class {n}" for n in range(52)])
    assert len(inline(chart)) < 20_000
    assert len(elements(chart, "rect", "cell")) == 52


def test_reliability_bars():
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(3) * 0.4, 400)
    bins = classes.reliability(rng.integers(0, 3, 400), p)
    chart = reliability_chart("t", "a", share=bins.share, confidence=bins.confidence, accuracy=bins.accuracy)
    bars = elements(chart, "rect", "s0")
    filled = [n for n in range(15) if bins.share[n]]
    assert len(bars) == len(filled) > 5
    scale = 230.0  # pixels from accuracy 0 to 1
    heights = [float(bar.get("height")) / scale for bar in bars]
    assert heights == pytest.approx([bins.accuracy[n] for n in filled], abs=0.001)
    assert [float(bar.get("y")) + float(bar.get("height")) for bar in bars] == pytest.approx(
        [260] * len(bars), abs=0.11
    )
    starts = [float(bar.get("x")) for bar in bars]
    assert starts == sorted(starts)
    shares = [float(bar.get("height")) for bar in elements(chart, "rect", "s7")]
    assert np.divide(shares, max(shares)) == pytest.approx([bins.share[n] / max(bins.share) for n in filled], abs=0.002)
    middles = [float(line.get("y1")) for line in elements(chart, "line", "s1")]
    assert middles == pytest.approx([260 - scale * bins.confidence[n] for n in filled], abs=0.06)


# Pictures -------------------------------------------------------------------------------------------------------------


def pixels(uri):
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def test_a_picture_is_its_array():
    image = pixels(heatmap_uri([[0.0, 0.5, 1.0], [np.nan, -3.0, 7.0]], 0, 1))
    assert image.shape == (2, 3, 3)
    dark, bright = (0x44, 0x01, 0x54), (0xFD, 0xE7, 0x25)
    assert tuple(image[0, 0]) == tuple(image[1, 0]) == tuple(image[1, 1]) == dark
    assert tuple(image[0, 2]) == tuple(image[1, 2]) == bright
    luminance = pixels(heatmap_uri(np.linspace(0, 1, 64)[None], 0, 1))[0] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > 0).all(), "brighter is more, in grey too"


def test_pictures_lie_in_a_grid():
    panels = [(f"n{n}", np.full((4, 4), n)) for n in range(5)]
    chart = heatmap_grid("t", "a", panels, (0, 4), columns=2)
    images = list(chart.iter("image"))[:5]
    assert len({float(e.get("x")) for e in images}) == 2
    assert [float(e.get("y")) for e in images] == sorted(float(e.get("y")) for e in images)
    assert len({e.get("href") for e in images}) == 5
    assert [e.find("title").text for e in images] == [name for name, _ in panels]


def test_names_that_begin_alike_stay_apart_over_maps():
    names = [f"shuffled-teacher scope={scope}" for scope in ("class", "any")]
    grid = heatmap_grid("t", "a", [(name, np.eye(4)) for name in names], (0, 1))
    rows = strips("t", "a", None, [(name, np.arange(4.0)) for name in names], (0, 3))
    for chart in (grid, rows):
        shown = [e.text for e in chart.iter("text")][: len(names)]
        assert len(set(shown)) == 2
        assert all("…" in text for text in shown)


def test_views_stand_side_by_side():
    rng = np.random.default_rng(0)
    pi = np.zeros((2, 8, 8))
    pi[:, 5, 1] = 1  # birth 5, persistence 1
    views = {"sig": rng.normal(size=(2, 32)), "gaf": rng.normal(size=(2, 8, 8)), "pi": pi}
    chart = views_chart("t", "a", views, {key: ["acc_x", "acc_y"] for key in views})
    assert len(elements(chart, "path", "thin")) == 2
    images = list(chart.iter("image"))
    assert [e.find("title").text for e in images] == ["gaf, acc_x", "gaf, acc_y", "pi, acc_x", "pi, acc_y"]
    rows = [float(e.get("y")) for e in images]
    assert rows[0] == rows[2] < rows[1] == rows[3]
    shown = pixels(images[2].get("href")).sum(2)
    assert np.unravel_index(shown.argmax(), shown.shape) == (6, 5), "persistence up from the bottom, birth to the right"


def test_strips():
    signal = np.stack([np.arange(16.0), -np.arange(16.0)])
    chart = strips("t", "a", signal, [("kd", np.linspace(0, 1, 16)), ("fam", np.zeros(16))], (0, 1))
    assert len(elements(chart, "path", "thin")) == 2
    strip = pixels(next(chart.iter("image")).get("href"))
    assert strip.shape == (1, 16, 3)
    assert strip[0, 0].sum() < strip[0, -1].sum()
    assert {"kd", "fam"} <= set(texts(chart))


# Ranks ----------------------------------------------------------------------------------------------------------------


def test_ranks():
    rng = np.random.default_rng(3)
    scores = {f"m{n}": rng.normal(size=12) + 2 * n for n in range(4)}
    diagram = st.diagram(scores)
    chart = rank_chart("t", "a", ranks=diagram.ranks, difference=diagram.difference, cliques=diagram.cliques)
    ticks = {t.text: float(t.get("x")) for t in chart.iter("text") if t.text.isdigit()}
    starts = {t: numbers(e.get("d"))[0] for t, e in zip(diagram.ranks, elements(chart, "path", "axis"), strict=True)}
    for name, rank in diagram.ranks.items():
        expected = ticks["1"] + (rank - 1) * (ticks["2"] - ticks["1"])
        assert starts[name] == pytest.approx(expected, abs=0.2)
    assert len(elements(chart, "line", "thick")) == len(diagram.cliques)
    bar = numbers(next(e.get("d") for e in elements(chart, "path", "s1")))
    ends = bar[0], bar[5]
    assert ends[1] - ends[0] == pytest.approx(diagram.difference * (ticks["2"] - ticks["1"]), abs=0.2)


# Both schemes, and a file of its own ----------------------------------------------------------------------------------


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    a, b = sorted((luminance(one), luminance(other)), reverse=True)
    return (a + 0.05) / (b + 0.05)


def mixed(colour, paper, share):
    parts = [round(share * int(colour[i : i + 2], 16) + (1 - share) * int(paper[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{p:02x}" for p in parts)


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast(scheme):
    assert set(scheme) == set(LIGHT)
    for text in ("ink", "muted", "s0"):
        assert contrast(scheme[text], scheme["paper"]) >= 4.5
    for n in range(SERIES):
        assert contrast(scheme[f"s{n}"], scheme["paper"]) >= 3
    assert contrast(scheme["ink"], mixed(scheme["s0"], scheme["paper"], 0.5)) >= 4.5, "counts on the darkest cell"


def example():
    return line_chart("a <title>", "about", [Plot("p", "x", "y", [Line("l", 3, [0, 1], [0, 1])])])


def test_a_file_of_its_own_has_the_dark_colours_too():
    root = ET.fromstring(standalone(example()))
    sheet = root.find(f"{SVG}style").text
    media, rules = re.fullmatch(
        r"(@media screen and \(prefers-color-scheme:dark\))\{((?:\.[\w-]+\{[^}]*\})*)\}", sheet
    ).groups()
    dark = dict(re.findall(r"\.([\w-]+)\{([^}]*)\}", rules))
    coloured = 0
    for element in root.iter():
        given = [dark[name].split(":") for name in element.get("class", "").split()]
        for key, colour in given:
            name = next(name for name, own in DARK.items() if own == colour)
            assert element.get(key) == LIGHT[name]
            coloured += 1
        for key in ("fill", "stroke"):
            if element.get(key, "none") != "none":
                assert key in [own for own, _ in given], f"{element.tag} keeps its light {key}"
    assert coloured > 5
    assert media


def test_a_file_of_its_own_needs_no_style_sheet():
    text = standalone(example())
    root = ET.fromstring(text)
    root.remove(root.find(f"{SVG}style"))
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<svg ')
    assert root.tag == f"{SVG}svg"
    assert "var(" not in text
    assert "currentColor" not in text
    curve = next(e for e in root.iter(f"{SVG}path") if "L" in e.get("d"))
    assert (curve.get("stroke"), curve.get("fill")) == (LIGHT["s3"], "none")
    assert curve.get("stroke-dasharray") == series_dash(3)
    assert root.find(f"{SVG}rect").get("fill") == LIGHT["paper"]
    assert (root.get("width"), root.get("height")) == tuple(root.get("viewBox").split()[2:])
    assert all(e.get("fill") == LIGHT["ink"] or e.get("fill") == LIGHT["muted"] for e in root.iter(f"{SVG}text"))


def test_every_class_has_its_style():
    sheet = css()
    used = {name for e in example().iter() for name in e.get("class", "").split()} - {"chart"}
    assert {"line", "s3", "grid", "axis"} <= used
    for name in used:
        assert f".chart .{name}{{" in sheet
    assert set(re.findall(r"var\(--(\w+)\)", sheet)) <= set(LIGHT)


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "\"a'b", "\x00\x1b\ud800", "x" * 900, "日本 ± é", "]]>&amp;"]
)
def test_harmful_names(name):
    line = Line(name, 0, [0, 1], [0, 1])
    all_of_them = [
        line_chart(name, name, [Plot(name, name, name, [line], [name, name])]),
        cost_chart(name, name, [Point(name, 1.0, 1.0, 0), Point(name, 2.0, 2.0, 0)], name, name, [name]),
        change_chart(name, name, [Change(name, 1.0)], name),
        confusion_chart(name, name, np.eye(2, dtype=int), [name, name]),
        heatmap_grid(name, name, [(name, np.eye(2))], (0, 1)),
        strips(name, name, np.eye(2), [(name, np.zeros(2))], (0, 1)),
        views_chart(
            name,
            name,
            {"sig": np.eye(2), name: np.ones((2, 2, 2))},
            {"sig": [name, name], name: [name, name]},
        ),
    ]
    for chart in all_of_them:
        for text in (inline(chart), standalone(chart)):
            assert "<script" not in text
            assert ET.fromstring(text).tag == f"{SVG}svg"
            text.encode()
        assert chart.get("role") == "img"
        assert chart[0].tag == "title"
        width = float(chart.get("viewBox").split()[2])
        assert max(float(e.get("x")) for e in chart.iter("text")) <= width


# Channel groups -------------------------------------------------------------------------------------------------------


def shift(element):
    """By how much a group of elements is moved."""
    return numbers(element.get("transform"))


def panels(chart):
    """Where the curves and images of a views figure lie: (left, top, right, bottom), in the order of drawing."""
    places = []
    for e in chart.iter():
        if e.tag == "image" or (e.tag == "rect" and e.get("class") == "grid"):
            x, y, width, height = (float(e.get(k)) for k in ("x", "y", "width", "height"))
            places.append((x, y, x + width, y + height))
    return places


def group_views():
    rng = np.random.default_rng(0)
    pi = np.zeros((3, 8, 8))
    pi[:, 5, 1] = 1  # birth 5, persistence 1
    views = {
        "sig@acc": rng.normal(size=(3, 32)),
        "sig@gyro": rng.normal(size=(2, 32)),
        "gaf@gyro": rng.normal(size=(2, 8, 8)),
        "pi@acc": pi,
        "sig": rng.normal(size=(5, 32)),
    }
    acc, gyro = ["acc_x", "acc_y", "acc_z"], ["gyro_x", "gyro_y"]
    channels = {"sig@acc": acc, "sig@gyro": gyro, "gaf@gyro": gyro, "pi@acc": acc, "sig": acc + gyro}
    return views, channels


def test_each_channel_group_has_a_panel_of_its_own():
    views, channels = group_views()
    chart = views_chart("t", "a", views, channels)
    places = panels(chart)
    assert len(places) == 3 + 2 + 2 + 3 + 5
    assert all(apart(one, other) for one, other in itertools.combinations(places, 2)), "no two lie over each other"
    headings = {t.text: t for t in elements(chart, "text", "text")}
    assert set(headings) == set(views), "its full name stands over each"
    assert len({(t.get("x"), t.get("y")) for t in headings.values()}) == 5
    width, height = (float(chart.get(k)) for k in ("width", "height"))
    assert max(right for _, _, right, _ in places) <= width
    assert max(bottom for *_, bottom in places) <= height
    curves = [numbers(e.get("d")) for e in elements(chart, "path", "thin")]
    frames = [p for p, e in zip(places, [e for e in chart.iter() if e.tag == "image" or e.get("class") == "grid"],
                                strict=True) if e.tag == "rect"]  # fmt: skip
    assert len(curves) == len(frames) == 10
    for curve, (left, top, right, bottom) in zip(curves, frames, strict=True):
        assert left - 0.1 <= min(curve[::2]) <= max(curve[::2]) <= right + 0.1
        assert top <= min(curve[1::2]) <= max(curve[1::2]) <= bottom


def test_rows_of_a_channel_group_have_its_names():
    views, channels = group_views()
    chart = views_chart("t", "a", views, channels)
    labels = [(t.text, float(t.get("y"))) for t in elements(chart, "text", "small")]
    assert sorted(name for name, _ in labels) == sorted([*channels["sig"], *channels["sig"]]), "acc, gyro, and all"
    tops = {e.find("title").text: float(e.get("y")) for e in chart.iter("image")}
    for row, channel in ((f"{view}, {name}", name) for view in ("gaf@gyro", "pi@acc") for name in channels[view]):
        assert any(name == channel and tops[row] < y < tops[row] + 74 for name, y in labels), "beside its label"


@pytest.mark.parametrize("name", ["pi", "pi@acc"])
def test_persistence_goes_up_in_every_group(name):
    views, _ = group_views()
    chart = views_chart("t", "a", {name: views["pi@acc"]}, {name: ["a", "b", "c"]})
    shown = pixels(next(chart.iter("image")).get("href")).sum(2)
    assert np.unravel_index(shown.argmax(), shown.shape) == (6, 5)
    low = np.zeros((1, 2, 3))
    low[0, 0] = 1  # the lowest frequency
    np.testing.assert_array_equal(upright("stft@acc", low[0])[1], [1, 1, 1])
    other = views_chart("t", "a", {"pix@acc": views["pi@acc"]}, {"pix@acc": ["a", "b", "c"]})
    shown = pixels(next(other.iter("image")).get("href")).sum(2)
    assert np.unravel_index(shown.argmax(), shown.shape) == (5, 1), "another kind stays as it is"


def test_names_of_channels_differ():
    names = [f"a_long_name_of_a_sensor_{n}" for n in range(3)]
    labels = elements(views_chart("t", "a", {"sig": np.eye(3)}, {"sig": names}), "text", "small")
    assert len({t.text for t in labels}) == 3
    assert [t.find("title").text for t in labels] == names
    frames = panels(views_chart("t", "a", {"sig": np.eye(3)}, {"sig": names}))
    assert max(text_width(t.text) for t in labels) < min(left for left, *_ in frames)


def test_images_keep_their_proportions():
    image = next(views_chart("t", "a", {"img": np.ones((1, 20, 40))}, {"img": ["grey"]}).iter("image"))
    assert float(image.get("width")) == 2 * float(image.get("height"))


# Pictures of records --------------------------------------------------------------------------------------------------


def history(epochs, **terms):
    """Rows of a history; a term is a function of the epoch, None where it is missing."""
    rows = []
    for epoch in range(1, epochs + 1):
        values = {f"loss/{name}": term(epoch) for name, term in terms.items() if term(epoch) is not None}
        rows.append({"epoch": epoch, "loss": sum(values.values()), **values, "val_accuracy": 0.5, "val_macro_f1": 0.4})
    return rows


def test_learning_curves_have_all_terms_scores_and_the_kept_epoch():
    chart = learning_curves("t", "a", history(6, ce=lambda n: 1 / n, kd=lambda n: 2 / n), 4)
    assert {"sum", "ce", "kd", "accuracy", "macro-F1", "validation, epoch 4 is kept"} <= set(texts(chart))
    curves = [numbers(e.get("d")) for e in elements(chart, "path", "line") if "L" in e.get("d")]
    assert [len(curve) // 2 for curve in curves] == [6] * 5
    guides = elements(chart, "line", "guide")
    assert [float(e.get("x1")) for e in guides] == [curves[0][6], curves[3][6]], "at the fourth epoch of both plots"
    total, ce, kd = (curve[1] for curve in curves[:3])
    assert total < kd < ce, "larger is higher"


@pytest.mark.parametrize("epochs", [1, 2])
def test_learning_curves_of_one_or_two_epochs_have_markers(epochs):
    chart = learning_curves("t", "a", history(epochs, ce=lambda n: 1 / n), 1)
    markers = [e for e in chart.iter() if e.find("title") is not None and e.tag in ("circle", "polygon")]
    assert len(markers) == epochs * 4
    ticks = [t.text for t in chart.iter("text") if t.text.isdigit()]
    assert {str(n + 1) for n in range(epochs)} <= set(ticks)


def test_a_term_of_some_epochs_is_drawn_there_only():
    chart = learning_curves("t", "a", history(5, ce=lambda n: 1.0, late=lambda n: None if n % 2 else 3.0), 5)
    (lonely,) = {e.find("title").text for e in chart.iter("polygon") if e.find("title") is not None}
    assert lonely == "late: 3", "an epoch between two gaps has a marker"
    none = learning_curves("t", "a", [{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 0.5}], 2)
    assert "score" not in texts(none), "no validation, no plot of it"
    assert elements(none, "line", "guide") == []


def test_long_histories_are_thinned():
    rows = thin_epochs([{"epoch": float(n)} for n in range(1, 2001)], 1234)
    epochs = [row["epoch"] for row in rows]
    assert len(epochs) <= 155
    assert {1, 1234, 2000} <= set(epochs)
    assert thin_epochs([{"epoch": 1.0}], None) == [{"epoch": 1.0}]


def test_many_classes_make_no_giant_picture():
    y = np.arange(600) % 300
    counts = np.bincount(y * 300 + y[::-1], minlength=300**2).reshape(300, 300)
    names = [f"class {i}" for i in range(300)]
    assert len(standalone(confusion_chart("t", "a", counts, names, large=True))) < 500_000
    full = confusion_chart("t", "a", np.ones((300, 300), int), names)
    assert len(inline(full)) < 200_000
    assert len(list(full.iter("image"))) == 1, "too many cells are one image"
    assert elements(full, "rect", "cell") == []


def test_an_image_of_cells_is_the_matrix():
    counts = np.ones((40, 40), int)
    counts[3] = 0
    counts[3, 7] = 5
    (image,) = confusion_chart("t", "a", counts, [str(n) for n in range(40)]).iter("image")
    alpha = np.asarray(Image.open(io.BytesIO(base64.b64decode(image.get("href").partition(",")[2]))).convert("RGBA"))
    assert alpha[3, 7, 3] == 255
    assert alpha[3, 8, 3] == 0
    assert 0 < alpha[0, 0, 3] < 20


@pytest.mark.parametrize(
    ("k", "largest"), [(3, 7), (6, 99), (6, 123_456_789), (12, 9999), (14, 150), (20, 500), (30, 1234)]
)
@pytest.mark.parametrize("large", [True, False])
def test_numbers_fit_their_cells(k, largest, large):
    chart = confusion_chart("t", "a", np.eye(k, dtype=int) * largest, [f"class {n}" for n in range(k)], large=large)
    cells = elements(chart, "rect", "cell")
    side = float(cells[0].get("width"))
    said = [t for t in chart.iter("text") if t.get("text-anchor") == "middle" and t.text in (str(largest), "100")]
    assert len(said) == (k if large or k <= 14 else 0)
    assert all(text_width(t.text) < side for t in said)
    percent = any(t.text == "predicted across, true down, in percent" for t in chart.iter("text"))
    assert percent == (bool(said) and said[0].text != str(largest))


def test_a_large_confusion_matrix_has_the_names_of_its_classes():
    names = [f"a long name of class {n}" for n in range(25)]
    assert tilted(confusion_chart("t", "a", np.eye(25, dtype=int), names)) == []
    chart = confusion_chart("t", "a", np.eye(25, dtype=int), names, large=True)
    assert len({t.text for t in tilted(chart)}) == 25
    many = confusion_chart("t", "a", np.eye(120, dtype=int), [f"c{n}" for n in range(120)], large=True)
    rows = [t for t in many.iter("text") if t.get("text-anchor") == "end" and t not in tilted(many)]
    assert 30 < len(rows) < 60
    assert min(np.diff([float(t.get("y")) for t in rows])) >= 13.9


def test_a_heading_moves_what_is_below_it():
    chart = example()
    titled = add_heading(chart, "kd on <x>, seed 0", "a note")
    assert [t.text for t in titled.findall("text")] == ["kd on <x>, seed 0", "a note"]
    (group,) = titled.findall("g")
    assert [e.tag for e in group] == [e.tag for e in list(chart)[2:]]
    across, down = shift(group)
    assert float(titled.get("height")) >= float(chart.get("height")) + down
    assert float(titled.get("width")) >= float(chart.get("width")) + across
    assert titled.get("aria-label") == chart.get("aria-label")
    root = ET.fromstring(standalone(titled))
    first = [e.tag for e in root if e.tag != f"{SVG}style"][:3]
    assert first == [f"{SVG}title", f"{SVG}desc", f"{SVG}rect"], "the background comes first"


def test_a_labelled_recording():
    labels = np.array([-1] * 50 + [0] * 50 + [2] * 100)
    signal = np.stack([np.sin(np.arange(200) / 9)] * 8)
    rows = {"true": labels, "predicted": labels}
    chart = labelled_recording("t", "a", signal, rows, ["null", "sit", "walk"], 50.0)
    assert len(elements(chart, "path", "thin")) == 6
    assert {"true", "predicted", "null", "walk", "time in seconds", "signal (first 6 of 8 channels)"} <= set(
        texts(chart)
    )
    assert "sit" not in texts(chart), "a class that is not there"
    bars = list(chart.iter("image"))
    assert len(bars) == 2
    image = Image.open(io.BytesIO(base64.b64decode(bars[0].get("href").partition(",")[2]))).convert("RGBA")
    row = np.asarray(image)[0]
    assert row.shape == (200, 4)
    assert (row[:50, 3] == 0).all(), "no label, no colour"
    assert ["#" + bytes(row[n, :3].tolist()).hex() for n in (60, 150)] == [CLASS_COLOURS[0], CLASS_COLOURS[2]]
    curve = numbers(elements(chart, "path", "thin")[0].get("d"))
    assert curve[0] == pytest.approx(float(bars[0].get("x")), abs=0.1), "over the same time"
    assert curve[-2] == pytest.approx(float(bars[0].get("x")) + float(bars[0].get("width")), abs=0.1)
    assert "sample" in texts(labelled_recording("t", "a", signal, rows, ["null", "sit", "walk"], None))


def test_a_labelled_image():
    image = np.zeros((3, 10, 20))
    image[0] = 1  # red
    maps = {"true": np.full((10, 20), -1), "predicted": np.ones((10, 20), int)}
    chart = labelled_image("t", "a", image, maps, ["null", "road"])
    pictures = list(chart.iter("image"))
    assert len(pictures) == 3
    assert len({e.get("x") for e in pictures}) == 3
    assert all(float(e.get("width")) == pytest.approx(2 * float(e.get("height")), abs=0.2) for e in pictures)
    assert pixels(pictures[0].get("href"))[0, 0].tolist() == [255, 0, 0]
    assert "road" in texts(chart)
    assert "null" not in texts(chart)
    large = labelled_image("t", "a", np.ones((1, 800, 500)), {"true": np.ones((800, 500), int)}, ["null", "road"])
    assert max(pixels(next(large.iter("image")).get("href")).shape) <= 360
    assert float(large.get("height")) < 600


def test_a_scored_series():
    labels = np.zeros(1000, np.int8)
    labels[600:700] = 1
    labels[0] = labels[999] = 1
    score = np.zeros(800)
    score[450] = 9.0
    chart = scored_series("t", "a", np.ones((2, 1000)), labels, borders=(200, 400), score=score, threshold=3.0)
    events = [numbers(e.get("d")) for e in elements(chart, "path", "s1") if "band" in e.get("class")]
    assert len(events) == 2, "in both plots"
    assert len(events[0]) == 3 * 5
    assert events[0][5:8:2] == events[1][5:8:2] or events[0][5] == events[1][5]
    curve = numbers(elements(chart, "path", "s5")[0].get("d"))
    peak = curve[::2][int(np.argmin(curve[1::2]))]
    start, end = events[1][5], events[1][7]
    assert start < peak < end, "the score of step 650 stands within the event"
    (line,) = [e for e in elements(chart, "line", "guide") if e.get("x2") != "0" and float(e.get("x2")) > 500]
    assert min(curve[1::2]) < float(line.get("y1")) < max(curve[1::2])
    wide = scored_series("t", "a", np.ones((30, 1000)), labels, borders=(200, 400), score=score, threshold=3.0)
    assert "value (first of 30 channels)" in texts(wide)
