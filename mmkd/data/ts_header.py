"""The header of a `.ts` file, and whether its cases are as it says."""

import re
from collections.abc import Sequence

from mmkd.core.errors import MmkdError
from mmkd.core.options import shown


class Header:
    """What the header lines of a `.ts` file say.

    Attributes:
        classes: the labels that `@classLabel` lists, in small letters; empty if it lists none.
    """

    def __init__(self) -> None:
        self.classes: tuple[str, ...] = ()
        self._values: dict[str, str] = {}
        self._first = 0

    def add(self, line: str, where: str) -> bool:
        """Take in one header line; returns whether it is `@data`, after which the cases begin.

        Args:
            line: `@key value`, with blanks or tabs between them.
            where: the line and file, for messages.

        Raises:
            MmkdError: the cases have time stamps, or numbers to be predicted (regression) in place of classes.
        """
        key, *rest = line[1:].split(None, 1)[:2] or [""]
        key = key.lower()
        value = rest[0].strip() if rest else ""
        self._values[key] = value
        if key == "timestamps" and value.lower() == "true":
            raise MmkdError(f"{where}: cases with time stamps are not supported; resample them")
        if key == "targetlabel" and value.lower() != "false":
            raise MmkdError(f"{where}: @targetLabel says that the labels are a regression target; mmkd trains classes")
        if key == "classlabel":
            self.classes = tuple(value.lower().split()[1:])
        return key == "data"

    def check_label(self, label: str, where: str) -> None:
        """Check the label of a case.

        Raises:
            MmkdError: there is none, or it is not among those of `@classLabel`.
        """
        if not label or self._values.get("classlabel", "true").lower().split()[:1] == ["false"]:
            raise MmkdError(f"{where} has no class label")
        if self.classes and label.lower() not in self.classes:
            raise MmkdError(f"{where}: label {shown(label)} is not among those of @classLabel; is the line whole?")

    def check_case(self, lengths: Sequence[int], line: str, where: str, unequal: bool) -> None:
        """Check the number of dimensions and of values of a case.

        Args:
            lengths: the number of values of each dimension.
            line: the case.
            unequal: whether cases may have any length, unless the header says that they have one.

        Raises:
            MmkdError: they are not as the header says, or the values have decimal commas.
        """
        values = [value.strip() for dimension in line.split(":")[:-1] for value in dimension.split(",")]
        length = self._number("serieslength")
        if _have_decimal_commas(values) or (length and set(lengths) == {2 * length} and "." not in line):
            raise MmkdError(f"{where}: the values have decimal commas; write decimals with a point")
        dimensions = self._number("dimensions") or self._number("dimension")
        if dimensions and len(lengths) != dimensions:
            raise MmkdError(f"{where} has {len(lengths)} dimensions, and @dimensions says {dimensions}")
        if self._says("univariate", "true") and len(lengths) > 1:
            raise MmkdError(f"{where} has {len(lengths)} dimensions, and @univariate says true")
        if unequal and self._says("equallength", "true"):
            self._first = self._first or lengths[0]
            other = next((n for n in lengths if n != self._first), None)
            if other is not None:
                raise MmkdError(f"{where} has {other} values, {self._first} were before, and @equalLength says true")
        if length and not unequal and not self._says("equallength", "false") and set(lengths) != {length}:
            other = next(n for n in lengths if n != length)
            raise MmkdError(f"{where} has {other} values in a dimension, and @seriesLength says {length}; pad or cut")

    def _number(self, key: str) -> int:
        value = self._values.get(key, "")
        return int(value) if re.fullmatch(r"\d{1,9}", value) else 0

    def _says(self, key: str, value: str) -> bool:
        return self._values.get(key, "").lower() == value


def _have_decimal_commas(values: Sequence[str]) -> bool:
    """Whether every other value looks like decimals cut off at a comma: digits only, some with a 0 in front.

    >>> _have_decimal_commas(["1", "05", "-2", "375"]), _have_decimal_commas(["1.05", "-2.375"])
    (True, False)
    """
    decimals = values[1::2]
    whole = all(re.fullmatch(r"-?\d+", value) for value in values)
    return whole and len(values) % 2 == 0 and any(re.fullmatch(r"0\d+", value) for value in decimals)
