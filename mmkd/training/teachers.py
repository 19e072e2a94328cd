"""Teachers: trained once a spec and seed, shared by all methods."""

import hashlib
import json
import resource
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_tensors
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mmkd.core.errors import MmkdError, describe_error, did_you_mean
from mmkd.core.keys import seed_for
from mmkd.core.registry import METHODS, kind_of
from mmkd.methods.contract import Method
from mmkd.methods.outputs import Outputs
from mmkd.nets import Shape, SingleView, build_dense, build_teacher, count_parameters
from mmkd.specs.unit import TeacherSpec
from mmkd.store.cache import Cache
from mmkd.store.environment import environment
from mmkd.tasks import TASKS
from mmkd.training.checkpoint import Checkpoint
from mmkd.training.loop import NoTeachers, TrainingData, TrainingResult, snapshot, train
from mmkd.training.testing import evaluate_on_test
from mmkd.training.workspace import Workspace
from mmkd.views import MODALITIES

_NET = "--teacher-net names its network, --image-size the side of its images"


@dataclass(frozen=True)
class Teacher:
    """A trained teacher, where its record lies, and the epoch that its weights are of: "best" or "last"."""

    spec: TeacherSpec
    network: nn.Module
    folder: Path
    checkpoint: str = "best"


class Pixels(SingleView):
    """A network that labels every pixel of an image; its logits are (B, K, H W), row by row as the labels are."""

    def forward(self, views: Mapping[str, Tensor]) -> Outputs:
        """{modality: (B, C, H, W)} to the network's outputs."""
        outputs = super().forward(views)
        return replace(outputs, logits=outputs.logits.flatten(2))


def untrained(task: str, net: str, modality: str, shape: Shape, classes: int, fusion: str | None = None) -> nn.Module:
    """A network of one view, teacher or student, initialised from torch's current seed.

    Raises:
        MmkdError: no such network, or one that cannot read this view.
    """
    if not TASKS.get(task).per_step:
        return build_teacher(net, modality, shape, classes)
    if MODALITIES.get(kind_of(modality)).source == "images":
        return Pixels(modality, build_dense(net, shape, classes, fusion))
    if len(shape) != 2:
        raise MmkdError(f"the positions of {modality} are no time steps; use --teachers sig and --student sig")
    return SingleView(modality, build_dense(net, shape, classes, fusion))


def get_teacher(
    spec: TeacherSpec,
    windows: TrainingData,
    test: NDArray[np.int64],
    workspace: Workspace,
    checkpoint: str = "best",
) -> Teacher:
    """The teacher from the cache, with the weights of its `checkpoint` epoch, trained first where it is not there.

    One whose spec names a file of weights is read from it instead, and has no epochs.

    Its folder holds `best.safetensors`, `last.safetensors`, `history.json`, `predictions.npz` (of the test windows,
    read once, after training) and `result.json`.
    """

    cache = workspace.cache
    group = workspace.group

    def make(folder: Path) -> None:
        if not group.leads:
            raise MmkdError(f"cache {cache.root} lacks teacher {spec.key}; all processes must see one --cache")
        net = initial_network(spec, windows)
        if spec.checkpoint_file:
            load_checkpoint(net, spec)
            state = snapshot(net)
            trained = TrainingResult([], net, state, state, -1, 0.0, 0)
        else:
            with group.training("teacher", key=spec.key, spec=asdict(spec)):
                trained = train_teacher(spec, net, windows, workspace)
        save_file(trained.last, folder / "last.safetensors")
        save_file(trained.best, folder / "best.safetensors")
        results, predictions = evaluate_on_test(trained, windows.only([spec.modality]), test, spec.training)
        np.savez(folder / "predictions.npz", **predictions)
        (folder / "history.json").write_text(json.dumps(trained.history))
        facts: dict[str, Any] = {
            "parameters": count_parameters(net),
            "seconds": trained.seconds,
            "best_epoch": trained.best_epoch + 1,
        }
        where = environment(str(windows.device), torch.get_num_threads(), group.world)
        facts |= {"process_peak_memory_mib": peak_memory(), "environment": where}
        (folder / "result.json").write_text(json.dumps({"metrics": results, **facts}))

    def read(folder: Path) -> Teacher:
        net = initial_network(spec, windows)
        net.load_state_dict(load_file(folder / f"{checkpoint}.safetensors"))
        net.to(windows.device).eval().requires_grad_(False)
        return Teacher(spec, net, folder, checkpoint)

    teacher = cache.load_or_create("teachers", spec.key, make, read)
    _checkpoint(spec, cache).remove()
    return teacher


