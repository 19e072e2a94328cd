"""Spectral filters: the power spectrum of a map before and after, and the magnitude of the filter between them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from mmkd.drawing.images import add_heatmap
from mmkd.drawing.lines import Line, Plot, line_chart
from mmkd.drawing.scales import format_number, value_range
from mmkd.drawing.svg import WIDTH, add_element, add_text, add_tooltip, canvas, coordinate

Floats = NDArray[np.float64]

FLOOR = 1e-9
"""Of the largest power: what is less is taken as removed, and not drawn."""
MOST_MARKS = 17
"""Points of a line that has a marker at each."""
GAP = 10.0
SIDE = 110.0
"""Side of a heat map, and height of a plot."""
HEAD = 33.0
"""Room for the two lines of text above a heat map."""
TOP = 40.0
"""Room for the two lines of text above a filter."""


@dataclass(frozen=True)
class FilterSpectra:
    """A spectral filter, and the maps before and after it, means over windows and channels.

    The arrays hold half of a spectrum, in the order of `numpy.fft.rfftn`: (T // 2 + 1,) of lines, (H, W // 2 + 1) of
    images. The other half is the same.

    Attributes:
        name: the pair of stages.
        size: (T,) or (H, W), of the map in samples.
        before, after: mean power spectra, orthonormal.
        response: magnitude of the filter.
        kept: share of the energy that the mask of the filter keeps at each frequency; None if it has no mask.
        removed: share of the energy of all windows that the mask removes.
        rate_hz: samples a second of a line; None where the axes are no time, or have no unit.
        facts: name -> a number to tell.
        windows: how many windows were read.
    """

    name: str
    size: tuple[int, ...]
    before: Floats
    after: Floats
    response: Floats
    kept: Floats | None = None
    removed: float = 0.0
    rate_hz: float | None = None
    facts: Mapping[str, float] = field(default_factory=dict)
    windows: int = 0

    @property
    def text(self) -> str:
        """The energy that the mask removes, and the facts, in a line."""
        removed = f"the mask removes {100 * self.removed:.3g} % of the energy"
        parts = ["no mask" if self.kept is None else removed]
        return ", ".join(
            [*parts, *(f"{name} {format_number(float(f'{value:.3g}'))}" for name, value in self.facts.items())]
        )


def full_plane(half: NDArray[Any], size: tuple[int, ...]) -> Floats:
    """The whole spectrum of half of one, with the mean in the middle: index N // 2 of each axis of N bins.

    Args:
        half: (H, W // 2 + 1), or (T // 2 + 1,).
        size: (H, W), or (T,).
    """
    half = np.asarray(half, np.float64)
    back = half[..., 1 : (size[-1] + 1) // 2][..., ::-1]
    if len(size) == 2:
        back = np.roll(back[::-1], 1, axis=0)
    return np.fft.fftshift(np.concatenate([half, back], axis=-1))


def radii(size: tuple[int, ...]) -> Floats:
    """Distance of each bin of a half spectrum from the mean, in units of the Nyquist frequency of an axis."""
    steps = [np.fft.fftfreq(n) * 2 for n in size[:-1]] + [np.fft.rfftfreq(size[-1]) * 2]
    axes = np.meshgrid(*steps, indexing="ij")
    distance: Floats = np.sqrt(sum(axis**2 for axis in axes))
    return distance


def radial_mean(half: NDArray[Any], size: tuple[int, ...]) -> tuple[list[float], list[float]]:
    """The mean over rings of frequencies, one ring for each bin of the longer axis; of a line its values.

    Bins that stand for two frequencies count twice, as in the whole spectrum.

    Returns:
        The radius of each ring that holds a frequency, and the mean there.
    """
    n = max(size)
    ring = np.rint(radii(size) * n / 2).astype(int).ravel()
    twice = np.full(half.shape[-1], 2.0)
    twice[0] = 1
    if size[-1] % 2 == 0:
        twice[-1] = 1
    weight = np.broadcast_to(twice, half.shape).ravel()
    count = np.bincount(ring, weight)
    total = np.bincount(ring, weight * np.asarray(half, np.float64).ravel())
    known = np.flatnonzero(count)
    return (known * 2 / n).tolist(), (total[known] / count[known]).tolist()


def ring_lines(spectra: FilterSpectra) -> list[dict[str, float | int | None]]:
    """The spectra as rows of numbers, one for each ring of `radial_mean`.

    `frequency` is in units of the Nyquist frequency, `hz` None without a rate; `kept` is None without a mask.
    """
    half = spectra.rate_hz / 2 if spectra.rate_hz is not None and len(spectra.size) == 1 else None
    names = ("before", "after", "response", "kept")
    means = {name: a if (a := getattr(spectra, name)) is None else radial_mean(a, spectra.size)[1] for name in names}
    return [
        {
            "frequency": r,
            "hz": None if half is None else r * half,
            **{name: None if values is None else values[n] for name, values in means.items()},
            "removed": spectra.removed,
            "windows": spectra.windows,
        }
        for n, r in enumerate(radial_mean(spectra.before, spectra.size)[0])
    ]


def cutoff(spectra: FilterSpectra) -> float | None:
    """The radius at which the mask begins to keep half of the energy or more; None if that is nowhere or everywhere."""
    if spectra.kept is None:
        return None
    r, kept = radial_mean(spectra.kept, spectra.size)
    changes = [n for n in range(1, len(kept)) if (kept[n] >= 0.5) != (kept[n - 1] >= 0.5)]
    return (r[changes[0] - 1] + r[changes[0]]) / 2 if changes else None


def spectra_chart(title: str, description: str, filters: Sequence[FilterSpectra], width: float = WIDTH) -> ET.Element:
    """Each filter under its name: of an image three heat maps with the mean in the middle; and means over rings.

    Args:
        width: of the figure in pixels. On a wide one, heat maps and plots stand side by side.
    """
    blocks = [_block(spectra, width) for spectra in filters]
    heights = [float(block.attrib["height"]) for block in blocks]
    root = canvas(sum(heights) + GAP * max(0, len(blocks) - 1), title, description, width)
    top = 0.0
    for block, height in zip(blocks, heights, strict=True):
        _nest(root, block, 0.0, top)
        top += height + GAP
    return root


def _nest(root: ET.Element, chart: ET.Element, left: float, top: float) -> None:
    """Add what a figure shows to another one."""
    group = add_element(root, "g", transform=f"translate({coordinate(left)} {coordinate(top)})")
    group.extend(child for child in chart if child.tag not in ("title", "desc"))


def _block(spectra: FilterSpectra, width: float) -> ET.Element:
    """One filter as a figure."""
    image = len(spectra.size) == 2
    maps = 3 * (SIDE + GAP) if image else 0.0
    beside = image and width - maps >= 2 * 180
    left = maps if beside else 0.0
    below = SIDE + HEAD + GAP if image and not beside else 0.0
    plots = _plots(spectra, width - left)
    height = TOP + below + max(float(plots.attrib["height"]), SIDE + HEAD if image else 0.0)
    root = canvas(height, spectra.name, spectra.text, width)
    size = "x".join(map(str, spectra.size)) + " samples"
    add_text(root, 0, 14, f"{spectra.name}, {size}", style="text", room=width)
    add_text(root, 0, 31, spectra.text, style="faint", room=width)
    if image:
        _add_maps(root, spectra, TOP)
    _nest(root, plots, left, TOP + below)
    return root


def _logs(spectra: FilterSpectra) -> tuple[Floats, Floats]:
    """The logarithms to base 10 of both power spectra; NaN where next to nothing is left."""
    least = FLOOR * max(float(spectra.before.max()), float(spectra.after.max()), 1e-300)
    before, after = (
        np.where(p > least, np.log10(np.maximum(p, least)), np.nan) for p in (spectra.before, spectra.after)
    )
    return before, after


def _add_maps(root: ET.Element, spectra: FilterSpectra, top: float) -> None:
    before, after = _logs(spectra)
    span = value_range(np.stack([before, after]))
    panels = (
        ("before", before, span),
        ("after", after, span),
        ("abs(H)", spectra.response, (0.0, value_range(spectra.response)[1])),
    )
    for n, (name, half, (low, high)) in enumerate(panels):
        x = n * (SIDE + GAP)
        add_text(root, x, top + 12, name, room=SIDE)
        add_text(root, x, top + 27, f"{low:.2g} to {high:.2g}", style="faint", room=SIDE)
        plane = full_plane(half, spectra.size)
        image = add_heatmap(root, plane, (low, high), x=x, y=top + HEAD, width=SIDE, height=SIDE)
        add_tooltip(image, f"{spectra.name}: {name}, log10 of the power" if n < 2 else f"{spectra.name}: magnitude")
        if spectra.kept is not None:
            _add_edge(root, full_plane(spectra.kept, spectra.size) >= 0.5, x, top + HEAD)


def _add_edge(root: ET.Element, kept: NDArray[np.bool_], left: float, top: float) -> None:
    """The border between what a mask keeps and what it removes, over a heat map."""
    rows, columns = kept.shape
    x = SIDE / columns
    y = SIDE / rows
    parts = [
        f"M{coordinate(left + (j + 1) * x)} {coordinate(top + i * y)}v{coordinate(y)}"
        for i, j in zip(*np.nonzero(kept[:, 1:] != kept[:, :-1]), strict=True)
    ]
    parts += [
        f"M{coordinate(left + j * x)} {coordinate(top + (i + 1) * y)}h{coordinate(x)}"
        for i, j in zip(*np.nonzero(kept[1:] != kept[:-1]), strict=True)
    ]
    for colour, thickness in (("#000000", 2.6), ("#ffffff", 1.2)) if parts else ():
        add_element(root, "path", d="".join(parts), stroke=colour, stroke_width=thickness, fill="none")


def _marks(points: Sequence[float]) -> Sequence[int] | None:
    """The points of a line that get a marker, whose tooltip has the value: all of a short line, none of a long one."""
    return None if len(points) <= MOST_MARKS else ()


def _plots(spectra: FilterSpectra, width: float) -> ET.Element:
    """Means over rings: the power before and after, and the magnitude; a vertical line at the cutoff of the mask."""
    unit = 1.0
    label = "frequency (1: Nyquist)"
    if spectra.rate_hz is not None and len(spectra.size) == 1:
        unit = spectra.rate_hz / 2
        label = "frequency (Hz)"
    lines = []
    least = FLOOR * max(float(spectra.before.max()), float(spectra.after.max()), 1e-300)
    for number, (name, half) in enumerate((("before", spectra.before), ("after", spectra.after))):
        r, power = radial_mean(half, spectra.size)
        logs = [math.log10(value) if value > least else math.nan for value in power]
        lines.append(Line(name, number, [unit * value for value in r], logs, marks=_marks(r)))
    r, magnitude = radial_mean(spectra.response, spectra.size)
    response = Line("abs(H)", 2, [unit * value for value in r], magnitude, marks=_marks(r))
    at = cutoff(spectra)
    guide = None if at is None else unit * at
    plots = [
        Plot("power", label, "log10", lines, guide=guide),
        Plot("filter", label, "abs(H)", [response], y_range=(0.0, 1.06 * max(magnitude) or 1.0), guide=guide),
    ]
    return line_chart("", "", plots, height=SIDE, width=width)
