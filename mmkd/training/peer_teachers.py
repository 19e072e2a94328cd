"""A peer as a teacher: its logits of all windows are computed once, and stored.

The logits of a training window come from a fit on the other folds of subjects (or of windows, where there are no
subjects); those of all other windows from the fit on all training windows. Both are divided by the temperature that
fits the former best, so that they are on the scale of logits. Under augmentation the target is that of the window as
recorded.
"""

import json
import time
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.keys import seed_for
from mmkd.data.inner_folds import deal_classes
from mmkd.metrics.classes import log_loss
from mmkd.metrics.registry import checksum_field
from mmkd.metrics.reproduction import prediction_scores
from mmkd.peers import PEERS, best_temperature
from mmkd.peers.base import softmax
from mmkd.specs.teacher_nets import FOLDS
from mmkd.specs.unit import TeacherSpec
from mmkd.store.environment import environment
from mmkd.training.data import TrainingData


def write_peer(spec: TeacherSpec, windows: TrainingData, test: NDArray[np.int64], folder: Path) -> None:
    """Fit a peer and write its entry in the cache: `logits.npy` (N, K) and the files that every teacher has.

    Args:
        windows: with its view; windows without a label are not read for the fit.
        test: indices of the test windows.

    Raises:
        MmkdError: it cannot be fitted, or there are no two folds.
    """
    x = np.asarray(windows.views[spec.modality], np.float32)
    train = windows.train[windows.y[windows.train] >= 0]
    y = windows.y[train]
    seed = seed_for(spec.seed, f"peer/{spec.net}")
    start = time.perf_counter()
    folds = _folds(windows, train)
    peer = PEERS[spec.net]().fit([x[train]], y, windows.classes, seed)
    logits = peer.logits([x])
    for number in np.unique(folds):
        held_out = folds == number
        rest = train[~held_out]
        other = PEERS[spec.net]().fit([x[rest]], windows.y[rest], windows.classes, seed)
        logits[train[held_out]] = other.logits([x[train[held_out]]])
    temperature = best_temperature(logits[train], y)
    logits /= temperature
    seconds = time.perf_counter() - start
    np.save(folder / "logits.npy", logits.astype(np.float32))
    arrays: dict[str, Any] = {"window": test, "true": windows.y[test], "predicted": logits[test].argmax(1)}
    arrays["probabilities"] = softmax(logits[test]).astype(np.float32)
    if windows.subject is not None:
        arrays["subject"] = windows.subject[test]
    np.savez(folder / "predictions.npz", **(arrays if len(test) else {}))
    scores = {part: prediction_scores(arrays, windows.names) for part in ("test", "test_last") if len(test)}
    targets = softmax(logits[train])
    right = float((targets.argmax(1) == y).mean())
    fit = {"accuracy": right, "wrong": 1 - right, "nll": log_loss(y, targets)}
    (folder / "history.json").write_text("[]")
    values = {
        "metrics": scores,
        "training_fit": {"best": fit, "last": fit},
        **checksum_field(),
        "parameters": 0,
        "seconds": seconds,
        "best_epoch": 0,
        "process_peak_memory_mib": getrusage(RUSAGE_SELF).ru_maxrss / 1024,
        "made_with": peer.made_with,
        "notes": peer.notes,
        "temperature": temperature,
        "folds": len(np.unique(folds)),
        "environment": environment("cpu", torch.get_num_threads()),
    }
    (folder / "result.json").write_text(json.dumps(values))


def _folds(windows: TrainingData, train: NDArray[np.int64]) -> NDArray[np.int64]:
    """The fold of each of these windows, five or as many as there are subjects: whole subjects, or of each class."""
    y = windows.y[train]
    if windows.subject is None:
        most = int(np.bincount(y).max())
        if most < 2:
            raise MmkdError("a peer teaches out of fold, and no class has two training windows")
        return deal_classes(y, min(FOLDS, most))
    subjects = windows.subject[train]
    count = min(FOLDS, len(np.unique(subjects)))
    if count < 2:
        raise MmkdError("a peer teaches out of fold by subject, and there is one training subject; use a network")
    from sklearn.model_selection import GroupKFold

    numbers = np.empty(len(train), np.int64)
    for number, (_, held_out) in enumerate(GroupKFold(count).split(subjects, groups=subjects)):
        numbers[held_out] = number
    return numbers
