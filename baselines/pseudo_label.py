"""Control of few labels: the classes that the teachers predict, as hard labels.

Loss: (1 - l) CE over the labelled windows + l CE with the teachers' class over all windows of the batch, labelled or
not. Of several teachers it is the class of the highest mean probability, with the shares `teacher_weights`.
Pseudo-labels are Lee's (Pseudo-Label, ICML 2013 workshop); here they come from the teachers, and not from the student
itself. Whoever is better than this row learns more from soft targets than the class.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd import METHODS, Batch, DistillConfig, Method, MmkdError, Outputs, Setup, option, paired_branch


@METHODS.register("pseudo-label")
class PseudoLabel(Method):
    """The class that the teachers predict, as a hard label of every window. Lee, ICML 2013 workshop."""

    @dataclass(frozen=True)
    class Config(DistillConfig):
        kd_weight: float = option(0.7, "share l of the teachers' classes; cross-entropy keeps 1 - l", ge=0, le=1)
        pairs: Literal["fused", "same", "all"] = option(
            "fused", "which of the student's logits learn the teachers' classes"
        )

    status = "control"
    options_like = "kd"
    unlabelled = "all"

    def check(self, setup: Setup) -> None:
        super().check(setup)
        if not setup.unlabelled:
            raise MmkdError(
                "pseudo-label gives classes to windows without a label, and all training windows have one; use "
                "--labelled-subjects N or --labelled-windows N, or give others with --unlabelled FILE.npz"
            )
        if setup.mixes:
            raise MmkdError("pseudo-label: a window that is mixed has no one class; leave mixup out of --augment")

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        shares = self.weights(teachers)
        parts = [share * teachers[name].logits.detach().softmax(1) for name, share in shares.items()]
        classes = torch.stack(parts).sum(0).argmax(1)
        own = [
            share * F.cross_entropy(paired_branch(student, name, c.pairs).logits, classes)
            for name, share in shares.items()
        ]
        hard = {name: (1 - c.kd_weight) * term for name, term in self.supervised(student, batch).items()}
        return {**hard, "pseudo": c.kd_weight * torch.stack(own).sum()}
