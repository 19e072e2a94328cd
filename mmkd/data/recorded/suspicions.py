"""What is suspicious in recordings: units that change between files, and channels that are stuck."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmkd.core.text import shorten
from mmkd.data.recorded.tables import Floats

FACTORS = {"g and m/s2": 9.80665, "rad and degrees": 57.29578, "a unit and its thousandth": 1000.0}
"""Pairs of units -> how many of the small one the large one is."""
NEAR = 0.1
"""A ratio this near to such a factor is one."""
AXES = ("x", "y", "z")


class Sensor(NamedTuple):
    """Channels whose norm has a scale: the three axes of a sensor, or a single channel."""

    name: str
    channels: tuple[int, ...]


def find_sensors(channels: Sequence[str], groups: Mapping[str, Sequence[str]]) -> list[Sensor]:
    """The sensors of these channels: groups of three; names that differ in x, y and z at their end; each other channel.

    >>> [sensor.name for sensor in find_sensors(["acc_x", "acc_y", "acc_z", "hr"], {})]
    ['acc', 'hr']
    """
    sensors = []
    free = list(channels)
    named = {name: tuple(members) for name, members in groups.items() if len(members) == len(AXES)}
    for channel in channels:
        stem = channel[:-1]
        axes = tuple(stem + (axis if channel[-1:].islower() else axis.upper()) for axis in AXES)
        if channel == axes[0] and set(axes) <= set(channels):
            named.setdefault(stem.rstrip("_-. ") or "".join(axes), axes)
    for name, members in named.items():
        if set(members) <= set(free):
            sensors.append(Sensor(name, tuple(channels.index(member) for member in members)))
            free = [channel for channel in free if channel not in members]
    return sensors + [Sensor(channel, (channels.index(channel),)) for channel in free]


def scale_of(signal: Floats, sensor: Sensor) -> float:
    """The median norm of a sensor over the samples that have a value; NaN if none has."""
    norms = np.sqrt(np.square(signal[list(sensor.channels)]).sum(axis=0))
    norms = norms[np.isfinite(norms)]
    return float(np.median(norms)) if len(norms) else float("nan")


def unit_changes(scales: Mapping[str, Sequence[float]], files: Sequence[str]) -> Iterator[str]:
    """A line for each sensor whose scale in some files is that of others times the ratio of two usual units.

    The files fall into two kinds at the largest step between their sorted scales, each of which must be much narrower
    than that step.

    Args:
        scales: sensor -> its scale in each file.
    """
    for sensor, values in scales.items():
        known = [(value, file) for value, file in zip(values, files, strict=True) if value > 0 and np.isfinite(value)]
        if len(known) < 2:
            continue
        known.sort()
        logs = np.log([value for value, _ in known])
        cut = int(np.diff(logs).argmax()) + 1
        low, high = logs[:cut], logs[cut:]
        ratio = float(np.exp(np.median(high) - np.median(low)))
        width = max(float(np.ptp(low)), float(np.ptp(high)))
        for units, factor in FACTORS.items():
            if abs(ratio / factor - 1) <= NEAR and width <= np.log(factor) / 3:
                small, large = known[0], known[cut]
                yield (
                    f"{sensor} is {ratio:.3g} times as large in {len(high)} of {len(known)} files as in the others, "
                    f"like {units} (median {small[0]:.3g} in {small[1]}, {large[0]:.3g} in {large[1]})"
                )


class Stuck(NamedTuple):
    """How often a channel was constant for long.

    Attributes:
        times: stretches.
        samples: in them.
    """

    times: int
    samples: int


def stuck_stretches(signal: Floats, least: int) -> list[Stuck]:
    """Of each channel (C, T) the stretches of at least `least` equal samples.

    >>> stuck_stretches(np.array([[1.0, 1, 1, 2, 3, 3]]), least=3)
    [Stuck(times=1, samples=3)]
    """
    found = []
    for values in signal:
        borders = np.flatnonzero(np.diff(values) != 0) + 1
        lengths: NDArray[np.int64] = np.diff(np.concatenate([[0], borders, [len(values)]]))
        long = lengths[lengths >= least]
        found.append(Stuck(len(long), int(long.sum())))
    return found


def constant_channels(signals: Sequence[Floats], channels: Sequence[str], files: Sequence[str]) -> str:
    """What channels have one value in whole files, in a line; empty if none has.

    Args:
        signals: (C, T) of each file, NaN where a value is missing.
    """
    parts = []
    for c, channel in enumerate(channels):
        stuck = [file for signal, file in zip(signals, files, strict=True) if _is_constant(signal[c])]
        if stuck:
            where = f"all {len(files)} files" if len(stuck) == len(files) > 1 else shorten(", ".join(stuck[:3]), 100)
            more = f" and {len(stuck) - 3} more" if 3 < len(stuck) < len(files) else ""
            parts.append(f"{channel} in {where}{more}")
    return shorten("; ".join(parts), 220)


def _is_constant(values: Floats) -> bool:
    known = values[np.isfinite(values)]
    return len(known) > 1 and bool((known == known[0]).all())
