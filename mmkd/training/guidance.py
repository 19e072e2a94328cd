"""The teachers' outputs beside each batch: read from disk where they were computed once, or live."""

import json
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmkd.core.keys import digest
from mmkd.core.progress import Progress
from mmkd.methods.outputs import Outputs
from mmkd.store.cache import Cache
from mmkd.store.files import create_array
from mmkd.training.loop import NoTeachers, TrainingData
from mmkd.training.teachers import Teacher

FEATURE_BUDGET = 2 << 30  # bytes of teachers' feature maps kept on disk; past it they are computed anew each epoch


class LiveTeachers:
    """Teachers run on each batch, in evaluation mode and without gradients."""

    networks: Mapping[str, nn.Module] = {}

    def __init__(self, teachers: Mapping[str, Teacher]) -> None:
        self.teachers = teachers

    def outputs(self, positions: NDArray[np.int64], views: Mapping[str, Tensor]) -> Mapping[str, Outputs]:
        with torch.no_grad():
            return {name: teacher.network(views) for name, teacher in self.teachers.items()}


class MovingTeachers(LiveTeachers):
    """Copies of teachers, of which something trains with the student: run on each batch, with gradients.

    Attributes:
        networks: modality -> the copy.
    """

    def __init__(self, teachers: Mapping[str, Teacher]) -> None:
        super().__init__(teachers)
        self.networks = {name: deepcopy(teacher.network) for name, teacher in teachers.items()}

    def outputs(self, positions: NDArray[np.int64], views: Mapping[str, Tensor]) -> Mapping[str, Outputs]:
        return {name: network(views) for name, network in self.networks.items()}


class CachedTeachers:
    """Teachers whose outputs on the training windows are read from disk."""

    networks: Mapping[str, nn.Module] = {}

    def __init__(self, stored: Mapping[str, "StoredOutputs"], device: torch.device) -> None:
        self.stored, self.device = stored, device

    def outputs(self, positions: NDArray[np.int64], views: Mapping[str, Tensor]) -> Mapping[str, Outputs]:
        return {name: stored.at(positions, self.device) for name, stored in self.stored.items()}


@dataclass(frozen=True)
class StoredOutputs:
    """Memory-mapped outputs of one teacher, a row a training window, in the order of the training set.

    Maps (C, H, W) are stored, and given, with their channels last in memory, as networks put them out: pooling them, or
    comparing them with a student's, is several times faster so.
    """

    arrays: Mapping[str, NDArray[np.float32]]
    classifier: Tensor | None

    def at(self, positions: NDArray[np.int64], device: torch.device) -> Outputs:
        def rows(name: str) -> Tensor:
            found = torch.from_numpy(np.ascontiguousarray(self.arrays[name][positions])).to(device)
            return found.movedim(-1, 1) if found.ndim == 4 else found

        return Outputs(
            rows("logits"),
            rows("embedding"),
            _Rows("features.", self.arrays, rows),
            None if self.classifier is None else self.classifier.to(device),
            _Rows("attention.", self.arrays, rows),
        )


class _Rows(Mapping[str, Tensor]):
    """The arrays whose names begin with `prefix`, each read when it is asked for: a method reads only what it uses."""

    def __init__(self, prefix: str, arrays: Mapping[str, Any], rows: Callable[[str], Tensor]) -> None:
        self.prefix, self.rows = prefix, rows
        self.names = [name.removeprefix(prefix) for name in arrays if name.startswith(prefix)]

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.names:
            raise KeyError(name)
        return self.rows(self.prefix + name)

    def __contains__(self, name: object) -> bool:
        return name in self.names  # without reading it

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self.names)

    def __len__(self) -> int:
        return len(self.names)


def flatten(outputs: Outputs, maps: bool) -> dict[str, Tensor]:
    """The arrays of a teacher's outputs by name, as they are stored; feature maps and attention only when asked."""
    flat = {"logits": outputs.logits, "embedding": outputs.embedding}
    if maps:
        flat |= {f"features.{name}": value for name, value in outputs.features.items()}
        flat |= {f"attention.{name}": value for name, value in outputs.attention.items()}
    return {name: value.movedim(1, -1) if value.ndim == 4 else value for name, value in flat.items()}


def source_of(
    teachers: Mapping[str, Teacher],
    needs: frozenset[str],
    windows: TrainingData,
    cache: Cache,
    progress: Progress,
    budget: int = FEATURE_BUDGET,
) -> LiveTeachers | CachedTeachers | NoTeachers:
    """The cheapest way to the outputs that a method needs: from disk, or live where the maps exceed the budget.

    Logits and embeddings are always kept. Feature maps are kept while they fit `budget` bytes, the least recently used
    of other units leave first.
    """
    if not teachers:
        return NoTeachers()
    maps = bool(needs & {"features", "cam", "attention"})
    kind = "features" if maps else "outputs"
    form = {"maps": maps} | ({"layout": "channels last"} if maps else {})
    keys = {n: digest({"teacher": t.spec.key, "weights": t.checkpoint, **form}) for n, t in teachers.items()}
    if maps:
        first = windows.at(windows.train[:1])
        with torch.no_grad():
            each = [flatten(t.network(first), True).values() for t in teachers.values()]
        size = sum(value.numel() * 4 for values in each for value in values) * len(windows.train)
        if size > budget:
            return LiveTeachers(teachers)
        cache.evict(kind, budget - size, protected=set(keys.values()))
    stored = {}
    for name, teacher in teachers.items():
        create = partial(_store, teacher, maps, windows, progress=progress)
        arrays = cache.load_or_create(kind, keys[name], create, _read)
        with torch.no_grad():
            classifier = teacher.network(windows.at(windows.train[:1])).classifier
        stored[name] = StoredOutputs(arrays, classifier)
    return CachedTeachers(stored, windows.device)


def _read(folder: Path) -> dict[str, NDArray[np.float32]]:
    """The stored arrays by name, in the order of the network's outputs."""
    order = json.loads((folder / "order.json").read_text())
    return {name: np.lib.format.open_memmap(folder / f"{name}.npy", "r") for name in order}


def _store(teacher: Teacher, maps: bool, windows: TrainingData, folder: Path, progress: Progress) -> None:
    """Run the teacher over the training windows and write its outputs, one `.npy` an array."""
    count, size = len(windows.train), windows.at_once
    arrays: dict[str, Any] = {}
    with torch.no_grad(), progress.bar(f"outputs of {teacher.spec.modality} teacher", count) as bar:
        for start in range(0, count, size):
            part = slice(start, min(start + size, count))
            for name, value in flatten(teacher.network(windows.at(windows.train[part])), maps).items():
                if name not in arrays:
                    shape = (count, *value.shape[1:])
                    arrays[name] = create_array(folder / f"{name}.npy", shape)
                arrays[name][part] = value.float().cpu().numpy()
            bar.advance(part.stop - part.start)
    for array in arrays.values():
        array.flush()
    (folder / "order.json").write_text(json.dumps(list(arrays)))
