"""Knowledge Distillation with the Reused Teacher Classifier. Chen et al., CVPR 2022, https://arxiv.org/abs/2203.14001

Loss, as in the authors' code: w MSE between the teacher's last map and the student's last map after a projector, and
nothing else, neither cross-entropy nor soft targets; w 1. The projector is a 1x1, a 3x3 and a 1x1 convolution without
bias, each with BatchNorm and ReLU, with C_t / r channels in the middle; r 2. The deployed network is the student, the
projector and the teacher's classifier with its bias, applied to the mean of the projected map. The student's own
classifiers and fusion are not trained and not used, and neither is a branch that no teacher guides. `branch_weight` has
no effect.

Different from the paper: there is no last ReLU if the teacher's map has negative values. Maps of the same rank are
compared at the smaller size, by adaptive averages, as in the code. A line is compared with an image as `mixed` says: as
vectors of means, which is all that the classifier reads (the 3x3 convolution is then 1x1), or lifted to the image's
side. The paper has one teacher. With several, each has a projector on the branch that it guides, and the shares
`teacher_weights` average their errors and the logits of their classifiers.

Where every time step has a label, the maps are the last ones of the decoders, lines along time. The teacher's
classifier reads each position of the projected map, and its logits are interpolated linearly to the steps of the
window, as those of the dense networks are. Pixels of images are left out: their logits do not say how high and wide an
image is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd import METHODS, Batch, DistillConfig, Method, MmkdError, Outputs, Setup, option, paired_branch
from mmkd.frequency import meet, resample


@METHODS.register("simkd")
class SimKD(Method):
    """Teacher's classifier on a projected student map. Chen et al., CVPR 2022, arXiv:2203.14001.

    Use it when the device has room for the teacher's classifier and a projector: the student learns only to produce the
    teacher's last map. What is deployed is larger than the student, so compare it by parameters.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        weight: float = option(1.0, "weight w of the squared error of last maps", gt=0)
        factor: int = option(2, "reduction r of the channels in the middle of the projector", ge=1, tune=(1, 2, 4))
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")
        mixed: Literal["pool", "outer", "repeat", "hankel", "toeplitz"] = option(
            "pool", "how a line is compared with an image: as vectors of means, or lifted to a map"
        )

    unlabelled = "all"
    tasks = frozenset({"classification", "segmentation"})
    needs = frozenset({"features", "cam"})
    supervised_by_labels = False
    minimum_batch = 2

    def check(self, setup: Setup) -> None:
        super().check(setup)
        for modality, teacher in setup.teachers.items():
            own = paired_branch(setup.student, modality, self.config.pairs).last_map
            if setup.task == "segmentation" and max(own.ndim, teacher.last_map.ndim) > 3:
                raise MmkdError(
                    "simkd labels the time steps of signals, not the pixels of images; use another --method"
                )

    def build(self, setup: Setup) -> None:
        self.shares = self.weights(setup.teachers)
        self.heads = nn.ModuleList()
        for modality, teacher in setup.teachers.items():
            own = paired_branch(setup.student, modality, self.config.pairs).last_map
            self.heads.append(Head(own, teacher, self.config.factor, self.config.mixed))

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = {}
        for head, (modality, teacher) in zip(self.heads, teachers.items(), strict=True):
            own = paired_branch(student, modality, c.pairs).last_map
            target = positions(meet(own.detach(), teacher.last_map, c.mixed)[1])
            terms[f"simkd_{modality}"] = c.weight * self.shares[modality] * F.mse_loss(head(own)[0], target)
        return terms

    def deploy(self, student: nn.Module) -> nn.Module:
        return Reused(student, self.heads, self.shares, self.config.pairs)


