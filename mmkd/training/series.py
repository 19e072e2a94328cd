"""Run one unit of the anomaly task: train on segments of the normal prefixes, then score every series.

Teachers and most students learn the pretext task of `data.pretext`: to tell plain segments from disturbed ones. Their
anomaly score of a segment is -log of the probability of "normal". The student of reverse distillation contains its
teacher. It is trained on plain segments only, for all of its epochs; its score of a step is the difference between the
teacher's features and their reconstruction.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmkd.core.errors import MmkdError, describe_error
from mmkd.data import Dataset
from mmkd.data.series import Series
from mmkd.methods.contract import Method
from mmkd.methods.outputs import Outputs
from mmkd.metrics.detections import (
    evaluate_detector,
    mean_metrics,
    overlapped,
    series_counts,
    starts_in,
    write_series_results,
)
from mmkd.metrics.series import Floats
from mmkd.nets.reverse import ReverseNet
from mmkd.specs.unit import UnitSpec
from mmkd.store.record import Record
from mmkd.training.pictures import save_series_pictures
from mmkd.training.preparation import PreparedUnit, prepare_unit
from mmkd.training.student import finish_unit, train_student, write_student
from mmkd.training.teacher_outputs import TeacherSource
from mmkd.training.workspace import Workspace
from mmkd.views import Modality
from mmkd.views.gaf import segment_bounds

PREDICTION_BATCH = 256  # windows


def run_series(spec: UnitSpec, data: Dataset, workspace: Workspace) -> Record:
    """Run one unit of the anomaly task and write its record, and those of its teachers.

    Raises:
        MmkdError: the unit cannot be run, or torchrun started several processes.
        UnitFailed: the training failed.
    """
    series_set = data.series
    assert series_set is not None
    if workspace.group.world_size > 1:
        raise MmkdError("--task anomaly trains in one process; leave torchrun out, or use --jobs")
    unit = prepare_unit(spec, data, workspace)
    if isinstance(unit.student, ReverseNet):
        unit = use_normal_segments(unit, unit.student)
    training_result = train_student(unit, workspace)
    training_result.network.load_state_dict(training_result.best)
    modalities = {name: unit.views[name].modality for name in spec.student}
    detector = Detector(training_result.network, modalities, workspace.torch_device, unit.method)
    with workspace.progress.bar(f"scores of {spec.method}", len(series_set.scored)) as bar:

        def detect(series: Series) -> Floats:
            bar.advance()
            return detector.scores(series, data.window)

        results = evaluate_detector(series_set, detect, data.window)
    metrics = {"test": mean_metrics(results)}
    unit.log.add(f"{len(results)} series, mean VUS-PR {metrics['test']['vus_pr']:.4f}")

    def write_files(folder: Path) -> Mapping[str, Any]:
        write_series_results(folder, results)
        try:
            save_series_pictures(folder, unit, training_result, results)
        except Exception as error:  # a record is written even if a picture fails
            unit.log.add(f"pictures left out: {describe_error(error)}")
        values = write_student(folder, unit, training_result, metrics, workspace)
        return {**values, "series": series_counts(series_set)}

    return finish_unit(spec, workspace, workspace.records.write(spec.key, write_files))


@dataclass(frozen=True)
class TeacherSubset:
    """A source of the teachers' outputs for some of the training windows: those at `positions`."""

    source: TeacherSource
    positions: NDArray[np.int64]

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        return self.source.networks

    def outputs(self, positions: NDArray[np.int64], views: Mapping[str, Tensor]) -> Mapping[str, Outputs]:
        return self.source.outputs(self.positions[positions], views)


def use_normal_segments(unit: PreparedUnit, student: ReverseNet) -> PreparedUnit:
    """Prepare a unit of reverse distillation: load the teacher's weights into the student, select plain segments.

    It has no validation windows: the best epoch cannot be chosen on normal data alone.
    """
    (teacher,) = unit.teachers.values()
    student.encoder.load_state_dict(teacher.network.state_dict())
    windows = unit.windows
    plain = np.flatnonzero(windows.y[windows.train] == 0)
    plain_windows = replace(windows, train=windows.train[plain], validation=windows.validation[:0])
    return replace(unit, windows=plain_windows, source=TeacherSubset(unit.source, plain))


class Detector:
    """A trained network as a detector of series.

    Args:
        modalities: name -> fitted modality, of the views that the network reads.
        method: if it has `step_scores(outputs, S)`, this returns scores (B, S) of S equal parts of each window, where S
            is the side of the view. Else all steps of a window have its score, -log of the probability of "normal".
    """

    def __init__(
        self, network: nn.Module, modalities: Mapping[str, Modality], device: torch.device, method: Method
    ) -> None:
        self.network = network.eval()
        self.modalities = modalities
        self.device = device
        self.step_scores = getattr(method, "step_scores", None)

    def scores(self, series: Series, window: int) -> Floats:
        """Scores (n,) of the steps of a series after `series.validation_end`.

        They are means over windows that begin at every quarter of a window's length.
        """
        starts = starts_in(series, series.validation_end, window, max(1, window // 4))
        segments = np.lib.stride_tricks.sliding_window_view(series.x, window, axis=1).transpose(1, 0, 2)
        batches = np.split(starts, range(PREDICTION_BATCH, len(starts), PREDICTION_BATCH))
        return overlapped(np.concatenate([self.window_scores(segments[batch]) for batch in batches]), starts)

    def window_scores(self, x: NDArray[np.float32]) -> Floats:
        """Scores (n, W) of the steps of windows (n, C, W)."""
        views = {
            name: torch.from_numpy(modality.transform(x)).to(self.device) for name, modality in self.modalities.items()
        }
        with torch.no_grad():
            outputs = self.network(views)
            if self.step_scores is None:
                surprise = -torch.log_softmax(outputs.logits.double(), 1)[:, 0].cpu().numpy()
                return np.repeat(surprise[:, None], x.shape[2], 1)
            side = next(iter(views.values())).shape[2]
            position_scores = self.step_scores(outputs, side).double().cpu().numpy()
        bounds = segment_bounds(x.shape[2], side)
        scores: Floats = position_scores[:, np.searchsorted(bounds, np.arange(x.shape[2]), side="right") - 1]
        return scores
