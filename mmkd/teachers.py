"""Teachers: trained once a spec and seed, shared by all methods."""

import json
import resource
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .cache import Cache
from .errors import MmkdError
from .method import Method, Outputs
from .modalities import MODALITIES
from .nets import Shape, SingleView, build_dense, build_teacher, count_parameters
from .progress import Progress
from .record import environment
from .registry import METHODS
from .spec import TeacherSpec, Training, seed_for
from .train import NoTeachers, Trained, Windows, judge, train


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
    if task == "classification":
        return build_teacher(net, modality, shape, classes)
    if MODALITIES.get(modality).source == "images":
        return Pixels(modality, build_dense(net, shape, classes, fusion))
    if len(shape) != 2:
        raise MmkdError(f"the positions of {modality} are no time steps; use --teachers sig and --student sig")
    return SingleView(modality, build_dense(net, shape, classes, fusion))


def get_teacher(
    spec: TeacherSpec,
    windows: Windows,
    test: NDArray[np.int64],
    cache: Cache,
    progress: Progress,
    checkpoint: str = "best",
) -> Teacher:
    """The teacher from the cache, with the weights of its `checkpoint` epoch, trained first where it is not there.

    Its folder holds `best.safetensors`, `last.safetensors`, `history.json`, `predictions.npz` (of the test windows,
    read once, after training) and `result.json`.
    """
    only = replace(windows, views={spec.modality: windows.views[spec.modality]})

    def network() -> nn.Module:
        shape = windows.views[spec.modality].shape[1:]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for(spec.seed, f"teacher/{spec.modality}"))
            return untrained(spec.task, spec.net, spec.modality, shape, windows.classes).to(windows.device)

    def make(folder: Path) -> None:
        net = network()
        method: Method = METHODS.get("student")()
        label = f"teacher {spec.modality}"
        trained = train(net, method, only, NoTeachers(), spec.training, spec.seed, label, progress)
        save_file(trained.last, folder / "last.safetensors")
        save_file(trained.best, folder / "best.safetensors")
        results = test_scores(trained, only, test, spec.training, folder / "predictions.npz")
        (folder / "history.json").write_text(json.dumps(trained.history))
        facts: dict[str, Any] = {
            "parameters": count_parameters(net),
            "seconds": trained.seconds,
            "best_epoch": trained.best_epoch + 1,
        }
        where = environment(str(windows.device), torch.get_num_threads())
        facts |= {"process_peak_memory_mib": peak_memory(), "environment": where}
        (folder / "result.json").write_text(json.dumps({"metrics": results, **facts}))

    def read(folder: Path) -> Teacher:
        net = network()
        net.load_state_dict(load_file(folder / f"{checkpoint}.safetensors"))
        net.to(windows.device).eval().requires_grad_(False)
        return Teacher(spec, net, folder, checkpoint)

    return cache.load("teachers", spec.key, make, read)


def test_scores(
    trained: Trained,
    windows: Windows,
    test: NDArray[np.int64],
    training: Training,
    predictions: Path,
) -> dict[str, dict[str, float]]:
    """The one reading of the test windows: scores after the best and the last epoch, and the predictions of the best.

    Of images whose pixels have labels the predictions file has the maps `true` and `predicted` (n, H, W) alone.

    The network is left with the best weights.
    """
    found: dict[str, dict[str, float]] = {}
    for name, state in (("test_last", trained.last), ("test", trained.best)):
        trained.network.load_state_dict(state)
        found[name], said = judge(trained.network, windows, test, training)
    kept: dict[str, Any] = {"window": test, "true": windows.y[test], **said}
    if windows.places is not None:
        kept |= {"recording": windows.places[0][test], "start": windows.places[1][test]}
    if "probabilities" in kept:  # one for every sample: half is enough
        precise = np.float32 if windows.task == "classification" else np.float16
        kept["probabilities"] = kept["probabilities"].astype(precise)
    elif windows.grid is not None:
        kept |= {name: kept[name].astype(np.int16).reshape(-1, *windows.grid) for name in ("true", "predicted")}
    np.savez(predictions, **kept)
    if len(windows.validation):
        row = trained.history[trained.best_epoch]
        found["validation"] = {name: row[f"val_{name}"] for name in ("accuracy", "macro_f1", "nll")}
    return found


def peak_memory() -> float:
    """Highest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
