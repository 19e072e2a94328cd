"""Teachers: each spec is trained once, and the teacher is shared by all methods."""

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
from mmkd.metrics.registry import checksum_field
from mmkd.nets import Shape, SingleView, build_dense, build_teacher, count_parameters
from mmkd.nets.dense.branches import make_branch
from mmkd.nets.ensemble import Ensemble, PeerStandIn
from mmkd.specs.teacher_nets import ensemble_parts, kind_of_net
from mmkd.specs.unit import OF_CROSS_ENTROPY, TeacherSpec
from mmkd.store.cache import Cache
from mmkd.store.environment import environment
from mmkd.store.form import check_form
from mmkd.tasks import TASKS
from mmkd.training.checkpoint import Checkpoint
from mmkd.training.data import TrainingData
from mmkd.training.evaluation import training_fit
from mmkd.training.loop import TrainingResult, train
from mmkd.training.peer_teachers import write_peer
from mmkd.training.state import snapshot
from mmkd.training.teacher_outputs import NoTeachers
from mmkd.training.testing import evaluate_on_test, evaluate_weights
from mmkd.training.workspace import Workspace
from mmkd.views import MODALITIES

KEPT_NETWORKS = 6
"""Trained teachers that stay in memory when their unit is done: nobody changes them, and other methods share them."""
_kept_networks: dict[tuple[str, int, str], nn.Module] = {}

_NET = "--teacher-net names its network, --image-size the side of its images"


@dataclass(frozen=True)
class Teacher:
    """A trained teacher.

    Attributes:
        network: in evaluation mode, without gradients.
        folder: its entry in the cache.
        checkpoint: the epoch of its weights: "best" or "last".
        logits: of a peer, (N, K) of all windows of the data set, of training windows out of fold; None of a network.
    """

    spec: TeacherSpec
    network: nn.Module
    folder: Path
    checkpoint: str = "best"
    logits: NDArray[np.float32] | None = None


class PixelNetwork(SingleView):
    """A network that predicts a class for every pixel of an image; its logits are (B, K, H W), row by row."""

    def forward(self, views: Mapping[str, Tensor]) -> Outputs:
        """The outputs for views {modality: (B, C, H, W)}."""
        outputs = super().forward(views)
        return replace(outputs, logits=outputs.logits.flatten(2))


def make_network(
    task: str, net: str, modality: str, shape: Shape, classes: int, fusion: str | None = None, *, window: int
) -> nn.Module:
    """An untrained network of one view, teacher or student, initialised from torch's current seed.

    Args:
        fusion: of the stages of a dense network; None for its own.
        window: number of time steps of a window, which a network of pictures labels.

    Raises:
        MmkdError: no such network, or one that cannot read this view.
    """
    if kind_of_net(net) == "peer":
        return PeerStandIn(modality, classes)
    if kind_of_net(net) == "ensemble":
        count, member = ensemble_parts(net)
        return Ensemble([make_network(task, member, modality, shape, classes, window=window) for _ in range(count)])
    if not TASKS.get(task).per_step:
        return build_teacher(net, modality, shape, classes)
    if MODALITIES.get(kind_of(modality)).source == "images":
        return PixelNetwork(modality, build_dense(net, shape, classes, fusion))
    if kind_of(modality) == "pi":
        raise MmkdError(
            f"{modality}: a persistence image has no axis of time, and every time step has a label; use sig or gaf, or "
            f"add it to a student, as in --student sig+{modality}"
        )
    return SingleView(modality, make_branch(net, modality, shape, classes, window, fusion))


