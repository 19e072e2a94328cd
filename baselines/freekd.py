"""FreeKD: Knowledge Distillation via Semantic Frequency Prompt. Zhang et al., CVPR 2024, https://arxiv.org/abs/2311.12079

Loss: CE + w sum over levels of mean m |h_s - h_t| + u MSE(s, t), of each pair of stages, mean over stages. h are the
high bands of the orthonormal Haar transform of a map, a zero appended to odd sides: at each level one of a line, three
of an image. The mask m in (0, 1), one number a position, is the teacher's. s is the student's map after a 1x1
convolution to the teacher's channels. 3 levels, w 1, u 5 are the authors' for detectors. The lowest band is distilled
by the plain error alone.

Different from the code: the authors learn prompts in a stage of fine-tuning the teacher's detector, and
m = sigmoid(prompt . bands). By default there is no such stage here. `prompts=energy` (ours, reconstructed) is the
sigmoid of the mean magnitude of the teacher's bands over channels, standardised over the positions of each window; it
has no parameters. `prompts=none` (m = 1) compares bands without a mask, and `prompts=shuffled` puts the mask's values
at other positions, the same for all windows: what a mask must beat. `bands=all-pass` adds the low band, under its own
mask. The relational loss that the abstract names is not in the code, and not here.

`prompts=trained` is the stage of the authors: before the student's training, which never trains them (it would shrink m
to 0), `tokens` prompts for each band are learned for `prompt_steps` steps, the teacher frozen. Each band of the
teacher's map is multiplied by the sum of its masks over tokens, the low band too, and transformed back; the loss is
that of the labels on this map, and the likeness (dice) of the tokens' masks. The authors feed the map on through the
detector. Of the teachers here only outputs are known: a linear classifier reads the map at each position, and its
cross-entropy is averaged over positions. It is the teacher's own where that reads this map, and else one that is
trained before, on the plain map, for as many steps. At each position, because the mean of a map over positions depends
on its low band alone, so that the prompts of the high bands would learn nothing. Labelled training windows are read;
the time of the stage is not part of a record's seconds.

The coefficients of smooth maps grow with the level, so that the deepest level has most of the loss. A map with a side
below 8 has as many levels as its side can be halved. Maps of different size are compared at the smaller size of each
axis, cropped in the DCT spectrum. A line is compared with an image through a lift, the option `mixed`. Stages are
matched from the deepest. Several teachers have the shares `teacher_weights`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

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
from mmkd.frequency import haar_bands, haar_levels, meet_unaliased, prompt_masks, prompted_map


@METHODS.register("freekd")
class FreeKD(Method):
    """Wavelet bands under a mask (its prompts are reconstructed). Zhang et al., CVPR 2024.

    Use it when detail of the maps matters, as for labels of steps: the high wavelet bands are matched where the
    teacher's mask says so. Its default form has no learned prompts, which are an option and cost a stage of their own.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        weight: float = option(1.0, "weight w of the high bands", ge=0, tune=Range(0.3, 100, log=True))
        mse_weight: float = option(
            5.0, "weight u of the squared error of the maps", ge=0, tune=Range(0.5, 50, log=True)
        )
        levels: int = option(3, "levels of the wavelet transform", ge=1)
        prompts: Literal["energy", "none", "shuffled", "trained"] = option(
            "energy",
            "mask of the bands: where the teacher's are large, none, the values of energy at other positions (the "
            "control), or prompts that are learned before the student is trained",
        )
        tokens: int = option(2, "prompts of each band, with prompts trained", ge=1, since=5)
        prompt_steps: int = option(200, "steps in which prompts are learned, with prompts trained", ge=1, since=5)
        bands: Literal["high", "all-pass"] = option("high", "the high bands, or the lowest one besides (the control)")
        stages: Literal["all", "deep", "last"] = option("all", "stages that are compared: all, the last two, the last")
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")
        mixed: Literal["outer", "repeat", "hankel", "toeplitz"] = option(
            "outer", "how a line becomes a map, to be compared with an image"
        )

    ablations: ClassVar[Mapping[str, Sequence[Any]]] = {"prompts": ("shuffled",), "bands": ("all-pass",)}
    tasks = frozenset({"classification", "segmentation"})
    unlabelled = "all"
    needs = frozenset({"features"})

    def check(self, setup: Setup) -> None:
        super().check(setup)
        if self.config.prompts == "trained" and setup.mixes:
            raise MmkdError(
                "freekd learns prompts by the labels of whole windows; leave mixup, or prompts trained, out"
            )
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
        if self.config.prompts == "trained":
            for number, prompts in enumerate(self.learn_prompts(setup)):
                self.register_buffer(f"prompts_{number}", prompts.cpu())

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
        mask: Tensor | None
        for level, (s, t) in enumerate(zip(self.bands(student), self.bands(teacher), strict=True)):
            if self.config.prompts == "trained":
                prompts = getattr(self, f"prompts_{number}")
                mask = prompt_masks(prompts[level + (self.config.bands == "high")], t)
            else:
                mask = None if self.config.prompts == "none" else energy_mask(t)
            if mask is not None and self.config.prompts == "shuffled":
                order = getattr(self, f"order_{number}_{level}")
                mask = mask.flatten(2)[..., order].view_as(mask)
            distances.append(masked_distance(s, t, mask))
        return torch.stack(distances).sum()

    def learn_prompts(self, setup: Setup) -> list[Tensor]:
        """The prompts (J + 1, M, C) of each pair of stages: of the low band, and of the levels 1 to J.

        In a trial without windows they are those that a training starts from.
        """
        c = self.config
        routes = [
            (modality, number)
            for modality, teacher in setup.teachers.items()
            for number, _ in enumerate(self.stages(setup.student, modality, teacher))
        ]
        dry = [self.maps(setup.student, m, setup.teachers[m])[n][1] for m, n in routes]
        levels = [min(c.levels, haar_levels(tuple(x.shape[2:]))) for x in dry]
        scales = [band_scales(x, j) for x, j in zip(dry, levels, strict=True)]
        free = [
            (torch.randn(j + 1, c.tokens, x.shape[1]) / x.shape[1] ** 0.5).to(x.device).requires_grad_()
            for x, j in zip(dry, levels, strict=True)
        ]
        labels = None if setup.read is None else known_labels(setup)
        if labels is not None:
            heads = [self.head(setup, m, n) for m, n in routes]

            def loss(learns_prompts: bool) -> Tensor:
                index, targets = draw(*labels)
                read = setup.read(index)  # type: ignore[misc]
                maps = [self.maps(setup.student, m, read[m])[n][1] for m, n in routes]
                total = targets.new_zeros((), dtype=torch.float32)
                for x, head, prompts, scale in zip(maps, heads, free, scales, strict=True):
                    if learns_prompts:
                        x, dice = prompted_map(x, list(prompts / scale))
                        total = total + dice
                    total = total + position_loss(head(x.float()), targets)
                return total

            probes = [p for head in heads for p in head.parameters() if p.requires_grad]
            for parameters, rate, learns_prompts in ((probes, 0.01, False), (free, 0.05, True)):
                optimizer = torch.optim.Adam(parameters, lr=rate) if parameters else None
                for _ in range(c.prompt_steps if optimizer is not None else 0):
                    optimizer.zero_grad()  # type: ignore[union-attr]
                    gradients = torch.autograd.grad(loss(learns_prompts), parameters)
                    for parameter, gradient in zip(parameters, gradients, strict=True):
                        parameter.grad = gradient
                    optimizer.step()  # type: ignore[union-attr]
        return [(prompts / scale).detach() for prompts, scale in zip(free, scales, strict=True)]

    def head(self, setup: Setup, modality: str, number: int) -> nn.Module:
        """The classifier of a teacher's map: its own, without gradients, where that reads the map; else a new one."""
        teacher = setup.teachers[modality]
        stage = self.stages(setup.student, modality, teacher)[number][1]
        x = teacher.features[stage]
        met = self.maps(setup.student, modality, teacher)[number][1]
        conv = (nn.Conv1d if met.ndim == 3 else nn.Conv2d)(met.shape[1], setup.classes, 1).to(met.device)
        weight = teacher.classifier
        if weight is None or stage != list(teacher.features)[-1] or weight.shape[1] != x.shape[1] or x.ndim != met.ndim:
            return conv
        logits = teacher.logits if teacher.sequence is None else teacher.sequence.flatten(2).mean(2)
        bias = (logits - x.flatten(2).mean(2) @ weight.T).mean(0)
        conv.load_state_dict({"weight": weight.detach().view_as(conv.weight), "bias": bias.detach()})
        return conv.requires_grad_(False)


