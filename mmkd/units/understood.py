"""What is said of the data of a request before anything is trained: a line a data set, and warnings."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmkd.core.errors import SuspiciousData
from mmkd.data import Dataset, Split
from mmkd.data.checks import DataChecks
from mmkd.data.folds import UNCHECKED
from mmkd.data.understood import describe_split, describe_windows
from mmkd.specs.data import DataSpec
from mmkd.specs.unit import UnitSpec
from mmkd.units.splits import split_for

Units = Sequence[tuple[UnitSpec, Dataset]]


@dataclass(frozen=True)
class Understood:
    """What was understood of one data set and one way to split it.

    Attributes:
        name: of the data set, or of the user's file.
        text: windows, classes and split, in one line.
        warnings: one line for each thing that is suspicious.
    """

    name: str
    text: str
    warnings: tuple[str, ...]

    @property
    def line(self) -> str:
        """The line that is said."""
        return f"{self.name}: {self.text}"

    def as_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {"name": self.name, "understood": self.text, "warnings": list(self.warnings)}


def understand_split(data: Dataset, split: Split) -> Understood:
    """What was understood of the data of one unit.

    Args:
        data: with the test windows of its fold.
    """
    return Understood(data.name, _text(data, [split]), (*_checks(data).of_content, *_of_unit(data, split)))


def understand_data(data: Dataset) -> Understood:
    """What was understood of a data set that nothing is trained on yet, with its `first_split`."""
    return understand_split(data, first_split(data))


def first_split(data: Dataset) -> Split:
    """The split of seed 0 without a validation part."""
    return split_for(data, DataSpec(data.name, data.sha256, epoch_rule="last", validation=0.0), 0)


def understand(units: Units, file: str | None = None, from_card: bool = False) -> list[Understood]:
    """What was understood of the data of these units, one for each data set and way to split it.

    Seeds differ in their validation part only; the first is told. Of folds, the sizes are told from the smallest to the
    largest, and what is suspicious in a test part of the first fold that has it.

    Args:
        file: the user's own file, which has the windows of all units.
        from_card: whether the augmentations that a card or file names are asked for; it is said where there are none.
    """
    groups: dict[DataSpec, dict[tuple[Any, ...], tuple[UnitSpec, Dataset]]] = {}
    for spec, data in units:
        settings = replace(spec.data, test_subjects=(), stratified_fold=(), fold="", by_name=False)
        groups.setdefault(settings, {}).setdefault(spec.data.tested, (spec, data))
    found = [_understand_parts(list(parts.values())) for parts in groups.values()]
    if from_card:
        plain = [not next(iter(parts.values()))[1].augment for parts in groups.values()]
        more = f"; not augmented: its {'file' if file else 'card'} names no augmentations"
        found = [
            replace(data, text=data.text + more) if none else data for data, none in zip(found, plain, strict=True)
        ]
    return [replace(data, name=Path(file).name) for data in found] if file else found


def _understand_parts(parts: Units) -> Understood:
    data = parts[0][1]
    splits = [split_for(part, spec.data, spec.seed) for spec, part in parts]
    warnings = list(_checks(data).of_content)
    if len(parts) == 1:
        warnings += _of_unit(data, splits[0])
    else:
        both = zip(parts, splits, strict=True)
        found = [(part, lines) for (_, part), split in both if (lines := _of_unit(part, split))]
        others = {0: "", 1: " (and another fold has warnings)"}.get(
            len(found) - 1, f" (and {len(found) - 1} other folds have warnings)"
        )
        warnings += [f"{part.fold.name}: {line}{others}" for part, lines in found[:1] if part.fold for line in lines]
    return Understood(data.name, _text(data, splits), tuple(warnings))


def _of_unit(data: Dataset, split: Split) -> list[str]:
    """What is suspicious in one split."""
    lines = _checks(data).of_part(data)
    if data.subject is not None and data.form == "window" and len(np.unique(data.subject[split.train])) == 1:
        lines.append("one subject only is left for training")
    return lines


def warning_lines(understood: Sequence[Understood]) -> list[str]:
    """Each warning once, with the name of its data set."""
    return list(dict.fromkeys(f"{data.name}: {line}" for data in understood for line in data.warnings))


def refuse_warnings(understood: Sequence[Understood]) -> None:
    """Refuse data of which something is suspicious, for `--strict`.

    Raises:
        SuspiciousData: there is a warning; the message names all of them.
    """
    lines = [f"{data.name}: {'; '.join(data.warnings)}" for data in understood if data.warnings]
    if lines:
        raise SuspiciousData(f"--strict: {'; '.join(lines)}")


def _text(data: Dataset, splits: Sequence[Split]) -> str:
    said = [describe_windows(data), describe_split(data, splits), data.splits.get(UNCHECKED, "")]
    return "; ".join(filter(None, said))


def _checks(data: Dataset) -> DataChecks:
    """The checks of a data set, which its folds share."""
    if "checks" not in data.splits:
        data.splits["checks"] = DataChecks(data)
    checks: DataChecks = data.splits["checks"]
    return checks
