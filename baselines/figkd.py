"""FiGKD: Fine-Grained Knowledge Distillation via High-Frequency Detail Transfer. Kim, 2025, https://arxiv.org/abs/2505.11897

Reconstructed from the abstract, which says that a discrete wavelet transform divides logits, that only the details are
distilled, and that the labels carry the rest. Wavelet, levels, distance and weight are our choice.

Loss: CE + w mean over samples and pairs of (d_s - d_t)^2, where d_j = (z_2j - z_2j+1) / sqrt(2) are the Haar details of
the logits z. With an odd number of classes the last logit is repeated, and its detail is 0. More levels add the same of
the approximations (z_2j + z_2j+1) / sqrt(2). `wavelet=db2` has the four taps of Daubechies' second wavelet instead,
over classes joined to a ring, so that each detail compares four neighbours.

One level compares pairs of neighbouring class numbers and nothing else: the classes 0 and 1, 2 and 3, and so on. In
most data the order of classes is that of the alphabet or of codes, so that the value depends on an accident.
`class_order` 1, 2 and 3 are other orders, to be reported beside every result. All levels of K = 2^n classes are the
squared error of the logits minus their mean, whatever the order. `bands=all-pass`, plain logits, is the other control.
Several teachers have the shares `teacher_weights`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd import METHODS, Batch, LogitConfig, Method, Outputs, Range, Setup, option, paired_branch
from mmkd.frequency import ring_bands


@METHODS.register("figkd")
class FiGKD(Method):
    """Wavelet details of logits (reconstructed from the abstract). Kim 2025, arXiv:2505.11897.

    Use it when there are many classes and you ask whether differences between neighbouring logits carry what the labels
    do not. The order of the classes matters to a wavelet, so run its control with other orders too.
    """

    @dataclass(frozen=True)
    class Config(LogitConfig):
        weight: float = option(1.0, "weight w of the details", ge=0, tune=Range(0.05, 5, log=True))
        levels: int = option(1, "levels of the transform; 1 compares pairs of neighbouring classes alone", ge=1)
        bands: Literal["high", "low", "all-pass"] = option(
            "high", "what is compared: details, the last approximation, or the logits themselves (the control)"
        )
        wavelet: Literal["haar", "db2"] = option(
            "haar", "pairs of neighbouring classes (haar), or four on a ring (db2)", since=5
        )
        class_order: int = option(
            0, "order of the classes: 0 that of the data, 1, 2, ... one drawn by this number (the control)", ge=0
        )
        temperature: float = option(
            1.0, "temperature T by which logits are divided before", gt=0, tune=Range(1, 5, log=True)
        )
        pairs: Literal["fused", "same", "all"] = option(
            "fused", "which of the student's logits are compared with a teacher's"
        )

    ablations: ClassVar[Mapping[str, Sequence[Any]]] = {
        "bands": ("all-pass",),
        "class_order": (1, 2, 3, 4, 5, 6, 7, 8, 9),
    }
    tasks = frozenset({"classification", "segmentation"})
    unlabelled = "all"

    order: Tensor

    def build(self, setup: Setup) -> None:
        self.register_buffer("order", shuffled_classes(setup.classes, self.config.class_order))

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        total = student.logits.new_zeros(())
        for modality, share in self.weights(teachers).items():
            logits = paired_branch(student, modality, c.pairs).logits
            taught = self.taught(logits, teachers[modality].logits, batch, c.temperature)
            s, t = (z[:, self.order] / c.temperature for z in (taught.student, taught.teacher))
            total = total + share * taught.share * band_distance(s, t, c.levels, c.bands, c.wavelet)
        return {**terms, "figkd": c.weight * total}


def shuffled_classes(classes: int, number: int) -> Tensor:
    """Class numbers (K,) in the order of this number, the same whatever the seed; 0 is the order of the data."""
    if number == 0:
        return torch.arange(classes)
    return torch.randperm(classes, generator=torch.Generator().manual_seed(number))


def band_distance(
    student: Tensor, teacher: Tensor, levels: int = 1, bands: str = "high", wavelet: str = "haar"
) -> Tensor:
    """Squared error of a part of the logits (B, K): the sum over levels of the mean over samples and details.

    Args:
        levels: levels beyond the last that has two values have no details.
        bands: as the option of `FiGKD`; likewise `wavelet`.
    """
    if bands == "all-pass":
        return F.mse_loss(student, teacher)
    levels = min(levels, (student.shape[1] - 1).bit_length())
    low, high = ring_bands(student - teacher, levels, wavelet)
    return low.square().mean() if bands == "low" else torch.stack([x.square().mean() for x in high]).sum()
