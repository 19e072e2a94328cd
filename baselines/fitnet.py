"""FitNets: Hints for Thin Deep Nets. Romero et al., ICLR 2015, https://arxiv.org/abs/1412.6550

Loss: CE + w times the mean squared error between a middle map of the teacher (the hint) and the student's map at that
depth (the guided layer) after a regressor: a 1x1 convolution, BatchNorm and ReLU, as in the toolkit of Tian et al. 2020
(arXiv:1910.10699).

Different from the paper: hint and cross-entropy are trained together instead of one after the other, with the toolkit's
weight 100, which includes the factor 1/2. There is no ReLU if the teacher's map has negative values, and no bias, which
BatchNorm would cancel. With this weight the gradient on the student is 15 to 50 times that of cross-entropy, see
experiments/results/method-scale.md. Without BatchNorm, SGD at the learning rate 0.05 of the full preset ends in
infinite weights. Stages are matched from the deepest. Maps of the same rank are compared at the smaller size, by
adaptive averages (the toolkit changes sizes by the convolution). A line is compared with an image as `mixed` says: both
as vectors of means over positions, or the line lifted to the image's side. Several teachers have the shares
`teacher_weights`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from mmkd import METHODS, Batch, DistillConfig, Method, Outputs, Range, Setup, matched_stages, option, paired_branch
from mmkd.frequency import meet


@METHODS.register("fitnet")
class FitNet(Method):
    """Hint: a middle map regressed onto the teacher's. Romero et al., ICLR 2015, arXiv:1412.6550.

    Use it when you want the plain reference for feature maps: one middle map regressed onto the teacher's. Its default
    weight is large beside cross-entropy, so tune it before you judge it.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        weight: float = option(100.0, "weight of the hint term", ge=0, tune=Range(0.5, 200, log=True))
        stage: Literal["middle", "last"] = option(
            "middle", "which of the matched stages is the hint", tune=("middle", "last")
        )
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")
        mixed: Literal["pool", "outer", "repeat", "hankel", "toeplitz"] = option(
            "pool", "how a line is compared with an image: as vectors of means, or lifted to a map"
        )

    unlabelled = "all"
    tasks = frozenset({"classification", "segmentation"})
    needs = frozenset({"features"})
    minimum_batch = 2
    status = "classic"
    revision = 2

    def maps(self, student: Outputs, modality: str, teacher: Outputs) -> tuple[Tensor, Tensor]:
        """The guided map and the hint, (B, C, *size) and (B, C', *size)."""
        branch = paired_branch(student, modality, self.config.pairs)
        names = matched_stages(branch, teacher)
        guided, hint = names[len(names) // 2 if self.config.stage == "middle" else 0]
        return meet(branch.features[guided], teacher.features[hint], self.config.mixed)

    def build(self, setup: Setup) -> None:
        self.regressors = nn.ModuleList()
        for modality, teacher in setup.teachers.items():
            guided, hint = self.maps(setup.student, modality, teacher)
            self.regressors.append(Regressor(guided.shape[1], hint.shape[1], signed=bool(hint.min() < 0)))

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        terms = self.supervised(student, batch)
        shares = self.weights(teachers)
        for regressor, (modality, teacher) in zip(self.regressors, teachers.items(), strict=True):
            guided, hint = self.maps(student, modality, teacher)
            distance = F.mse_loss(regressor(guided), hint)
            terms[f"fitnet_{modality}"] = self.config.weight * shares[modality] * distance
        return terms


class Regressor(nn.Module):
    """A 1x1 convolution, BatchNorm and ReLU, maps (B, C, *size) to (B, C', *size).

    Args:
        inputs: C.
        outputs: C'.
        signed: leave the ReLU out, because the maps to predict have negative values.
    """

    def __init__(self, inputs: int, outputs: int, signed: bool) -> None:
        super().__init__()
        self.convolution = nn.Linear(inputs, outputs, bias=False)  # over channels
        self.norm = nn.BatchNorm1d(outputs)
        self.signed = signed

    def forward(self, x: Tensor) -> Tensor:
        rows = self.convolution(x.movedim(1, -1))
        y: Tensor = self.norm(rows.flatten(0, -2)).view(rows.shape).movedim(-1, 1)
        return y if self.signed else y.relu()
