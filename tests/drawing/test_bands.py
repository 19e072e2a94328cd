"""The band of controls: from the lowest to the highest mean, behind the methods, with a legend and a bound."""

import pytest

from mmkd.drawing.bands import LEAST, Band, add_band_legend, band_legend_height
from mmkd.drawing.changes import Change, change_chart
from mmkd.drawing.cost import Point, cost_chart
from mmkd.drawing.lines import Line, Plot, line_chart
from mmkd.drawing.svg import NARROW, canvas

BAND = Band([("label-smoothing", 0.5), ("longer", 2.0), ("noise-logits", -1.0)], [("student-ensemble", 4.0)])


def bands(chart):
    return [e for e in chart.iter("rect") if "band" in e.get("class", "").split()]


def dotted(chart):
    return [e for e in chart.iter("line") if e.get("stroke-dasharray") == "2 3"]


def texts(chart):
    return [e.text for e in chart.iter("text")]


def number(element, *names):
    return [float(element.get(name)) for name in names]


def test_the_band_of_changes_reaches_from_the_lowest_to_the_highest():
    changes = [Change("kd", 1.0, 0.0, 2.0), Change("fam", 3.0)]
    chart = change_chart("Change", "text", changes, "points", BAND)
    drawn, sample = bands(chart)
    centres = [number(e, "x1", "x2") for e in chart.iter("line") if e.get("class") == "axis"]
    zero = centres[0][0]
    diamonds = [e for e in chart.iter("polygon") if "solid" in e.get("class", "")]
    at = [sum(float(p.split(",")[0]) for p in e.get("points").split()) / 4 for e in diamonds]
    unit = at[0] - zero  # pixels of one point
    x, width = number(drawn, "x", "width")
    assert x == pytest.approx(zero - unit, abs=0.2)
    assert x + width == pytest.approx(zero + 2 * unit, abs=0.3)
    line, _ = dotted(chart)
    assert number(line, "x1")[0] == pytest.approx(zero + 4 * unit, abs=0.3), "the axis holds the bound too"
    assert sample.get("width") == "22"
    assert "controls, lowest to highest mean" in texts(chart)
    assert "student-ensemble, a bound for averaging" in texts(chart)
    order = list(chart)
    assert order.index(drawn) < order.index(diamonds[0]), "it lies behind"
    assert "longer 2" in drawn.find("title").text


def test_without_controls_a_chart_is_as_it_was():
    changes = [Change("kd", 1.0, 0.0, 2.0)]
    plain = change_chart("Change", "text", changes, "points")
    assert bands(plain) == []
    assert float(plain.get("height")) < float(change_chart("Change", "text", changes, "points", BAND).get("height"))
    assert band_legend_height([], 480) == 0


def test_one_control_is_seen_too():
    chart = change_chart("Change", "text", [Change("kd", 1.0)], "points", Band([("longer", 0.5)]))
    assert number(bands(chart)[0], "width")[0] == pytest.approx(LEAST, abs=0.1)
    only = change_chart("Change", "text", [Change("kd", 1.0)], "points", Band([], [("student-ensemble", 2.0)]))
    assert bands(only) == []
    assert len(dotted(only)) == 2, "the bound and its sample"


def test_the_bands_of_costs_have_the_colour_of_their_student():
    points = [Point("kd", 1e3, 0.8, 0), Point("kd", 300.0, 0.7, 1)]
    both = [Band([("longer", 0.75), ("noise-logits", 0.6)], (), n, f"controls, student {n}") for n in (0, 1)]
    chart = cost_chart("Costs", "text", points, "parameters", "macro-F1", ["a", "b"], both)
    drawn = bands(chart)
    assert [e.get("class") for e in drawn] == ["band s0", "band s1", "band s0", "band s1"]
    width, y, height = number(drawn[0], "width", "y", "height")
    assert width == pytest.approx(NARROW - 16 - 56), "over the whole plot"
    assert y + height <= 290
    assert {"controls, student 0", "controls, student 1"} <= set(texts(chart))
    assert float(chart.get("height")) >= max(number(e, "y")[0] for e in chart.iter("text"))


def test_a_range_of_lines_is_drawn_without_a_line():
    ranged = Line("controls", 7, [0, 1, 2], [9.0, 9.0, 9.0], [0.5, 0.4, 0.3], [0.6, 0.5, 0.5], range_only=True)
    line = Line("kd", 0, [0, 1, 2], [0.7, 0.6, 0.5])
    chart = line_chart("Robustness", "text", [Plot("noise", "level", "macro-F1", [ranged, line])])
    (band,) = [e for e in chart.iter("polygon") if "band" in e.get("class", "")]
    assert len(band.get("points").split()) == 6
    assert len([e for e in chart.iter("path") if "line" in e.get("class", "").split()]) == 2, "of kd, and its sample"
    assert "controls" in texts(chart)
    assert not any(text and text.startswith("9") for text in texts(chart)), "its y is nowhere"


def test_entries_of_the_legend_go_on_in_the_next_row():
    root = canvas(100, "t", "d")
    height = add_band_legend(root, [BAND], 10, 300)
    assert height == 36
    assert len({e.get("y") for e in root.iter("text")}) == 2
