"""One-for-All: distillation between different architectures (OFA-KD). Hao et al., NeurIPS 2023, https://arxiv.org/abs/2310.19444

Loss: CE + a ofa(student's logits) + b sum over the student's stages of ofa(logits of a head on that stage). With the
teacher's probabilities p at T, and m = 1 for the label and 0 else, the classes have the weights w = (p + m)^eps - m,
and ofa(z) = -sum_k w_k ln softmax(z / T)_k, mean over the batch, without T^2. The label weighs (1 + p)^eps - 1 and the
others p^eps, so that w does not sum to 1. At eps = 1 the gradient is that of `kd` at T = 1. a = b = 1, T 1; eps 1 or
1.5 by pair of networks in the authors' code, 1.5 here.

Only the teacher's logits are read, so that teacher and student may be of any kind. A head has a block for each stage
that follows, global averages, and a linear classifier; that of the last stage has a 1x1 convolution in place of blocks.
A block is twice a depthwise convolution of size 3, a 1x1 convolution, BatchNorm and ReLU; the first depthwise one has
stride 2. Heads train with the student and are not deployed. Different from the code: lines have heads of one dimension;
an axis shorter than 3 is not halved; a block has max(2K, C) channels (the code's double from stage to stage, up to the
teacher's width); a stage that is a vector has a perceptron with 2K hidden units.

Several teachers have the shares `teacher_weights`, and heads of their own. The classifiers of heads begin with weights
of deviation 0.02, as in the code, so that heads are slow in the first epochs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from mmkd import METHODS, Batch, LogitConfig, Method, MmkdError, Outputs, Range, Setup, option, paired_branch


@METHODS.register("ofa")
class OneForAll(Method):
    """Logits of every stage, for networks of any kind. Hao et al., NeurIPS 2023, arXiv:2310.19444.

    Use it when teacher and student are networks of different kinds and their maps cannot be compared: each stage of the
    student gets a head, and only logits are read. The power of the label has to be chosen for the pair of networks.
    """

    @dataclass(frozen=True)
    class Config(LogitConfig):
        eps: float = option(1.5, "power of the weights; 1 is soft targets", gt=0, tune=Range(1, 2))
        temperature: float = option(1.0, "temperature T of teacher and student", gt=0, tune=Range(1, 5, log=True))
        logit_weight: float = option(1.0, "weight a of the student's own logits", ge=0, tune=Range(0.1, 10, log=True))
        stage_weight: float = option(1.0, "weight b of each head", ge=0, tune=Range(0.3, 30, log=True))
        stages: Literal["all", "last"] = option("all", "stages of the student that have a head")
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")

    minimum_batch = 2
    unlabelled = "teacher"

    def check(self, setup: Setup) -> None:
        super().check(setup)
        for modality in setup.teachers:  # `needs` would ask the teachers for maps, too
            if self.config.stage_weight > 0 and not self.maps(setup.student, modality):
                raise MmkdError(
                    f"ofa: the part of the student that meets the {modality} teacher puts out no feature maps; choose "
                    f"another --student-net, or use --stage-weight 0"
                )

    def maps(self, student: Outputs, modality: str) -> list[Tensor]:
        """The maps that have a head, the shallowest first."""
        maps = list(paired_branch(student, modality, self.config.pairs).features.values())
        return maps if self.config.stages == "all" else maps[-1:]

    def build(self, setup: Setup) -> None:
        self.heads = nn.ModuleList()
        for modality in setup.teachers if self.config.stage_weight > 0 else ():
            maps = self.maps(setup.student, modality)
            for number, x in enumerate(maps, 1):
                self.heads.append(make_head(x, len(maps) - number, setup.classes))

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        shares = self.weights(teachers)
        own = staged = student.logits.new_zeros(())
        heads = iter(self.heads)
        for modality, teacher in teachers.items():
            own = own + shares[modality] * self.compared(student.logits, teacher, batch)
            for x in self.maps(student, modality) if len(self.heads) else ():
                staged = staged + shares[modality] * self.compared(next(heads)(x), teacher, batch)
        return {**terms, "ofa_logits": c.logit_weight * own, "ofa_stages": c.stage_weight * staged}

    def compared(self, logits: Tensor, teacher: Outputs, batch: Batch) -> Tensor:
        """ofa of logits (B, K) and one teacher."""
        c = self.config
        taught = self.taught(logits, teacher.logits, batch, c.temperature)
        return taught.share * weighted_entropy(taught.student, taught.teacher, taught.targets, c.eps, c.temperature)


def weighted_entropy(student: Tensor, teacher: Tensor, targets: Tensor, eps: float, temperature: float) -> Tensor:
    """ofa of logits (B, K), mean over the batch."""
    label = F.one_hot(targets, student.shape[1]).to(student.dtype)
    weights = ((teacher / temperature).softmax(1) + label) ** eps - label
    return -(weights * F.log_softmax(student / temperature, 1)).sum(1).mean()


def make_head(x: Tensor, blocks: int, classes: int) -> nn.Module:
    """A head for maps such as `x` (B, C, *size), to logits (B, classes).

    Args:
        blocks: number of stages that follow.
    """
    if x.ndim == 2:
        return nn.Sequential(nn.Linear(x.shape[1], 2 * classes), nn.ReLU(), nn.Linear(2 * classes, classes))
    width = max(2 * classes, x.shape[1])
    return Head([x.shape[1]] + [width] * max(blocks, 1), tuple(x.shape[2:]), classes, pointwise=blocks == 0)


class Head(nn.Module):
    """Blocks or a 1x1 convolution, global averages and a linear classifier, maps (B, C, *size) to logits (B, K).

    Args:
        widths: C, and the channels after each block.
        size: of the maps.
        classes: K.
        pointwise: a 1x1 convolution in place of each block.
    """

    def __init__(self, widths: list[int], size: tuple[int, ...], classes: int, pointwise: bool = False) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        conv = nn.Conv1d if len(size) == 1 else nn.Conv2d
        for inputs, outputs in pairwise(widths):
            if pointwise:
                blocks.append(conv(inputs, outputs, 1, bias=False))
                continue
            stride = tuple(2 if side > 2 else 1 for side in size)
            size = tuple(-(-side // step) for side, step in zip(size, stride, strict=True))
            blocks.append(block(inputs, outputs, stride))
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(widths[-1], classes)
        nn.init.trunc_normal_(self.classifier.weight, std=0.02)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.blocks(x).flatten(2).mean(2))
        return logits


def block(inputs: int, outputs: int, stride: tuple[int, ...]) -> nn.Module:
    """Twice a depthwise convolution of size 3, a 1x1 convolution, BatchNorm and ReLU; the first with `stride`."""
    flat = len(stride) == 1
    norm = nn.BatchNorm1d if flat else nn.BatchNorm2d

    def depthwise(step: tuple[int, ...]) -> nn.Module:
        if flat:
            return nn.Conv1d(inputs, inputs, 3, step[0], 1, groups=inputs, bias=False)
        return nn.Conv2d(inputs, inputs, 3, (step[0], step[1]), 1, groups=inputs, bias=False)

    def pointwise(width: int) -> nn.Module:
        return nn.Conv1d(inputs, width, 1, bias=False) if flat else nn.Conv2d(inputs, width, 1, bias=False)

    once = (1,) * len(stride)
    first = [depthwise(stride), pointwise(inputs), norm(inputs), nn.ReLU()]
    return nn.Sequential(*first, depthwise(once), pointwise(outputs), norm(outputs), nn.ReLU())
