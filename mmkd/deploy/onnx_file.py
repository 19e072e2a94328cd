"""A student as an ONNX file, from raw windows to probabilities, compared with the student in ONNX Runtime."""

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

import mmkd
from mmkd.core.errors import MmkdError, describe_error
from mmkd.data.cards import find_card
from mmkd.deploy.job import ExportJob, Written
from mmkd.deploy.onnx_run import open_session, run_in_batches
from mmkd.deploy.student_graph import OUTPUT, WINDOWS, StudentGraph
from mmkd.store.environment import git_state
from mmkd.store.files import write_atomically
from mmkd.store.record import Record

if TYPE_CHECKING:
    from onnx import ModelProto

FILE = "student.onnx"
OPSET = 20
LARGEST_BATCH = 4096
LIMIT = 1e-4
"""The largest difference of a probability between the file and the student."""
VIEW_PREFIX = "view/"
"""How the names of nodes begin that compute views."""


@dataclass(frozen=True)
class Checked:
    """What a comparison of a file with the student found, and as text."""

    difference: float
    same_class: float
    text: str


def export_onnx(job: ExportJob) -> Written:
    """Write `student.onnx`.

    Raises:
        MmkdError: the network cannot be traced, or the file does not compute what the student does.
    """
    graph = StudentGraph(job.student)
    model = make_model(job.record, graph)
    write_atomically(job.folder / FILE, model.SerializeToString())
    checked = check(job, graph, job.folder / FILE)
    return Written([*describe_file(graph, job.folder / FILE), *describe_views(job, graph), checked.text])


def make_model(record: Record, graph: StudentGraph) -> "ModelProto":
    """The model with its metadata.

    Raises:
        MmkdError: the network cannot be traced.
    """
    import onnx

    batch = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
    shapes = graph.input_shapes
    wide = torch.float64 if graph.student.offset is not None else torch.float32
    generator = torch.Generator().manual_seed(0)
    example = [
        torch.randn(2, *shapes[name], generator=generator, dtype=torch.float64).to(
            wide if name == WINDOWS else torch.float32
        )
        for name in graph.input_names
    ]
    try:
        with quiet(), torch.no_grad():
            traced = torch.export.export(graph, (example,), dynamic_shapes=([{0: batch} for _ in example],))
            program = torch.onnx.export(
                traced,
                dynamo=True,
                input_names=graph.input_names,
                output_names=[OUTPUT],
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:  # a network of a plugin may do what cannot be traced
        raise MmkdError(
            f"the network {record.unit.student_net} cannot be traced as ONNX: {describe_error(error)[:200]}"
        ) from None
    assert program is not None
    model: ModelProto = program.model_proto
    _strip(model)
    onnx.helper.set_model_props(model, {**facts_of(record), **facts_of_graph(graph)})
    model.doc_string = f"student {record.key} of mmkd"
    onnx.checker.check_model(model)
    return model


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporter's own warnings and log lines: none is about the student."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(level)


def _strip(model: "ModelProto") -> None:
    """Leave out what the exporter notes, with paths of this machine; name the nodes of views, and the batch."""
    for node in model.graph.node:
        scopes = next((entry.value for entry in node.metadata_props if entry.key.endswith("name_scopes")), "")
        if "'views." in scopes:
            node.name = VIEW_PREFIX + node.name
        del node.metadata_props[:]
        node.doc_string = ""
    for function in model.functions:
        del function.metadata_props[:]
    symbol = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        del value.metadata_props[:]
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = size.dim_param.replace(symbol, "batch")
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]


def facts_of(record: Record) -> dict[str, str]:
    """The metadata of a record: plain texts, lists and numbers as JSON."""
    spec, data = record.unit, record.data
    git = git_state()
    views = {name: view["config"] for name, view in record.result["views"].items()}
    facts: dict[str, Any] = {
        "mmkd_key": record.key,
        "mmkd_version": mmkd.__version__,
        "mmkd_commit": git.get("commit", "") + (" with changes" if git.get("dirty") else ""),
        "trained_with": (record.environment.get("versions") or {}).get("mmkd", ""),
        "method": spec.method,
        "dataset": spec.data.name,
        "dataset_licence": licence_of(spec.data.name),
        "task": spec.task,
        "student": spec.student_title,
        "classes": list(data["classes"]),
        "channels": list(data["channels"]),
        "window": data["window"],
        "rate_hz": data.get("rate_hz"),
        "views": views,
    }
    if data.get("labels") is not None:
        facts["labels"] = list(data["labels"])
    if data.get("offset"):
        facts["offset"] = list(data["offset"])
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()}


def licence_of(dataset: str) -> str:
    """The licence of a named data set, as its card has it; that of one's own file is not known."""
    try:
        card = find_card(dataset)
    except MmkdError:
        return "not known"
    return str(card.source.get("licence", "not known"))


def facts_of_graph(graph: StudentGraph) -> dict[str, str]:
    """Which views the graph computes, and which are inputs."""
    return {"views_in_graph": json.dumps(graph.inside), "views_as_inputs": json.dumps(graph.given)}


def describe_file(graph: StudentGraph, path: Path) -> list[str]:
    """One line: what goes in and comes out, and the size."""
    inputs = ", ".join(f"{name} {_batch(shape)}" for name, shape in graph.input_shapes.items())
    student = graph.student
    output = _batch((len(student.classes), *(student.positions if student.dense else ())))
    return [f"{path.name}: {inputs} -> {OUTPUT} {output}; {path.stat().st_size:,} bytes, opset {OPSET}"]


def _batch(shape: Sequence[int]) -> str:
    return f"(B, {', '.join(map(str, shape))})"


def describe_views(job: ExportJob, graph: StudentGraph) -> list[str]:
    """Which views the graph makes of raw windows, and which the caller must make."""
    lines = [f"views in the graph, from raw windows: {', '.join(graph.inside)}"] if graph.inside else []
    if graph.student.offset is not None and graph.inside:
        lines.append(f"{WINDOWS} are float64: the record has offsets that float32 cannot hold, and the graph subtracts")
    if graph.given:
        names = ", ".join(graph.given)
        make = f"mmkd.load_student(RECORD).modalities[{graph.given[0]!r}].transform(windows)"
        lines.append(
            f"views that the graph cannot compute, and that are inputs of their own: {names}; {make} makes one"
        )
    return lines


def check(job: ExportJob, graph: StudentGraph, path: Path) -> Checked:
    """Compare a file with the student, on test windows or what there is.

    Raises:
        MmkdError: a probability differs by more than `LIMIT`.
    """
    sample = job.windows.for_check()
    expected = job.student.predict_proba(graph.raw(sample.x))
    try:
        found = run_in_batches(open_session(path), graph.feed(sample.x))
    except Exception as error:  # ONNX Runtime's own exceptions have no common base
        raise MmkdError(f"ONNX Runtime cannot run what was written: {describe_error(error)[:200]}") from None
    difference = float(np.abs(found - expected).max()) if found.shape == expected.shape else np.inf
    if not difference <= LIMIT:
        raise MmkdError(
            f"{path.name} does not compute what the student does: on {sample.text} a probability differs by "
            f"{difference:.2g}, more than {LIMIT:g}; nothing is written"
        )
    same = same_class(found, expected)
    text = f"checked in ONNX Runtime with {sample.text}: largest difference of a probability {difference:.1e}"
    return Checked(difference, same, f"{text} (limit {LIMIT:.0e}), same class in {100 * same:.1f} %")


def same_class(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The share of windows, or of their steps, of which both have the same most probable class."""
    return float((one.argmax(1) == other.argmax(1)).mean())
