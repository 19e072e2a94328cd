"""Windows as text: UEA/UCR `.ts` and UCR `.tsv`, a line a window."""

import math
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.text import not_utf8
from mmkd.data.formats import FileContent, read_with_partner
from mmkd.data.ts_header import Header

SEPARATORS = {";": "a semicolon", "\t": "a tab", "|": "a bar", " ": "a blank"}
"""Signs that other programs write between values, and their names."""
UNEQUAL = "pad or cut, or say --unequal pad, truncate or resample"
"""The way out of cases of unequal length."""


def read_ts(path: Path, pad: bool = False) -> FileContent:
    """Read a UEA/UCR `.ts` text file.

    After header lines with `@`, each line is a case: dimensions separated by `:`, values by `,`, the label last. `?`
    and NaN are missing values. What the header says of the cases must be so. `NAME_TRAIN.ts` and `NAME_TEST.ts` are
    read together, in any case of letters.

    Args:
        pad: whether shorter cases are padded with zeros at their end, to the length of the longest one.

    Raises:
        MmkdError: the file has another form (with the line), time stamps, numbers in place of classes, or cases of
            unequal length.
    """
    return read_with_partner(path, partial(_read_ts_cases, pad=pad), needed=True, pad=pad)


def read_tsv(path: Path, pad: bool = False) -> FileContent:
    """Read a UCR `.tsv` text file.

    Each line is a case of one channel: the label, then the values, separated by tabs. NaN are missing values.
    `NAME_TRAIN.tsv` and `NAME_TEST.tsv` are read together, in any case of letters.

    Args:
        pad: as in `read_ts`.

    Raises:
        MmkdError: the file has another form (with the line), or cases of unequal length.
    """
    return read_with_partner(path, partial(_read_tsv_cases, pad=pad), needed=True, pad=pad)


def _text_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise MmkdError(f"{path.name}: {not_utf8(error.object)}, or as .npz") from None


def _read_tsv_cases(path: Path, pad: bool = False) -> FileContent:
    cases: list[NDArray[np.float64]] = []
    labels: list[str] = []
    for number, line in enumerate(_text_lines(path), 1):
        if not line.strip():
            continue
        label, *values = (value.strip() for value in line.split("\t"))
        if not label or not values:
            raise MmkdError(f"line {number} of {path.name} is not a label and values with tabs between them")
        try:
            row = np.array([float(value) for value in values])
        except ValueError as error:
            hint = "; write decimals with a point" if any(re.fullmatch(r"-?\d+,\d+", value) for value in values) else ""
            raise MmkdError(f"line {number} of {path.name}: {error!s:.100}{hint}") from None
        if cases and len(row) != cases[0].shape[1] and not pad:
            raise MmkdError(
                f"line {number} of {path.name}: {len(row)} values, and {cases[0].shape[1]} before; {UNEQUAL}"
            )
        cases.append(row[None])
        labels.append(label)
    if not cases:
        raise MmkdError(f"{path.name} holds no case")
    return FileContent(_stacked(cases), np.array(labels), None, None, [path], lengths=_lengths(cases) if pad else None)


def _read_ts_cases(path: Path, pad: bool = False) -> FileContent:
    header = Header()
    cases: list[NDArray[np.float64]] = []
    labels: list[str] = []
    in_data = False
    for number, raw in enumerate(_text_lines(path), 1):
        line = raw.strip()
        if not line or line.startswith(("#", "%")):
            continue
        where = f"line {number} of {path.name}"
        if not in_data:
            if not line.startswith("@"):
                raise MmkdError(f"{where} is neither a comment nor a header line before @data")
            in_data = header.add(line, where)
            continue
        *dimensions, label = (part.strip() for part in line.split(":"))
        header.check_label(label if dimensions else "", where)
        values = [_numbers(dimension, where) for dimension in dimensions]
        header.check_case([len(v) for v in values], line, where, pad)
        lengths = {len(v) for v in values} | ({cases[0].shape[1]} if cases and not pad else set())
        if len(lengths) > 1 or (cases and len(values) != len(cases[0])):
            raise MmkdError(f"{where}: dimensions or lengths differ from the cases before; {UNEQUAL}")
        cases.append(np.array(values, np.float64))
        labels.append(label)
    if not cases:
        raise MmkdError(f"{path.name} holds no case after @data")
    content = FileContent(_stacked(cases), np.array(labels), None, None, [path], declared=bool(header.classes))
    return content._replace(lengths=_lengths(cases)) if pad else content


def _lengths(cases: Sequence[NDArray[np.float64]]) -> NDArray[np.int64]:
    return np.array([case.shape[1] for case in cases])


def _stacked(cases: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The cases (N, C, W), with zeros at the end of shorter ones."""
    longest = max(case.shape[1] for case in cases)
    return np.stack([np.pad(case, ((0, 0), (0, longest - case.shape[1]))) for case in cases])


def _numbers(dimension: str, where: str) -> list[float]:
    """The values of one dimension of a case."""
    try:
        return [math.nan if value.strip() == "?" else float(value) for value in dimension.split(",")]
    except ValueError as error:
        if dimension.startswith("("):
            raise MmkdError(f"{where}: cases with time stamps are not supported; resample them") from None
        separator = next((name for sign, name in SEPARATORS.items() if sign in dimension.strip()), None)
        if separator:
            raise MmkdError(
                f"{where}: {separator} between values is not understood; write commas between them, and decimals with "
                f"a point"
            ) from None
        raise MmkdError(f"{where}: {error!s:.100}") from None
