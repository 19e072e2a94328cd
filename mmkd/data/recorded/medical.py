"""Tables in formats of medical recordings: WFDB and EDF. Their headers say the rate."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.data.recorded.array_tables import need
from mmkd.data.recorded.tables import Table, Wanted, check_columns, select

ANNOTATIONS = (".atr", ".ann", ".ecg", ".qrs")
"""Suffixes of annotations beside a WFDB header; the first that is there is read."""


def read_wfdb(path: Path, wanted: Wanted) -> Table:
    """Read a WFDB record, from its `.hea` or `.dat` file.

    The columns are its signals, and of its annotations `symbol`, and `rhythm`: notes that begin with "(", without it.
    Each holds from its sample to the next one; before the first there is no label.

    Raises:
        MmkdError: wfdb is not installed, the record is damaged, or lacks columns.
    """
    wfdb = need("wfdb")
    record_path = str(path.with_suffix(""))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            record = wfdb.rdrecord(record_path)
            suffix = next((end for end in ANNOTATIONS if path.with_suffix(end).is_file()), None)
            marks = wfdb.rdann(record_path, suffix[1:]) if suffix else None
    except Exception as error:  # a damaged header raises about anything
        raise MmkdError(f"not an intact WFDB record ({' '.join(str(error).split())[:120]})") from None
    if record.p_signal is None or not len(record.p_signal):
        raise MmkdError("it holds no signal")
    names = list(record.sig_name)
    length = len(record.p_signal)
    columns: dict[str, NDArray[Any]] = {name: record.p_signal[:, names.index(name)] for name in dict.fromkeys(names)}
    if marks is not None:
        notes = [str(note).rstrip("\0") for note in marks.aux_note]
        starts = [number for number, note in enumerate(notes) if note.startswith("(")]
        symbols = zip(marks.sample.tolist(), [length] * len(notes), marks.symbol, strict=True)
        columns["symbol"] = spans(list(symbols), length)
        rhythms = [(int(marks.sample[n]), length, notes[n][1:]) for n in starts]
        columns["rhythm"] = spans(rhythms, length)
    return select(columns, wanted, rate_hz=float(record.fs))


def read_edf(path: Path, wanted: Wanted) -> Table:
    """Read an EDF or EDF+ file.

    The columns are its signals, and `annotation`, which holds from its onset over its duration, or to the next one if
    it has none. The signals that are read must have one rate.

    Raises:
        MmkdError: edfio is not installed, the file is damaged or has interruptions, or lacks columns.
    """
    edfio = need("edfio")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            edf = edfio.read_edf(path, lazy_load_data=False)
        names = [str(label) for label in edf.labels]
        check_columns(wanted._replace(time=None), [*names, "annotation"])
        chosen = [edf.get_signal(name) for name in wanted.channels if name in names]
        rates = sorted({float(signal.sampling_frequency) for signal in chosen})
        continuous = bool(edf.is_continuous)
        marks = [(float(mark.onset), mark.duration, str(mark.text)) for mark in edf.annotations]
        columns: dict[str, NDArray[Any]] = {str(signal.label): np.asarray(signal.data) for signal in chosen}
    except MmkdError:
        raise
    except Exception as error:  # a damaged header raises about anything
        raise MmkdError(f"not an intact EDF file ({' '.join(str(error).split())[:120]})") from None
    if not continuous:
        raise MmkdError("it has interruptions (EDF+D), which are not read; write it as continuous parts, a file each")
    if len(rates) != 1:
        listed = ", ".join(f"{rate:g} Hz" for rate in rates)
        raise MmkdError(f"the channels have different rates ({listed}); choose channels of one rate")
    length = len(next(iter(columns.values())))
    ends = [*(onset for onset, _, _ in marks[1:]), length / rates[0]]
    columns["annotation"] = spans(
        [
            (round(onset * rates[0]), round((onset + duration if duration else end) * rates[0]), text)
            for (onset, duration, text), end in zip(marks, ends, strict=False)
        ],
        length,
    )
    return select(columns, wanted, rate_hz=rates[0])


def spans(marks: Sequence[tuple[int, int, str]], length: int) -> NDArray[Any]:
    """Names (length,) from (first sample, sample after the last, name); a later one replaces what it overlaps.

    >>> spans([(1, 4, "a"), (2, 3, "b")], 5).tolist()
    [None, 'a', 'b', 'a', None]
    """
    names = np.full(length, None, object)
    for start, stop, name in marks:
        names[max(start, 0) : max(stop, 0)] = name
    return names
