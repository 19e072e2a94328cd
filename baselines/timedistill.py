"""TimeDistill: MLPs that learn from other architectures at several scales and frequencies. Ni et al., KDD 2026, https://arxiv.org/abs/2502.15016

Loss: CE + w (spectrum + scale) of maps along time, after a 1x1 convolution of the student's to the teacher's channels.
scale is the mean over l = 0..L of the squared error of the maps after l averages of neighbouring pairs; L 3, fewer
where T samples cannot be halved so often. spectrum is KL(teacher || student) of the amplitudes of the Fourier transform
without its constant, softmax over frequencies at 0.5, mean over windows and channels. Where every time step has a
label, v times the same of the logits along time is added, those of steps without annotation too. The presets of
segmentation set w = 0.1 and v = 0.01: with 1 and 1, on hapt-dense and ludb, the gradient of the maps was 6 to 17 times,
that of the logits 65 to 310 times, that of cross-entropy, because lines that hardly change over a window are divided by
a small deviation.

Different from the code: its features have no time axis, so that it pools and transforms along their arbitrary order;
here it is time. KL is summed over frequencies (`reduction=elements`: the code's mean over all elements, T // 2 times
less). Amplitudes grow with the length and the unit of a line, and a softmax at 0.5 of large ones is one-hot:
`spectrum_scale=unit` standardises each channel over time, and divides by sqrt(T); `raw` is the code's. The code adapts
the teacher, by two layers that train with the student (`adapt=teacher`), which can pull both sides to a constant: the
term `timedistill_spread` of the log, which has no gradient, is the deviation of the adapted teacher over time.

Lines of different length are compared at the smaller one, cropped in the DCT spectrum. An image has no axis of time; it
is refused, or averaged over its rows (`images=rows`, a control). Several teachers have the shares `teacher_weights`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd import (
    METHODS,
    Batch,
    DistillConfig,
    Method,
    MmkdError,
    Outputs,
    Range,
    Setup,
    matched_maps,
    option,
    paired_branch,
)
from mmkd.frequency import meet_unaliased


@METHODS.register("timedistill")
class TimeDistill(Method):
    """Lines along time at several scales, and their spectra. Ni et al., KDD 2026.

    Use it when teacher and student read the same time axis and the student should have the teacher's trends at several
    scales and its dominant periods. It was made for forecasting students that are no convolutions; the form for classes
    is described below.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        weight: float = option(1.0, "weight w of the maps", ge=0, tune=Range(0.1, 20, log=True))
        logit_weight: float = option(1.0, "weight v of the logits along time, where every step has a label", ge=0)
        levels: int = option(3, "halvings L of the scales", ge=0)
        temperature: float = option(
            0.5, "temperature of the softmax over frequencies", gt=0, tune=Range(0.1, 2, log=True)
        )
        reduction: Literal["sample", "elements"] = option(
            "sample", "the spectra's term: summed over frequencies, or averaged over them too (the code)"
        )
        spectrum_scale: Literal["unit", "raw"] = option(
            "unit", "amplitudes of standardised channels over sqrt(T), or of the maps as they are (the code)"
        )
        adapt: Literal["student", "teacher"] = option(
            "student", "whose map is adapted to the other's channels: a convolution, or two layers (the code)"
        )
        images: Literal["refuse", "rows"] = option(
            "refuse", "an image, which has no axis of time: refused, or averaged over its rows (a control)"
        )
        stages: Literal["all", "deep", "last"] = option("last", "stages that are compared: all, the last two, the last")
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")

    tasks = frozenset({"classification", "segmentation"})
    unlabelled = "all"
    needs = frozenset({"features"})

    def check(self, setup: Setup) -> None:
        super().check(setup)
        for modality, teacher in setup.teachers.items():
            branch = paired_branch(setup.student, modality, self.config.pairs)
            for pair in matched_maps(branch, teacher, self.config.stages):
                if any(x.ndim == 4 for x in pair) and self.config.images == "refuse":
                    raise MmkdError(
                        f"timedistill compares lines along time, and an image meets the {modality} teacher; use "
                        f"--teachers sig and --student sig, or --images rows"
                    )
                if any(x.ndim not in (3, 4) or x.shape[-1] < 2 for x in pair):
                    raise MmkdError(
                        f"timedistill compares lines of 2 or more samples, and what meets at the {modality} teacher "
                        f"has {' and '.join(str(tuple(x.shape)) for x in pair)}; use --stages last, longer windows or "
                        f"another --teacher-net or --student-net"
                    )

    def lines(self, student: Outputs, modality: str, teacher: Outputs) -> list[tuple[Tensor, Tensor]]:
        """The maps (student, teacher) that are compared, (B, C, T) and (B, C', T)."""
        branch = paired_branch(student, modality, self.config.pairs)
        found = []
        for pair in matched_maps(branch, teacher, self.config.stages):
            own, other = (x.mean(2) if x.ndim == 4 else x for x in pair)
            found.append(meet_unaliased(own, other.detach(), "outer"))
        return found

    def build(self, setup: Setup) -> None:
        self.adapters = nn.ModuleList()
        for modality, teacher in setup.teachers.items():
            for own, other in self.lines(setup.student, modality, teacher):
                c_own, c_other = own.shape[1], other.shape[1]
                if self.config.adapt == "student":
                    self.adapters.append(nn.Conv1d(c_own, c_other, 1))
                else:
                    self.adapters.append(Regressor(c_other, c_own))

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        shares = self.weights(teachers)
        adapters = iter(self.adapters)
        predicted = spread = student.logits.new_zeros(())
        for modality, teacher in teachers.items():
            distances = []
            for own, other in self.lines(student, modality, teacher):
                adapter = next(adapters)
                if c.adapt == "student":
                    own = adapter(own)
                else:
                    other = adapter(other)
                    spread = spread + shares[modality] * other.detach().std(-1, correction=0).mean()
                distances.append(self.distance(own, other))
            terms[f"timedistill_{modality}"] = c.weight * shares[modality] * torch.stack(distances).mean()
            if student.sequence is not None and teacher.sequence is not None:
                distance = self.distance(student.sequence, teacher.sequence.detach())
                predicted = predicted + shares[modality] * distance
        if student.sequence is not None:
            terms["timedistill_logits"] = c.logit_weight * predicted
        if c.adapt == "teacher":
            terms["timedistill_spread"] = spread
        return terms

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """spectrum + scale of two lines (B, C, T), a scalar."""
        c = self.config
        own, other = (spectrum(x, c.spectrum_scale) for x in (student, teacher))
        spectral = spectrum_distance(own, other, c.temperature, c.reduction)
        return spectral + scale_distance(student, teacher, c.levels)


