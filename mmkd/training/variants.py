"""Changed copies of each training window, for methods that read what the networks say of them (`ReadsVariants`)."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmkd.core.errors import Refused
from mmkd.core.keys import digest
from mmkd.core.registry import kind_of
from mmkd.methods.contract import Method
from mmkd.methods.outputs import Outputs
from mmkd.methods.variants import ReadsVariants
from mmkd.specs.teacher_nets import kind_of_net
from mmkd.specs.unit import UnitSpec
from mmkd.store.files import create_array
from mmkd.training.unit_windows import unit_view_key
from mmkd.training.workspace import Workspace

if TYPE_CHECKING:
    from mmkd.training.preparation import PreparedUnit

STORED_BYTES = 1 << 30
"""Views of all copies are stored up to this size, for each modality; beyond it they are made for each batch."""
Rows = NDArray[np.int64]


def check_variants(spec: UnitSpec, method: Method, shape: tuple[int, int]) -> None:
    """Check that the windows of a unit can be changed as its method asks, if it asks for that.

    Args:
        shape: (C, W) of a window.

    Raises:
        MmkdError: windows are too short. Refused: the teachers cannot say what they think of them.
    """
    if not isinstance(method, ReadsVariants):
        return
    if any(kind_of(name) == "img" for name in spec.views):
        raise Refused(f"{spec.method} leaves out parts of a signal, and these windows are images; use another --method")
    for modality, net in spec.teachers.items():
        if kind_of_net(net) == "peer":
            raise Refused(
                f"{spec.method} asks its teachers about changed windows, and {modality}={net} knows those of the data "
                f"set alone; use another --teacher-net"
            )
    if spec.teacher_targets != "fitted":
        raise Refused(f"{spec.method} has no targets out of fold; use --teacher-targets fitted")
    if spec.teacher_validation:
        raise Refused(f"{spec.method} needs teachers with the student's training windows; use --teacher-epoch last")
    method.variants(torch.zeros(1, *shape))


class Variants:
    """The changed copies of the training windows of a unit.

    Args:
        unit: prepared, with a method that is a `ReadsVariants`.
    """

    def __init__(self, unit: "PreparedUnit", workspace: Workspace) -> None:
        assert isinstance(unit.method, ReadsVariants)
        self.method = unit.method
        self.windows = unit.windows
        self.teachers = unit.teachers
        self.x = unit.data.all_x
        self.student = unit.spec.student
        self.modalities = {name: view.modality for name, view in unit.views.items()}
        self.view_keys = {name: unit_view_key(name, unit.spec, unit.split) for name in unit.views}
        self.cache, self.progress = workspace.cache, workspace.progress
        augmented = self.windows.augmented
        self.kept = augmented is None or augmented.is_stored
        self.count = self.method.variants(torch.zeros(1, *self.x.shape[1:])).shape[1]
        self.key = digest(
            {
                "method": unit.spec.method,
                "options": self.method.variants_key,
                "sources": dict(unit.spec.sources),
                "train": self.windows.train.tolist(),
                "unlabelled": unit.spec.data.unlabelled_sha256,
                "augmented": None if augmented is None else augmented.key,
            }
        )
        self._views: dict[str, NDArray[np.float32]] = {}
        self._logits: dict[str, NDArray[np.float32]] = {}

    def join(
        self, rows: Rows, views: Mapping[str, Tensor], teachers: Mapping[str, Outputs]
    ) -> tuple[dict[str, Tensor], dict[str, Outputs]]:
        """Add the copies to what a batch reads.

        Args:
            rows: (B,) rows of training windows, see `TrainingData.rows`.
            views: modality -> (B, ...).
            teachers: modality -> outputs for these windows.

        Returns:
            The student's views of the windows and then of their copies, (B + B M, ...), the copies of one window after
            those of another; and the teachers' outputs with their `variants`.
        """
        changed = self.views(rows, self.student)
        joined = {name: torch.cat([views[name], changed[name]]) for name in self.student}
        return joined, {name: replace(outputs, variants=self.logits(name, rows)) for name, outputs in teachers.items()}

    def views(self, rows: Rows, names: tuple[str, ...]) -> dict[str, Tensor]:
        """The views of all copies of these rows, modality -> (B M, ...)."""
        arrays = {}
        for name in names:
            size = 4 * self.count * int(np.prod(self.modalities[name].shape(*self.x.shape[1:])))
            if self.kept and size * self.windows.stored_rows <= STORED_BYTES:
                found = self._stored(self._views, name, {"view": self.view_keys[name]}, "views", self._write_views)
                arrays[name] = found[rows].reshape(-1, *found.shape[2:])
            else:
                arrays[name] = self._make(name, rows)
        return self.windows.as_tensors(arrays)

    def logits(self, name: str, rows: Rows) -> Tensor:
        """What a teacher says of all copies of these rows, (B, M, K)."""
        if not self.kept:
            return self._ask(name, rows)
        teacher = self.teachers[name]
        parts = {"teacher": teacher.spec.key, "weights": teacher.checkpoint}
        found = self._stored(self._logits, name, parts, "outputs", self._write_logits)
        return torch.from_numpy(found[rows]).to(self.windows.device)

    def _make(self, name: str, rows: Rows) -> NDArray[np.float32]:
        """The views of all copies of these rows, made now, (B M, ...)."""
        augmented = self.windows.augmented
        raw = self.x[self.windows.train[rows]] if augmented is None else augmented.raw(rows)
        changed = self.method.variants(torch.from_numpy(np.asarray(raw, np.float32)))
        made: NDArray[np.float32] = self.modalities[name].transform(changed.flatten(0, 1).numpy())
        return made

    def _ask(self, name: str, rows: Rows) -> Tensor:
        """What a teacher says of all copies of these rows, asked now, (B, M, K)."""
        with torch.no_grad():
            logits = self.teachers[name].network(self.views(rows, (name,))).logits
        return logits.float().unflatten(0, (len(rows), self.count))  # type: ignore[no-any-return]

    def _stored(
        self, kept: dict[str, NDArray[np.float32]], name: str, parts: Mapping[str, Any], kind: str, write: Any
    ) -> NDArray[np.float32]:
        """An array with a row for each row of training windows, from the cache; made first if it is not there."""
        if name not in kept:
            kept[name] = self.cache.load_or_create(
                kind,
                digest({**parts, "variants": self.key}),
                lambda folder: write(name, folder),
                lambda folder: np.lib.format.open_memmap(folder / "variants.npy", "r"),
            )
        return kept[name]

    def _write_views(self, name: str, folder: Path) -> None:
        shape = self.modalities[name].shape(*self.x.shape[1:])
        array = create_array(folder / "variants.npy", (self.windows.stored_rows, self.count, *shape))
        for rows in self._parts(f"view {name} of {self.count} changed copies"):
            array[rows] = self._make(name, rows).reshape(len(rows), self.count, *shape)
        array.flush()
        (folder / "state.json").write_text(json.dumps(self.modalities[name].state()))

    def _write_logits(self, name: str, folder: Path) -> None:
        array = create_array(folder / "variants.npy", (self.windows.stored_rows, self.count, self.windows.classes))
        for rows in self._parts(f"outputs of {name} teacher for {self.count} changed copies"):
            array[rows] = self._ask(name, rows).cpu().numpy()
        array.flush()

    def _parts(self, text: str) -> Iterator[Rows]:
        """All rows of training windows in parts, with a progress bar."""
        size = max(1, self.windows.prediction_batch // self.count)
        with self.progress.bar(text, self.windows.stored_rows) as bar:
            for rows in np.array_split(np.arange(self.windows.stored_rows), -(-self.windows.stored_rows // size)):
                yield rows
                bar.advance(len(rows))


def with_variants(unit: "PreparedUnit", workspace: Workspace) -> Any:
    """The training windows of a unit, with the changed copies that its method asks for, if it does."""
    if not isinstance(unit.method, ReadsVariants):
        return unit.windows
    return replace(unit.windows, variants=Variants(unit, workspace))
