"""Multi-Level Logit Distillation. Jin, Wang, Lin, CVPR 2023, https://openaccess.thecvf.com/content/CVPR2023/html/Jin_Multi-Level_Logit_Distillation_CVPR_2023_paper.html

Loss: (1 - l) CE + l sum over temperatures T of (T^2 KL(p_t || p_s), mean over the batch + 64 |G_t - G_s|^2 / B^2 + (64
/ B)^2 (K / 100^2) |M_t - M_s|^2). p are the softened predictions (B, K), G = p p^T the relations of windows, M = p^T p
those of classes, and |.|^2 is the sum of squares. T 2, 3, 4, 5, 6 and l 0.9, as in the authors' code. Its divisors are
B and K, with which the terms grow as B and B^2; here they have the scale of its batches of 64 for every batch size B.
Of certain predictions in K equal classes |M|^2 is B^2 / K, so that with the divisor K the third term grows as 1 / K^2;
here it has the scale of the code's 100 classes for every K. (As published its gradient was 150 to 380 times that of
cross-entropy with 4 and 6 classes.) Soft targets at five temperatures with l 0.9, as published, still have a gradient
of 25 to 50 times that of cross-entropy, see experiments/results/method-scale.md.

Different from the code: there are no strongly augmented views (they would add a cross-entropy and soft targets), and no
mask for the less confident half of windows and classes, which the code multiplies with averages, so that the terms are
about halved. Several teachers have the shares `teacher_weights`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from mmkd import (
    METHODS,
    Batch,
    LogitConfig,
    Method,
    MmkdError,
    Outputs,
    Range,
    batch_scale,
    check_temperature,
    option,
    paired_branch,
    soft_targets,
)

PUBLISHED_CLASSES = 100


@METHODS.register("mlkd")
class MultiLevel(Method):
    """Predictions, and relations of windows and of classes, at several temperatures. Jin, Wang, Lin, CVPR 2023.

    Use it when you want one loss on logits that compares windows, batches and classes, at several temperatures at once.
    Its terms over the batch assume batches that are not much smaller than the usual ones.
    """

    @dataclass(frozen=True)
    class Config(LogitConfig):
        temperatures: str = option(
            "2,3,4,5,6",
            "temperatures of teacher and student, whose terms are summed",
            tune=("2,3,4,5,6", "1,2,3", "4", "2,4,8"),
        )
        kd_weight: float = option(
            0.9, "share l of the three levels; cross-entropy keeps 1 - l", ge=0, le=1, tune=Range(0.1, 0.9)
        )
        pairs: Literal["fused", "same", "all"] = option(
            "fused", "which of the student's logits are compared with a teacher's"
        )

        def __post_init__(self) -> None:
            super().__post_init__()
            numbers(self.temperatures)

    unlabelled = "all"
    revision = 3

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = {name: (1 - c.kd_weight) * term for name, term in self.supervised(student, batch).items()}
        instance = windows = classes = student.logits.new_zeros(())
        for modality, share in self.weights(teachers).items():
            logits = paired_branch(student, modality, c.pairs).logits
            for temperature in numbers(c.temperatures):
                taught = self.taught(logits, teachers[modality].logits, batch, temperature)
                own, other, kept = taught.student, taught.teacher, share * taught.share
                s, t = (F.softmax(z / temperature, 1) for z in (own, other))
                instance = instance + kept * soft_targets(own, other, temperature)
                between_windows = (s @ s.T - t @ t.T).square().sum() / s.shape[0]
                windows = windows + kept * batch_scale(len(s), growth=1) * between_windows
                between_classes = (s.T @ s - t.T @ t).square().sum() / s.shape[1]
                classes = classes + kept * batch_scale(len(s), growth=2) * between_classes
        classes = classes * (student.logits.shape[1] / PUBLISHED_CLASSES) ** 2
        levels = {"mlkd_instance": instance, "mlkd_batch": windows, "mlkd_class": classes}
        return {**terms, **{name: c.kd_weight * term for name, term in levels.items()}}


def numbers(text: str) -> list[float]:
    """Parse temperatures such as "2,3,4,5,6".

    Raises:
        MmkdError: A temperature is not a number in the accepted range.
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = [0.0]
    if not all(0 < value < math.inf for value in values):
        raise MmkdError(f"temperatures {text!r}: give numbers above 0 with commas between, such as 2,3,4,5,6")
    for value in values:
        check_temperature(f"temperatures {text!r}", value)
    return values