def initial_network(spec: TeacherSpec, windows: TrainingData) -> nn.Module:
    """The teacher's network before it is trained, on the device of the windows."""
    shape = windows.views[spec.modality].shape[1:]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(spec.seed, f"teacher/{spec.modality}"))
        return untrained(spec.task, spec.net, spec.modality, shape, windows.classes).to(windows.device)


def train_teacher(spec: TeacherSpec, network: nn.Module, windows: TrainingData, workspace: Workspace) -> TrainingResult:
    """Train the teacher's `initial_network`, in step with the other processes of the group."""
    method: Method = METHODS.get("student")()
    return train(
        network,
        method,
        windows.only([spec.modality]),
        NoTeachers(),
        training=spec.training,
        seed=spec.seed,
        label=f"teacher {spec.modality}",
        progress=workspace.progress,
        checkpoint=_checkpoint(spec, workspace.cache),
        group=workspace.group,
    )


def _checkpoint(spec: TeacherSpec, cache: Cache) -> Checkpoint:
    return Checkpoint(cache.path("checkpoints", f"teacher-{spec.key}"))


def load_checkpoint(network: nn.Module, spec: TeacherSpec) -> None:
    """Fill the network of a teacher with the weights of the file that its spec names.

    Raises:
        MmkdError: no safetensors file, another one than when the spec was made, or tensors that are not the network's.
    """
    where = f"--teacher-checkpoint {spec.modality}={spec.checkpoint_file}"
    try:
        content = Path(spec.checkpoint_file).read_bytes()
    except OSError as error:
        raise MmkdError(f"{where}: {error.strerror or error}") from None
    if hashlib.sha256(content).hexdigest() != spec.checkpoint_sha256:
        raise MmkdError(f"{where}: the file changed since the command began; start it again")
    try:
        found = load_tensors(content)
    except Exception as error:  # safetensors raises several kinds for odd bytes
        raise MmkdError(
            f"{where}: no intact safetensors file ({describe_error(error)[:120]}); "
            f"save a network's state_dict with safetensors"
        ) from None
    wanted, net = network.state_dict(), f"{spec.net} on {spec.modality}"
    for name, tensor in wanted.items():
        if name not in found:
            hint = did_you_mean(name, found)
            raise MmkdError(f"{where}: tensor {name} {tuple(tensor.shape)} of {net} is missing{hint}; {_NET}")
        if found[name].shape != tensor.shape:
            shapes = f"{tuple(found[name].shape)} instead of {tuple(tensor.shape)}"
            raise MmkdError(f"{where}: tensor {name} has shape {shapes}, as {net} has it here; {_NET}")
        if found[name].is_floating_point() != tensor.is_floating_point():
            raise MmkdError(f"{where}: tensor {name} holds {found[name].dtype} instead of {tensor.dtype}")
        if not torch.isfinite(found[name].float()).all():
            raise MmkdError(f"{where}: tensor {name} holds NaN or infinity")
    for name in found:
        if name not in wanted:
            raise MmkdError(f"{where}: tensor {name} is none of {net}{did_you_mean(name, wanted)}; {_NET}")
    network.load_state_dict(found)


def peak_memory() -> float:
    """Highest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
