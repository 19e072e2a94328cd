"""All scores of the dense task, where every step has a class, over recordings; and windows joined to recordings.

An image is scored as a recording of its pixels row by row, without what needs an order: segments and boundaries.
Shares are from 0 to 1; the edit score, as published, from 0 to 100.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.text import snake_case
from mmkd.metrics.boundaries import boundary_f1, boundary_tolerance, tolerance_in_steps
from mmkd.metrics.scores import count_scores
from mmkd.metrics.segments import OVERLAPS, edit_score, segment_counts
from mmkd.metrics.steps import (
    IGNORE,
    Floats,
    Ints,
    Recording,
    class_iou,
    class_names,
    confusion_matrix,
    f1_from_counts,
    mean_of_known,
)


class StepScores:
    """Scores of steps from confusion matrices, one a recording (or an image) at a time, so that any number fits memory.

    Args:
        classes: number of classes K, or their K names.
        form: the data form whose metrics are computed.
        strict: whether a metric that fails on a recording is an error; else it has no mean.

    Raises:
        MmkdError: two names are one in snake case.
    """

    def __init__(self, classes: int | Sequence[str], form: str = "step", strict: bool = True) -> None:
        self.names = class_names(classes)
        self.form = form
        self.strict = strict
        self.pooled = np.zeros((len(self.names),) * 2, np.int64)
        self.scores: list[dict[str, float]] = []
        self.ious: list[Floats] = []

    def add(self, counts: Ints) -> None:
        """Count a recording in, by its confusion matrix (K, K); one without a step that counts is left out."""
        if counts.any():
            self.scores.append(count_scores(counts, self.form, self.strict))
            self.ious.append(class_iou(counts))
            self.pooled += counts

    def means(self) -> dict[str, float]:
        """The mean over recordings of each registered metric of steps; none is NaN.

        Raises:
            MmkdError: no recording has a step that counts.
        """
        if not self.scores:
            raise MmkdError("no recording has an annotated and predicted step; nothing to score")
        names = [name for name in self.scores[0] if all(name in scores for scores in self.scores)]
        means = np.array([[scores[name] for name in names] for scores in self.scores]).mean(axis=0)
        return dict(zip(names, means.tolist(), strict=True))

    def details(self) -> dict[str, float]:
        """The same of all steps of all recordings as one, `pooled_<metric>`, and `iou_<class>`.

        The IoU of a class is the mean over the recordings with that class in truth or prediction; a class in none is
        not in the result. The mean over classes is not `miou`, which has the mean over recordings outside.
        """
        ious = zip(self.names, map(mean_of_known, np.stack(self.ious, axis=1)), strict=True)
        pooled = {f"pooled_{name}": value for name, value in count_scores(self.pooled, self.form).items()}
        return pooled | {f"iou_{snake_case(name)}": value for name, value in ious if not np.isnan(value)}

    def all(self) -> dict[str, float]:
        """`means` and `details`."""
        return self.means() | self.details()


def dense_scores(
    recordings: Sequence[Recording],
    classes: int | Sequence[str],
    rate_hz: float | None,
    tolerance_ms: float | None = None,
) -> dict[str, float]:
    """The scores of the dense task by name; none is NaN. A recording without a step that counts is left out.

    - The registered metrics of steps (`accuracy`, `macro_f1`, `miou`), `edit` (edit score of the segments, 0 to 100)
      and the F1 of boundaries: of each recording, then their mean. That F1 is `boundary_f1`, within 150 ms; or, where
      time has no unit or 150 ms are long beside a segment, `boundary_f1_steps`, within `boundary_tolerance_steps`: see
      `boundaries.boundary_tolerance`.
    - `f1_10`, `f1_25`, `f1_50`: segmental F1 at IoU 0.10 and so on; counts are pooled over recordings, as published.
    - `pooled_...` and `iou_<class>`: see `StepScores.details`.

    Args:
        recordings: pairs (true, predicted) of (T,) labels from -1 to K - 1.
        classes: number of classes K, or their K names; the first is the null class.
        rate_hz: steps a second; None if time has no unit.
        tolerance_ms: of `boundary_f1`, in place of the tolerance above; in ms, or in steps without a rate.

    Raises:
        MmkdError: no recording has a step that counts; two classes have one name; tolerance or rate make no sense.
        ValueError: sequences of different lengths, or labels out of range.
    """
    steps = StepScores(classes)
    if tolerance_ms is None:
        name, tolerance = boundary_tolerance([np.asarray(true) for true, _ in recordings], rate_hz)
    else:
        name, tolerance = "boundary_f1", tolerance_in_steps(tolerance_ms, rate_hz)
    edits: list[float] = []
    boundary_f1s: list[float] = []
    segments = np.zeros((len(OVERLAPS), 3), np.int64)
    for true, predicted in recordings:
        counts = confusion_matrix(true, predicted, len(steps.names))
        if not counts.any():
            continue
        steps.add(counts)
        edits.append(edit_score(true, predicted))
        boundary_f1s.append(boundary_f1(true, predicted, tolerance))
        segments += segment_counts(true, predicted)
    if not edits:
        raise MmkdError(f"{len(recordings)} recordings without one annotated and predicted step; nothing to score")
    scores = steps.means() | {"edit": mean_of_known(edits), name: mean_of_known(boundary_f1s)}
    if name == "boundary_f1_steps":
        scores["boundary_tolerance_steps"] = tolerance
    for overlap, (hits, false, missed) in zip(OVERLAPS, segments.tolist(), strict=True):
        scores[f"f1_{round(100 * overlap)}"] = f1_from_counts(hits, false, missed)
    return scores | steps.details()


def stitch(windows: NDArray[Any], recording: NDArray[Any], start: NDArray[np.integer[Any]]) -> dict[int | str, Ints]:
    """The labels of whole recordings from those of their windows, which may overlap and come in any order.

    Probabilities are averaged where windows overlap; the class is the greatest mean, of equals the lowest. Labels are
    put to the vote in the same way, and -1 casts none. A step in no window stays -1.

    Args:
        windows: (n, T) integer labels, -1 left out, or (n, T, K) probabilities (of logits (n, K, T), swap the axes).
        recording: (n,) the number or name of each window's recording.
        start: (n,) the step of its recording at which each window begins.

    Returns:
        Recording -> labels from its step 0 to the end of its last window, in the order of their numbers or names.

    Raises:
        ValueError: shapes or types that do not fit, or a window that begins before its recording.
    """
    windows = np.asarray(windows)
    recording = np.asarray(recording)
    start = np.asarray(start)
    n = len(recording)
    if windows.ndim not in (2, 3) or recording.shape != (n,) or start.shape != (n,) or len(windows) != n:
        raise ValueError(f"windows {windows.shape} of recordings {recording.shape} with starts {start.shape}")
    voting = windows.ndim == 2
    if voting and n and (not np.issubdtype(windows.dtype, np.integer) or windows.min(initial=0) < IGNORE):
        raise ValueError(f"windows of {windows.dtype} from {windows.min(initial=0)}; labels are integers from {IGNORE}")
    if n and start.min() < 0:
        raise ValueError(f"a window starts at {start.min()}, before its recording")
    width = windows.shape[1]
    classes = int(windows.max(initial=0)) + 1 if voting else windows.shape[2]
    labels = {}
    order = np.lexsort((start, recording))  # the sum does not depend on the order of the windows
    for number in np.unique(recording):
        own = order[recording[order] == number]
        total = np.zeros((int(start[own].max()) + width, classes))
        covered = np.zeros(len(total), bool)
        for window, at in zip(windows[own], start[own], strict=True):
            part = slice(at, at + width)
            if voting:
                votes = window >= 0
                total[part][votes, window[votes]] += 1
                covered[part] |= votes
            else:
                total[part] += window
                covered[part] = True
        labels[number.item()] = np.where(covered, total.argmax(1), IGNORE).astype(np.int64)
    return labels
