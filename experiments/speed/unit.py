"""One unit from its data to its record, beside a plain PyTorch loop with the same batches, losses and numbers."""

import tempfile
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import numpy as np
import plain
import torch
from pairs import Row, pairs, user_seconds
from torch import nn

import mmkd
from mmkd.data import load_dataset
from mmkd.store.record import Record
from mmkd.training.preparation import prepare_unit
from mmkd.training.step_threads import on_threads
from mmkd.training.workspace import Workspace

EPOCHS = 8
SETTINGS = {"dataset": "motionsense", "student": "sig", "teachers": "sig", "epochs": EPOCHS, "teacher_epochs": 1}


def write_arrays(record: Record, folder: Path, cache: str) -> nn.Module:
    """Write what the plain loop reads: view, labels and teacher's logits of a unit; returns its untrained student."""
    spec = record.unit
    used = spec.training
    assert (used.lr, used.weight_decay, used.batch_size) == (plain.LR, plain.WEIGHT_DECAY, plain.BATCH), used
    assert (spec.options["temperature"], spec.options["kd_weight"]) == (plain.TEMPERATURE, plain.KD_WEIGHT)
    unit = prepare_unit(
        spec, load_dataset(SETTINGS["dataset"]), Workspace(runs=record.folder.parent, cache_folder=cache)
    )
    view, train, test = unit.views["sig"].array, unit.windows.train, unit.split.test
    np.save(folder / "x.npy", view[train])
    np.save(folder / "x_test.npy", view[test])
    logits = unit.source.outputs(np.arange(len(train)), {})["sig"].logits
    np.savez(folder / "rest.npz", y=unit.windows.y[train], y_test=unit.windows.y[test], logits=logits.numpy())
    return unit.student


def by_hand(folder: Path, untrained: nn.Module, threads: int) -> dict[str, float]:
    """The test scores of the plain loop, from the arrays on disk; trained on as many threads as the unit was."""
    x, x_test = (torch.from_numpy(np.load(folder / name, allow_pickle=False)) for name in ("x.npy", "x_test.npy"))
    with np.load(folder / "rest.npz", allow_pickle=False) as z:
        y, y_test, logits = (torch.from_numpy(z[name]) for name in ("y", "y_test", "logits"))
    student = deepcopy(untrained)
    with on_threads(threads):
        plain.train(student, x, y, [logits], EPOCHS, seed=0)
    return plain.test(student, x_test, y_test)


def rows(rounds: int) -> Iterator[Row]:
    """The unit beside the loop; nothing where the data set is not here."""
    try:
        load_dataset(SETTINGS["dataset"])
    except mmkd.MmkdError as error:
        print(f"left out: {error}")
        return
    with tempfile.TemporaryDirectory() as folder:
        cache = f"{folder}/cache"

        def unit() -> Record:
            return mmkd.run("kd", runs=f"{folder}/runs", cache=cache, existing="rerun", peers=("none",), **SETTINGS)

        record = unit()  # makes the view, the teacher and its outputs
        student = write_arrays(record, Path(folder), cache)
        found: list[dict[str, float]] = []

        def loop() -> None:
            found.append(by_hand(Path(folder), student, record.result["training_threads"]))

        times = pairs(unit, loop, rounds, warm=False, clock=user_seconds)
        gaps = {name: abs(score - record.metrics["test"][name]) for name, score in found[-1].items()}
        assert max(gaps.values()) < 1e-3, f"the loop gives other numbers: {gaps}"
        yield Row(
            f"a kd unit on motionsense, student sig, {EPOCHS} epochs, its data, views, test and record included",
            "a plain PyTorch loop of 60 lines",
            times.cost,
            1.1,
            cost=True,
            note=f"processor time; test accuracy and NLL differ by {max(gaps.values()):.0e}",
        )
