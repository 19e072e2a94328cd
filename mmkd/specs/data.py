"""Which windows a unit is made of, in plain values, and the names of folds. Needs no numpy."""

import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DataSpec:
    """Which windows a unit has, and how they are split.

    Attributes:
        name: of the data set, or the stem of the user's own file.
        sha256: checksum of the content.
        nan: what is done with missing values: "refuse", "impute" or "drop".
        validation: share of the training windows that is the validation part; 0 where there is none.
        epoch_rule: which epoch is kept: "val-best" or "last".
        train_subjects: number of subjects that the training windows are taken from; 0: all.
        test_subjects: subjects of the test windows; empty: the data set's own split.
        fold: the name of that test part; no part of the key.
        rate: samples a second that the windows were resampled to; 0: not resampled.
    """

    name: str
    sha256: str
    nan: str = "refuse"
    validation: float = 0.2
    epoch_rule: str = "val-best"
    train_subjects: int = field(default=0, metadata={"since": 3})
    test_subjects: tuple[int, ...] = field(default=(), metadata={"since": 3})
    fold: str = field(default="", metadata={"in_key": False})
    rate: float = field(default=0.0, metadata={"since": 3})

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
