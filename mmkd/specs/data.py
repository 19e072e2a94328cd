"""The spec of the windows of a unit, and the names of folds. Imports no numpy."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DataSpec:
    """The windows of a unit, and how they are split.

    Attributes:
        name: of the data set, or the stem of the user's own file.
        sha256: checksum of the content.
        nan: what happens to missing values: "refuse", "impute" or "drop".
        validation: fraction of the training windows that is used for validation; 0: none.
        epoch_rule: whose weights are used: those of the best epoch, "val-best", or of the "last".
        train_subjects: number of subjects of the training windows; 0: all.
        train_windows: number of training windows of each class, of a data set without subjects; 0: all.
        test_subjects: subjects of the test windows, by their names in the files (numbers or texts); empty: the data
            set's own split.
        by_name: False where the test subjects of a user's file are counted 0, 1, 2, ... in their order; so they were in
            records before subjects kept their names, and so they are where those are their names.
        stratified_fold: (k, K): the test windows are fold k of K of all windows, of a data set without subjects; each
            fold has an equal share of every class. Empty: the data set's own split, or one by subject.
        fold: the name of the fold; it is not part of the key.
        rate: samples a second after resampling; 0: not resampled.
        labelled_subjects: number of training subjects whose labels are used; 0: all. The windows of the others are
            unlabelled.
        labelled_windows: number of training windows of each class whose labels are used, of a data set without
            subjects; 0: all.
        unlabelled_sha256: checksum of the content of a file of unlabelled windows; empty: none.
        unlabelled_file: that file; it is not part of the key.
        unequal: what was done with cases of unequal length in a user's file; it is part of the checksum, where there
            were such.
        parts_file: the table of a fixed split, which is part of the checksum of the content.
        inner_fold: (k, K): the unit is one of the selection phase. Its test part is fold k of K of the training part
            that it has otherwise, and it trains on the rest of that part; the test windows are in none of its parts.
            Empty: a usual unit.
    """

    name: str
    sha256: str
    nan: str = "refuse"
    validation: float = 0.2
    epoch_rule: str = "val-best"
    train_subjects: int = field(default=0, metadata={"since": 3})
    test_subjects: tuple[int | str, ...] = field(default=(), metadata={"since": 3})
    by_name: bool = field(default=False, metadata={"since": 4})
    fold: str = field(default="", metadata={"in_key": False})
    rate: float = field(default=0.0, metadata={"since": 3})
    labelled_subjects: int = field(default=0, metadata={"since": 5})
    labelled_windows: int = field(default=0, metadata={"since": 5})
    unlabelled_sha256: str = field(default="", metadata={"since": 5})
    unlabelled_file: str = field(default="", metadata={"in_key": False, "since": 5})
    inner_fold: tuple[int, ...] = field(default=(), metadata={"since": 5})
    stratified_fold: tuple[int, ...] = field(default=(), metadata={"since": 5})
    train_windows: int = field(default=0, metadata={"since": 5})
    unequal: str = field(default="refuse", metadata={"in_key": False, "since": 5})
    parts_file: str = field(default="", metadata={"in_key": False, "since": 5})

    def __post_init__(self) -> None:
        for name in ("test_subjects", "inner_fold", "stratified_fold"):  # JSON has lists
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def tested(self) -> tuple[int | str, ...]:
        """Who is tested, or which stratified fold; empty for the data set's own split."""
        return self.test_subjects or self.stratified_fold

    @property
    def few_labels(self) -> bool:
        """Whether some training windows are used without their labels, or have none."""
        return bool(self.labelled_subjects or self.labelled_windows or self.unlabelled_sha256)


def fold_kind(name: str, test_subjects: Sequence[int | str]) -> str:
    """The kind of folds that a fold of this name belongs to: "5 folds", "each subject", or "a split file".

    Stratified folds are of the first kind; they are of data sets without subjects, which have no others.

    >>> fold_kind("fold 2 of 5", ["anna", "ben"]), fold_kind("subject anna", ["anna"])
    ('5 folds', 'each subject')
    """
    match = re.fullmatch(r"fold \d+ of (\d+)", name)
    if match:
        return f"{match[1]} folds"
    return "each subject" if [name] == [f"subject {subject}" for subject in test_subjects] else "a split file"


def fold_count(kind: str, existing: int, subjects: int | None) -> int:
    """How many folds of this kind there are in all.

    For a split file, or if the number of subjects is unknown, it is the number of existing folds.

    >>> fold_count("5 folds", 2, None)
    5
    """
    if kind.endswith(" folds"):
        total = int(kind.split()[0])
    elif kind == "each subject":
        total = subjects or 0
    else:
        total = 0
    return max(existing, total)
