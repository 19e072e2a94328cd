"""A student as an ONNX file in int8: calibrated on training windows, and measured beside the float32 file.

Static quantisation of ONNX Runtime: weights symmetric and per channel, activations per tensor, as pairs of nodes that
quantise and dequantise (QDQ). The views stay in float32.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError, describe_error
from mmkd.deploy.job import ExportJob, Written
from mmkd.deploy.onnx_file import VIEW_PREFIX, check, describe_file, describe_views, make_model, quiet, same_class
from mmkd.deploy.onnx_run import BATCH, Arrays, latencies, open_session, run_in_batches
from mmkd.deploy.student_graph import OUTPUT, StudentGraph
from mmkd.deploy.windows import CalibrationWindows
from mmkd.metrics.scores import window_scores
from mmkd.store.environment import processor
from mmkd.store.files import write_atomically

if TYPE_CHECKING:
    from onnx import ModelProto

FILE = "student-int8.onnx"
SCORES = ("accuracy", "macro_f1")


def export_int8(job: ExportJob) -> Written:
    """Write `student-int8.onnx`.

    Raises:
        MmkdError: there are too few training windows, or they are not at hand; the student labels steps; or the float32
            file does not compute what the student does.
    """
    if job.student.dense:
        raise MmkdError("--to onnx-int8 is for students that label windows; this one labels steps: take --to onnx")
    options = job.options
    calibration = job.windows.for_calibration(options.calibration_windows, options.calibration_seed)
    graph = StudentGraph(job.student)
    model = make_model(job.record, graph)
    plain, path = job.folder / "float32.onnx", job.folder / FILE
    write_atomically(plain, model.SerializeToString())
    checked = check(job, graph, plain)
    quantise(plain, path, graph, calibration)
    measured = measure(job, graph, plain, path, calibration)
    lines = [*describe_file(graph, path), *describe_views(job, graph)]
    return Written([*lines, f"before quantisation {checked.text}", *describe(measured)], measured)


def quantise(plain: Path, path: Path, graph: StudentGraph, calibration: CalibrationWindows) -> None:
    """Write the quantised model of the file `plain`, with its metadata; what lies between goes beside it.

    Raises:
        MmkdError: ONNX Runtime cannot quantise it.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = plain.with_name("prepared.onnx")
    try:
        with quiet():
            quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
            kept_float = float_nodes(onnx.load(prepared))
            quantize_static(
                str(prepared),
                str(path),
                _reader(graph, calibration.x),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                nodes_to_exclude=kept_float,
                extra_options={"WeightSymmetric": True},
            )
    except Exception as error:  # of a network with layers that ONNX Runtime cannot quantise
        raise MmkdError(f"ONNX Runtime cannot quantise this network: {describe_error(error)[:200]}") from None
    quantised, model = onnx.load(path), onnx.load(plain)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    facts["calibration"] = f"{calibration.facts['number']} training windows, seed {calibration.facts['seed']}"
    onnx.helper.set_model_props(quantised, facts)
    quantised.doc_string = f"{model.doc_string}, in int8"
    onnx.checker.check_model(quantised)
    write_atomically(path, quantised.SerializeToString())


def float_nodes(model: "ModelProto") -> list[str]:
    """The names of the nodes that stay in float32: those of the views, and the softmax at the end."""
    last = [node.name for node in model.graph.node if OUTPUT in node.output]
    return [*(node.name for node in model.graph.node if node.name.startswith(VIEW_PREFIX)), *last]


def _reader(graph: StudentGraph, x: NDArray[np.float32]) -> Any:
    """What ONNX Runtime asks for one batch after the other."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches: Iterator[Arrays] = (graph.feed(x[at : at + BATCH]) for at in range(0, len(x), BATCH))

        def get_next(self) -> Any:
            return next(self.batches, None)

    return Reader()


def measure(
    job: ExportJob, graph: StudentGraph, plain: Path, path: Path, calibration: CalibrationWindows
) -> dict[str, Any]:
    """Scores, agreement, sizes and latencies of the int8 file beside those of the float32 file, in plain values."""
    import onnxruntime

    sessions = [open_session(plain), open_session(path)]
    data, test = job.windows.data, job.windows.test
    number = len(test) or len(calibration.x)
    inputs = graph.feed(data.x[test] if len(test) else calibration.x)
    one, other = (run_in_batches(session, inputs) for session in sessions)
    measured: dict[str, Any] = {
        "agreement": same_class(one, other),
        "agreement_on": f"{number} {'test' if len(test) else 'calibration'} windows",
        "bytes": path.stat().st_size,
        "float32_bytes": plain.stat().st_size,
    }
    if len(test):
        for prefix, probabilities in (("float32_", one), ("", other)):
            scores = window_scores(data.y[test], probabilities.astype(np.float64))
            measured |= {f"{prefix}{name}": float(scores[name]) for name in SCORES}
    first = {name: values[:1] for name, values in inputs.items()}
    return {
        **measured,
        **latencies(dict(zip(("float32_", ""), sessions, strict=True)), first),
        "processor": processor(),
        "onnxruntime": onnxruntime.__version__,
        "torch": str(torch.__version__),
        "calibration": dict(calibration.facts),
    }


def describe(measured: Mapping[str, Any]) -> list[str]:
    """What was measured, as lines."""
    lines = []
    if "accuracy" in measured:
        points = {name: 100 * (measured[f"float32_{name}"] - measured[name]) for name in SCORES}
        lines.append(
            f"int8 beside float32 on {measured['agreement_on']}: accuracy {measured['accuracy']:.4f} beside "
            f"{measured['float32_accuracy']:.4f} ({points['accuracy']:+.2f} points lost), macro-F1 "
            f"{measured['macro_f1']:.4f} beside {measured['float32_macro_f1']:.4f} ({points['macro_f1']:+.2f})"
        )
    lines += [
        f"same class as float32: {100 * measured['agreement']:.1f} % of {measured['agreement_on']}",
        f"size: {measured['bytes']:,} bytes beside {measured['float32_bytes']:,}",
        f"one window on one thread: median {measured['latency_ms']:.3f} ms (p95 {measured['latency_p95_ms']:.3f}) "
        f"beside {measured['float32_latency_ms']:.3f} ({measured['float32_latency_p95_ms']:.3f})",
        f"calibrated on {measured['calibration']['number']} of {measured['calibration']['of']} training windows, seed "
        f"{measured['calibration']['seed']}",
    ]
    return lines
