"""One unit of the anomaly task: the house's training on segments of prefixes, then the scores of every series.

Teachers and compressing students learn the pretext task of `data.series` through the one training loop; their score of
a segment is -log of the probability of "normal". The student of reverse distillation contains its teacher, is trained
by the same loop on plain segments alone, for all of its epochs, and scores steps by the gap.
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

AT_ONCE = 256  # windows


def run_series(spec: UnitSpec, data: Dataset, workspace: Workspace) -> Record:
    """Do one unit of the anomaly task and write its record, and those of its teachers.

    Raises:
        MmkdError: the unit is refused, or several processes would train together. UnitFailed: it broke off.
    """
    series_set = data.series
    assert series_set is not None
    if workspace.group.world_size > 1:
        raise MmkdError("--task anomaly trains in one process; leave torchrun out, or use --jobs")
    unit = prepare_unit(spec, data, workspace)
    if isinstance(unit.student, ReverseNet):
        unit = use_normal_segments(unit, unit.student)
    trained = train_student(unit, workspace)
    trained.network.load_state_dict(trained.best)
    modalities = {name: unit.views[name].modality for name in spec.student}
    detector = Detector(trained.network, modalities, workspace.torch_device, unit.method)
    with workspace.progress.bar(f"scores of {spec.method}", len(series_set.scored)) as bar:

        def detect(series: Series) -> Floats:
            bar.advance()
            return detector.scores(series, data.window)

        results = evaluate_detector(series_set, detect, data.window)
    metrics = {"test": mean_metrics(results)}
    unit.log.add(f"{len(results)} series, mean VUS-PR {metrics['test']['vus_pr']:.4f}")

    def fill(folder: Path) -> Mapping[str, Any]:
        write_series_results(folder, results)
        try:
            save_series_pictures(folder, unit, trained, results)
        except Exception as error:  # a picture never costs a record
            unit.log.add(f"pictures left out: {describe_error(error)}")
        return {**write_student(folder, unit, trained, metrics, workspace), "series": series_counts(series_set)}

    return finish_unit(spec, workspace, workspace.records.write(spec.key, fill))


@dataclass(frozen=True)
class TeacherSubset:
    """The teachers' outputs for some of the training windows, those at `positions`."""

    source: TeacherSource
    positions: NDArray[np.int64]

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        return self.source.networks

    def outputs(self, positions: NDArray[np.int64], views: Mapping[str, Tensor]) -> Mapping[str, Outputs]:
        return self.source.outputs(self.positions[positions], views)


def use_normal_segments(unit: PreparedUnit, student: ReverseNet) -> PreparedUnit:
    """A unit of reverse distillation: the student gets its teacher's weights, and plain segments only.

    No epoch is chosen: there is nothing but normal data to choose on.
    """
    (teacher,) = unit.teachers.values()
    student.encoder.load_state_dict(teacher.network.state_dict())
    windows = unit.windows
    plain = np.flatnonzero(windows.y[windows.train] == 0)
    chosen = replace(windows, train=windows.train[plain], validation=windows.validation[:0])
    return replace(unit, windows=chosen, source=TeacherSubset(unit.source, plain))


class Detector:
    """A trained network as a detector of series.

    Args:
        modalities: those that the network reads, fitted.
        method: its `step_scores(outputs, S)` gives (B, S) where it has one; else a window's score is -log of the
            probability of "normal".
    """

    def __init__(
        self, network: nn.Module, modalities: Mapping[str, Modality], device: torch.device, method: Method
    ) -> None:
        self.network, self.modalities, self.device = network.eval(), modalities, device
        self.step_scores = getattr(method, "step_scores", None)

    def scores(self, series: Series, window: int) -> Floats:
        """Of the steps of a series from `series.validation_end` on, by windows at every quarter of their length."""
        starts = starts_in(series, series.validation_end, window, max(1, window // 4))
        cut = np.lib.stride_tricks.sliding_window_view(series.x, window, axis=1).transpose(1, 0, 2)
        parts = (starts[first : first + AT_ONCE] for first in range(0, len(starts), AT_ONCE))
        return overlapped(np.concatenate([self.windows(cut[part]) for part in parts]), starts)

    def windows(self, x: NDArray[np.float32]) -> Floats:
        """Scores (n, W) of the steps of windows (n, C, W)."""
        views = {m: torch.from_numpy(each.transform(x)).to(self.device) for m, each in self.modalities.items()}
        with torch.no_grad():
            outputs = self.network(views)
            if self.step_scores is None:
                surprise = -torch.log_softmax(outputs.logits.double(), 1)[:, 0].cpu().numpy()
                return np.repeat(surprise[:, None], x.shape[2], 1)
            side = next(iter(views.values())).shape[2]
            found = self.step_scores(outputs, side).double().cpu().numpy()
        bounds = segment_bounds(x.shape[2], side)
        scores: Floats = found[:, np.searchsorted(bounds, np.arange(x.shape[2]), side="right") - 1]
        return scores
