"""FreeKD: Knowledge Distillation via Semantic Frequency Prompt. Zhang et al., CVPR 2024, https://arxiv.org/abs/2311.12079

Loss: CE + w sum over levels of mean m |h_s - h_t| + u MSE(s, t), of each pair of stages, mean over stages. h are the
high bands of the orthonormal Haar transform of a map, a zero appended to odd sides: at each level one of a line, three
of an image. The mask m in (0, 1), one number a position, is the teacher's. s is the student's map after a 1x1
convolution to the teacher's channels. 3 levels, w 1, u 5 are the authors' for detectors. The lowest band is distilled
by the plain error alone.

Different from the code: the authors learn prompts in a stage of fine-tuning the teacher's detector, and
m = sigmoid(prompt . bands). There is no such stage here. `prompts=energy` (ours, reconstructed) is the sigmoid of the
mean magnitude of the teacher's bands over channels, standardised over the positions of each window; it has no
parameters. Prompts that trained along with the student would shrink m to 0. `prompts=none` (m = 1) compares bands
without a mask, and `prompts=shuffled` puts the mask's values at other positions, the same for all windows: what a mask
must beat. `bands=all-pass` adds the low band, under its own mask. The relational loss that the abstract names is not in
the code, and not here.

The coefficients of smooth maps grow with the level, so that the deepest level has most of the loss. A map with a side
below 8 has as many levels as its side can be halved. Maps of different size are compared at the smaller size of each
axis, cropped in the DCT spectrum. A line is compared with an image through a lift, the option `mixed`. Stages are
matched from the deepest. Several teachers have the shares `teacher_weights`.
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
    matched_stages,
    option,
    paired_branch,
)
from mmkd.frequency import haar_bands, haar_levels, meet_unaliased


@METHODS.register("freekd")
class FreeKD(Method):
    """Wavelet bands under a mask (its prompts are reconstructed). Zhang et al., CVPR 2024."""

    @dataclass(frozen=True)
    class Config(DistillConfig):
        weight: float = option(1.0, "weight w of the high bands", ge=0, tune=Range(0.3, 100, log=True))
        mse_weight: float = option(
            5.0, "weight u of the squared error of the maps", ge=0, tune=Range(0.5, 50, log=True)
        )
        levels: int = option(3, "levels of the wavelet transform", ge=1)
        prompts: Literal["energy", "none", "shuffled"] = option(
            "energy",
            "mask of the bands: where the teacher's are large, none, or the values of energy at other positions (the "
            "control)",
        )
        bands: Literal["high", "all-pass"] = option("high", "the high bands, or the lowest one besides (the control)")
        stages: Literal["all", "deep", "last"] = option("all", "stages that are compared: all, the last two, the last")
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")
        mixed: Literal["outer", "repeat", "hankel", "toeplitz"] = option(
            "outer", "how a line becomes a map, to be compared with an image"
        )

    tasks = frozenset({"classification", "segmentation"})
    unlabelled = "all"
    needs = frozenset({"features"})

    def check(self, setup: Setup) -> None:
        super().check(setup)
        for modality, teacher in setup.teachers.items():
            branch = paired_branch(setup.student, modality, self.config.pairs)
            for s, t in self.stages(setup.student, modality, teacher):
                own, other = branch.features[s], teacher.features[t]
                if any(x.ndim not in (3, 4) for x in (own, other)) or side(own, other, self.config.mixed) < 2:
                    raise MmkdError(
                        f"freekd divides maps into bands, and where stage {s} (student, {tuple(own.shape)}) meets {t} "
                        f"of the {modality} teacher ({tuple(other.shape)}) there is nothing to divide; use --stages "
                        f"deep or last, longer windows, another --teacher-net or --student-net"
                    )

    def stages(self, student: Outputs, modality: str, teacher: Outputs) -> list[tuple[str, str]]:
        """Names (student, teacher) of the stages that are compared."""
        return matched_stages(paired_branch(student, modality, self.config.pairs), teacher, self.config.stages)

    def maps(self, student: Outputs, modality: str, teacher: Outputs) -> list[tuple[Tensor, Tensor]]:
        """The maps (student, teacher) that are compared, of one rank and size."""
        branch = paired_branch(student, modality, self.config.pairs)
        return [
            meet_unaliased(branch.features[s], teacher.features[t].detach(), self.config.mixed)
            for s, t in self.stages(student, modality, teacher)
        ]

    def build(self, setup: Setup) -> None:
        self.adapters = nn.ModuleList()
        for modality, teacher in setup.teachers.items():
            for own, other in self.maps(setup.student, modality, teacher):
                conv = nn.Conv1d if other.ndim == 3 else nn.Conv2d
                self.adapters.append(conv(own.shape[1], other.shape[1], 1))
                if self.config.prompts == "shuffled":
                    for level, band in enumerate(self.bands(other)):
                        order = torch.randperm(band[0, 0, 0].numel())
                        self.register_buffer(f"order_{len(self.adapters) - 1}_{level}", order)

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        shares = self.weights(teachers)
        adapters = iter(enumerate(self.adapters))
        for modality, teacher in teachers.items():
            bands = []
            errors = []
            for own, other in self.maps(student, modality, teacher):
                number, adapter = next(adapters)
                adapted = adapter(own).to(other.dtype)
                bands.append(self.band_distance(adapted, other, number))
                errors.append(F.mse_loss(adapted, other))
            terms[f"freekd_{modality}"] = c.weight * shares[modality] * torch.stack(bands).mean()
            terms[f"freekd_mse_{modality}"] = c.mse_weight * shares[modality] * torch.stack(errors).mean()
        return terms

    def bands(self, x: Tensor) -> list[Tensor]:
        """The bands of a map that are compared, each (B, C, O, *size)."""
        low, high = haar_bands(x, min(self.config.levels, haar_levels(tuple(x.shape[2:]))))
        return [low[:, :, None], *high] if self.config.bands == "all-pass" else high

    def band_distance(self, student: Tensor, teacher: Tensor, number: int) -> Tensor:
        """The sum over levels of the masked distance of two maps (B, C, *size), the pair of stages `number`."""
        distances = []
        for level, (s, t) in enumerate(zip(self.bands(student), self.bands(teacher), strict=True)):
            mask = None if self.config.prompts == "none" else energy_mask(t)
            if mask is not None and self.config.prompts == "shuffled":
                order = getattr(self, f"order_{number}_{level}")
                mask = mask.flatten(2)[..., order].view_as(mask)
            distances.append(masked_distance(s, t, mask))
        return torch.stack(distances).sum()


def side(student: Tensor, teacher: Tensor, mixed: str) -> int:
    """The smallest side of the maps in which two features are compared."""
    return int(min(meet_unaliased(student[:1], teacher[:1], mixed)[0].shape[2:]))


def masked_distance(student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of m |s - t| over samples, masks, channels, orientations and positions.

    Args:
        student: (B, C, O, *size), the bands of one level.
        teacher: likewise.
        mask: (B, M, *size), M masks m of at least 0; None for 1.
    """
    gap = (student - teacher).abs().mean((1, 2))
    return gap.mean() if mask is None else (mask.mean(1) * gap).mean()


def energy_mask(teacher: Tensor) -> Tensor:
    """The mask (B, 1, *size) of bands (B, C, O, *size): the sigmoid of their standardised mean magnitude."""
    size = teacher.abs().mean((1, 2), keepdim=True)[:, :, 0]
    over = tuple(range(2, size.ndim))
    gap = size - size.mean(over, keepdim=True)
    return (gap / (gap.square().mean(over, keepdim=True).sqrt() + 1e-6)).sigmoid()
