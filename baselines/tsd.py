"""Learning to Reason: Temporal Saliency Distillation (TSD). Dehigahawattage, Nandakishor, Palaniswami, 2026, https://arxiv.org/abs/2601.04263

Reconstructed from the abstract, which says that the importance of each time step for the teacher's prediction is found
from logits alone, and that the student learns to have the same. How it is found, the distance and the weights are our
choice.

Loss: CE + l T^2 KL (`kd`) + w distance of saliencies. Each of M segments of a window in turn is replaced by a straight
line between its two ends, in all channels, and all views are made anew. The saliency of a segment is what the logit of
the teacher's class c (or of the label) loses: S_m = z_c(x) - z_c(x without m). `form=kl` is tau^2 KL(softmax(S_t / tau)
|| softmax(S_s / tau)), softmax over segments, mean over windows; z_c(x) cancels there, so that only the logits of
changed windows learn. `form=mse` is the mean squared error of S / ||S||. M 8, tau 1, w 1; l 0.7 and T 4 are those of
`kd`.

The student sees M + 1 windows for one, in one batch, so that batch normalisation has the statistics of both: a step
costs M + 1 times that of `kd`. Teachers are asked once, before the training, unless windows are augmented anew each
time. A segment needs 3 samples: a line through the two ends of fewer changes nothing. Several teachers have the shares
`teacher_weights`, and a saliency each.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd import (
    METHODS,
    SHARE_RANGE,
    TEMPERATURE_RANGE,
    Batch,
    DistillConfig,
    MmkdError,
    Outputs,
    Range,
    ReadsVariants,
    check_temperature,
    option,
    paired_branch,
)


@METHODS.register("tsd")
class TemporalSaliency(ReadsVariants):
    """Which parts of a window count, by occlusion (reconstructed from the abstract). Dehigahawattage et al. 2026.

    Use it when you want the student to look at the same parts of a window as the teacher, and have only its logits.
    Every window is run once more for each part that is left out, which makes a step several times as long.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        segments: int = option(8, "segments M of a window, each left out once; a step costs M + 1 times", ge=2)
        fill: Literal["line", "mean", "zero"] = option(
            "line", "what stands in their place: a line between their ends, their channel's mean in the window, or 0"
        )
        form: Literal["kl", "mse"] = option("kl", "distance of saliencies: KL over segments, or that of unit vectors")
        saliency_class: Literal["teacher", "label"] = option(
            "teacher", "whose logit is watched: the class that the teacher predicts, or the label where there is one"
        )
        saliency_temperature: float = option(
            1.0, "temperature tau of the softmax over segments", gt=0, tune=Range(0.25, 4, log=True)
        )
        weight: float = option(1.0, "weight w of the saliencies", ge=0, tune=Range(0.5, 50, log=True))
        kd_weight: float = option(0.7, "weight l of the soft targets; 0 leaves them out", ge=0, tune=SHARE_RANGE)
        temperature: float = option(4.0, "temperature T of the soft targets", gt=0, tune=TEMPERATURE_RANGE)
        pairs: Literal["fused", "same", "all"] = option(
            "fused", "which of the student's logits are compared with a teacher's"
        )

        def __post_init__(self) -> None:
            super().__post_init__()
            check_temperature(f"saliency-temperature = {self.saliency_temperature:g}", self.saliency_temperature)

    unlabelled = "all"

    def variants(self, x: Tensor) -> Tensor:
        return occluded(x, self.config.segments, self.config.fill)

    @property
    def variants_key(self) -> object:
        return [self.config.segments, self.config.fill]

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        if c.kd_weight > 0:
            terms["kd"] = c.kd_weight * self.soft(student, teachers, c.temperature, c.pairs)
        distances = []
        for modality, share in self.weights(teachers).items():
            own, other = paired_branch(student, modality, c.pairs), teachers[modality]
            if own.variants is None or other.variants is None:  # a trial without windows
                continue
            classes = other.logits.argmax(1)
            if c.saliency_class == "label":
                classes = torch.where(batch.targets >= 0, batch.targets, classes)
            s, t = (saliency(x.logits, x.variants, classes) for x in (own, other) if x.variants is not None)
            distances.append(share * saliency_distance(s, t.detach(), c.form, c.saliency_temperature))
        return {**terms, "tsd": c.weight * torch.stack(distances).sum()} if distances else terms


def occluded(x: Tensor, segments: int, fill: str = "line") -> Tensor:
    """Windows (B, C, W) with each of M segments replaced in turn, (B, M, C, W).

    Segment m has the samples from floor(m W / M) up to floor((m + 1) W / M).

    Args:
        fill: as the option of `TemporalSaliency`.

    Raises:
        MmkdError: a segment has fewer than 3 samples.
    """
    length = x.shape[-1]
    if length < 3 * segments:
        raise MmkdError(f"tsd: {segments} segments of {length} samples have fewer than 3 each; use lower --segments")
    copies = x[:, None].repeat(1, segments, 1, 1)
    for m in range(segments):
        first, end = m * length // segments, (m + 1) * length // segments
        part = copies[:, m, :, first:end]
        if fill == "line":
            share = torch.linspace(0, 1, end - first, dtype=x.dtype, device=x.device)
            part.copy_(torch.lerp(x[..., first, None], x[..., end - 1, None], share))
        elif fill == "mean":
            part.copy_(x.mean(-1, keepdim=True).expand_as(part))
        else:
            part.zero_()
    return copies


def saliency(logits: Tensor, variants: Tensor, classes: Tensor) -> Tensor:
    """What the logit of one class loses without each segment, (B, M).

    Args:
        logits: (B, K), of whole windows.
        variants: (B, M, K), of windows without each segment.
        classes: (B,).
    """
    whole = logits.gather(1, classes[:, None])
    return whole - variants.gather(2, classes[:, None, None].expand(-1, variants.shape[1], 1))[..., 0]


def saliency_distance(student: Tensor, teacher: Tensor, form: str = "kl", temperature: float = 1.0) -> Tensor:
    """Distance of saliencies (B, M), a scalar; `form` is the option of `TemporalSaliency`."""
    if form == "mse":
        return F.mse_loss(F.normalize(student, dim=1, eps=1e-6), F.normalize(teacher, dim=1, eps=1e-6))
    s, t = ((x / temperature).log_softmax(1) for x in (student, teacher))
    return temperature**2 * F.kl_div(s, t, reduction="batchmean", log_target=True)
