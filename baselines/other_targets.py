"""Controls of soft targets: the loss of `kd`, with something else in place of the teacher's outputs.

They tell what of a teacher a student learns from. T, the share l and the pairs are those of `kd`; labels and
cross-entropy stay. What replaces a target belongs to the window: all augmented copies of a window share it.

- `shuffled-teacher`: window i is taught what the teachers say of window pi(i), the same pi for all teachers. Within
  each class (`scope=class`) no window of a class with two or more keeps its own, and the mean target of a class is as
  before: whoever is better than this row learns from *which* window it is. Over all windows (`scope=any`) the classes
  are mixed too. pi is drawn once from the seed, or anew in each pass over the training windows (`redraw=epoch`),
  which is the mean target of the class in expectation. Copy c of a window gets the outputs for copy c of the other
  one.
- `noise-logits`: logits c_y g, with g ~ N(0, 1)^K drawn once for each window, the same for all teachers. The factor
  c_y of a teacher and class makes the mean entropy at T over the windows of the class that of the teacher: only how
  sure it is is left. Drawn anew each time it would be label smoothing in expectation. `rank=rank` exchanges the
  largest value with that of the label. A teacher that is sure makes the noise nearly one-hot, on the wrong class in
  all but 1/K of the windows; the share that is right stands in the log and the record.
- `random-teacher`: networks of the teachers' architectures that nobody trained. Their logits hardly differ between
  windows: at T = 4 the entropy is over 99 % of the largest, which is label smoothing. So they are scaled by one
  factor that makes the mean entropy at T over the training windows that of the trained teacher (`match=entropy`).

Windows without a label count to the class that the teachers predict.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from mmkd import (
    METHODS,
    Batch,
    LogitConfig,
    Method,
    MmkdError,
    Outputs,
    Replacement,
    Setup,
    Teaching,
    entropy_factor,
    mean_entropy,
    option,
)


class OtherTargets(Method):
    """The loss of `kd`."""

    @dataclass(frozen=True)
    class Config(LogitConfig):
        temperature: float = option(4.0, "temperature T of teacher and student", gt=0)
        kd_weight: float = option(0.7, "share l of the soft targets; cross-entropy keeps 1 - l", ge=0, le=1)
        pairs: Literal["fused", "same", "all"] = option(
            "fused", "which of the student's logits are compared with a teacher's"
        )

    options_like = "kd"

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        hard = {name: (1 - c.kd_weight) * term for name, term in self.supervised(student, batch).items()}
        return {**hard, "kd": c.kd_weight * self.soft(student, teachers, c.temperature, c.pairs, batch)}

    def refuse_mixtures(self, setup: Setup, why: str) -> None:
        """Refuse windows that are mixed with others."""
        if setup.mixes:
            raise MmkdError(f"{METHODS.name_of(type(self))}: {why}; leave mixup out of --augment")

    def refuse_schedule(self) -> None:
        """Refuse a temperature that changes, because entropies are equal at one temperature."""
        if self.config.temperature_schedule != "constant":
            name = METHODS.name_of(type(self))
            raise MmkdError(f"{name} has the teacher's entropy at one temperature; leave --temperature-schedule out")


@METHODS.register("shuffled-teacher")
class ShuffledTeacher(OtherTargets):
    """As `kd`, with the soft targets of another window, of the same class or of any."""

    @dataclass(frozen=True)
    class Config(OtherTargets.Config):
        scope: Literal["class", "any"] = option("class", "windows among which targets are exchanged")
        redraw: Literal["once", "epoch"] = option("once", "when it is drawn whose targets a window gets")

    status = "control"
    control_options: ClassVar[Mapping[str, Sequence[Any]]] = {"scope": ("class", "any")}
    unlabelled = "teacher"
    tasks = frozenset({"classification", "anomaly"})

    def check(self, setup: Setup) -> None:
        super().check(setup)
        self.refuse_mixtures(setup, "a window that is mixed has parts of two, and no class of its own")
        if setup.train_size < 2:
            raise MmkdError("shuffled-teacher needs two training windows; use another --method")
        if self.config.scope == "class" and setup.targets is not None:
            known = slice(None) if setup.labelled is None else setup.labelled
            self._check_classes(setup, setup.targets[known], None if setup.subjects is None else setup.subjects[known])

    def _check_classes(self, setup: Setup, targets: Tensor, subjects: Tensor | None) -> None:
        """Check that targets can be exchanged within classes: `targets` (n,) are the classes that are known."""
        counts = torch.bincount(targets, minlength=setup.classes)
        alone = (counts == 1).nonzero()[:, 0].tolist()
        if alone and not setup.unlabelled:
            raise MmkdError(
                f"shuffled-teacher: class number {alone[0]} has one training window, which keeps its own target; use "
                f"--shuffled-teacher.scope any"
            )
        if subjects is None:
            return
        pairs = torch.unique(torch.stack([subjects, targets]), dim=1)
        if len(torch.unique(subjects)) == pairs.shape[1] and pairs.shape[1] > 1:
            raise MmkdError(
                "shuffled-teacher: each training subject has windows of one class only, so that the windows of a class "
                "are those of a few persons; use --shuffled-teacher.scope any"
            )

    def retarget(self, teaching: Teaching) -> Replacement:
        groups = [torch.arange(len(teaching.targets))]
        if self.config.scope == "class":
            groups = [(teaching.targets == k).nonzero()[:, 0] for k in range(teaching.classes)]
        once = self.config.redraw == "once"
        drawn: dict[int, Tensor] = {}

        def partners(number: int) -> Tensor:
            key = 0 if once else number
            if key not in drawn:
                drawn.clear()
                drawn[key] = exchange(groups, teaching.generator(f"shuffled teacher/{key}"))
            return drawn[key]

        def read(index: Tensor, copies: Tensor, number: int) -> Mapping[str, Outputs]:
            return teaching.read(partners(number)[index], copies, number)

        kept = int((partners(0) == torch.arange(len(teaching.targets))).sum())
        return Replacement(read, {"windows": len(teaching.targets), "windows_with_their_own_target": kept})


def exchange(groups: list[Tensor], generator: torch.Generator) -> Tensor:
    """A random permutation (N,) within groups of positions that leaves none of a group of two or more in its place.

    Args:
        groups: positions, each of N in one group.
    """
    whole = torch.cat(groups)
    partners = torch.empty_like(whole)
    for group in groups:
        order = torch.randperm(len(group), generator=generator)
        while len(group) > 1 and bool((order == torch.arange(len(group))).any()):
            order = torch.randperm(len(group), generator=generator)
        partners[group] = group[order]
    return partners


@METHODS.register("noise-logits")
class NoiseLogits(OtherTargets):
    """As `kd`, with noise that is drawn once for each window, as sure as the teacher is of the class."""

    @dataclass(frozen=True)
    class Config(OtherTargets.Config):
        rank: Literal["plain", "rank"] = option("plain", "rank: the largest value of a window is that of its label")

    status = "control"
    unlabelled = "teacher"
    tasks = frozenset({"classification", "anomaly"})

    def check(self, setup: Setup) -> None:
        super().check(setup)
        self.refuse_mixtures(setup, "noise belongs to a window, and a mixture is of two")
        self.refuse_schedule()

    def retarget(self, teaching: Teaching) -> Replacement:
        y, k = teaching.targets, teaching.classes
        noise = torch.randn(len(y), k, generator=teaching.generator("noise"), dtype=torch.float64)
        if self.config.rank == "rank":
            noise = label_first(noise, y)
        entropies = class_entropies(teaching, self.config.temperature)
        t = self.config.temperature
        logits = {m: match_classes(noise, y, entropies[m], t).float() for m in teaching.teachers}

        def read(index: Tensor, copies: Tensor, number: int) -> Mapping[str, Outputs]:
            rows = {modality: values[index].to(teaching.device) for modality, values in logits.items()}
            return {modality: Outputs(values, values) for modality, values in rows.items()}

        known = teaching.known()
        right = (noise[known].argmax(1) == y[known]).double().mean()
        return Replacement(read, {"windows": len(y), "share_with_label_largest": float(right)})


def label_first(logits: Tensor, targets: Tensor) -> Tensor:
    """Logits (N, K) with the largest value exchanged with that of the class in `targets` (N,)."""
    rows = torch.arange(len(logits))
    largest = logits.argmax(1)
    changed = logits.clone()
    changed[rows, largest] = logits[rows, targets]
    changed[rows, targets] = logits[rows, largest]
    return changed


def match_classes(noise: Tensor, targets: Tensor, entropies: Mapping[int, float], temperature: float) -> Tensor:
    """Noise (N, K) times a factor for each class of `targets` (N,), which gives its windows the mean entropy at T."""
    factors = torch.ones(noise.shape[1], dtype=noise.dtype)
    for number, entropy in entropies.items():
        factors[number] = entropy_factor(noise[targets == number], temperature, entropy)
    return factors[targets, None] * noise


def class_entropies(teaching: Teaching, temperature: float) -> dict[str, dict[int, float]]:
    """Modality -> class -> mean entropy of the teacher at T over all rows of the windows of the class."""
    totals = {modality: torch.zeros(teaching.classes, dtype=torch.float64) for modality in teaching.teachers}
    counts = torch.zeros(teaching.classes, dtype=torch.float64)
    for index, rows in teaching.logits():
        y = teaching.targets[index]
        counts.index_add_(0, y, torch.ones(len(y), dtype=torch.float64))
        for modality, logits in rows.items():
            log_p = torch.log_softmax(logits.double().cpu() / temperature, 1)
            totals[modality].index_add_(0, y, -(log_p.exp() * log_p).sum(1))
    present = (counts > 0).nonzero()[:, 0].tolist()
    return {m: {k: float(total[k] / counts[k]) for k in present} for m, total in totals.items()}


@METHODS.register("random-teacher")
class RandomTeacher(OtherTargets):
    """As `kd`, with networks of the teachers' architectures that nobody trained."""

    @dataclass(frozen=True)
    class Config(OtherTargets.Config):
        match: Literal["entropy", "none"] = option(
            "entropy", "entropy: logits are scaled until they are as sure as those of the trained teacher"
        )

    status = "control"
    unlabelled = "all"
    needs = frozenset({"logits", "network"})
    tasks = frozenset({"classification", "segmentation", "anomaly"})

    def check(self, setup: Setup) -> None:
        super().check(setup)
        if self.config.match == "entropy":
            self.refuse_schedule()

    def retarget(self, teaching: Teaching) -> Replacement:
        temperature = self.config.temperature
        untrained = teaching.untrained()
        theirs = all_logits(untrained)
        facts = {}
        factors = dict.fromkeys(teaching.teachers, 1.0)
        if self.config.match == "entropy":
            for modality, logits in all_logits(teaching).items():
                entropy = mean_entropy(logits, temperature)
                factors[modality] = entropy_factor(theirs[modality], temperature, entropy)
                facts[f"factor_{modality}"] = factors[modality]
        for modality, logits in theirs.items():
            facts[f"entropy_{modality}"] = mean_entropy(factors[modality] * logits.double(), temperature)

        def read(index: Tensor, copies: Tensor, number: int) -> Mapping[str, Outputs]:
            found = untrained.read(index, copies, number)
            return {m: replace(outputs, logits=factors[m] * outputs.logits) for m, outputs in found.items()}

        return Replacement(read, facts)


def all_logits(teaching: Teaching) -> dict[str, Tensor]:
    """Modality -> logits of all rows, (N, K) or (N, K, T), on the CPU."""
    parts: dict[str, list[Tensor]] = {modality: [] for modality in teaching.teachers}
    for _, rows in teaching.logits():
        for modality, logits in rows.items():
            parts[modality].append(logits.float().cpu())
    return {modality: torch.cat(logits) for modality, logits in parts.items()}
