"""Distilling Cross-Modal Knowledge via Feature Disentanglement (FD-CMKD). Liu et al., AAAI 2026, https://arxiv.org/abs/2511.19887

Reconstructed from the abstract, which has a Fourier transform that divides the features of teacher and student in low
and high frequencies, MSE of the low ones, a weaker "logMSE" of the high ones, a scale-consistency loss and a shared
classifier. The axis, the cutoff, the form of the logarithm, the weights and whose classifier it is are our choice.

Loss: CE + a L_low + b L_high + c L_scale + d L_cls. S is the student's last map after a 1x1 convolution to the
teacher's channels, T the teacher's. Of each window, over channels and positions together, x^ is (x - mean) / (sd +
1e-6).
The low band of x^ is that of a hard mask on the circular Fourier transform over positions, with the constant in it; the
high band is the rest. L_low is the MSE of the low bands; L_high the mean over windows of ln(1 + MSE), whose gradient
vanishes as the bands become equal (that of ln MSE would grow); L_scale the mean over windows of the squared differences
of mean and sd of S and T; L_cls the cross-entropy, with the labels, of the teacher's own classifier, frozen, on the
mean of S over positions. All weights are 1, the cutoff 0.25.

`shared=trained` is one new classifier on the means of S and T instead. Controls: `strategy=all-pass` (MSE of all),
`swap` (MSE of the high, logMSE of the low band), `random-mask` (as many bins as the low band has, drawn once).
Only maps have positions: a transform over the channels of a vector would depend on their arbitrary order, and is
refused. Maps of different size are compared at the smaller size of each axis, cropped in the DCT spectrum; a line meets
an image by a lift, the option `mixed`. The cutoff of a line and of an image are equal numbers, not equal bands. Several
teachers have the shares `teacher_weights`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd import METHODS, Batch, DistillConfig, Method, MmkdError, Outputs, Range, Setup, option, paired_branch
from mmkd.frequency import BandFilter, band_mask, meet_unaliased, random_band


@METHODS.register("fd-cmkd")
class FrequencyDecoupled(Method):
    """Low and high frequencies of maps (reconstructed from the abstract). Liu et al., AAAI 2026.

    Use it when teacher and student read different modalities and you expect them to share slow structure and differ in
    detail: low frequencies are matched strictly, high ones loosely. It is reconstructed from an abstract; its controls
    say whether the bands matter.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        cutoff: float = option(
            0.25, "cutoff of the low band; 1 is the highest frequency of the map", gt=0, le=1, tune=Range(0.1, 0.6)
        )
        low_weight: float = option(1.0, "weight a of the low band", ge=0, tune=Range(0.3, 30, log=True))
        high_weight: float = option(1.0, "weight b of the high band", ge=0, tune=Range(0.3, 50, log=True))
        scale_weight: float = option(1.0, "weight c of mean and deviation", ge=0, tune=Range(0.3, 50, log=True))
        classifier_weight: float = option(
            1.0, "weight d of the shared classifier's cross-entropy", ge=0, tune=Range(0.3, 30, log=True)
        )
        logmse: Literal["sample", "element"] = option(
            "sample", "high band: ln(1 + MSE) of each window, or the mean of ln(1 + e^2) over elements"
        )
        shared: Literal["teacher", "trained"] = option(
            "teacher", "the shared classifier: the teacher's, frozen, or a new one on both"
        )
        strategy: Literal["basic", "all-pass", "swap", "random-mask"] = option(
            "basic", "bands: low and high, all as the low one, exchanged, or bins drawn once (the last three: controls)"
        )
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")
        mixed: Literal["outer", "repeat", "hankel", "toeplitz"] = option(
            "outer", "how a line becomes a map, to be compared with an image"
        )

    ablations: ClassVar[Mapping[str, Sequence[Any]]] = {"strategy": ("all-pass", "swap", "random-mask")}
    unlabelled = "all"
    needs = frozenset({"features", "cam"})

    def check(self, setup: Setup) -> None:
        super().check(setup)
        for modality, teacher in setup.teachers.items():
            for who, x in zip(("student", "teacher"), self.features(setup.student, modality, teacher), strict=True):
                if x.ndim not in (3, 4):
                    raise MmkdError(
                        f"fd-cmkd divides maps into frequencies of their positions, and where the {modality} teacher "
                        f"meets the student, the {who}'s last feature is {tuple(x.shape)}; choose another --{who}-net"
                    )
            self.low_gain(self.maps(setup.student, modality, teacher)[0], modality)

    def features(self, student: Outputs, modality: str, teacher: Outputs) -> tuple[Tensor, Tensor]:
        """The last features of the student's part and of the teacher."""
        return paired_branch(student, modality, self.config.pairs).last_map, teacher.last_map.detach()

    def maps(self, student: Outputs, modality: str, teacher: Outputs) -> tuple[Tensor, Tensor]:
        """The last maps of the student's part and of the teacher, of one rank and size."""
        return meet_unaliased(*self.features(student, modality, teacher), self.config.mixed)

    def low_gain(self, x: Tensor, modality: str) -> Tensor:
        """The mask of the low band for maps such as `x`."""
        size = tuple(x.shape[2:])
        try:
            if self.config.strategy != "all-pass":
                band_mask(size, "high", self.config.cutoff, "hard", transform="fft")  # is not empty
            return band_mask(size, "low", self.config.cutoff, "hard", transform="fft")
        except MmkdError as error:
            raise MmkdError(f"fd-cmkd, {modality} teacher: {error}; use a lower --cutoff or longer windows") from None

    def build(self, setup: Setup) -> None:
        self.adapters = nn.ModuleList()
        self.filters = nn.ModuleList()
        self.classifiers = nn.ModuleList()
        for modality, teacher in setup.teachers.items():
            own, other = self.maps(setup.student, modality, teacher)
            conv = nn.Conv1d if other.ndim == 3 else nn.Conv2d
            self.adapters.append(conv(own.shape[1], other.shape[1], 1))
            gain = self.low_gain(own, modality)
            if self.config.strategy == "random-mask":
                gain = random_band(tuple(gain.shape), int(gain.sum()), "fft")
            self.filters.append(BandFilter(gain, "fft"))
            if self.config.shared == "trained":
                self.classifiers.append(nn.Linear(other.shape[1], setup.classes))

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        shares = self.weights(teachers)
        modules = zip(self.adapters, self.filters, teachers.items(), strict=True)
        for number, (adapter, low_pass, (modality, teacher)) in enumerate(modules):
            own, other = self.maps(student, modality, teacher)
            adapted = adapter(own).to(other.dtype)
            low, high = self.bands(adapted, other, low_pass)
            classified = self.classified(adapted, teacher, batch, number)
            weighted = {
                "low": c.low_weight * low,
                "high": c.high_weight * high,
                "scale": c.scale_weight * scale_distance(adapted, other),
                "classifier": c.classifier_weight * classified,
            }
            terms |= {f"fd_cmkd_{name}_{modality}": shares[modality] * term for name, term in weighted.items()}
        return terms

    def bands(self, student: Tensor, teacher: Tensor, low_pass: nn.Module) -> tuple[Tensor, Tensor]:
        """L_low and L_high of two maps (B, C, *size), scalars."""
        gap = standardised(student) - standardised(teacher)
        if self.config.strategy == "all-pass":
            return gap.square().mean(), gap.new_zeros(())
        low = low_pass(gap)
        strong, weak = (gap - low, low) if self.config.strategy == "swap" else (low, gap - low)
        return strong.square().mean(), log_square(weak, self.config.logmse)

    def classified(self, student: Tensor, teacher: Outputs, batch: Batch, number: int) -> Tensor:
        """L_cls of the adapted student's map (B, C, *size), a scalar."""
        pooled = student.flatten(2).mean(2)
        own = teacher.embedding.detach()
        if self.config.shared == "trained":
            classifier = self.classifiers[number]
            return cross_entropy(classifier(pooled), batch) + cross_entropy(classifier(own), batch)
        assert teacher.classifier is not None
        weight = teacher.classifier.detach()
        bias = (teacher.logits.detach() - own @ weight.T).mean(0)  # `Outputs` has the weight alone
        return cross_entropy(F.linear(pooled, weight, bias), batch)


