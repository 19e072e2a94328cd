"""Learning from Multiple Teacher Networks (the average, "AVER"). You et al., KDD 2017, https://doi.org/10.1145/3097983.3098135

Three averages over the teachers are known by this name: of logits (the default), of losses, and of softened
probabilities. The last two have the same gradient for the student and differ by a constant. The first differs from
both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd import METHODS, SHARE_RANGE, TEMPERATURE_RANGE, Batch, LogitConfig, Method, Outputs, option, soft_targets


@METHODS.register("aver")
class Aver(Method):
    """Soft targets from the average of the teachers: of logits, losses or probabilities. You et al., KDD 2017.

    Use it when you have several teachers of about equal strength and want the simplest mixture of them. A weak teacher
    counts as much as a strong one unless you set `teacher_weights`.
    """

    @dataclass(frozen=True)
    class Config(LogitConfig):
        average: Literal["logits", "losses", "probabilities"] = option(
            "logits", "what is averaged over the teachers", tune=("logits", "losses", "probabilities")
        )
        temperature: float = option(4.0, "temperature T of teacher and student", gt=0, tune=TEMPERATURE_RANGE)
        kd_weight: float = option(
            0.7, "share l of the soft targets; cross-entropy keeps 1 - l", ge=0, le=1, tune=SHARE_RANGE
        )

    unlabelled = "all"
    tasks = frozenset({"classification", "segmentation"})
    status = "classic"

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        t = c.temperature
        shares = self.weights(teachers)
        if c.average == "logits":
            mean = torch.stack([w * teachers[m].logits for m, w in shares.items()]).sum(0)
            taught = self.taught(student.logits, mean, batch, t)
            soft = taught.share * soft_targets(taught.student, taught.teacher, t)
        elif c.average == "losses":
            soft = self.soft(student, teachers, t, batch=batch)
        else:
            mean = torch.stack([w * F.softmax(teachers[m].logits / t, 1) for m, w in shares.items()]).sum(0)
            taught = self.taught(student.logits, t * mean.log(), batch, t)
            p = F.softmax(taught.teacher / t, 1)
            soft = taught.share * t**2 * F.kl_div(F.log_softmax(taught.student / t, 1), p, reduction="batchmean")
        hard = {name: (1 - c.kd_weight) * term for name, term in self.supervised(student, batch).items()}
        return {**hard, "kd": c.kd_weight * soft}
