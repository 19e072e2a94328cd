"""Evidence-based distillation (the project's notes), with class activation maps of Zhou et al., CVPR 2016, https://arxiv.org/abs/1512.04150

Followed: l1 CE + l2 T^2 sum_k w_k KL(teacher_k || student) + l3 n^2 sum over cells of (P - Q)^2, P and Q maps of time x
time with n x n cells that sum to 1, n the smallest side of all maps below; the sum is a mean over the batch.
P, student: the cross-attention of the signal branch's positions (queries) to those of the GAF branch (keys). A key has
two times, row and column: summed over the one and over the other, the mean of both, pooled to n x n (adaptively).
Q, teachers: the mean (or the product, scaled to sum 1) of a a^T, a the signal teacher's attention over time, and of the
GAF teacher's class activation map of the target class, shifted to begin at 0. A map without contrast becomes uniform.
a is the weight of an attention-pooling head where the teacher has one (`wrn-attn`; the term is then `ebkd_pooling`),
else the mean of squares over the channels of its last map (Zagoruyko and Komodakis 2017, arXiv:1612.03928;
`ebkd_activation`). Published nowhere: l1 and l2 are those of `kd`; l3 = 1 and n^2 are ours: the squares count in units
of 1 / n^2, the value of a cell of a uniform map, so that the term does not vanish where there are many cells.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd import METHODS, Batch, DistillConfig, Method, MmkdError, Outputs, Setup, only_of_kind, option


@METHODS.register("ebkd")
class EBKD(Method):
    """Cross-attention after two teachers' evidence (the notes; not `ebkd-entropy`)."""

    @dataclass(frozen=True)
    class Config(DistillConfig):
        ce_weight: float = option(0.3, "weight l1 of cross-entropy", ge=0)
        kd_weight: float = option(0.7, "weight l2 of the soft targets", ge=0)
        evidence_weight: float = option(1.0, "weight l3 of the maps", ge=0)
        evidence: Literal["mean", "product"] = option("mean", "how the two teachers' maps become one")
        temperature: float = option(4.0, "softening of teachers and student", gt=0)
        pairs: Literal["fused", "same", "all"] = option("fused", "the student's logits that meet a teacher's")

    needs = frozenset({"logits", "branches", "attention"})

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
        """The student's map and the teachers' evidence, (B, n, n) each, of sum 1; time (B, T)."""
        _, gaf = evidence(student.branches)
        attention = student.attention[gaf]
        attention = attention.reshape(*attention.shape[:2], *student.branches[gaf].last_map.shape[2:])  # (B, T, H, W)
        cam = image.activation_maps(targets)
        n = min(*attention.shape[1:], time.shape[1], *cam.shape[1:])
        rows, columns = (F.adaptive_avg_pool2d(attention.sum(axis), n) for axis in (3, 2))
        line = F.adaptive_avg_pool1d(time[:, None], n)
        outer = sum_to_one(line.transpose(1, 2) * line)  # a a^T pooled: the averages of its two axes separate
        cam = F.adaptive_avg_pool2d(cam, n)
        place = sum_to_one(cam - cam.amin((1, 2), keepdim=True), 1e-6 * cam.abs().amax((1, 2), keepdim=True))
        target = (outer + place) / 2 if self.config.evidence == "mean" else sum_to_one(outer * place)
        return sum_to_one(rows + columns), target


def evidence(modalities: Iterable[str]) -> tuple[str, str]:
    """Of these modalities the signal and the GAF, of whatever channels; empty where there is not one."""
    names = list(modalities)
    return only_of_kind("sig", names), only_of_kind("gaf", names)


def rank(outputs: Outputs) -> int:
    """Of the deepest map, its batch and channels included; 0 where there is none."""
    return outputs.last_map.ndim if outputs.features else 0


def over_time(signal: Outputs) -> tuple[str, Tensor]:
    """What the attention over time is, and its weights (B, T), which sum to 1."""
    if "temporal" in list(signal.attention):
        return "pooling", signal.attention["temporal"].mean(1)
    return "activation", sum_to_one(signal.last_map.square().mean(1))


def sum_to_one(x: Tensor, least: Tensor | float = 0.0) -> Tensor:
    """Each sample, nowhere negative, divided by its sum; uniform where no value is above `least`."""
    cells = tuple(range(1, x.ndim))
    flat = x.amax(cells, keepdim=True) <= least
    uniform = torch.full_like(x, 1 / x[0].numel())
    return torch.where(flat, uniform, x / x.sum(cells, keepdim=True).masked_fill(flat, 1))
