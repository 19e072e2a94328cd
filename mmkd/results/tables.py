"""The tables of results: written as CSV, a file a regime, and read into pandas."""

import csv
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkd.core.errors import MmkdError, did_you_mean, unknown_name
from mmkd.core.text import one_line, shown
from mmkd.metrics.registry import METRICS
from mmkd.results.columns import COLUMNS, KINDS, Line, csv_text
from mmkd.results.making import Made
from mmkd.results.protocol import Protocol, read_protocol
from mmkd.store.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd

CONTENT = "data.json"
"""Beside the tables: regime -> data set -> checksum of its content."""
TRUTHS = ("tuned", "extra_data", "verified")
"""The columns of truth values."""


def write_results(protocol: Protocol, made: Sequence[Made], figures: Mapping[str, str] | None = None) -> list[Path]:
    """Write the table of each regime that has lines, the checksums of its data sets, and figures; returns the files.

    Each file is written whole. A regime without lines has no file.

    Raises:
        MmkdError: a file cannot be written; or a regime without lines has a table, so that its records are not here.
    """
    folder = protocol.results
    for one in made:
        if not one.lines and (lost := folder / f"{one.regime}.csv").exists():
            raise MmkdError(
                f"regime {one.regime}: no record of {protocol.records} is of it, and its table is there, {lost}; bring "
                "its records, or remove the table; nothing is written"
            )
    files: dict[Path, str] = {folder / f"{one.regime}.csv": csv_text(one.lines) for one in made if one.lines}
    files |= {folder / name: text for name, text in (figures or {}).items()}
    content = {one.regime: dict(one.sha256) for one in made if one.lines}
    files[folder / CONTENT] = json.dumps(content, indent=1, sort_keys=True) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            write_if_changed(path, text)
        for one in made:
            if not one.lines:
                (folder / f"{one.regime}-change.svg").unlink(missing_ok=True)
    except OSError as error:
        raise MmkdError(f"{folder}: {error.strerror or error}") from None
    return list(files)


def write_if_changed(path: Path, text: str) -> None:
    """Write a file whole, unless it is there already.

    Raises:
        OSError: it cannot be written.
    """
    content = text.encode()
    if not (path.is_file() and path.read_bytes() == content):
        write_atomically(path, content)


def load_results(
    version: str | PathLike[str] = "v1", *, regime: str | None = None, dataset: str | None = None
) -> "pd.DataFrame":
    """The results of a frozen benchmark: one row a unit and metric.

    >>> results = mmkd.load_results("v1", regime="A")  # doctest: +SKIP
    >>> results[results.metric == "macro_f1"].groupby(["dataset", "row"]).value.mean()  # doctest: +SKIP

    Args:
        version: the name of a protocol that mmkd carries, or a folder with a `protocol.toml`.
        regime, dataset: leave out all others; a data set has its own name, or that of the protocol, such as "ECG200".

    Returns:
        The columns of `docs/results.md`: `seed` is a whole number, `value` a float, `tuned`, `extra_data` and
        `verified` are truth values, all others are texts. Without a row, and with a warning, where there are no results
        of that regime and data set.

    Raises:
        MmkdError: there is no such protocol, regime or data set, or a table is damaged.
    """
    if not isinstance(version, str | PathLike):
        raise MmkdError(f"load_results: {shown(version)} is no version such as v1, and no folder")
    protocol = read_protocol(os.fspath(version))
    for what, name in (("regime", regime), ("dataset", dataset)):
        if not isinstance(name, str | None):
            raise MmkdError(f"load_results: {what} = {shown(name)} is not a name")
    if regime is not None and regime not in protocol.regimes:
        raise unknown_name("regime", regime, protocol.regimes)
    if dataset is not None:
        dataset = _dataset(dataset, protocol)
    names = [regime] if regime is not None else list(protocol.regimes)
    table = _table([line for name in names for line in read_lines(protocol, name)])
    if dataset is not None:
        table = table[table["dataset"] == dataset].reset_index(drop=True)
    if table.empty:
        what = f"regime {regime}" if regime is not None else "any regime"
        on = f" on {dataset}" if dataset is not None else ""
        warnings.warn(f"{protocol.version} has no results of {what}{on}", stacklevel=2)
    return table


def _dataset(name: str, protocol: Protocol) -> str:
    """The name of a data set, by itself or by its short name in the protocol.

    Raises:
        MmkdError: the protocol has none of this name.
    """
    known = {str(own["short"]): full for full, own in protocol.datasets.items()}
    full = name if name in protocol.datasets else known.get(name)
    if full is None:
        raise unknown_name("data set", name, {*protocol.datasets, *known})
    return full


def read_lines(protocol: Protocol, regime: str) -> list[Line]:
    """The lines of a regime; none where it has no results yet.

    Raises:
        MmkdError: its table is damaged.
    """
    path = protocol.results / f"{regime}.csv"
    if not os.path.lexists(path):
        return []
    if not path.is_file():
        raise MmkdError(f"{path}: it is no table of results (no plain file)")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            return list(_lines(csv.reader(stream), regime))
    except (ValueError, csv.Error) as error:
        raise MmkdError(f"{path}: it is no table of results ({one_line(str(error), 200)})") from None
    except OSError as error:
        raise MmkdError(f"{path}: {error.strerror or error}") from None


def _lines(rows: Iterator[list[str]], regime: str) -> Iterator[Line]:
    """The lines of a table.

    Raises:
        ValueError: they are not as `csv_text` writes them.
    """
    if tuple(next(rows, ())) != COLUMNS:
        raise ValueError("other columns")
    seen: set[tuple[Any, ...]] = set()
    for number, row in enumerate(rows, 2):
        if not row:
            continue
        if len(row) != len(COLUMNS):
            raise ValueError(f"line {number} has {len(row)} fields instead of {len(COLUMNS)}")
        try:
            line = Line.parse(dict(zip(COLUMNS, row, strict=True)))
        except (ValueError, KeyError, OverflowError) as error:
            raise ValueError(f"line {number}: {error}") from None
        if line.kind not in KINDS:
            raise ValueError(f"line {number}: kind {shown(line.kind)} is none of {', '.join(KINDS)}")
        if line.metric not in METRICS:
            raise ValueError(f"line {number}: unknown metric {shown(line.metric)}{did_you_mean(line.metric, METRICS)}")
        if line.regime != regime:
            raise ValueError(f"line {number} is of regime {shown(line.regime)}")
        if not 0 <= line.seed < 2**63:
            raise ValueError(f"line {number}: the seed {line.seed} is out of range"[:90])
        if line.identity in seen:
            raise ValueError(f"line {number} repeats one above it")
        seen.add(line.identity)
        yield line


def _table(lines: Sequence[Line]) -> "pd.DataFrame":
    """The lines as a table, each column with its type."""
    import pandas as pd

    types = {"seed": "int64", "value": "float64", **dict.fromkeys(TRUTHS, "bool")}
    columns = {
        name: pd.Series([getattr(line, name) for line in lines], dtype=types.get(name, "object")) for name in COLUMNS
    }
    return pd.DataFrame(columns)


def content_sha256(protocol: Protocol) -> Mapping[str, Mapping[str, str]]:
    """Regime -> data set -> checksum of the content that its results are of; empty where there are no results."""
    try:
        values = json.loads((protocol.results / CONTENT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