class Head(nn.Module):
    """A projector to a teacher's last map, and the teacher's classifier.

    Values that depend on the teacher's weights are buffers, so that loading a stored state restores them.

    Args:
        student: the student's last map, from a dry run.
        teacher: outputs of the teacher, from a dry run.
        factor: r.
        mixed: how a line is compared with an image.
    """

    weight: Tensor
    bias: Tensor
    rectified: Tensor

    def __init__(self, student: Tensor, teacher: Outputs, factor: int, mixed: str) -> None:
        super().__init__()
        target = teacher.last_map
        self.size = tuple(target.shape[2:])
        self.mixed = mixed
        projected_from = self.bring(student)
        conv = nn.Conv2d if projected_from.ndim == 4 else nn.Conv1d
        norm = nn.BatchNorm2d if projected_from.ndim == 4 else nn.BatchNorm1d
        outputs = target.shape[1]
        middle = max(outputs // factor, 1)
        side = 1 if projected_from[0, 0].numel() == 1 else 3
        layers = [conv(projected_from.shape[1], middle, 1, bias=False), norm(middle), nn.ReLU()]
        layers += [conv(middle, middle, side, padding=side // 2, bias=False), norm(middle), nn.ReLU()]
        self.projector = nn.Sequential(*layers, conv(middle, outputs, 1, bias=False), norm(outputs))
        weight = torch.empty(0) if teacher.classifier is None else teacher.classifier.detach()
        self.register_buffer("weight", weight.clone())
        # The bias of a linear classifier is the difference of its logits from weight times input.
        if teacher.sequence is None:
            differences = teacher.logits - positions(target).mean(2) @ weight.T
        else:
            read = torch.einsum("kc,bct->bkt", weight, target)
            differences = (teacher.sequence - resample(read, teacher.sequence.shape[2], "linear")).mean(2)
        self.register_buffer("bias", differences.mean(0))
        self.register_buffer("rectified", target.min() >= 0)

    def bring(self, x: Tensor) -> Tensor:
        """Bring the student's map to the rank and size at which it is compared; a vector has one position."""
        x = meet(x, x.new_zeros(1, 1, *self.size), self.mixed)[0]
        return x if x.ndim > 2 else x[..., None]

    def forward(self, x: Tensor, steps: int = 0) -> tuple[Tensor, Tensor]:
        """Map the student's map (B, C, *size) to the projected map (B, C_t, positions) and logits.

        Args:
            x: the student's map.
            steps: T, where every step of a window has a label; 0 where the window has one.

        Returns:
            The projected map; and logits (B, K), or (B, K, T).
        """
        x = positions(self.projector(self.bring(x)))
        x = torch.where(self.rectified, x.relu(), x)
        if not steps:
            return x, F.linear(x.mean(2), self.weight, self.bias)
        read = F.linear(x.movedim(1, 2), self.weight, self.bias).movedim(2, 1)
        return x, resample(read, steps, "linear")


class Reused(nn.Module):
    """The deployed network: the student with the teachers' classifiers, whose logits are averaged by their shares.

    The embedding is the mean of the projected map; those of several teachers are concatenated. `classifier` of the
    outputs is None, because no classifier reads the student's map.
    """

    def __init__(self, student: nn.Module, heads: nn.ModuleList, shares: Mapping[str, float], pairs: str) -> None:
        super().__init__()
        self.student = student
        self.heads = heads
        self.shares = dict(shares)
        self.pairs = pairs

    def forward(self, views: Mapping[str, Tensor]) -> Outputs:
        """Map {modality: (B, ...)} to outputs."""
        outputs: Outputs = self.student(views)
        steps = outputs.logits.shape[2] if outputs.logits.ndim > 2 else 0
        embeddings = []
        logits = []
        for head, (modality, share) in zip(self.heads, self.shares.items(), strict=True):
            projected, head_logits = head(paired_branch(outputs, modality, self.pairs).last_map, steps)
            embeddings.append(projected.mean(2))
            logits.append(share * head_logits)
        return replace(
            outputs, logits=torch.stack(logits).sum(0), embedding=torch.cat(embeddings, dim=1), classifier=None
        )


def positions(x: Tensor) -> Tensor:
    """Reshape (B, C, *size) to (B, C, positions); a vector has one position."""
    return x.reshape(*x.shape[:2], -1)
