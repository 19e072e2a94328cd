"""From files of recordings to the arrays of a file of windows, and what is said of them."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.text import shorten, shown
from mmkd.data.dataset import SHORTEST_WINDOW
from mmkd.data.precision import find_offsets
from mmkd.data.recorded.grid import GridCounts, Part, fill_or_leave_out, parts_between_gaps
from mmkd.data.recorded.options import NONE, WindowOptions
from mmkd.data.recorded.runs import Rows, Run, StampCounts, rising, rows_of_runs
from mmkd.data.recorded.sources import Source, number_labels, read_sources
from mmkd.data.recorded.suspicions import stuck_stretches
from mmkd.data.recorded.times import WORDS, Rate, nice_rate
from mmkd.data.recordings import Recording, window_labels, window_starts
from mmkd.data.resampling import resample
from mmkd.data.understood import count

PERIODS = 4
"""Steps of up to this many periods are bridged, unless the user says something else."""
NEAR = 0.02
"""A measured rate must be this near to the stated one."""
LARGEST_GIB = 16
"""Windows that would take more memory are refused."""
SOME = 2000
"""Windows from which it is seen whether float32 holds their values."""


class Cut(NamedTuple):
    """Windows and what is said of them.

    Attributes:
        arrays: of the `.npz` file.
        lines: what was understood.
        warnings: what is suspicious.
    """

    arrays: dict[str, NDArray[Any]]
    lines: list[str]
    warnings: list[str]


class Piece(NamedTuple):
    """A part of a recording at the rate of the windows, and the name of its subject.

    Attributes:
        stuck: how often each channel was constant for long, and for how many seconds in all; before it was resampled.
    """

    part: Part
    subject: str
    stuck: tuple[tuple[int, float], ...]


def cut_recordings(paths: Sequence[Path], options: WindowOptions, on_file: Callable[[], None] = lambda: None) -> Cut:
    """Cut files of recordings into windows. No window reaches over a gap, a file, a subject or a recording.

    Args:
        on_file: called after each file that was read.

    Raises:
        MmkdError: a file cannot be read, something would make the windows wrong, or no window is left.
    """
    notes: list[str] = []
    warnings: list[str] = []
    sources = read_sources(paths, options, notes, warnings, on_file)
    classes = number_labels(sources, options, warnings)
    _refuse_missing(sources, options)
    stamped = StampCounts()
    runs = [_runs(source, options, stamped) for source in sources]
    rates, said = find_rates(sources, runs, options)
    counts = GridCounts()
    pieces: list[Piece] = []
    rate_of_windows = options.resample_hz or rates[0]
    least_s = options.stuck.amount if options.stuck else options.window.samples(rate_of_windows) / rate_of_windows
    for source, own, rate in zip(sources, runs, rates, strict=True):
        longest = options.max_gap.amount if options.max_gap else PERIODS / rate
        if longest * rate < 1:
            raise MmkdError(f"--max-gap {longest:g}s is shorter than the period of {rate:g} Hz")
        if options.stuck and round(least_s * rate) < 2:
            raise MmkdError(f"--stuck {least_s:g}s is less than 2 samples at {rate:g} Hz")
        for run, subject in own:
            seconds = run.seconds if source.stamps and source.stamps.unit != "samples" else run.seconds / rate
            resolution = source.stamps.resolution if source.stamps else 0.0
            for part in _parts(run._replace(seconds=seconds), rate, longest, resolution, options, counts):
                if len(part.labels) > 1:
                    stuck = _stuck(part, least_s, rate)
                    pieces.append(Piece(_resampled(part, rate, options.resample_hz), subject, stuck))
    rate = rate_of_windows
    samples = sum(source.signal.shape[1] for source in sources)
    subjects = list(dict.fromkeys(piece.subject for piece in pieces))
    lines = [
        f"{count(len(sources), 'file')}: {count(samples, 'sample')} of {count(len(options.channels), 'channel')}"
        + (f"; {count(len(subjects), 'subject')}" if options.subject != NONE else "; no subjects")
        + "".join(f"; {note}" for note in notes),
        said + (f"; resampled to {rate:g} Hz" if options.resample_hz else ""),
        _describe_grid(counts, stamped, len(pieces), options, rates[0]),
    ]
    if classes:
        lines.append(_describe_labels(sources, classes))
    length, step = _lengths(options, rate, lines)
    warnings += _describe_stuck(pieces, options.channels, least_s)
    of_runs = " from the start of each run of one label" if options.grid == "label" else ""
    arrays, told = _windows(pieces, options, length, step, classes)
    lines.append(f"windows: {length} samples ({length / rate:.4g} s at {rate:g} Hz), every {step}{of_runs}; {told}")
    arrays |= {"channels": np.array(options.channels), "rate_hz": np.array(rate)}
    if options.groups:
        arrays["groups"] = np.array([f"{name}={','.join(members)}" for name, members in options.groups])
    return Cut(arrays, lines, warnings)


def _refuse_missing(sources: Sequence[Source], options: WindowOptions) -> None:
    if options.missing != "refuse":
        return
    counts = np.sum([np.isnan(source.signal).sum(axis=1) for source in sources], axis=0)
    if counts.any():
        listed = [f"{options.channels[c]} {counts[c]:,}" for c in np.flatnonzero(counts)]
        first = next(source for source in sources if np.isnan(source.signal).any())
        row = int(np.isnan(first.signal).any(axis=0).argmax()) + 1
        raise MmkdError(
            f"values are missing (NaN, inf or empty): {shorten(', '.join(listed), 120)}; the first is row {row} of "
            f"{first.name}; say --missing linear, hold (both up to --max-gap) or gap (windows end there)"
        )


def _runs(source: Source, options: WindowOptions, counts: StampCounts) -> list[tuple[Run, str]]:
    """The runs of a file, with the names of their subjects; without stamps their seconds count samples."""
    found = []
    for rows in rows_of_runs(source.subject.codes, source.recording.codes, source.stamps is not None):
        seconds = source.stamps.seconds[rows] if source.stamps else np.arange(len(rows), dtype=np.float64)
        run = Run(seconds, source.signal[:, rows], source.labels[rows])
        subject = source.subject.names[int(source.subject.codes[rows[0]])]
        what = f"{source.name}: column {options.time!r}"
        found += [(r, subject) for r in rising(run, rows, options.duplicates, options.backward, what, counts)]
    return found


def find_rates(
    sources: Sequence[Source], runs: Sequence[Sequence[tuple[Run, str]]], options: WindowOptions
) -> tuple[list[float], str]:
    """The rate of each file, in Hz, and what is said of it.

    Raises:
        MmkdError: nothing says the rate, what says it is contradicted, or files differ and are not resampled.
    """
    stated: list[float | None] = []
    measured: list[Rate] = []
    every = Rate()
    for source, own in zip(sources, runs, strict=True):
        given = options.rate_hz or source.rate_hz
        if options.rate_hz and source.rate_hz and abs(source.rate_hz / options.rate_hz - 1) > 1e-3:
            raise MmkdError(
                f"{source.name} says {source.rate_hz:g} Hz, and --rate {options.rate_hz:g}; leave --rate out"
            )
        stated.append(given)
        rate = Rate()
        if source.stamps and source.stamps.unit != "samples":
            for run, _ in own:
                rate.add(run.seconds)
                every.add(run.seconds)
        measured.append(rate)
        if given is None and not rate.is_known:
            raise MmkdError(f"{source.name}: nothing says its rate; name --time COLUMN, or say --rate HZ")
        if given and rate.is_known and abs(rate.measured_hz / given - 1) > NEAR:
            raise MmkdError(
                f"{source.name}: its stamps come at {rate.measured_hz:.5g} Hz, and the rate said is {given:g}; say "
                f"--rate {nice_rate(rate.measured_hz):g}, and --resample {given:g} if you want that"
            )
    pooled = nice_rate(every.measured_hz) if every.is_known else 0.0
    rates = []
    for given, rate in zip(stated, measured, strict=True):
        near = rate.is_known and pooled and abs(rate.measured_hz / pooled - 1) <= NEAR
        rates.append(given or (pooled if near else nice_rate(rate.measured_hz)))
    low, high = min(rates), max(rates)
    if low != high and options.resample_hz is None:
        slow, fast = sources[rates.index(low)].name, sources[rates.index(high)].name
        raise MmkdError(f"{slow} has {low:g} Hz and {fast} {high:g}; --resample HZ brings them to one rate")
    between = f"{low:g} Hz" if low == high else f"{low:g} to {high:g} Hz"
    if sources[0].stamps is None:
        return rates, f"time: no column of time, so gaps are not seen; {between}"
    unit = sources[0].stamps.unit
    words = "ISO stamps" if unit == "ISO" else WORDS[unit]
    if unit == "samples":
        return rates, f"time: column {options.time!r} counts samples; {between}"
    found = f"; measured {every.measured_hz:.5g} Hz, {_describe_jitter(every)}" if every.is_known else ""
    return rates, f"time: column {options.time!r} in {words}; {between}{found}"


def _describe_jitter(rate: Rate) -> str:
    return f"95 % of the steps within {1e3 * round(rate.jitter_s, 7):.3g} ms of their mean"


def _parts(
    run: Run, rate: float, longest: float, resolution: float, options: WindowOptions, counts: GridCounts
) -> list[Part]:
    """The parts of a run between gaps and missing values."""
    signal, kept = fill_or_leave_out(run.seconds, run.signal, options.missing, longest, counts)
    borders = np.flatnonzero(np.diff(kept.astype(np.int8))) + 1
    parts: list[Part] = []
    for rows in np.split(np.arange(len(kept)), borders):
        if len(rows) and kept[rows[0]]:
            own = slice(rows[0], rows[-1] + 1)
            parts += parts_between_gaps(
                run.seconds[own], signal[:, own], run.labels[own], rate, longest, resolution, counts
            )
    return parts


def _resampled(part: Part, rate: float, new_rate: float | None) -> Part:
    if new_rate is None or new_rate == rate:
        return part
    level = np.median(part.signal, axis=1, keepdims=True)  # the filter gives float32, which may not hold it
    made = resample(Recording(part.signal - level, part.labels, 0), rate, new_rate)
    return Part(made.signal + level, made.labels)


def _describe_grid(counts: GridCounts, stamped: StampCounts, pieces: int, options: WindowOptions, rate: float) -> str:
    longest = options.max_gap.amount if options.max_gap else PERIODS / rate
    parts = [f"{count(counts.gaps, 'gap')} longer than {longest:.4g} s ({counts.lost_s:.4g} s in all)"]
    if counts.missing:
        parts.append(f"{count(counts.missing, 'missing sample')} interpolated")
    if counts.moved:
        parts.append(f"{counts.moved:,} of {counts.samples:,} samples interpolated to a regular grid, linearly")
    if stamped.equal:
        parts.append(f"{count(stamped.equal, 'row')} that repeat the one before left out")
    if stamped.joined:
        rule = "left out" if options.duplicates == "first" else "joined to their mean"
        parts.append(f"{count(stamped.joined, 'row')} of a stamp with other values {rule}")
    if stamped.splits:
        parts.append(f"split in {count(stamped.splits, 'place')} where time runs backward")
    if stamped.sorted:
        parts.append(f"{count(stamped.sorted, 'run')} sorted by time")
    if counts.filled:
        parts.append(f"{count(counts.filled, 'missing value')} filled ({options.missing})")
    if counts.left_out:
        parts.append(f"{count(counts.left_out, 'row')} with missing values left out, where windows end")
    return f"gaps: {'; '.join(parts)}; {count(pieces, 'part')} to cut"


def _describe_labels(sources: Sequence[Source], classes: Sequence[str]) -> str:
    labels = np.concatenate([source.labels for source in sources])
    numbers = np.bincount(labels[labels >= 0], minlength=len(classes))
    listed = ", ".join(f"{name} {number:,}" for name, number in zip(classes, numbers.tolist(), strict=True))
    return f"labels of samples: {shorten(listed, 300)}; none {int((labels < 0).sum()):,}"


def _lengths(options: WindowOptions, rate: float, lines: list[str]) -> tuple[int, int]:
    """Samples of a window and from one to the next."""
    length, step = options.window.samples(rate), options.step.samples(rate)
    if length < SHORTEST_WINDOW:
        raise MmkdError(f"a window has {count(length, 'sample')} at {rate:g} Hz; it needs {SHORTEST_WINDOW} or more")
    if step < 1:
        raise MmkdError(f"--step {options.step.amount:g}s is less than a sample at {rate:g} Hz")
    for flag, asked, got in (("--window", options.window, length), ("--step", options.step, step)):
        if not asked.in_samples and abs(asked.amount * rate - got) > 1e-6 * got:
            lines.append(f"{flag} {asked.amount:g} s is {asked.amount * rate:.5g} samples; taken as {got}")
    return length, step


def _stuck(part: Part, least_s: float, rate: float) -> tuple[tuple[int, float], ...]:
    found = stuck_stretches(part.signal, max(2, round(least_s * rate)))
    return tuple((stuck.times, stuck.samples / rate) for stuck in found)


def _describe_stuck(pieces: Sequence[Piece], channels: Sequence[str], least_s: float) -> list[str]:
    parts = []
    for c, channel in enumerate(channels):
        times = sum(piece.stuck[c][0] for piece in pieces)
        if times:
            seconds = sum(piece.stuck[c][1] for piece in pieces)
            parts.append(f"{channel} {count(times, 'time')} ({seconds:.4g} s)")
    said = shorten(", ".join(parts), 200)
    return [f"channels that are constant for {least_s:.3g} s or longer: {said}"] if parts else []


def _windows(
    pieces: Sequence[Piece], options: WindowOptions, length: int, step: int, classes: Sequence[str]
) -> tuple[dict[str, NDArray[Any]], str]:
    """The arrays of the windows, and what is said of those kept and dropped.

    Raises:
        MmkdError: there is none, or there are too many.
    """
    dense = options.label_rule == "per-sample"
    starts: list[Rows] = []
    labels: list[NDArray[Any]] = []
    tried = short = 0
    for part, _, _ in pieces:
        own = window_starts(part.labels, length, step, options.grid)  # type: ignore[arg-type]
        last = len(part.labels) - length
        short += last < 0
        if dense:
            if last > 0 and own[-1] != last:  # so that each sample is in a window
                own = np.append(own, last)
            y = part.labels[own[:, None] + np.arange(length)]
            kept = (y >= 0).any(axis=1)
        else:
            y = window_labels(part.labels, own, length, options.label_rule)  # type: ignore[arg-type]
            kept = y >= 0
        tried += len(own)
        starts.append(own[kept])
        labels.append(y[kept])
    number = sum(map(len, starts))
    dropped = _describe_dropped(tried - number, short, options, length)
    if not number:
        why = "no part, or run of one label, is as long as a window" if not tried else "none has a label"
        raise MmkdError(f"no window is left of {count(len(pieces), 'part')} between gaps: {why}{dropped}")
    size = number * len(options.channels) * length * 4 / 2**30
    if size > LARGEST_GIB:
        raise MmkdError(f"{number:,} windows would take {size:.3g} GiB; take a longer --step, or fewer files")
    present = np.unique(np.concatenate(labels))
    if options.label != NONE and not dense and len(present) < 2:
        raise MmkdError(f"every window is of class {shown(classes[int(present[0])])}{dropped}; mmkd trains two or more")
    x = _stack(pieces, starts, length, number)
    arrays: dict[str, NDArray[Any]] = {"x": x}
    told = f"{number:,} kept{dropped}"
    if options.label != NONE:
        arrays |= _labelled(np.concatenate(labels), classes, dense)
        if not dense:
            names = [str(name) for name in arrays["classes"]]
            numbers = np.bincount(arrays["y"], minlength=len(names)).tolist()
            of_class = ", ".join(f"{name} {n:,}" for name, n in zip(names, numbers, strict=True))
            told = f"{number:,} kept ({shorten(of_class, 300)}){dropped}"
            lost = [name for name in classes if name not in names]
            told += f"; no window of {shorten(', '.join(lost), 100)}" if lost else ""
    counts = [len(own) for own in starts]
    if options.subject != NONE:
        arrays["subject"] = np.repeat(_names([piece.subject for piece in pieces]), counts)
    if dense:
        arrays["recording"] = np.repeat(np.arange(len(pieces)), counts)
        arrays["start"] = np.concatenate(starts)
    return arrays, told


def _stack(pieces: Sequence[Piece], starts: Sequence[Rows], length: int, number: int) -> NDArray[Any]:
    """The windows (N, C, W), as float32 if that holds their values."""
    places = [(piece.part.signal, start) for piece, own in zip(pieces, starts, strict=True) for start in own.tolist()]
    some = np.stack([signal[:, start : start + length] for signal, start in places[:: 1 + number // SOME]])
    x = np.empty((number, *some.shape[1:]), np.float32 if find_offsets(some, None) is None else np.float64)
    for row, (signal, start) in enumerate(places):
        x[row] = signal[:, start : start + length]
    return x


def _labelled(y: NDArray[np.int64], classes: Sequence[str], dense: bool) -> dict[str, NDArray[Any]]:
    """Labels, and the names of the classes that have windows; of samples all names."""
    if dense:
        return {"y": y, "classes": np.array(classes)}
    present = np.unique(y)
    return {"y": np.searchsorted(present, y), "classes": np.array([classes[k] for k in present])}


def _describe_dropped(dropped: int, short: int, options: WindowOptions, length: int) -> str:
    why = {
        "majority": "most samples have no label",
        "last": "the last sample has no label",
        "strict": "the samples have several labels or none",
        "per-sample": "no sample has a label",
    }[options.label_rule]
    said = f"; {dropped:,} dropped as {why}" if dropped else ""
    return said + (f"; {count(short, 'part')} shorter than {length} samples" if short else "")


def _names(names: Sequence[str]) -> NDArray[Any]:
    """Names as whole numbers, if all are written so."""
    numbers = all(re.fullmatch("0|-?[1-9][0-9]{0,17}", name) for name in set(names))
    return np.array([int(name) for name in names], np.int64) if numbers else np.array(names)
