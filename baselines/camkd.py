"""Distillation of class activation maps (the project's notes), maps of Zhou et al., CVPR 2016, https://arxiv.org/abs/1512.04150

Loss: l1 CE + l2 T^2 sum_k w_k KL(teacher_k || student) + l3 sum_m v_m MSE(M_m(student), M_m(teacher)). The last sum is
over the image modalities m, for which both the teacher and the student's branch have a map of two axes. M is the class
activation map of the target class (its row of the classifier times the last map), pooled to the smaller of both sizes
by adaptive averages, and scaled to [0, 1] for each sample, (M - min) / (max - min). A constant map becomes zeros. v_m
are the shares `teacher_weights` of the image teachers, rescaled to sum to 1. The map of a branch is that of its own
head.

This method is from the project's notes and is not published; it is not `ca-mkd` (confidence-aware). l1 and l2 are those
of `kd`, and l3 = 1 is our choice.
"""

from collections.abc import Mapping
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
    option,
    paired_branch,
    same_branch,
)


@METHODS.register("camkd")
class CAMKD(Method):
    """Soft targets, and class activation maps of image teachers (the notes; not `ca-mkd`).

    Use it when the student has image branches and you want each to find the class at the same place as the image
    teacher. It is a method of this project's notes and no published one, and a student of the signal alone cannot take
    it.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        ce_weight: float = option(0.3, "weight l1 of cross-entropy", ge=0)
        kd_weight: float = option(0.7, "weight l2 of the soft targets", ge=0, tune=Range(0.1, 3, log=True))
        cam_weight: float = option(1.0, "weight l3 of the maps", ge=0, tune=Range(0.05, 5, log=True))
        temperature: float = option(4.0, "temperature T of teachers and student", gt=0, tune=TEMPERATURE_RANGE)
        pairs: Literal["fused", "same", "all"] = option(
            "fused", "which of the student's logits are compared with a teacher's"
        )

    unlabelled = "teacher"
    needs = frozenset({"logits", "branches", "features"})
    status = "notes"

    def check(self, setup: Setup) -> None:
        super().check(setup)
        image_shares = self.shares(setup.student, setup.teachers)
        if not image_shares:
            raise MmkdError(
                f"camkd needs an image modality that has a teacher and a branch; the teachers are "
                f"{', '.join(setup.teachers)}, the branches {', '.join(setup.student.branches)}; use --teachers "
                f"sig,gaf,pi and --student sig+gaf+pi"
            )
        for modality in image_shares:
            branch = paired_branch(setup.student, modality)
            teacher = setup.teachers[modality]
            for outputs, flag in ((branch, "--student-net small"), (teacher, f"--teacher-net {modality}=WRN16-1")):
                if outputs.classifier is None:
                    raise MmkdError(f"camkd: a classifier of {modality} reads no map; use for example {flag}")
            if min(min(x.last_map.shape[2:]) for x in (branch, teacher)) == 1:
                raise MmkdError(f"camkd: a map of {modality} is one position wide; use a larger --image-size")

    def shares(self, student: Outputs, teachers: Mapping[str, Outputs]) -> dict[str, float]:
        """The image modalities and the shares of their teachers, which sum to 1 (or are all 0)."""
        shares = self.weights(teachers)
        branches = {m: student.branches[name] for m in teachers if (name := same_branch(student.branches, m))}
        images = [m for m, branch in branches.items() if is_image(teachers[m], branch)]
        total = sum(shares[m] for m in images) or 1
        return {m: shares[m] / total for m in images}

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = {name: c.ce_weight * term for name, term in self.supervised(student, batch).items()}
        terms["kd"] = c.kd_weight * self.soft(student, teachers, c.temperature, c.pairs)
        for modality, share in self.shares(student, teachers).items():
            maps = [x.activation_maps(batch.targets) for x in (paired_branch(student, modality), teachers[modality])]
            height, width = (min(x.shape[axis] for x in maps) for axis in (1, 2))
            own, other = (unit_range(F.adaptive_avg_pool2d(x, (height, width))) for x in maps)
            terms[f"camkd_{modality}"] = c.cam_weight * share * F.mse_loss(own, other)
        return terms


def is_image(*networks: Outputs) -> bool:
    """Whether the last map of all these networks is an image (B, C, H, W)."""
    return all(x.features and x.last_map.ndim == 4 for x in networks)


def unit_range(x: Tensor) -> Tensor:
    """Shift and scale each (H, W) map to [0, 1]; a map that is constant up to rounding becomes zeros."""
    low = x.amin((1, 2), keepdim=True)
    high = x.amax((1, 2), keepdim=True)
    flat = high - low <= 1e-6 * torch.maximum(high.abs(), low.abs()).clamp(min=1e-6)
    return (x - low) / (high - low).masked_fill(flat, 1) * ~flat