def get_teacher(
    spec: TeacherSpec,
    windows: TrainingData,
    test: NDArray[np.int64],
    workspace: Workspace,
    checkpoint: str = "best",
) -> Teacher:
    """The teacher from the cache; it is trained first if it is not there.

    A teacher whose spec names a file of weights is not trained; its weights are loaded from that file.

    Its cache folder holds `best.safetensors`, `last.safetensors`, `history.json`, `result.json`, and the predictions of
    the test windows, which are read once, after training: `predictions.npz` of the best epoch, `predictions_last.npz`.

    Args:
        test: indices of the test windows.
        checkpoint: the epoch of the returned weights: "best" or "last". Where they are the same, because there are no
            validation windows or weights were given, those of `Teacher` are "last".

    Raises:
        MmkdError: the file of weights does not fit, or another process of the group leads and the cache lacks the
            teacher.
    """
    cache = workspace.cache
    group = workspace.group

    def make(folder: Path) -> None:
        if not group.is_leader:
            raise MmkdError(f"cache {cache.root} lacks teacher {spec.key}; all processes must see one --cache")
        if kind_of_net(spec.net) == "peer":
            write_peer(spec, windows, test, folder)
            return
        net = initial_network(spec, windows)
        if spec.members:
            result = train_members(spec, net, windows, test, workspace)
        elif spec.checkpoint_file:
            load_checkpoint(net, spec)
            state = snapshot(net)
            result = TrainingResult(
                history=[], network=net, best=state, last=state, best_epoch=-1, seconds=0.0, method_parameters=0
            )
        else:
            with group.training("teacher", key=spec.key, spec=asdict(spec)):
                result = train_teacher(spec, net, windows, workspace)
        save_file(result.last, folder / "last.safetensors")
        save_file(result.best, folder / "best.safetensors")
        own = windows.select_views([spec.modality])
        metrics, predictions, last = evaluate_on_test(result, own, test, spec.training)
        np.savez(folder / "predictions.npz", **predictions)
        np.savez(folder / "predictions_last.npz", **last)
        best_fit = training_fit(net, own, spec.training)  # the weights are those of the best epoch after the test
        last_fit = best_fit
        if result.best_epoch + 1 < len(result.history) or spec.members:
            net.load_state_dict(result.last)
            last_fit = training_fit(net, own, spec.training)
        (folder / "history.json").write_text(json.dumps(result.history))
        values: dict[str, Any] = {
            "metrics": metrics,
            "training_fit": {"best": best_fit, "last": last_fit},
            **checksum_field(),
            "parameters": count_parameters(net),
            "seconds": result.seconds,
            **({"training_threads": result.threads} if result.threads else {}),
            "best_epoch": result.best_epoch + 1,
            "process_peak_memory_mib": peak_memory(),
            "environment": environment(str(windows.device), torch.get_num_threads(), group.world_size),
        }
        (folder / "result.json").write_text(json.dumps(values))

    def read(folder: Path) -> Teacher:
        _check_entry(folder, is_network=kind_of_net(spec.net) != "peer")
        if kind_of_net(spec.net) == "peer":
            logits = np.load(folder / "logits.npy", allow_pickle=False)
            return Teacher(spec, initial_network(spec, windows), folder, "last", logits)
        epoch = checkpoint if len(windows.validation) and not spec.checkpoint_file else "last"
        network = _trained_network(spec, windows, folder / f"{epoch}.safetensors")
        return Teacher(spec, network, folder, epoch)

    teacher = cache.load_or_create("teachers", spec.key, make, read)
    _checkpoint(spec, cache).remove()
    return teacher


def _check_entry(folder: Path, is_network: bool) -> None:
    """Raise ValueError or OSError if the folder of a teacher lacks what its record and its students read."""
    result = json.loads((folder / "result.json").read_text())
    history = json.loads((folder / "history.json").read_text())
    if not isinstance(history, list) or not all(isinstance(row, dict) for row in history):
        raise ValueError("history.json is no list of epochs")
    if not isinstance(result, dict):
        raise ValueError("result.json is no object")
    if missing := [name for name in ("metrics", "parameters", "seconds", "best_epoch") if name not in result]:
        raise ValueError(f"result.json lacks {missing[0]}")
    check_form(result)
    files = ["predictions.npz", *(["best.safetensors", "last.safetensors"] if is_network else [])]
    if missing := [name for name in files if not (folder / name).is_file()]:
        raise ValueError(f"{missing[0]} is missing")


def _trained_network(spec: TeacherSpec, windows: TrainingData, weights: Path) -> nn.Module:
    """The teacher's network with these weights, in evaluation mode; the last few are kept, for the next units."""
    key = (str(weights.resolve()), weights.stat().st_mtime_ns, str(windows.device))
    network = _kept_networks.pop(key, None)
    if network is None:
        network = initial_network(spec, windows)
        network.load_state_dict(load_file(weights))
        network.to(windows.device).eval().requires_grad_(False)
    _kept_networks[key] = network
    while len(_kept_networks) > KEPT_NETWORKS:
        del _kept_networks[next(iter(_kept_networks))]
    return network


def last_predictions(teacher: Teacher, windows: TrainingData, test: NDArray[np.int64]) -> dict[str, Any]:
    """The arrays of `predictions_last.npz`; computed if the teacher's entry in the cache is older than that file.

    Args:
        windows: with the teacher's view.
        test: indices of the test windows.
    """
    path = teacher.folder / "predictions_last.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as z:
            return {name: z[name] for name in z.files}
    net = initial_network(teacher.spec, windows)
    net.load_state_dict(load_file(teacher.folder / "last.safetensors"))
    own = windows.select_views([teacher.spec.modality])
    return evaluate_weights(net, own, test, teacher.spec.training)[1]


