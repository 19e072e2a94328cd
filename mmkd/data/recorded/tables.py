"""A file of recordings as a table: a row a sample, columns by name."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError, did_you_mean
from mmkd.core.text import shorten, shown
from mmkd.data.labels import MISSING

Floats = NDArray[np.float64]
Columns = Mapping[str, NDArray[Any]]


class Wanted(NamedTuple):
    """The columns that are read.

    Attributes:
        channels: columns of numbers.
        names: columns of labels and names.
        time: the column of time stamps; None if there is none.
    """

    channels: tuple[str, ...]
    names: tuple[str, ...] = ()
    time: str | None = None

    @property
    def all(self) -> tuple[str, ...]:
        """Every column, each once."""
        return tuple(dict.fromkeys([*self.channels, *self.names, *([self.time] if self.time else [])]))


class Coded(NamedTuple):
    """A column of names: the number of each row's name among `names`, -1 where it is missing."""

    codes: NDArray[np.int64]
    names: tuple[str, ...]


class Table(NamedTuple):
    """What was read of a file of T samples.

    Attributes:
        signal: (C, T), NaN where a value is missing.
        names: column -> its names.
        time: (T,) numbers, texts or datetime64, as in the file; None without a column of time.
        rate_hz: samples a second, if the format says so.
        notes: what was understood, a few words each.
    """

    signal: Floats
    names: dict[str, Coded]
    time: NDArray[Any] | None
    rate_hz: float | None = None
    notes: tuple[str, ...] = ()


class MissingColumns(MmkdError):
    """A file lacks columns that were asked for."""


def check_columns(wanted: Wanted, known: Sequence[str]) -> None:
    """Check that the columns are there, each once.

    Raises:
        MissingColumns: some are not.
        MmkdError: one is there twice.
    """
    lacking = [name for name in wanted.all if name not in known]
    if lacking:
        columns = shorten(", ".join(known), 120) or "none"
        raise MissingColumns(
            f"no column {shown(lacking[0])}{did_you_mean(lacking[0], known)}"
            f"{f' (nor {len(lacking) - 1} more)' if len(lacking) > 1 else ''}; its columns are {columns}"
        )
    twice = [name for name in wanted.all if list(known).count(name) > 1]
    if twice:
        raise MmkdError(f"two columns are called {shown(twice[0])}; rename one of them")


def select(columns: Columns, wanted: Wanted, rate_hz: float | None = None, notes: Sequence[str] = ()) -> Table:
    """The wanted columns of a file as a table.

    Raises:
        MmkdError: columns are missing, have other lengths or hold something else than they should, or there is no row.
    """
    check_columns(wanted, list(columns))
    lengths = {name: len(columns[name]) for name in wanted.all}
    if len(set(lengths.values())) > 1:
        short = min(lengths, key=lambda name: lengths[name])
        raise MmkdError(f"column {short!r} has {lengths[short]:,} rows, and others {max(lengths.values()):,}")
    if not next(iter(lengths.values()), 0):
        raise MmkdError("it holds no sample")
    return Table(
        signal=np.stack([as_numbers(columns[name], f"channel {name!r}") for name in wanted.channels]),
        names={name: as_names(columns[name], name) for name in wanted.names},
        time=columns[wanted.time] if wanted.time else None,
        rate_hz=rate_hz,
        notes=tuple(notes),
    )


def as_numbers(values: NDArray[Any], what: str) -> Floats:
    """A column as numbers; empty entries and texts for missing values are NaN.

    Raises:
        MmkdError: an entry is no number; with its row, counted from 1.
    """
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    if values.dtype.kind not in "OUS":
        raise MmkdError(f"{what} holds {values.dtype}; it must hold real numbers")
    numbers = np.empty(len(values))
    for row, value in enumerate(values.tolist()):
        text = _text(value).strip()
        try:
            numbers[row] = np.nan if text.lower() in MISSING else float(text)
        except ValueError:
            raise MmkdError(f"{what} holds {shown(text)} in row {row + 1}; it must hold numbers") from None
    return numbers


def as_names(values: NDArray[Any], what: str) -> Coded:
    """A column as names, without blanks around them; whole numbers are written as such, 1.0 as "1".

    Raises:
        MmkdError: an entry is neither a text nor a number.
    """
    if values.dtype.kind not in "OUSbiufM":
        raise MmkdError(f"column {what!r} holds {values.dtype}; it must hold texts or whole numbers")
    if values.dtype.kind == "O":
        from pandas import factorize

        try:
            codes, found = factorize(values, use_na_sentinel=True)
        except TypeError:
            raise MmkdError(f"column {what!r} holds lists; it must hold texts or whole numbers") from None
    else:
        found, codes = np.unique(values, return_inverse=True)
    places: dict[str, int] = {}
    number = np.full(len(found) + 1, -1)  # the last stands for a missing entry
    for place, value in enumerate(found.tolist()):
        text = " ".join(_text(value).split())
        text = re.sub(r"^([+-]?\d+)\.0*$", r"\1", text)
        if text.lower() not in MISSING:
            number[place] = places.setdefault(text, len(places))
    return Coded(number[codes], tuple(places))


def _text(value: Any) -> str:
    """An entry as text; empty for a missing one."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, float) and abs(value) < 2**53 and value == round(value):
        return str(int(value))
    return str(value)


def columns_of_arrays(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The columns in arrays of a file: (T,) is one; (T, C) or (C, T) are those that `channels` names, or NAME_0, ...

    T is the length of the longest axis of all arrays.

    Raises:
        MmkdError: there is no array of numbers with a row a sample, or two columns would have one name.
    """
    arrays = {name: array.reshape(-1) if 1 in array.shape else array for name, array in arrays.items()}
    rows = max((max(array.shape) for array in arrays.values() if 1 <= array.ndim <= 2 and array.size), default=0)
    if rows < 2:
        raise MmkdError("it holds no array with a row a sample, (T,) or (T, C)")
    named = arrays.get("channels", np.zeros(0, "U1"))
    titles = [_text(name) for name in named.tolist()] if named.dtype.kind in "OUS" and named.ndim == 1 else []
    columns: dict[str, NDArray[Any]] = {}
    for name, array in arrays.items():
        own: Mapping[str, NDArray[Any]] = {}
        if array.ndim == 1 and len(array) == rows:
            own = {name: array}
        elif array.ndim == 2 and rows in array.shape:
            table = array if array.shape[0] == rows else array.T
            count = table.shape[1]
            names = titles if len(titles) == count else [f"{name}_{number}" for number in range(count)]
            own = {title: table[:, number] for number, title in enumerate(names)}
        twice = [title for title in own if title in columns]
        if twice:
            raise MmkdError(
                f"the array {shown(name)} has a column {shown(twice[0])}, and another array too; rename one"
            )
        columns |= own
    return columns
