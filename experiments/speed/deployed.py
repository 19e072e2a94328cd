"""A student in ONNX Runtime beside the same student in PyTorch: one window at a time, on one thread each."""

import tempfile
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from pairs import Row, pairs, user_seconds

import mmkd
from mmkd.deploy.onnx_run import open_session
from mmkd.training.step_threads import on_threads

CALLS = 500


def several(action: Callable[[], object]) -> None:
    for _ in range(CALLS):
        action()


def rows(rounds: int) -> Iterator[Row]:
    """Raw windows to probabilities; PyTorch gets its window standardised, which the file does itself."""
    with tempfile.TemporaryDirectory() as folder:
        places = {"runs": f"{folder}/runs", "cache": f"{folder}/cache"}
        record = mmkd.run("student", "basic-motions", student="sig", epochs=1, peers=("none",), **places)
        exported = mmkd.export_student(record, "onnx", f"{folder}/exported")
        student = mmkd.load_student(record)
        session = open_session(next(path for path in exported.files if path.suffix == ".onnx"))
        (name,) = (each.name for each in session.get_inputs())
        x = np.random.default_rng(0).normal(size=(1, *session.get_inputs()[0].shape[1:])).astype(np.float32)
        views = student.views(x)

        def in_onnx() -> object:
            return session.run(None, {name: x})[0]

        @torch.no_grad()
        def in_pytorch() -> object:
            return student(views).logits.softmax(1)

        gap = float(np.abs(in_onnx() - in_pytorch().numpy()).max())
        assert gap < 1e-4, f"the probabilities differ by {gap}"
        with on_threads(1):
            times = pairs(partial(several, in_onnx), partial(several, in_pytorch), rounds, clock=user_seconds)
    yield Row(
        "a sig student of `small` in ONNX Runtime, 1 window of 6 x 100 at a time, 1 thread",
        "eager PyTorch",
        times.faster,
        3.0,
        note=f"processor time of {CALLS} windows; probabilities differ by {gap:.0e}",
    )
