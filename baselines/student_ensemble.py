"""The mean of several students that are trained alone: how far averaging alone goes.

Loss: none. The network is the mean of the class probabilities of K students like that of the unit, trained alone by the
same recipe; the training seeds of a unit of seed s are 1000 s to 1000 s + K - 1. It costs K times as much: an upper
bound of what averaging brings, and no method. Lakshminarayanan et al. 2017, https://arxiv.org/abs/1612.01474
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

from torch import Tensor, nn

from mmkd import METHODS, Batch, Ensemble, Method, MethodConfig, Outputs, option


@METHODS.register("student-ensemble")
class StudentEnsemble(Method):
    """The mean of students trained alone, an upper bound. Lakshminarayanan et al. 2017, arXiv:1612.01474."""

    @dataclass(frozen=True)
    class Config(MethodConfig):
        members: int = option(5, "number K of students", ge=2)

    tasks = frozenset({"classification", "segmentation", "anomaly"})
    distils = False
    status = "control"

    def likes(self, seed: int) -> Mapping[str, int]:
        return {f"member {number}": 1000 * seed + number for number in range(self.config.members)}

    def deploy(self, student: nn.Module) -> nn.Module:
        return self.combine([deepcopy(student) for _ in range(self.config.members)])

    def combine(self, likes: Sequence[nn.Module]) -> nn.Module:
        return Ensemble(likes)

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        return self.supervised(student, batch)
