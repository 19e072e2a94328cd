"""The windows of a record's data set: to calibrate on, and to check a file with; made-up ones where there are none."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.keys import seed_for
from mmkd.data import Dataset, Split
from mmkd.data.arrays import finish_dataset
from mmkd.deploy.targets import FEWEST, USUAL
from mmkd.evaluation.maps import evenly_spaced
from mmkd.store.record import Record
from mmkd.tasks import TASKS
from mmkd.training.workspace import Workspace
from mmkd.units.splits import select_fold, split_for

CHECKED = 256
"""Windows that a file is checked with."""
MADE_UP_SEED = 0


@dataclass(frozen=True)
class Sample:
    """Windows (n, C, W) as `Dataset.x` has them, with what they are, such as "40 test windows of basic-motions"."""

    x: NDArray[np.float32]
    text: str


@dataclass(frozen=True)
class CalibrationWindows:
    """Training windows, drawn once for all: (n, C, W), and what a record says of them."""

    x: NDArray[np.float32]
    facts: Mapping[str, Any]


class RecordWindows:
    """The windows that a record was trained and tested on.

    Args:
        data: the data set in memory, or the file or card that was given as `--data`; None: the data set of that name.
        root: the data folder; None: the default one.

    Attributes:
        why: why the data are not at hand; empty if they are.

    Raises:
        MmkdError: `data` was given, and is not what the record was trained on, or cannot be read.
    """

    def __init__(
        self, record: Record, data: Dataset | str | PathLike[str] | None = None, root: str | PathLike[str] | None = None
    ) -> None:
        self.spec = record.unit
        self.facts = record.data
        self.views = record.result["views"]
        self.why = ""
        self._data: Dataset | None = None
        try:
            self._data = self._load(data, root)
        except MmkdError as error:
            if data is not None:
                raise
            self.why = str(error)

    def _load(self, given: Dataset | str | PathLike[str] | None, root: str | PathLike[str] | None) -> Dataset:
        spec = self.spec.data
        if isinstance(given, Dataset):
            nan: Any = spec.nan
            loaded = finish_dataset(given, nan, spec.rate)
        else:
            loaded = Workspace(data=None if given is None else str(given), data_root=str(root or "")).load(spec)
        data = TASKS.get(self.spec.task).accept(loaded)
        if data.sha256 != spec.sha256:
            raise MmkdError(f"data {data.name!r} is not what the record was trained on: its content is another")
        return select_fold(data, spec)

    @property
    def name(self) -> str:
        """The name of the data set."""
        return self.spec.data.name

    @property
    def data(self) -> Dataset:
        """The data set.

        Raises:
            MmkdError: it is not at hand.
        """
        if self._data is None:
            raise MmkdError(f"the windows of the record are needed, and not at hand ({self.why}); give --data FILE")
        return self._data

    @cached_property
    def split(self) -> Split:
        """The split of the unit. Raises MmkdError if the data are not at hand."""
        return split_for(self.data, self.spec.data, self.spec.seed)

    @property
    def test(self) -> NDArray[np.int64]:
        """The numbers of the test windows; empty of a unit without. Raises MmkdError if the data are not at hand."""
        return self.split.test

    def for_check(self, number: int = CHECKED) -> Sample:
        """Test windows, evenly spaced; of a unit without validation windows, or training windows; else made-up ones."""
        if self._data is None:
            return Sample(self._made_up(number), f"{number} made-up windows (the data are not at hand: {self.why})")
        parts = {"test": self.split.test, "validation": self.split.validation, "training": self.split.train}
        part, indices = next((name, indices) for name, indices in parts.items() if len(indices))
        chosen = evenly_spaced(indices, number)
        return Sample(self.data.all_x[chosen], f"{len(chosen)} {part} windows of {self.name}")

    def for_calibration(self, number: int | None, seed: int) -> CalibrationWindows:
        """Training windows, drawn without repeats; never a test or a validation window.

        Args:
            number: how many; None: `USUAL`, or all if there are fewer.

        Raises:
            MmkdError: the data are not at hand, or have too few training windows.
        """
        train = self.split.train
        least = FEWEST if number is None else number
        if len(train) < least:
            raise MmkdError(
                f"calibration needs {least} training windows, and {self.name} has {len(train)}"
                + ("" if number is None else "; ask for fewer with --calibration-windows")
            )
        count = min(len(train), USUAL) if number is None else number
        generator = np.random.default_rng(seed_for(seed, "calibration"))
        chosen = np.sort(generator.permutation(train)[:count])
        facts = {"number": count, "seed": seed, "part": "train", "of": len(train), "windows": chosen.tolist()}
        return CalibrationWindows(self.data.all_x[chosen], facts)

    def _made_up(self, number: int) -> NDArray[np.float32]:
        """Slow waves in noise, with the mean and deviation that the channels had in training, as far as it is known."""
        channels, length = len(self.facts["channels"]), int(self.facts["window"])
        generator = np.random.default_rng(seed_for(MADE_UP_SEED, "made-up windows"))
        time = np.arange(length) / length
        turns = generator.uniform(0.5, length / 8 + 1, (number, channels, 1))
        phase = generator.uniform(0, 2 * np.pi, (number, channels, 1))
        x = np.sin(2 * np.pi * (turns * time + phase)) + 0.5 * generator.standard_normal((number, channels, length))
        mean, std = np.zeros(channels), np.ones(channels)
        for view in self.views.values():
            state, chosen = view["state"], view["config"].get("channels") or range(channels)
            if {"mean", "std"} <= set(state):
                mean[list(chosen)], std[list(chosen)] = state["mean"], state["std"]
        return (mean[:, None] + std[:, None] * x).astype(np.float32)