def initial_network(spec: TeacherSpec, windows: TrainingData) -> nn.Module:
    """The teacher's network before it is trained, on the device of the windows."""
    shape = windows.views[spec.modality].shape[1:]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(spec.seed, f"teacher/{spec.modality}{_member_text(spec)}"))
        network = make_network(spec.task, spec.net, spec.modality, shape, windows.classes, window=windows.window)
        return network.to(windows.device)


def _member_text(spec: TeacherSpec) -> str:
    """What the seeds of a member of an ensemble differ by; empty for the first, which is the teacher alone."""
    return f"/member {spec.member}" if spec.member else ""


def train_members(
    spec: TeacherSpec, network: nn.Module, windows: TrainingData, test: NDArray[np.int64], workspace: Workspace
) -> TrainingResult:
    """Train the networks of an ensemble, one after the other; each has its own entry in the cache.

    Args:
        network: the ensemble, untrained; afterwards it has the weights of the best epochs of its members.
        test: indices of the test windows.
    """
    states: dict[str, dict[str, Tensor]] = {"best": {}, "last": {}}
    seconds = 0.0
    for number, member in enumerate(spec.members):
        teacher = get_teacher(member, windows, test, workspace)
        seconds += float(json.loads((teacher.folder / "result.json").read_text())["seconds"])
        for epoch, state in states.items():
            weights = load_file(teacher.folder / f"{epoch}.safetensors")
            state |= {f"members.{number}.{name}": tensor for name, tensor in weights.items()}
    network.load_state_dict(states["best"])
    return TrainingResult(
        history=[],
        network=network,
        best=states["best"],
        last=states["last"],
        best_epoch=-1,
        seconds=seconds,
        method_parameters=0,
    )


def train_teacher(spec: TeacherSpec, network: nn.Module, windows: TrainingData, workspace: Workspace) -> TrainingResult:
    """Train the teacher's `initial_network`, in step with the other processes of the group."""
    options = {name: getattr(spec.training, name) for name in OF_CROSS_ENTROPY}
    method: Method = METHODS.get("student")(**options)
    return train(
        network,
        method,
        windows.select_views([spec.modality]),
        NoTeachers(),
        training=spec.training,
        seed=seed_for(spec.seed, _member_text(spec)) if spec.member else spec.seed,
        label=f"teacher {spec.modality}{_member_text(spec)}",
        progress=workspace.progress.of_training(f"teacher/{spec.key}"),
        checkpoint=_checkpoint(spec, workspace.cache),
        group=workspace.group,
    )


def _checkpoint(spec: TeacherSpec, cache: Cache) -> Checkpoint:
    return Checkpoint(cache.path("checkpoints", f"teacher-{spec.key}"))


def load_checkpoint(network: nn.Module, spec: TeacherSpec) -> None:
    """Load the weights of the file that a teacher's spec names into its network.

    Raises:
        MmkdError: the file is no safetensors file, has changed since the spec was made, or its tensors are not those of
            the network.
    """
    flag = f"--teacher-checkpoint {spec.modality}={spec.checkpoint_file}"
    try:
        content = Path(spec.checkpoint_file).read_bytes()
    except OSError as error:
        raise MmkdError(f"{flag}: {error.strerror or error}") from None
    if hashlib.sha256(content).hexdigest() != spec.checkpoint_sha256:
        raise MmkdError(f"{flag}: the file changed since the command began; start it again")
    try:
        tensors = load_tensors(content)
    except Exception as error:  # safetensors raises several kinds for odd bytes
        raise MmkdError(
            f"{flag}: no intact safetensors file ({describe_error(error)[:120]}); "
            f"save a network's state_dict with safetensors"
        ) from None
    expected = network.state_dict()
    net = f"{spec.net} on {spec.modality}"
    for name, tensor in expected.items():
        if name not in tensors:
            hint = did_you_mean(name, tensors)
            raise MmkdError(f"{flag}: tensor {name} {tuple(tensor.shape)} of {net} is missing{hint}; {_NET}")
        if tensors[name].shape != tensor.shape:
            shapes = f"{tuple(tensors[name].shape)} instead of {tuple(tensor.shape)}"
            raise MmkdError(f"{flag}: tensor {name} has shape {shapes} of {net}; {_NET}")
        if tensors[name].is_floating_point() != tensor.is_floating_point():
            raise MmkdError(f"{flag}: tensor {name} holds {tensors[name].dtype} instead of {tensor.dtype}")
        if not torch.isfinite(tensors[name].float()).all():
            raise MmkdError(f"{flag}: tensor {name} holds NaN or infinity")
    for name in tensors:
        if name not in expected:
            raise MmkdError(f"{flag}: tensor {name} is not one of {net}{did_you_mean(name, expected)}; {_NET}")
    network.load_state_dict(tensors)


def peak_memory() -> float:
    """Highest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