def cross_entropy(logits: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy over the labelled windows; of a mixture of two, that with each label by its share."""
    losses = F.cross_entropy(logits, batch.targets.clamp(min=0), reduction="none")
    if batch.mixed is not None:
        others, shares = batch.mixed
        other = F.cross_entropy(logits, others.clamp(min=0), reduction="none")
        losses = shares * losses + (1 - shares) * other
    return batch.labelled_mean(losses)


def standardised(x: Tensor) -> Tensor:
    """Each window's map with mean 0 and deviation 1 over channels and positions."""
    over = tuple(range(1, x.ndim))
    return (x - x.mean(over, keepdim=True)) / (x.std(over, correction=0, keepdim=True) + 1e-6)


def log_square(x: Tensor, form: str = "sample") -> Tensor:
    """Mean over windows of ln(1 + mean square), or ("element") the mean of ln(1 + square) over all elements."""
    square = x.square()
    return torch.log1p(square if form == "element" else square.flatten(1).mean(1)).mean()


def scale_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over windows of the squared differences of mean and deviation of two maps (B, C, *size)."""
    over = tuple(range(1, student.ndim))
    means = student.mean(over) - teacher.mean(over)
    deviations = student.std(over, correction=0) - teacher.std(over, correction=0)
    return (means.square() + deviations.square()).mean()