class Regressor(nn.Module):
    """Linear, ReLU, Linear over channels, lines (B, C, T) to (B, C', T)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(), nn.Linear(outputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x.movedim(1, -1))
        return y.movedim(-1, 1)


def scale_distance(student: Tensor, teacher: Tensor, levels: int) -> Tensor:
    """Mean over scales of the squared error of lines (B, C, T), averaged by pairs up to `levels` times.

    A last odd sample has no pair and is left out.
    """
    errors = [F.mse_loss(student, teacher)]
    for _ in range(levels):
        if student.shape[-1] < 2:
            break
        student, teacher = (F.avg_pool1d(x, 2) for x in (student, teacher))
        errors.append(F.mse_loss(student, teacher))
    return torch.stack(errors).mean()


def spectrum(x: Tensor, scale: str = "raw") -> Tensor:
    """Amplitudes (B, C, T // 2) of the Fourier transform of lines (B, C, T), without the constant.

    Args:
        scale: "raw", or "unit": of channels with mean 0 and variance 1 over time, divided by sqrt(T).
    """
    if scale == "unit":
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() / x.shape[-1] ** 0.5
    amplitudes: Tensor = torch.fft.rfft(x)[..., 1:].abs()
    return amplitudes


def spectrum_distance(student: Tensor, teacher: Tensor, temperature: float, reduction: str = "sample") -> Tensor:
    """KL(teacher || student) of amplitudes (B, C, F), softmax over F, a scalar.

    Args:
        reduction: "sample", the sum over F and the mean over B and C; or "elements", the mean over all.
    """
    p = (teacher / temperature).log_softmax(-1)
    q = (student / temperature).softmax(-1)
    divergence = p.exp() * (p - (q + 1e-8).log())  # the code's 1e-8
    return divergence.mean() if reduction == "elements" else divergence.sum(-1).mean()
