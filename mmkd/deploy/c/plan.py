"""Where the maps of a model lie in its arena: lifetimes, maps that share memory, and places, the largest first."""

from collections.abc import Mapping
from dataclasses import dataclass

from mmkd.deploy.integer import IntegerAdd, IntegerAffine, IntegerConcat, IntegerModel


@dataclass(frozen=True)
class Place:
    """Where a map (C, T) lies: channel c of position t at byte `offset + t * row + c`."""

    offset: int
    row: int


@dataclass
class _Buffer:
    """Memory of one map or several, from the step that first writes it to the last one that reads it."""

    size: int
    first: int
    last: int
    offset: int = 0

    def meets(self, other: "_Buffer") -> bool:
        return self.first <= other.last and other.first <= self.last


def plan(model: IntegerModel) -> tuple[Mapping[str, Place], int]:
    """The place of each map but the logits, and the bytes of the arena.

    Parts of a concatenation are written where it has them. A layer that reads each value once, just before it writes
    the same one, writes over its input, if nothing reads that later.
    """
    steps = {layer.output: step for step, layer in enumerate(model.layers)}
    last = dict(steps)
    for step, layer in enumerate(model.layers):
        last |= dict.fromkeys(layer.inputs, step)
    whole = {}  # part -> (its concatenation, its first channel)
    for layer in model.layers:
        if isinstance(layer, IntegerConcat):
            start = 0
            for name in layer.inputs:
                whole[name] = (layer.output, start)
                start += model.shapes[name][0]
    buffers: dict[str, _Buffer] = {}
    for step, layer in enumerate(model.layers[:-1]):
        name = layer.output
        home = whole[name][0] if name in whole else name
        if home in buffers:
            buffers[home].first = min(buffers[home].first, step)
            continue
        free = [other for other in layer.inputs if last[other] == step and other not in whole]
        if isinstance(layer, IntegerAffine | IntegerAdd) and name not in whole and free:
            buffers[name] = buffers[free[0]]
            buffers[name].last = max(buffers[name].last, last[name])
        else:
            channels, length = model.shapes[home]
            buffers[home] = _Buffer(channels * length, step, last[home])
    arena = _arrange(list({id(buffer): buffer for buffer in buffers.values()}.values()))
    places = {}
    for layer in model.layers[:-1]:
        home, start = whole.get(layer.output, (layer.output, 0))
        places[layer.output] = Place(buffers[home].offset + start, model.shapes[home][0])
    return places, arena


def _arrange(buffers: list[_Buffer]) -> int:
    """Give each buffer the lowest place that is free while it lives, the largest first; returns the bytes of all."""
    placed: list[_Buffer] = []
    for buffer in sorted(buffers, key=lambda each: (-each.size, each.first)):
        for other in sorted(placed, key=lambda each: each.offset):
            if other.meets(buffer) and other.offset < buffer.offset + buffer.size:
                buffer.offset = max(buffer.offset, other.offset + other.size)
        placed.append(buffer)
    return max((buffer.offset + buffer.size for buffer in buffers), default=0)
