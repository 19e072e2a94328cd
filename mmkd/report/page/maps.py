"""Figures of one example window: its views, how alike networks find a batch, and where they look."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from mmkd.comparison.maps import Maps, of_networks, read_maps
from mmkd.comparison.rows import Row
from mmkd.comparison.tested import class_names
from mmkd.core.registry import group_of, kind_of
from mmkd.core.text import shorten, slug
from mmkd.drawing.images import heatmap_grid, strips
from mmkd.drawing.scales import value_range
from mmkd.drawing.views import upright, views_chart
from mmkd.report.page.album import Figure
from mmkd.report.page.context import GroupContext
from mmkd.report.page.words import count
from mmkd.store.record import Record

PARTS = {"validation": "in its validation part", "train": "in its training part"}
RowMaps = tuple[Row, Maps]


def map_figures(context: GroupContext) -> list[Figure]:
    """The views of one window, and what teachers and students make of it and of a batch."""
    maps = _first_maps(context)
    if not maps:
        return []
    usual, _ = Counter((own.index, own.label) for _, own in maps).most_common(1)[0]
    candidates = [(row, own) for row, own in maps if (own.index, own.label) == usual]
    row, example = max(candidates, key=lambda candidate: (len(candidate[1].window), len(candidate[1].similarity)))
    record = next(unit.record for unit in row.members if unit.record is not None)
    classes = class_names(record)
    label = classes[example.label] if 0 <= example.label < len(classes) else f"class {example.label}"
    window = f"window {example.index} of the data set ({PARTS.get(example.part, example.part)}), {label}"
    return [
        *(_view_figures(context, example, window, record) if context.show_windows else ()),
        *_similarity_figures(context, maps, example),
        *_cam_figures(context, maps, example, window),
    ]


def _first_maps(context: GroupContext) -> list[RowMaps]:
    """The maps of the students of the first seed, and fold, that has any."""
    units = [(row, unit) for row in context.students for unit in row.members]
    for seed, fold in sorted({(unit.seed, unit.fold) for _, unit in units}):
        records = [(row, unit.record) for row, unit in units if (unit.seed, unit.fold) == (seed, fold)]
        maps = []
        for row, record in records:
            own = read_maps(record, context.notes) if record is not None else None
            if own is not None:
                maps.append((row, own))
        if maps:
            return maps
    return []


def _view_figures(context: GroupContext, example: Maps, window: str, record: Record) -> list[Figure]:
    title = f"One window in {count(len(example.window), 'view')}"
    caption = f"{window}: {', '.join(example.window)}, channel by channel, as the networks see it."
    if any(kind_of(name) == "pi" for name in example.window):
        caption += " In pi, birth goes to the right and persistence up."
    chart = views_chart(title, caption, example.window, _channel_names(record, example.window))
    return [context.figure("views", title, caption, chart)]


def _similarity_figures(context: GroupContext, maps: Sequence[RowMaps], example: Maps) -> list[Figure]:
    panels = [(f"teacher {name}", array) for name, array in of_networks(example.similarity, "teacher")]
    for row, own in maps:
        if own.same_batch(example):
            panels += [(row.name, array) for _, array in of_networks(own.similarity, "student")]
    if not panels:
        return []
    ends = [value_range(array) for _, array in panels]
    span = min(low for low, _ in ends), max(high for _, high in ends)
    title = "Who is alike"
    kind = "training" if example.part == "train" else "validation"
    caption = (
        f"Cosine similarity of the embeddings of {len(panels[0][1])} {kind} windows, sorted by class: blocks "
        "on the diagonal are classes that a network holds together. Teachers first."
    )
    return [context.figure("similarity", title, caption, heatmap_grid(title, caption, panels, span))]


def _cam_figures(context: GroupContext, maps: Sequence[RowMaps], example: Maps, window: str) -> list[Figure]:
    figures = []
    for modality, view in example.window.items():
        arrays = [(f"teacher {name}", a) for name, a in of_networks(example.cam, "teacher") if name == modality]
        for row, own in maps:
            if own.same_window(example):
                arrays += [(row.name, a) for name, a in of_networks(own.cam, "student") if name == modality]
        panels = [(name, array) for name, array in arrays if array.shape == view.shape[1:]]
        if not panels:
            continue
        title = f"Where they look: {modality}"
        caption = f"Grad-CAM of the true class, scaled to [0, 1], on {window}. Bright speaks for the class."
        if view.ndim == 2:
            chart = strips(title, caption, view if context.show_windows else None, panels, (0, 1))
        else:
            turned = [(name, upright(modality, array)) for name, array in panels]
            chart = heatmap_grid(title, caption, turned, (0, 1))
        figures.append(context.figure(f"cam-{slug(modality)}", title, caption, chart))
    return figures


def _channel_names(record: Record, window: Mapping[str, NDArray[Any]]) -> dict[str, list[str]]:
    """View -> the names of its channels: all of the data set, or those of its group; numbers if they have no name."""
    names = [shorten(str(channel), 40) for channel in record.data.get("channels") or []]
    views = record.unit.views
    channels = {}
    for view in window:
        numbers: Any = views.get(view, {}).get("channels") if group_of(view) else range(len(names))
        if not isinstance(numbers, list | tuple | range) or not all(isinstance(n, int) and n >= 0 for n in numbers):
            numbers = ()
        if not numbers:
            same_group = [len(array) for other, array in window.items() if group_of(other) == group_of(view)]
            numbers = range(min(same_group))
        channels[view] = [names[n] if n < len(names) else f"channel {n + 1}" for n in numbers]
    return channels
