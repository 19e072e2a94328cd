"""The option `teacher_errors`: what is done with the logits of a teacher on the windows on which it is wrong."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd.methods.outputs import Batch

TeacherErrors = Literal["keep", "drop", "swap", "reorder", "translate", "mix"]
"""The values of the option, see `corrected`."""


@dataclass(frozen=True)
class Taught:
    """The windows of a batch from which a student learns by the logits of one teacher.

    Attributes:
        student: (n, K) logits of the student.
        teacher: (n, K) logits of the teacher, corrected and detached.
        targets: (n,) class numbers.
        share: n / B, with which a mean over these windows is multiplied; smaller than 1 if windows are dropped.
    """

    student: Tensor
    teacher: Tensor
    targets: Tensor
    share: float


def select_taught(
    student: Tensor, teacher: Tensor, batch: Batch, how: TeacherErrors = "keep", temperature: float | Tensor = 1.0
) -> Taught:
    """Pair the logits of student and teacher, after what `how` says of windows on which the teacher is wrong.

    Args:
        student: (B, K) logits.
        teacher: (B, K) logits.
        batch: of B windows. Windows without a label are left as they are.
        how: as for `corrected`, or "drop" to leave these windows out. If all are wrong, one is left with the share 0.
        temperature: as for `corrected`.
    """
    teacher = teacher.detach()
    targets = batch.targets
    if how == "keep":
        return Taught(student, teacher, targets, 1.0)
    wrong = is_wrong(teacher, batch)
    if how != "drop":
        changed = corrected(teacher, targets.clamp(min=0), how, temperature)
        return Taught(student, torch.where(wrong[:, None], changed, teacher), targets, 1.0)
    kept = (~wrong).nonzero()[:, 0]
    share = len(kept) / max(len(targets), 1)
    kept = kept if share else torch.zeros_like(targets[:1])
    return Taught(student[kept], teacher[kept], targets[kept], share)


def is_wrong(teacher: Tensor, batch: Batch) -> Tensor:
    """Whether a teacher's first largest logit of (B, K) is not that of the label; (B,) bool, False without a label."""
    wrong: Tensor = (teacher.argmax(1) != batch.targets) & (batch.targets >= 0)
    return wrong if batch.labelled is None else wrong & batch.labelled


def corrected(logits: Tensor, targets: Tensor, how: TeacherErrors, temperature: float | Tensor = 1.0) -> Tensor:
    """Correct the logits of a teacher that is wrong.

    `swap` exchanges the values of the label and of the largest logit, as in the code of Sun et al., ICCV 2025
    (https://github.com/zju-SWJ/RLD). The others are ours. `reorder` gives the label the largest value, and the other
    classes the remaining values in their order. `translate` raises the label to the largest value. `mix` adds to the
    probabilities at the temperature the smallest share of the label that puts it level with the largest one.

    Args:
        logits: (B, K).
        targets: (B,) class numbers.
        how: one of `TeacherErrors`; "keep" and "drop" change nothing here.
        temperature: T of the probabilities that `mix` changes.

    Returns:
        (B, K).

    >>> corrected(torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([2]), "swap").tolist()
    [[1.0, 2.0, 3.0]]
    >>> corrected(torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([2]), "reorder").tolist()
    [[2.0, 1.0, 3.0]]
    >>> corrected(torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([2]), "translate").tolist()
    [[3.0, 2.0, 3.0]]
    """
    rows = targets[:, None]
    own = logits.gather(1, rows)
    high, largest = logits.max(1, keepdim=True)
    if how == "swap":
        return logits.scatter(1, largest, own).scatter(1, rows, high)
    if how == "reorder":
        order = logits.scatter(1, rows, math.inf).argsort(stable=True, dim=1, descending=True)
        values = logits.sort(1, descending=True).values
        return torch.empty_like(logits).scatter(1, order, values)
    if how == "translate":
        return logits.scatter(1, rows, high)
    if how == "mix":
        log_p = F.log_softmax(logits / temperature, 1)
        p_label, p_high = log_p.gather(1, rows).exp(), log_p.amax(1, keepdim=True).exp()
        share = (p_high - p_label) / (1 + p_high - p_label)
        mixed = torch.log1p(-share) + log_p
        label = torch.logaddexp(mixed.gather(1, rows), share.log())
        return temperature * mixed.scatter(1, rows, label)
    return logits
