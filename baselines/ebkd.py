"""Evidence-based distillation (the project's notes), with class activation maps of Zhou et al., CVPR 2016, https://arxiv.org/abs/1512.04150

Loss: l1 CE + l2 T^2 sum_k w_k KL(teacher_k || student) + l3 n^2 sum over cells of (P - Q)^2, mean over the batch. P and
Q are maps of time x time with n x n cells that sum to 1; n is the smallest side of all maps below.

P, of the student: the cross-attention from the positions of the signal branch (queries) to those of the GAF branch
(keys). A key stands for two times, its row and its column. P is the mean of the attention summed over rows and summed
over columns, pooled to n x n by adaptive averages.

Q, of the teachers: the mean of two maps, or their product scaled to sum 1. The first is a a^T, where a is the signal
teacher's attention over time. The second is the GAF teacher's class activation map of the target class, shifted so that
its minimum is 0. A constant map becomes uniform. If the signal teacher has attention pooling (`wrn-attn`), a is its
weights and the term is named `ebkd_pooling`. Otherwise a is the mean of squares over the channels of its last map
(Zagoruyko and Komodakis 2017, arXiv:1612.03928), and the term is named `ebkd_activation`.

This method is from the project's notes and is not published. l1 and l2 are those of `kd`. l3 = 1 and the factor n^2 are
our choice: 1 / n^2 is the value of a cell of a uniform map, and in these units the term does not vanish for many
cells.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd import (
    METHODS,
    TEMPERATURE_RANGE,
    Batch,
    DistillConfig,
    Method,
    MmkdError,
    Outputs,
    Range,
    Setup,
    only_of_kind,
    option,
)


@METHODS.register("ebkd")
class EBKD(Method):
    """Cross-attention that follows two teachers (the notes; not `ebkd-entropy`).

    Use it when the student has a signal and a GAF branch joined by attention, and you want that attention to follow
    where both teachers look. It is a method of this project's notes and needs `--fusion attention`.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        ce_weight: float = option(0.3, "weight l1 of cross-entropy", ge=0)
        kd_weight: float = option(0.7, "weight l2 of the soft targets", ge=0, tune=Range(0.1, 3, log=True))
        evidence_weight: float = option(1.0, "weight l3 of the maps", ge=0, tune=Range(0.1, 10, log=True))
        evidence: Literal["mean", "product"] = option(
            "mean", "how the two teachers' maps become one", tune=("mean", "product")
        )
        temperature: float = option(4.0, "temperature T of teachers and student", gt=0, tune=TEMPERATURE_RANGE)
        pairs: Literal["fused", "same", "all"] = option(
            "fused", "which of the student's logits are compared with a teacher's"
        )

    unlabelled = "teacher"
    needs = frozenset({"logits", "branches", "attention"})
    status = "notes"

    def check(self, setup: Setup) -> None:
        super().check(setup)
        student = setup.student
        teachers = setup.teachers
        if not all(evidence(teachers)):
            raise MmkdError(
                f"ebkd needs one sig and one gaf teacher, not {', '.join(teachers)}; use --teachers sig,gaf,pi"
            )
        if not all(evidence(student.branches)) or evidence(student.branches)[1] not in list(student.attention):
            raise MmkdError(
                "ebkd reads the attention of the student's one sig branch to its one gaf branch; use --student "
                "sig+gaf+pi --fusion attention"
            )
        signal, image = (teachers[modality] for modality in evidence(teachers))
        if "temporal" not in list(signal.attention) and rank(signal) != 3:
            raise MmkdError("ebkd: the sig teacher has no map over time; use for example --teacher-net sig=WRN16-1")
        if image.classifier is None or rank(image) != 4:
            raise MmkdError("ebkd: the gaf teacher has no class activation map; use --teacher-net gaf=WRN16-1")
        if rank(student.branches[evidence(student.branches)[1]]) != 4:
            raise MmkdError("ebkd: the student's gaf branch has no map of two dimensions; use --student-net small")
        own, _ = self.maps(student, over_time(signal)[1], image, image.logits.argmax(1))
        if own.shape[1] == 1:
            raise MmkdError("ebkd: a map has one position; use longer windows or a larger --image-size")

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = {name: c.ce_weight * term for name, term in self.supervised(student, batch).items()}
        terms["kd"] = c.kd_weight * self.soft(student, teachers, c.temperature, c.pairs)
        signal, image = (teachers[modality] for modality in evidence(teachers))
        kind, time = over_time(signal)
        own, target = self.maps(student, time, image, batch.targets)
        cells = own.shape[1] * own.shape[2]
        terms[f"ebkd_{kind}"] = c.evidence_weight * cells * (own - target).square().sum((1, 2)).mean()
        return terms

    def maps(self, student: Outputs, time: Tensor, image: Outputs, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Compute P of the student and Q of the teachers.

        Args:
            student: outputs of the student.
            time: (B, T), the signal teacher's attention over time.
            image: outputs of the GAF teacher.
            targets: (B,) class numbers.

        Returns:
            (B, n, n) each, of sum 1 for each sample.
        """
        _, gaf = evidence(student.branches)
        attention = student.attention[gaf]
        attention = attention.reshape(*attention.shape[:2], *student.branches[gaf].last_map.shape[2:])  # (B, T, H, W)
        cam = image.activation_maps(targets)
        n = min(*attention.shape[1:], time.shape[1], *cam.shape[1:])
        rows, columns = (F.adaptive_avg_pool2d(attention.sum(axis), n) for axis in (3, 2))
        line = F.adaptive_avg_pool1d(time[:, None], n)
        outer = sum_to_one(line.transpose(1, 2) * line)  # a a^T pooled: the averages of its two axes separate
        cam = F.adaptive_avg_pool2d(cam, n)
        evidence_map = sum_to_one(cam - cam.amin((1, 2), keepdim=True), 1e-6 * cam.abs().amax((1, 2), keepdim=True))
        target = (outer + evidence_map) / 2 if self.config.evidence == "mean" else sum_to_one(outer * evidence_map)
        return sum_to_one(rows + columns), target


def evidence(modalities: Iterable[str]) -> tuple[str, str]:
    """The one signal and the one GAF among these modalities; "" for a kind of which there is not exactly one."""
    names = list(modalities)
    return only_of_kind("sig", names), only_of_kind("gaf", names)


def rank(outputs: Outputs) -> int:
    """Number of axes of the last map, with batch and channels; 0 if there is no map."""
    return outputs.last_map.ndim if outputs.features else 0


def over_time(signal: Outputs) -> tuple[str, Tensor]:
    """The attention of the signal teacher over time: its kind, and its weights (B, T), which sum to 1."""
    if "temporal" in list(signal.attention):
        return "pooling", signal.attention["temporal"].mean(1)
    return "activation", sum_to_one(signal.last_map.square().mean(1))


def sum_to_one(x: Tensor, threshold: Tensor | float = 0.0) -> Tensor:
    """Divide each nonnegative sample by its sum; uniform if no value is above `threshold`."""
    cells = tuple(range(1, x.ndim))
    flat = x.amax(cells, keepdim=True) <= threshold
    uniform = torch.full_like(x, 1 / x[0].numel())
    return torch.where(flat, uniform, x / x.sum(cells, keepdim=True).masked_fill(flat, 1))
