"""The target `c`: C99 source of a student, checked against its integer model, with what was measured of it."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.deploy.c import cortex
from mmkd.deploy.c.extract import extract
from mmkd.deploy.c.host import compile_host, has_compiler, run_host
from mmkd.deploy.c.layers import Network
from mmkd.deploy.c.quantise import choose_units, measure_ranges, quantise
from mmkd.deploy.c.source import write_source
from mmkd.deploy.integer import IntegerModel
from mmkd.deploy.job import ExportJob, Written
from mmkd.deploy.onnx_file import facts_of
from mmkd.deploy.windows import RecordWindows
from mmkd.metrics.classes import accuracy, macro_f1
from mmkd.store.record import Record
from mmkd.training.student_model import StudentModel

DEVICE_WINDOWS = 100
"""Windows that run in QEMU."""


def export_c(job: ExportJob) -> Written:
    """Write header, source, example and Makefile, and check them as far as the tools of this machine go.

    Raises:
        MmkdError: the student has no C form, the windows for calibration are not at hand, or what was written does not
            compile or does not compute what the integer model does.
    """
    network = extract(job.student)
    chosen = job.windows.for_calibration(job.options.calibration_windows, job.options.calibration_seed)
    model = integer_model(job.student, network, chosen.x, job.options.standardise == "int")
    source = write_source(model, job.student.classes, comments(job.record), channel_names(job.record))
    for name, text in source.files.items():
        (job.folder / name).write_text(text, encoding="ascii")
    checked = job.windows.for_check()
    tests = model.as_input(raw(job.student, checked.x))
    lines = [
        f"arena {source.arena:,} bytes, weights {source.weights:,} bytes; "
        f"first step in {job.options.standardise}, everything after it in integers",
        *_check_on_host(job.folder, model, tests, checked.text),
    ]
    scores = integer_scores(job.student, job.windows, model)
    if scores:
        lost = 100 * (scores["float32_macro_f1"] - scores["macro_f1"])
        lines.append(
            f"{scores['agreement_on']}: macro-F1 {scores['macro_f1']:.4f} in integers beside "
            f"{scores['float32_macro_f1']:.4f} ({lost:+.2f} points lost), accuracy {scores['accuracy']:.4f} beside "
            f"{scores['float32_accuracy']:.4f}; same class in {100 * scores['agreement']:.1f} %"
        )
    else:
        lines.append("note: no test windows, so that macro-F1 in integers is not measured")
    device = _measure_device(job.folder, model, tests[:DEVICE_WINDOWS], lines)
    lines.append(f"calibrated on {chosen.facts['number']} training windows, seed {chosen.facts['seed']}")
    measured = {
        **scores,
        "arena_bytes": source.arena,
        "weight_bytes": source.weights,
        **device,
        "standardise": job.options.standardise,
        "calibration": dict(chosen.facts),
    }
    return Written(lines, measured)


def integer_model(
    student: StudentModel, network: Network, calibration: NDArray[np.floating], counts: bool = False
) -> IntegerModel:
    """The layers of a student, as `extract` gives them, in integers.

    Args:
        calibration: (n, C, W), as `Dataset.x` has them: the windows on which the ranges of activations are measured.
        counts: whether it reads windows of int16, and not of float32.

    Raises:
        MmkdError: numbers of a layer do not fit into 32 bits.
    """
    windows = raw(student, calibration)
    units = choose_units(windows) if counts else None
    return quantise(network, measure_ranges(network, windows), (student.channels, student.window), units)


def raw(student: StudentModel, windows: NDArray[np.floating]) -> NDArray[np.float64]:
    """Windows (n, C, W) of a data set as a sensor gives them: with the offset that the data set took away."""
    if student.offset is None:
        return np.asarray(windows, np.float64)
    return np.asarray(windows, np.float64) + np.asarray(student.offset, np.float64)[:, None]


def comments(record: Record) -> list[str]:
    """What stands at the top of each file: what the student is, of which data, and their licence."""
    facts = facts_of(record)
    names = ["mmkd_key", "mmkd_version", "mmkd_commit", "method", "student", "dataset", "dataset_licence"]
    names += ["window", "rate_hz"]
    return ["A student of mmkd, written by python -m mmkd.export --to c", *(f"{name}: {facts[name]}" for name in names)]


def channel_names(record: Record) -> list[str]:
    """The names of the channels of a raw window."""
    return [str(name) for name in record.data["channels"]]


def _check_on_host(folder: Path, model: IntegerModel, windows: NDArray[Any], text: str) -> list[str]:
    """Compile and run the source here; a line that says so, or why not.

    Raises:
        MmkdError: it does not compile, or does not compute what the integer model does.
    """
    if not has_compiler():
        return ["note: no C compiler (cc) here: the source is not compiled and not compared with the integer model"]
    with tempfile.TemporaryDirectory(prefix="mmkd-c-") as name:
        program = Path(name) / "student"
        compile_host(folder, program)
        classes, logits = run_host(program, windows, model.shapes[model.layers[-1].output][0])
    expected = model.logits(windows)
    if not (np.array_equal(logits, expected) and np.array_equal(classes, expected.argmax(1))):
        raise MmkdError("--to c: the source does not compute what the integer model does; nothing is written")
    return [f"compiled here with no warning; equal to the integer model, bit for bit, on {text}"]


def integer_scores(student: StudentModel, windows: RecordWindows, model: IntegerModel) -> dict[str, Any]:
    """Scores of the integer model and of the student on the test windows that have a label; empty if there are none.

    Returns:
        `accuracy` and `macro_f1` of the integer model, with the prefix `float32_` those of the student; `agreement`,
        the share of windows with the same class of both, and `agreement_on`, a text. All in [0, 1].
    """
    data, test = windows.data, windows.test
    test = test[data.y[test] >= 0]
    if not len(test):
        return {}
    x = raw(student, data.x[test])
    own, integer = student.predict_numbers(x), model.predict(x)
    measured: dict[str, Any] = {"agreement": accuracy(own, integer), "agreement_on": f"{len(test):,} test windows"}
    for prefix, classes in (("float32_", own), ("", integer)):
        measured[f"{prefix}accuracy"] = accuracy(data.y[test], classes)
        measured[f"{prefix}macro_f1"] = macro_f1(data.y[test], classes)
    return measured


def _measure_device(folder: Path, model: IntegerModel, windows: NDArray[Any], lines: list[str]) -> Mapping[str, Any]:
    """Bytes and instructions on a Cortex-M4, and the lines that say so, or why not."""
    missing = cortex.missing_tools()
    if missing:
        lines.append(f"note: {missing[0]} is not installed: flash and instructions of a Cortex-M4 are not measured")
        return {}
    device = cortex.measure(folder, model, windows)
    lines.append(
        f"Cortex-M4 (-Os): flash {device['flash_bytes']:,} bytes (.text + .rodata + .data), arena "
        f"{device['device_arena_bytes']:,} bytes, {device['instructions']:,} instructions a window (not cycles); equal "
        f"bit for bit in QEMU on {device['device_windows']} windows"
    )
    return device
