"""Which windows a unit is made of, in plain values, and the names of folds. Needs no numpy."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class DataSpec:
    """Which windows, and how they are cut; `sha256` is that of their content.

    `train_subjects`: of how many subjects the training windows are; 0 for all but those cut off for validation.
    `test_subjects`: those of the test windows, where that is not the data set's own split; `fold` is their name.
    `rate`: samples a second that the windows were brought to; 0 where they are as the data set has them.
    """

    name: str
    sha256: str
    nan: str = "refuse"
    validation: float = 0.2
    epoch_rule: str = "val-best"
    train_subjects: int = 0
    test_subjects: tuple[int, ...] = ()
    fold: str = ""
    rate: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "test_subjects", tuple(self.test_subjects))  # JSON has lists


def fold_kind(name: str) -> str:
    """How the folds were cut of which this one has the name: "5 folds", "each subject", or "a split file"."""
    counted = re.fullmatch(r"fold \d+ of (\d+)", name)
    if counted:
        return f"{counted[1]} folds"
    return "each subject" if re.fullmatch(r"subject -?\d+", name) else "a split file"


def fold_count(kind: str, there: int, subjects: int | None) -> int:
    """How many folds a cut has; as many as are there of a split file, and where the number of subjects is not known."""
    wanted = int(kind.split()[0]) if kind.endswith(" folds") else subjects if kind == "each subject" else None
    return max(there, wanted or 0)
