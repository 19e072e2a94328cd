"""The teachers' outputs for each batch: read from disk if they were computed before, or computed by the teachers."""

import json
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmkd.core.keys import digest
from mmkd.core.progress import Progress
from mmkd.methods.outputs import Outputs
from mmkd.store.cache import Cache
from mmkd.store.files import create_array
from mmkd.training.data import TrainingData

if TYPE_CHECKING:
    from mmkd.specs.unit import TeacherSpec, UnitSpec
    from mmkd.training.teachers import Teacher

FEATURE_BUDGET = 2 << 30  # bytes of feature maps kept on disk; if there are more, teachers run on every batch


class TeacherSource(Protocol):
    """Where the training loop gets the teachers' outputs from.

    Attributes:
        networks: modality -> network of the teachers with parameters that train with the student; else empty.
    """

    @property
    def networks(self) -> Mapping[str, nn.Module]: ...

    def outputs(self, positions: NDArray[np.int64], views: Mapping[str, Tensor]) -> Mapping[str, Outputs]:
        """Modality -> outputs for the training windows at these positions of the training set.

        Args:
            positions: (B,) positions in `TrainingData.train`; of augmented windows their rows, see `TrainingData.rows`.
            views: modality -> the views of these windows, (B, ...).
        """
        ...


class TaughtNetwork(Protocol):
    """A trained network whose outputs teach: a teacher, or a student like the one that is taught.

    Attributes:
        network: in evaluation mode, without gradients.
        checkpoint: the epoch of its weights: "best" or "last".
    """

    @property
    def spec(self) -> "TeacherSpec | UnitSpec": ...
    @property
    def network(self) -> nn.Module: ...
    @property
    def checkpoint(self) -> str: ...


class NoTeachers:
    """The source of a training without teachers: that of a teacher itself, or of a student trained alone."""

    networks: Mapping[str, nn.Module] = {}

    def outputs(self, positions: NDArray[np.int64], views: Mapping[str, Tensor]) -> Mapping[str, Outputs]:
        return {}


class LiveTeachers:
    """Teachers that run on each batch, in evaluation mode and without gradients."""

    networks: Mapping[str, nn.Module] = {}

    def __init__(self, teachers: Mapping[str, TaughtNetwork]) -> None:
        self.teachers = teachers

    def outputs(self, positions: NDArray[np.int64], views: Mapping[str, Tensor]) -> Mapping[str, Outputs]:
        with torch.no_grad():
            return {name: teacher.network(views) for name, teacher in self.teachers.items()}


class MovingTeachers(LiveTeachers):
    """Copies of teachers with parameters that train with the student; they run on each batch, with gradients.

    Attributes:
        networks: modality -> the copy.
    """

    def __init__(self, teachers: "Mapping[str, Teacher]") -> None:
        super().__init__(teachers)
        self.networks = {name: deepcopy(teacher.network) for name, teacher in teachers.items()}

    def outputs(self, positions: NDArray[np.int64], views: Mapping[str, Tensor]) -> Mapping[str, Outputs]:
        return {name: network(views) for name, network in self.networks.items()}


class OwnViews:
    """Live teachers whose views of the training windows are not those of the student's branches."""

    def __init__(self, teachers: LiveTeachers, windows: TrainingData) -> None:
        self.teachers = teachers
        self.windows = windows
        self.networks = teachers.networks

    def outputs(self, positions: NDArray[np.int64], views: Mapping[str, Tensor]) -> Mapping[str, Outputs]:
        return self.teachers.outputs(positions, self.windows.load_rows(positions))


class CachedTeachers:
    """Teachers whose outputs for the training windows are read from disk."""

    networks: Mapping[str, nn.Module] = {}

    def __init__(self, stored: Mapping[str, "StoredOutputs"], device: torch.device) -> None:
        self.stored = stored
        self.device = device

    def outputs(self, positions: NDArray[np.int64], views: Mapping[str, Tensor]) -> Mapping[str, Outputs]:
        return {name: stored.load(positions, self.device) for name, stored in self.stored.items()}


@dataclass(frozen=True)
class StoredOutputs:
    """Memory-mapped outputs of one teacher: one row a training window, in the order of the training set.

    Of augmented copies, all rows of the first copy come first, then those of the second, and so on.

    Feature maps (C, H, W) are stored and loaded with their channels last in memory, as the networks compute them.
    Pooling them, or comparing them with those of a student, is several times faster in this format.

    Attributes:
        arrays: name -> array (N, ...), as `flatten` names them.
        classifier: weights of the teacher's classifier, if it has one.
    """

    arrays: Mapping[str, NDArray[np.float32]]
    classifier: Tensor | None

    def load(self, positions: NDArray[np.int64], device: torch.device) -> Outputs:
        """The outputs for the windows at these positions; feature maps are read when they are used."""

        def load_rows(name: str) -> Tensor:
            rows = torch.from_numpy(np.ascontiguousarray(self.arrays[name][positions])).to(device)
            return rows.movedim(-1, 1) if rows.ndim == 4 else rows

        return Outputs(
            load_rows("logits"),
            load_rows("embedding"),
            _LazyTensors("features.", self.arrays, load_rows),
            None if self.classifier is None else self.classifier.to(device),
            _LazyTensors("attention.", self.arrays, load_rows),
        )


