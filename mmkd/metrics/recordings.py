"""All scores of the dense task, where every step has a class, over recordings; and windows joined to recordings.

An image is scored as a recording of its pixels row by row, without what needs an order: segments and boundaries.
Shares are from 0 to 1; the edit score, as published, from 0 to 100.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.text import snake_case
from mmkd.metrics.boundaries import boundary_f1, tolerance_in_steps
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
    frame_accuracy,
    macro_f1,
    mean_iou,
    mean_of_known,
)


class StepScores:
    """Scores of steps from confusion matrices, one a recording (or an image) at a time, so that any number fits memory.

    Args:
        classes: number of classes K, or their K names.

    Raises:
        MmkdError: two names are one in snake case.
    """

    def __init__(self, classes: int | Sequence[str]) -> None:
        self.names = class_names(classes)
        self.pooled = np.zeros((len(self.names),) * 2, np.int64)
        self.each: list[tuple[float, float, float]] = []
        self.ious: list[Floats] = []

    def add(self, counts: Ints) -> None:
        """Count a recording in, by its confusion matrix (K, K); one without a step that counts is left out."""
        if counts.any():
            self.each.append((frame_accuracy(counts), macro_f1(counts), mean_iou(counts)))
            self.ious.append(class_iou(counts))
            self.pooled += counts

    def found(self) -> dict[str, float]:
        """`accuracy`, `macro_f1`, `miou`, the three pooled, and `iou_<class>`, as in `DenseScores`; none is NaN."""
        accuracy, f1, miou = np.array(self.each).mean(axis=0).tolist()
        means = zip(self.names, map(mean_of_known, np.stack(self.ious, axis=1)), strict=True)
        return {
            "accuracy": accuracy,
            "macro_f1": f1,
            "miou": miou,
            "pooled_accuracy": frame_accuracy(self.pooled),
            "pooled_macro_f1": macro_f1(self.pooled),
            "pooled_miou": mean_iou(self.pooled),
            **{f"iou_{snake_case(name)}": value for name, value in means if not np.isnan(value)},
        }


@dataclass(frozen=True)
class DenseScores:
    """Scores of the dense task over recordings; see the module for the steps that count.

    `accuracy`, `macro_f1`, `miou`, `edit` and `boundary_f1` are of each recording, then their mean. A recording without
    a step that counts is left out.

    Attributes:
        accuracy: share of steps that are right.
        macro_f1: over the classes in truth or prediction of the recording.
        miou: over the same classes.
        edit: edit score of the segments, 0 to 100.
        boundary_f1: of boundaries within the tolerance.
        f1_10: segmental F1 at IoU 0.10; counts are pooled over recordings, as published.
        f1_25: at 0.25.
        f1_50: at 0.50.
        pooled_accuracy: all steps of all recordings as one.
        pooled_macro_f1: likewise.
        pooled_miou: likewise.
        iou: class -> its IoU, the mean over the recordings with that class in truth or prediction; a class in none is
            not there. Its mean over classes is not `miou`, which has a mean over recordings outside.
    """

    accuracy: float
    macro_f1: float
    miou: float
    edit: float
    boundary_f1: float
    f1_10: float
    f1_25: float
    f1_50: float
    pooled_accuracy: float
    pooled_macro_f1: float
    pooled_miou: float
    iou: Mapping[str, float]

    @classmethod
    def of(
        cls,
        recordings: Sequence[Recording],
        classes: int | Sequence[str],
        rate_hz: float | None,
        tolerance_ms: float = 150.0,
    ) -> "DenseScores":
        """See `dense_scores`."""
        of_steps, steps = StepScores(classes), tolerance_in_steps(tolerance_ms, rate_hz)
        edits, f1s, of_segments = [], [], np.zeros((len(OVERLAPS), 3), np.int64)
        for true, predicted in recordings:
            counts = confusion_matrix(true, predicted, len(of_steps.names))
            if not counts.any():
                continue
            of_steps.add(counts)
            edits.append(edit_score(true, predicted))
            f1s.append(boundary_f1(true, predicted, steps))
            of_segments += segment_counts(true, predicted)
        if not edits:
            raise MmkdError(f"{len(recordings)} recordings without one annotated and predicted step; nothing to score")
        f1_10, f1_25, f1_50 = (f1_from_counts(*row) for row in of_segments.tolist())
        found = of_steps.found()
        iou = {name.removeprefix("iou_"): found.pop(name) for name in list(found) if name.startswith("iou_")}
        segmental = {
            "edit": mean_of_known(edits),
            "boundary_f1": mean_of_known(f1s),
            "f1_10": f1_10,
            "f1_25": f1_25,
            "f1_50": f1_50,
        }
        return cls(**found, **segmental, iou=iou)

    def flat(self) -> dict[str, float]:
        """All of them by name, the IoU of a class as `iou_<class>`."""
        found = {name: value for name, value in asdict(self).items() if name != "iou"}
        return found | {f"iou_{name}": value for name, value in self.iou.items()}


def dense_scores(
    recordings: Sequence[Recording],
    classes: int | Sequence[str],
    rate_hz: float | None,
    tolerance_ms: float = 150.0,
) -> dict[str, float]:
    """The scores of `DenseScores` by name; none is NaN.

    Args:
        recordings: pairs (true, predicted) of (T,) labels from -1 to K - 1.
        classes: number of classes K, or their K names; the first is the null class.
        rate_hz: steps a second; None: `tolerance_ms` is in steps.
        tolerance_ms: of `boundary_f1`, in ms; the default is that of ECG and ours elsewhere.

    Raises:
        MmkdError: no recording has a step that counts; two classes have one name; tolerance or rate make no sense.
        ValueError: sequences of different lengths, or labels out of range.
    """
    return DenseScores.of(recordings, classes, rate_hz, tolerance_ms).flat()


def stitch(
    windows: NDArray[Any], recording: NDArray[np.integer[Any]], start: NDArray[np.integer[Any]]
) -> dict[int, Ints]:
    """The labels of whole recordings from those of their windows, which may overlap and come in any order.

    Probabilities are averaged where windows overlap; the class is the greatest mean, of equals the lowest. Labels are
    put to the vote in the same way, and -1 casts none. A step in no window stays -1.

    Args:
        windows: (n, T) integer labels, -1 left out, or (n, T, K) probabilities (of logits (n, K, T), swap the axes).
        recording: (n,) the number of each window's recording.
        start: (n,) the step of its recording at which each window begins.

    Returns:
        Number of the recording -> labels from its step 0 to the end of its last window, in the order of the numbers.

    Raises:
        ValueError: shapes or types that do not fit, or a window that begins before its recording.
    """
    windows, recording, start = np.asarray(windows), np.asarray(recording), np.asarray(start)
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
    found = {}
    order = np.lexsort((start, recording))  # the sum does not hang on the order of the windows
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
        found[int(number)] = np.where(covered, total.argmax(1), IGNORE).astype(np.int64)
    return found
