"""The files of recordings, read: signals, names of subjects, recordings and labels, and stamps."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmkd.core.errors import MmkdError
from mmkd.core.text import shorten
from mmkd.data.labels import MAYBE_MISSING, UNKNOWN, case_differences
from mmkd.data.recorded.formats import read_recording
from mmkd.data.recorded.options import NONE, WindowOptions, name_from_path
from mmkd.data.recorded.runs import Rows
from mmkd.data.recorded.suspicions import constant_channels, find_sensors, scale_of, unit_changes
from mmkd.data.recorded.tables import Coded, Floats, MissingColumns, Table
from mmkd.data.recorded.times import UNITS, WORDS, Stamps, read_stamps

MOST_CLASSES = 1000
"""Labels that may differ; more are no classes."""


@dataclass
class Source:
    """A file of T samples.

    Attributes:
        name: of the file, for messages.
        signal: (C, T), NaN where a value is missing.
        subject, recording, label: of each sample.
        labels: (T,) class numbers, -1 for none.
        stamps: None without a column of time.
        rate_hz: as the format says it.
    """

    name: str
    signal: Floats
    subject: Coded
    recording: Coded
    label: Coded
    labels: Rows
    stamps: Stamps | None
    rate_hz: float | None


def read_sources(
    paths: Sequence[Path], options: WindowOptions, notes: list[str], warnings: list[str], on_file: Callable[[], None]
) -> list[Source]:
    """Read the files.

    Args:
        notes, warnings: what was understood, and what is suspicious, is added to them.
        on_file: called after each.

    Raises:
        MmkdError: a file cannot be read, or its columns hold something else than they should.
    """
    short = Counter(path.name for path in paths)
    sources = []
    lacking: list[str] = []
    said: Counter[str] = Counter()
    for path in paths:
        name = path.name if short[path.name] == 1 else str(path)
        try:
            table = read_recording(path, options.wanted)
        except MissingColumns as error:
            if "channels" not in options.allow:
                raise MmkdError(f"{error}; --allow channels leaves such files out") from None
            lacking.append(name)
            continue
        finally:
            on_file()
        said.update(table.notes)
        sources.append(_source(path, name, table, options))
    if not sources:
        raise MmkdError(f"none of the {len(paths)} files has the columns {shorten(', '.join(options.wanted.all), 150)}")
    if lacking:
        warnings.append(f"{len(lacking)} files without a column were left out: {shorten(', '.join(lacking), 120)}")
    notes += [f"{what} in {number} files" if len(paths) > 1 else what for what, number in said.items()]
    units = {source.stamps.unit: source.name for source in reversed(sources) if source.stamps}
    if len(units) > 1:
        (one, first), (other, second) = list(units.items())[:2]
        raise MmkdError(
            f"column {options.time!r} is in {WORDS.get(one, 'ISO stamps')} in {first} and in "
            f"{WORDS.get(other, 'ISO stamps')} in {second}; say --time-unit {'|'.join(UNITS)}, or cut these files apart"
        )
    _check_signals(sources, options, warnings)
    return sources


def _source(path: Path, name: str, table: Table, options: WindowOptions) -> Source:
    length = table.signal.shape[1]
    signal = np.where(np.isfinite(table.signal), table.signal, np.nan)

    def named(flag: str, column: str | None) -> Coded:
        if column is None or column == NONE:
            return Coded(np.zeros(length, np.int64), ("",))
        if column.startswith("@"):
            return Coded(np.zeros(length, np.int64), (name_from_path(flag, column, path.parts, _stem(path)),))
        return table.names[column]

    subject, recording = named("--subject", options.subject), named("--recording", options.recording)
    for flag, column, what in (
        ("--subject", options.subject, subject),
        ("--recording", options.recording, recording),
    ):
        empty = what.codes < 0
        if empty.any():
            raise MmkdError(
                f"{name}: {flag} {column} is missing in {int(empty.sum()):,} of {length:,} rows, the first is row "
                f"{int(empty.argmax()) + 1}; leave these rows out"
            )
    stamps = None
    if table.time is not None:
        rate = options.rate_hz or table.rate_hz
        try:
            stamps = read_stamps(table.time, f"column {options.time!r}", options.time_unit, rate)
        except MmkdError as error:
            raise MmkdError(f"{name}: {error}") from None
    label = named("--label", options.label)
    return Source(name, signal, subject, recording, label, label.codes, stamps, table.rate_hz)


def _stem(path: Path) -> str:
    """The name of a file without its suffixes of a format."""
    stem = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return stem.stem


def _check_signals(sources: Sequence[Source], options: WindowOptions, warnings: list[str]) -> None:
    """Refuse units that change and channels that never change in a file, or tell of them if they are allowed."""
    sensors = find_sensors(options.channels, dict(options.groups))
    names = [source.name for source in sources]
    scales = {sensor.name: [scale_of(source.signal, sensor) for source in sources] for sensor in sensors}
    for line in unit_changes(scales, names):
        if "units" not in options.allow:
            raise MmkdError(f"{line}; bring them to one unit, or say --allow units")
        warnings.append(line)
    constant = constant_channels([source.signal for source in sources], options.channels, names)
    if constant:
        line = f"channels that never change in a file: {constant}"
        if "stuck" not in options.allow:
            raise MmkdError(f"{line}; leave the channel or file out, or say --allow stuck")
        warnings.append(line)


def number_labels(sources: Sequence[Source], options: WindowOptions, warnings: list[str]) -> tuple[str, ...]:
    """Give each source the class numbers of its samples; returns the names of the classes.

    With "per-sample" the first class is that of none of the classes.

    Raises:
        MmkdError: labels are fractions, look like numbers for unknown, are too many, or there is none.
    """
    if options.label == NONE:
        for source in sources:
            source.labels = np.zeros(len(source.labels), np.int64)
        return ()
    counts: Counter[str] = Counter()
    for source in sources:
        numbers = np.bincount(source.label.codes[source.label.codes >= 0], minlength=len(source.label.names))
        counts.update({name: int(number) for name, number in zip(source.label.names, numbers, strict=True) if number})
    missing = [name for name in (*options.no_label, *([options.null] if options.null else [])) if name not in counts]
    if missing:
        has = shorten(", ".join(counts), 100)
        raise MmkdError(f"--no-label or --null {missing[0]!r}: no sample has this label; there are {has}")
    names = [name for name in counts if name not in (*options.no_label, options.null)]
    if not names:
        raise MmkdError(f"no sample has a label in {options.label}")
    if len(names) > MOST_CLASSES:
        raise MmkdError(
            f"{options.label} holds {len(names):,} different labels, such as {shorten(', '.join(names[:3]), 60)}: a "
            f"measured value, or an index? mmkd trains classes"
        )
    names = _sorted(names, counts, options.label)
    warnings += case_differences(names, "labels")
    maybe = [name for name in names if name in MAYBE_MISSING]
    if maybe:
        warnings.append(f"the label {maybe[0]!r} of {counts[maybe[0]]:,} samples is a class; --no-label {maybe[0]}")
    classes = tuple(names)
    if options.label_rule == "per-sample":
        null = options.null or next(name for name in ("none", "no class", "none of the classes") if name not in names)
        classes = (null, *names)
    place = {name: number for number, name in enumerate(classes)}
    for source in sources:
        numbers = np.array([*(place.get(name, -1) for name in source.label.names), -1], np.int64)
        source.labels = numbers[source.label.codes]
    return classes


def _sorted(names: list[str], counts: Counter[str], label: str) -> list[str]:
    """The names in order; numbers by value, if all are, and checked."""
    try:
        values = {name: float(name) for name in names}
    except ValueError:
        return sorted(names)
    if any(value != round(value) for value in values.values() if np.isfinite(value)):
        fraction = next(name for name in names if values[name] != round(values[name]))
        raise MmkdError(f"{label} holds fractions such as {fraction}: a measured value? mmkd trains classes")
    lowest = min(names, key=lambda name: values[name])
    if values[lowest] in UNKNOWN and sorted(values.values()) != [-1, 1]:
        raise MmkdError(
            f"the label of {counts[lowest]:,} samples is {lowest}, beside larger labels: not known? Say --no-label "
            f"{lowest}, or name the classes in words if it is a class"
        )
    return sorted(names, key=lambda name: (values[name], name))
