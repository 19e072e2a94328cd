"""What a student has of its teacher: measures of two networks' answers to the same samples. Needs numpy alone.

Every measure is a ratio of sums over samples, so it is computed from a row of sums; intervals, by the bootstrap over
subjects, from sums of the sums of subjects. "Wrong" and "right" are of the teacher: W are the samples (test windows,
or labelled steps) that it classifies wrongly, C the others. A number alone says little, because two networks that were
trained on the same data agree anyway, and err on the same hard samples. What counts is the excess: the measure of the
student minus that of the same student trained alone, on the same samples.

Stanton et al. 2021, "Does Knowledge Distillation Really Work?", arXiv:2106.05945 (agreement, called fidelity there).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mmkd.metrics.pairs import resamples, weighted_interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Values = Mapping[str, Floats]

LEAST_SAMPLES = 20
"""Samples below which a mean over them has no interval."""
LEAST_PROBABILITY = 1e-12
"""Smaller probabilities of a student count as this in `kl`, which would be infinite."""
DRAWS = 1000
"""Resamples of an interval, where not every one is counted."""
SINGLE = 9
"""Sums that do not belong to a class; the last four are distances, the others counts."""


@dataclass(frozen=True)
class Measure:
    """One measure.

    Attributes:
        label: its head in tables.
        meaning: one line for a reader of the head.
        of: the samples that it is a mean over: "all", "wrong" or "right" of the teacher's answers.
        needs_probabilities: whether predicted classes are not enough.
    """

    label: str
    meaning: str
    of: str = "all"
    needs_probabilities: bool = False


MEASURES: Mapping[str, Measure] = {
    "agreement": Measure("agree", "share of samples to which both give the same class"),
    "kappa": Measure(
        "kappa", "Cohen's kappa: agreement beyond chance, (A - A0) / (1 - A0), where A0 is that of chance"
    ),
    "copied_errors": Measure(
        "copied errors", "share of the teacher's errors that are the other's answer too", of="wrong"
    ),
    "kept_right": Measure("kept right", "share of the teacher's right answers that are the other's too", of="right"),
    "same_mistake": Measure(
        "same mistake", "share of the samples on which both are wrong where they are wrong alike", of="wrong"
    ),
    "jensen_shannon": Measure(
        "JS", "Jensen-Shannon divergence of the probabilities, mean in nats: 0 is equal", needs_probabilities=True
    ),
    "kl": Measure("KL", "KL(teacher || other) of the probabilities, mean in nats", needs_probabilities=True),
    "activation_distance": Measure(
        "distance", "Euclidean distance of the probabilities, mean", needs_probabilities=True
    ),
    "rank_disagreement": Measure(
        "rank disagreement",
        "share of the ranks, by probability, at which another class stands",
        needs_probabilities=True,
    ),
}
"""The measures of one student's answers against one teacher's, in the order of columns."""

ASYMMETRY = "asymmetry"
"""Excess of copied errors minus excess of answers kept right: above 0, errors were passed on more than skill."""


@dataclass(frozen=True)
class Answers:
    """The answers of a network to n samples.

    Attributes:
        predicted: (n,) classes.
        probabilities: (n, K); None where they are not known.
    """

    predicted: Ints
    probabilities: NDArray[np.float64] | None = None

    @cached_property
    def logarithms(self) -> Floats:
        """Of the probabilities (n, K); of 0 a number, so that 0 log 0 is 0."""
        assert self.probabilities is not None
        return np.log(np.maximum(self.probabilities, np.finfo(np.float64).tiny))

    @cached_property
    def negative_entropy(self) -> Floats:
        """The sum of p log p of each sample (n,), in nats."""
        assert self.probabilities is not None
        negative: Floats = (self.probabilities * self.logarithms).sum(1)
        return negative

    @cached_property
    def order(self) -> Ints:
        """The classes (n, K) by their probability, the highest first; of equal ones the lower number."""
        assert self.probabilities is not None
        return np.argsort(-self.probabilities, axis=1, kind="stable")


def pair_sums(
    true: Ints, teacher: Answers, other: Answers, classes: int, cluster: Ints | None = None, clusters: int = 1
) -> Floats:
    """The sums that all measures of one pair of networks are made of.

    Args:
        true: (n,) classes.
        classes: K, more than any class in these arrays.
        cluster: (n,) number of the subject, or whatever samples are drawn together by the bootstrap; None: all are one.
        clusters: S, more than any number in `cluster`.

    Returns:
        (S, 9 + 2 K): samples, same class, W, same class in W, both wrong, then Jensen-Shannon, KL, distance and rank
        disagreement (NaN where probabilities are not known), then samples by class of the teacher and of the other.
    """
    group = np.zeros(len(true), np.int64) if cluster is None else cluster
    same = teacher.predicted == other.predicted
    wrong = teacher.predicted != true
    sums = np.empty((clusters, SINGLE + 2 * classes))
    columns: list[NDArray[np.bool_]] = [np.ones(len(true), bool), same, wrong, same & wrong]
    columns.append(wrong & (other.predicted != true))
    for number, column in enumerate(columns):
        sums[:, number] = np.bincount(group[column], minlength=clusters)
    distances = _distances(teacher, other)
    for number, values in enumerate(distances, len(columns)):
        sums[:, number] = np.nan if values is None else np.bincount(group, values, minlength=clusters)
    for start, answers in ((SINGLE, teacher), (SINGLE + classes, other)):
        counts = np.bincount(group * classes + answers.predicted, minlength=clusters * classes)
        sums[:, start : start + classes] = counts.reshape(clusters, classes)
    return sums


def _distances(teacher: Answers, other: Answers) -> Sequence[Floats | None]:
    """Jensen-Shannon, KL, Euclidean distance and rank disagreement of each sample (n,); None where not known."""
    p = teacher.probabilities
    q = other.probabilities
    if p is None or q is None or p.shape != q.shape:
        return [None] * 4
    middle = (p + q) / 2
    of_middle = (middle * np.log(np.maximum(middle, np.finfo(np.float64).tiny))).sum(1)
    cross = (p * np.maximum(other.logarithms, np.log(LEAST_PROBABILITY))).sum(1)
    return (
        np.maximum((teacher.negative_entropy + other.negative_entropy) / 2 - of_middle, 0.0),
        teacher.negative_entropy - cross,
        np.sqrt(((p - q) ** 2).sum(1)),
        (teacher.order != other.order).mean(1),
    )


def measures_of(sums: Floats) -> dict[str, Floats]:
    """Every measure from sums (..., 9 + 2 K) of `pair_sums`; NaN where there is no sample to take it over."""
    n, same, wrong, copied, both_wrong, *distances = (sums[..., number] for number in range(SINGLE))
    classes = (sums.shape[-1] - SINGLE) // 2
    of_teacher, of_other = sums[..., SINGLE : SINGLE + classes], sums[..., SINGLE + classes :]
    with np.errstate(divide="ignore", invalid="ignore"):
        agreement = same / n
        chance = (of_teacher * of_other).sum(-1) / n**2
        values = [
            agreement,
            np.where(chance < 1, (agreement - chance) / (1 - chance), np.nan),
            copied / wrong,
            (same - copied) / (n - wrong),
            copied / both_wrong,
            *(distance / n for distance in distances),
        ]
    return dict(zip(MEASURES, values, strict=True))


def excess_of(own: Values, alone: Values) -> dict[str, Floats]:
    """Each measure of a student minus that of the student alone, and their asymmetry."""
    excess = {name: own[name] - alone[name] for name in own}
    return {**excess, ASYMMETRY: excess["copied_errors"] - excess["kept_right"]}


def count_samples(sums: Floats) -> dict[str, float]:
    """How many samples there are: "all", and those that the teacher has "wrong" and "right"."""
    n, wrong = float(sums[..., 0].sum()), float(sums[..., 2].sum())
    return {"all": n, "wrong": wrong, "right": n - wrong}


# Over seeds -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """A measure over seeds.

    Attributes:
        mean: over n seeds; sd: their standard deviation with ddof 1, None of one.
        low, high: 95 % percentile interval by the bootstrap over subjects; None where `why` says why.
    """

    mean: float
    sd: float | None
    n: int
    low: float | None = None
    high: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Fidelity:
    """What the students of one row have of one teacher, or of the mean of several.

    Attributes:
        teacher: its name.
        of: what the bootstrap draws: "subject", "recording" or "window"; clusters: how many there are.
        samples: "all", "wrong", "right" -> how many test windows, or labelled steps, of a seed (mean over seeds).
        own: measure -> of the students; alone: of the student alone of the same seed; both without intervals, which
            say little, because two networks on the same samples agree anyway.
        excess: measure, and `ASYMMETRY` -> own minus alone; empty without a student alone on record.
        other_seed: the same against the student alone of another seed, mean; empty where there is none.
        noise: the mean distance of two students alone of different seeds in each of them: no smaller excess counts.
    """

    teacher: str
    of: str
    clusters: int
    samples: Mapping[str, float]
    own: Mapping[str, Estimate]
    alone: Mapping[str, Estimate] = field(default_factory=dict)
    excess: Mapping[str, Estimate] = field(default_factory=dict)
    other_seed: Mapping[str, float] = field(default_factory=dict)
    noise: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SeedSums:
    """The sums of one seed by cluster, each (S, 9 + 2 K), with the same clusters for all; None where not on record."""

    own: Floats
    alone: Floats | None = None
    other_seed: Floats | None = None


def fidelity(teacher: str, seeds: Sequence[SeedSums], of: str = "subject", why: str = "", seed: int = 0) -> Fidelity:
    """The measures over seeds.

    In a resample the same subjects are drawn for all seeds and for the student alone; the measure is taken of each
    seed, then its mean over them. So an interval is about other subjects and not about other seeds.

    Args:
        of: what a cluster is.
        why: why there is to be no interval; empty where there can be one.
        seed: of the draws.
    """
    clusters = int(np.any([sums.own[:, 0] > 0 for sums in seeds], axis=0).sum())
    counts = [count_samples(sums.own) for sums in seeds]
    samples = {part: float(np.mean([count[part] for count in counts])) for part in ("all", "wrong", "right")}
    if not why and clusters < 2:
        why = f"an interval needs two {of}s"
    first = {name: _estimate(values) for name, values in _values([sums.own for sums in seeds], None).items()}
    if any(sums.alone is None for sums in seeds):
        return Fidelity(teacher, of, clusters, samples, first)
    draws = resamples(len(seeds[0].own), seed, DRAWS) if not why else None
    own = _values([sums.own for sums in seeds], draws)
    alone = _values([sums.alone for sums in seeds if sums.alone is not None], draws)
    excess = excess_of(own, alone)
    others = [sums.other_seed for sums in seeds if sums.other_seed is not None]
    other_seed: dict[str, float] = {}
    noise: dict[str, float] = {}
    if len(others) == len(seeds):
        other = _values(others, None)
        start = {name: values[:, :1] for name, values in own.items()}
        other_seed = {name: mean_known(values) for name, values in excess_of(start, other).items()}
        start = {name: values[:, :1] for name, values in alone.items()}
        noise = {name: mean_known(np.abs(values)) for name, values in excess_of(start, other).items()}
    return Fidelity(
        teacher,
        of,
        clusters,
        samples,
        first,
        {name: _estimate(values[:, :1]) for name, values in alone.items()},
        {name: _estimate(values, draws, _why_none(name, samples, why)) for name, values in excess.items()},
        other_seed,
        noise,
    )


def _values(seeds: Sequence[Floats], draws: tuple[Floats, Floats] | None) -> dict[str, Floats]:
    """Measure -> (seeds, 1 + R): of all clusters, then of each of R resamples."""
    parts = []
    for sums in seeds:
        total = sums.sum(0, keepdims=True)
        parts.append(total if draws is None else np.concatenate([total, draws[0] @ sums]))
    return measures_of(np.stack(parts))


def _why_none(name: str, samples: Mapping[str, float], why: str) -> str:
    """Why a measure has no interval; empty where it has one."""
    parts = ("wrong", "right") if name == ASYMMETRY else (MEASURES[name].of,)
    for part in parts:
        if samples[part] < LEAST_SAMPLES:
            of = {"all": "there are", "wrong": "the teacher is wrong on", "right": "the teacher is right on"}[part]
            return why or f"{of} {samples[part]:.0f} samples; an interval needs {LEAST_SAMPLES}"
    return why


def mean_known(values: Floats) -> float:
    """The mean of the values that are known; NaN where none is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _estimate(values: Floats, draws: tuple[Floats, Floats] | None = None, why: str = "") -> Estimate:
    """Of the values (seeds, 1 + R) of one measure; a seed without a value is left out."""
    seeds = values[np.isfinite(values[:, 0])]
    if not len(seeds):
        return Estimate(float("nan"), None, 0, why=why or "no sample to take it over")
    sd = float(seeds[:, 0].std(ddof=1)) if len(seeds) > 1 else None
    mean = float(seeds[:, 0].mean())
    if draws is None or why:
        return Estimate(mean, sd, len(seeds), why=why)
    known = np.isfinite(seeds[:, 1:])
    means = np.where(known, seeds[:, 1:], 0.0).sum(0) / np.maximum(known.sum(0), 1)
    drawn = known.any(0)
    if not drawn.any():
        return Estimate(mean, sd, len(seeds), why="no sample to take it over")
    low, high = weighted_interval(means[drawn], draws[1][drawn])
    return Estimate(mean, sd, len(seeds), low, high)