def known_labels(setup: Setup) -> tuple[Tensor, Tensor] | None:
    """Positions of the training windows with a label, on the CPU, and the targets of all, (N,) or (N, *size)."""
    targets = setup.targets
    if targets is None:
        return None
    sequence = setup.student.sequence
    known = targets >= 0 if targets.ndim == 1 else (targets >= 0).any(1)
    known = known if setup.labelled is None else known & setup.labelled
    if targets.ndim > 1 and sequence is not None:
        targets = targets.view(-1, *sequence.shape[2:])
    return torch.nonzero(known.cpu())[:, 0], targets


def draw(positions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """At most 64 of these positions, drawn anew, and their targets."""
    index = positions[torch.randperm(len(positions))[:64]]
    return index, targets[index.to(targets.device)]


def position_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of logits at all positions of maps.

    Args:
        logits: (B, K, *size).
        targets: (B,), the same at all positions; or (B, *other) of the steps or pixels of the windows, of which the
            nearest counts, -1 where there is none. Of an image over the steps of a line, the mean over rows is taken.
    """
    if targets.ndim == 1:
        at = targets.view(-1, *[1] * (logits.ndim - 2)).expand(-1, *logits.shape[2:])
    else:
        if logits.ndim > targets.ndim + 1:
            logits = logits.mean(2)
        at = F.interpolate(targets[:, None].double(), logits.shape[2:], mode="nearest-exact")[:, 0].long()
    known = at >= 0
    return F.cross_entropy(logits.movedim(1, -1)[known], at[known]) if known.any() else logits.sum() * 0


def band_scales(x: Tensor, levels: int) -> Tensor:
    """Root mean squares of the bands that meet prompts, (J + 1, 1, 1): of the low band and of the levels 1 to J."""
    low, high = haar_bands(x, levels)
    return torch.stack([b.sum(2).square().mean().sqrt().clamp_min(1e-6) for b in (low[:, :, None], *high)])[
        :, None, None
    ]


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
