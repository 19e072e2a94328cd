"""The chart of spectral filters: whole spectra, means over rings, where the mask ends, and the figure in two widths."""

import math

import numpy as np
import pytest

from mmkd.drawing.spectra import FilterSpectra, cutoff, full_plane, radial_mean, ring_lines, spectra_chart
from mmkd.drawing.svg import WIDE, WIDTH, inline, standalone


def case(size, **changes):
    rng = np.random.default_rng(1)
    x = rng.normal(size=size)
    power = np.abs(np.fft.rfftn(x, norm="ortho")) ** 2
    kept = np.ones_like(power)
    kept[(0,) * len(size)] = 0
    values = {"before": power, "after": 0.25 * kept * power, "response": 0.5 * kept, "kept": kept, "removed": 0.123}
    return FilterSpectra("gaf: a to b", size, **{"windows": 40, **values, **changes})


@pytest.mark.parametrize("size", [(8,), (7,), (6, 8), (5, 7), (4, 5), (1, 4)])
def test_half_a_spectrum_makes_a_whole_one_with_the_mean_in_the_middle(size):
    x = np.random.default_rng(0).normal(size=size)
    whole = np.abs(np.fft.fftn(x))
    np.testing.assert_allclose(full_plane(np.abs(np.fft.rfftn(x)), size), np.fft.fftshift(whole))
    assert full_plane(np.abs(np.fft.rfftn(np.ones(size))), size)[tuple(n // 2 for n in size)] == math.prod(size)


@pytest.mark.parametrize("size", [(8,), (9,), (6, 8), (5, 7)])
def test_the_mean_over_rings_equals_a_slow_loop(size):
    half = np.abs(np.fft.rfftn(np.random.default_rng(0).normal(size=size)))
    n = max(size)
    sums = {}
    whole = np.fft.ifftshift(full_plane(half, size))
    for at in np.ndindex(size):
        k = [min(i, m - i) / (m / 2) for i, m in zip(at, size, strict=True)]
        sums.setdefault(int(np.rint(math.hypot(*k) * n / 2)), []).append(whole[at])
    r, means = radial_mean(half, size)
    assert r == pytest.approx([2 * ring / n for ring in sorted(sums)])
    assert means == pytest.approx([np.mean(sums[ring]) for ring in sorted(sums)])


def test_the_cutoff_is_between_the_last_removed_and_the_first_kept():
    assert cutoff(case((20,))) == pytest.approx(0.05)
    kept = np.r_[np.zeros(4), np.ones(7)]
    low = FilterSpectra("a", (20,), kept, kept, kept, 1 - kept)
    assert cutoff(low) == pytest.approx(0.35)
    assert cutoff(FilterSpectra("a", (20,), kept, kept, kept, None)) is None
    assert cutoff(FilterSpectra("a", (20,), kept, kept, kept, np.ones(11))) is None


def texts(chart):
    return [e.text for e in chart.iter("text")]


@pytest.mark.parametrize("width", [WIDTH, WIDE])
def test_an_image_has_three_heat_maps_with_the_border_of_the_mask(width):
    chart = spectra_chart("Spectra", "text", [case((8, 8)), case((6, 10))], width)
    images = list(chart.iter("image"))
    assert len(images) == 6
    assert float(chart.get("width")) == width
    edges = [e for e in chart.iter("path") if e.get("stroke") == "#ffffff"]
    assert len(edges) == 6
    x, y, side = (float(images[0].get(name)) for name in ("x", "y", "width"))
    cell = side / 8
    centre = [(x + cell * i, y + cell * j) for i, j in ((4, 4), (5, 4), (4, 5))]  # corners of the cell of the mean
    starts = {tuple(round(float(v)) for v in part.split()[0:2]) for part in split_moves(edges[0].get("d"))}
    assert {tuple(round(v) for v in corner) for corner in centre} <= starts
    assert len(split_moves(edges[0].get("d"))) == 4
    for e in chart.iter():
        if e.get("x") and e.tag in ("image", "text"):
            assert float(e.get("x")) + float(e.get("width", 0)) <= width
    assert "the mask removes 12.3 % of the energy" in texts(chart)
    assert texts(chart).count("gaf: a to b, 8x8 samples") == 1
    assert standalone(chart).count("<image") == inline(chart).count("<image") == 6


def split_moves(d):
    return [part.replace("h", " ").replace("v", " ") for part in d.split("M") if part]


def test_wide_figures_are_lower():
    narrow, wide = (float(spectra_chart("a", "b", [case((8, 8))], w).get("height")) for w in (WIDTH, WIDE))
    assert wide < narrow - 100


def test_a_line_has_hertz_where_its_rate_is_known():
    plain, timed = (spectra_chart("a", "b", [case((16,), rate_hz=rate)]) for rate in (None, 50.0))
    assert not list(plain.iter("image"))
    assert "frequency (1: Nyquist)" in texts(plain)
    assert "frequency (Hz)" in texts(timed)
    assert "20" in texts(timed), "the axis reaches 25 Hz"
    assert ring_lines(case((16,), rate_hz=50.0))[-1]["hz"] == 25


def test_what_a_mask_removes_whole_has_no_point():
    """log10 of 0 is nothing to draw: the line after the filter begins at the first frequency that is left."""
    chart = spectra_chart("a", "b", [case((16,))])
    markers = [e.tag for e in chart.iter() if e.tag == "circle" or (e.tag == "polygon" and "s1" in e.get("class"))]
    legend = 1
    assert markers.count("circle") == 9 + legend
    assert markers.count("polygon") == 8 + legend


def test_rings_as_rows_of_numbers():
    one = case((6, 8))
    lines = ring_lines(one)
    assert [line["frequency"] for line in lines] == radial_mean(one.before, one.size)[0]
    assert lines[0] == {
        "frequency": 0.0,
        "hz": None,
        "before": pytest.approx(one.before[0, 0]),
        "after": 0,
        "response": 0,
        "kept": 0,
        "removed": 0.123,
        "windows": 40,
    }
    assert ring_lines(case((8,), kept=None))[3]["kept"] is None
