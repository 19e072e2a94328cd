"""The student alone, trained as long as distillation takes to compute.

Loss: cross-entropy. A step of the student costs three forward passes of it (3 F_s multiply-accumulates a window), a
window that a teacher k looks at one of that teacher (F_k). With E epochs the student is trained for

    E (1 + sum_k F_k / (3 F_s))      where teachers run in every step,
    E + c sum_k F_k / (3 F_s)        where their outputs for c copies of the windows are stored,

and with `count=all` for sum_k E_k F_k / F_s epochs more, which is what the trainings of the teachers cost. It is
rounded up, and at most 20 E; the schedule of the learning rate is stretched. No teacher is trained for it: the networks
count, not what they know. A peer costs nothing, and weights that were given cost nothing to train.

A control: what a method gains beyond it is not the compute.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from mmkd import METHODS, Batch, Costs, Method, MethodConfig, Outputs, option


@METHODS.register("longer")
class Longer(Method):
    """The student alone for as many multiply-accumulates as distillation takes."""

    @dataclass(frozen=True)
    class Config(MethodConfig):
        count: Literal["given-teachers", "all"] = option(
            "given-teachers", "whose cost counts: that of what given teachers put out, or also of their trainings"
        )

    tasks = frozenset({"classification", "segmentation", "anomaly"})
    needs = frozenset()
    status = "control"

    def length(self, costs: Costs) -> float:
        asked = costs.windows if costs.stored is None else costs.stored
        more = sum(costs.teachers.values()) / (3 * costs.student) * asked
        if self.config.count == "all":
            more += sum(costs.trained[name] * macs for name, macs in costs.teachers.items()) / costs.student
        return 1 + more / costs.windows

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        return self.supervised(student, batch)
