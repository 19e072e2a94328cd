"""Tables in text files and in parquet."""

import csv
import gzip
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from mmkd.core.errors import MmkdError
from mmkd.core.text import not_utf8, shorten
from mmkd.data.labels import MISSING
from mmkd.data.recorded.tables import MissingColumns, Table, Wanted, check_columns, select

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
NOT_NUMBERS = ["", "nan", "NaN", "NAN", "NA", "N/A", "null", "NULL", "None", "?", "<NA>"]
"""Entries of a channel that are missing values."""
DAMAGED = (EOFError, zlib.error, OSError, UnicodeDecodeError)
"""What reading a cut-off or damaged file raises."""


def read_csv(path: Path, wanted: Wanted) -> Table:
    """Read a text file with a line of names and a line a sample, packed with gzip or not.

    The separator is the one (comma, semicolon, tab, bar) between the names. Decimal commas are understood where it is
    no comma.

    Raises:
        MmkdError: the file has another form, or lacks columns.
    """
    import pandas as pd

    header = _first_line(path)
    if not header.strip():
        raise MmkdError("it holds no line")
    separator = max(SEPARATORS, key=lambda sign: (len(set(wanted.all) & set(_names(header, sign))), header.count(sign)))
    names = _names(header, separator)
    if not set(wanted.all) & set(names) and any(map(_is_number, names)):
        raise MissingColumns(
            f"its first line holds values ({shorten(', '.join(names), 60)}), no names; write the names of the columns "
            f"above it"
        )
    check_columns(wanted, names)
    missing: Any = {names.index(name): NOT_NUMBERS for name in (*wanted.channels, *_time(wanted))}

    def parse(decimal: str) -> Any:
        return pd.read_csv(
            path,
            sep=separator,
            header=None,
            skiprows=1,
            names=list(range(len(names) + 1)),
            index_col=False,
            dtype={**{names.index(name): str for name in wanted.names}, len(names): str},
            keep_default_na=False,
            na_values=missing,
            decimal=decimal,
            skipinitialspace=True,
            encoding="utf-8-sig",
            low_memory=False,
        )

    notes = [] if separator == "," else [f"{SEPARATORS[separator]} between columns"]
    try:
        table = parse(".")
        if separator != "," and any(_has_decimal_commas(table[names.index(name)]) for name in wanted.channels):
            table = parse(",")
            notes.append("decimal commas")
    except UnicodeDecodeError as error:
        raise MmkdError(f"not a text file in UTF-8: {not_utf8(error.object)}") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise MmkdError(f"not a table with {SEPARATORS[separator]} ({_why(error)})") from None
    except DAMAGED as error:
        raise MmkdError(f"damaged or cut off ({_why(error)})") from None
    longer = (table[len(names)].fillna("").str.strip() != "").to_numpy()
    if longer.any():
        raise MmkdError(
            f"{int(longer.sum()):,} of {len(longer):,} rows have more entries than the line of names, the first is row "
            f"{int(longer.argmax()) + 1}; decimal commas? Write points, or semicolons between columns"
        )
    return select({name: table[names.index(name)].to_numpy() for name in wanted.all}, wanted, notes=notes)


def _first_line(path: Path) -> str:
    open_text: Any = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with open_text(path, "rt", encoding="utf-8-sig") as stream:
            line = str(stream.readline())
    except UnicodeDecodeError as error:
        raise MmkdError(f"not a text file in UTF-8: {not_utf8(error.object)}") from None
    except DAMAGED as error:
        raise MmkdError(f"damaged or cut off ({_why(error)})") from None
    if "\0" in line[:2]:
        raise MmkdError(f"not a text file in UTF-8: {not_utf8(line.encode())}")
    return line


def _names(header: str, separator: str) -> list[str]:
    names = next(csv.reader([header.strip("\r\n")], delimiter=separator, skipinitialspace=True), [])
    return [name.strip() for name in names]


def _time(wanted: Wanted) -> list[str]:
    return [wanted.time] if wanted.time and wanted.time not in wanted.names else []


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d*[.,]?\d+([eE][+-]?\d+)?", text) is not None


def _has_decimal_commas(column: Any) -> bool:
    """Whether a column of texts holds numbers with a comma."""
    if column.dtype.kind in "biuf":
        return False
    texts = [str(text).strip() for text in column[:1000].tolist() if str(text).strip().lower() not in MISSING]
    return any("," in text for text in texts) and all(re.fullmatch(r"[+-]?\d*,?\d+([eE][+-]?\d+)?", t) for t in texts)


def _why(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def read_parquet(path: Path, wanted: Wanted) -> Table:
    """Read a parquet file, a row a sample.

    Raises:
        MmkdError: the file is damaged, or lacks columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        check_columns(wanted, file.schema_arrow.names)
        table = file.read(columns=list(wanted.all)).to_pandas()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise MmkdError(f"not an intact parquet file ({_why(error)})") from None
    columns = {}
    for name in wanted.all:
        column = table[name]
        if str(column.dtype) == "category":
            column = column.astype(object)
        if getattr(column.dtype, "tz", None) is not None:
            column = column.dt.tz_convert("UTC").dt.tz_localize(None)
        kind = getattr(column.dtype, "kind", "O")
        columns[name] = column.to_numpy() if kind in "biufM" else np.asarray(column.to_numpy(dtype=object))
    return select(columns, wanted)