class _LazyTensors(Mapping[str, Tensor]):
    """The arrays whose names begin with `prefix`; each is read on access, so a method reads only what it uses."""

    def __init__(self, prefix: str, arrays: Mapping[str, Any], load: Callable[[str], Tensor]) -> None:
        self.prefix = prefix
        self.load = load
        self.names = [name.removeprefix(prefix) for name in arrays if name.startswith(prefix)]

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.names:
            raise KeyError(name)
        return self.load(self.prefix + name)

    def __contains__(self, name: object) -> bool:
        return name in self.names  # without reading it

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self.names)

    def __len__(self) -> int:
        return len(self.names)


def flatten(outputs: Outputs, maps: bool) -> dict[str, Tensor]:
    """The arrays of a teacher's outputs by name, as they are stored.

    Args:
        maps: whether feature maps and attention are included.
    """
    flat = {"logits": outputs.logits, "embedding": outputs.embedding}
    if maps:
        flat |= {f"features.{name}": value for name, value in outputs.features.items()}
        flat |= {f"attention.{name}": value for name, value in outputs.attention.items()}
    return {name: value.movedim(1, -1) if value.ndim == 4 else value for name, value in flat.items()}


def make_teacher_source(
    teachers: Mapping[str, TaughtNetwork],
    needs: frozenset[str],
    windows: TrainingData,
    cache: Cache,
    progress: Progress,
    budget: int = FEATURE_BUDGET,
    part: str = "",
) -> LiveTeachers | CachedTeachers | NoTeachers:
    """The cheapest source of the outputs that a method needs.

    Logits and embeddings are always stored in the cache, unless the windows are augmented anew each time: then the
    teachers run live. Feature maps are stored if they fit into `budget` bytes;
    those of other units that were not used for the longest time are removed first. Else the teachers run live.

    Args:
        needs: `Method.needs`.
        budget: bytes of all feature maps in the cache.
        part: names the training windows, if they are not those of the teachers' own training.
    """
    if not teachers:
        return NoTeachers()
    augmented = windows.augmented
    if augmented is not None and not augmented.is_stored:
        return LiveTeachers(teachers)
    maps = bool(needs & {"features", "cam", "attention"})
    kind = "features" if maps else "outputs"
    form: dict[str, Any] = {"maps": maps} | ({"layout": "channels last"} if maps else {})
    form |= {"windows": part} if part else {}
    form |= {"augmented": augmented.key} if augmented is not None else {}
    keys = {n: digest({"teacher": t.spec.key, "weights": t.checkpoint, **form}) for n, t in teachers.items()}
    first_window = windows.load_views(windows.train[:1])
    if maps:
        with torch.no_grad():
            outputs = [flatten(teacher.network(first_window), True) for teacher in teachers.values()]
        size = sum(value.numel() * 4 for arrays in outputs for value in arrays.values()) * windows.stored_rows
        if size > budget:
            return LiveTeachers(teachers)
        cache.evict(kind, budget - size, protected=set(keys.values()))
    stored = {}
    for name, teacher in teachers.items():
        create = partial(_write_outputs, name, teacher.network, maps, windows, progress=progress)
        arrays = cache.load_or_create(kind, keys[name], create, _open_outputs)
        with torch.no_grad():
            classifier = teacher.network(first_window).classifier
        stored[name] = StoredOutputs(arrays, classifier)
    return CachedTeachers(stored, windows.device)


def _open_outputs(folder: Path) -> dict[str, NDArray[np.float32]]:
    """The stored arrays by name, memory-mapped, in the order of the network's outputs."""
    order = json.loads((folder / "order.json").read_text())
    if missing := {"logits", "embedding"}.difference(order):
        raise ValueError(f"order.json lacks {min(missing)}")
    return {name: np.lib.format.open_memmap(folder / f"{name}.npy", "r") for name in order}


def _write_outputs(
    name: str, network: nn.Module, maps: bool, windows: TrainingData, folder: Path, progress: Progress
) -> None:
    """Run the teacher on the training windows and write its outputs, one `.npy` file an array."""
    count = windows.stored_rows
    size = windows.prediction_batch
    arrays: dict[str, Any] = {}
    with torch.no_grad(), progress.bar(f"outputs of {name} teacher", count) as bar:
        for start in range(0, count, size):
            part = slice(start, min(start + size, count))
            outputs = network(windows.load_rows(np.arange(part.start, part.stop)))
            for name, value in flatten(outputs, maps).items():
                if name not in arrays:
                    arrays[name] = create_array(folder / f"{name}.npy", (count, *value.shape[1:]))
                arrays[name][part] = value.float().cpu().numpy()
            bar.advance(part.stop - part.start)
    for array in arrays.values():
        array.flush()
    (folder / "order.json").write_text(json.dumps(list(arrays)))
