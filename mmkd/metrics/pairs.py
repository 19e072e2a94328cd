"""What can be said about paired scores, and what the data cannot carry. Needs numpy and scipy.

Within a data set units are paired by seed; over data sets methods are paired by data set. A question that the data
cannot answer is answered by a `Refusal`, whose text says why; never by a number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations, combinations_with_replacement
from math import ceil, comb, lgamma, log2

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmkd.core.refusal import Refusal

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ALPHA = 0.05
ALL_RESAMPLES = 8  # pairs up to which every resample is counted: 6,435 different ones
RESAMPLES = 10_000
LEAST_DATA_SETS = 6  # below, the two-sided signed-rank test cannot reach 0.05 at all
LEAST_FOR_DIAGRAM = 10
LEAST_GAP = 0.01  # a point: below, a share is mostly noise


# Pairs ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Paired:
    """Differences of n pairs.

    Attributes:
        sd: with ddof 1; None of one pair.
        low, high: 95 % percentile interval of the mean by the bootstrap over pairs; None of one pair.
        how: "exact" where every resample was counted, "sampled" where they were drawn, "" without interval.
    """

    mean: float
    sd: float | None
    n: int
    low: float | None
    high: float | None
    how: str


def paired(differences: ArrayLike, seed: int = 0) -> Paired | Refusal:
    """Mean, spread and interval of paired differences (n,). Efron 1979; the interval is by percentiles.

    With few pairs the interval is too narrow: resamples of three pairs cannot leave the range of the three.
    """
    d = np.asarray(differences, np.float64)
    if not len(d):
        return Refusal("no pair: no seed is on record for both")
    if len(d) == 1:
        return Paired(float(d[0]), None, 1, None, None, "")
    low, high, how = bootstrap_interval(d, seed)
    return Paired(float(d.mean()), float(d.std(ddof=1)), len(d), low, high, how)


def bootstrap_interval(values: ArrayLike, seed: int = 0, level: float = 0.95) -> tuple[float, float, str]:
    """The middle `level` of the bootstrap distribution of the mean of `values` (n,), and how it was found.

    Up to 8 values all n^n resamples are counted, by the multisets that they are; of more 10,000 are drawn from `seed`.
    """
    x = np.asarray(values, np.float64)
    n = len(x)
    if n <= ALL_RESAMPLES:
        counts, weights = every_resample(n)
        means = counts @ x / n
        how = "exact"
    else:
        draws = np.random.default_rng(seed).integers(0, n, (RESAMPLES, n))
        means = x[draws].mean(1)
        weights = np.full(RESAMPLES, 1 / RESAMPLES)
        how = "sampled"
    low, high = weighted_interval(means, weights, level)
    return low, high, how


def every_resample(n: int) -> tuple[Floats, Floats]:
    """All resamples of n things: (R, n) how often each is in it, and (R,) the probability of that multiset."""
    picks = np.array(list(combinations_with_replacement(range(n), n)))
    counts = (picks[:, :, None] == np.arange(n)).sum(1)
    factorials = np.array([lgamma(k + 1) for k in range(n + 1)])
    weights = np.exp(factorials[n] - factorials[counts].sum(1) - n * np.log(n))
    return counts.astype(np.float64), weights


@lru_cache(maxsize=2)
def resamples(n: int, seed: int, draws: int) -> tuple[Floats, Floats]:
    """Resamples of n things as `every_resample` returns them: every one of up to 8 things, else `draws` from `seed`."""
    if n <= ALL_RESAMPLES:
        return every_resample(n)
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), draws)
    return counts.astype(np.float64), np.full(draws, 1 / draws)


def weighted_interval(values: Floats, weights: Floats, level: float = 0.95) -> tuple[float, float]:
    """The middle `level` of a distribution: values (R,) with weights (R,).

    An end is the smallest value at which the distribution function reaches its share.
    """
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order] / weights.sum())
    tail = (1 - level) / 2
    at = [min(int(np.searchsorted(reached, share - 1e-12)), len(order) - 1) for share in (tail, 1 - tail)]
    return float(values[order[at[0]]]), float(values[order[at[1]]])


# Tests over data sets -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SignedRank:
    """Wilcoxon's signed-rank test, two-sided.

    Attributes:
        statistic: the smaller of the two sums of ranks.
        n: differences that are not zero; `zeros` others were dropped.
        how: how p was found.
    """

    statistic: float
    p: float
    n: int
    zeros: int
    how: str


def signed_rank(differences: ArrayLike) -> SignedRank | Refusal:
    """Wilcoxon's test of differences (n,), one a data set, against symmetry around zero; two-sided and exact.

    Zeros are dropped (Wilcoxon 1945). Ranks of equal sizes are averaged, and p is then exact given these ranks: of all
    2^n patterns of signs. Without ties that is the table of the test, `scipy.stats.wilcoxon(method="exact")`; with them
    it is scipy's `PermutationMethod` with every permutation. Differences are equal where they agree to 1e-12.
    """
    d = np.round(np.asarray(differences, np.float64), 12)
    if len(d) < LEAST_DATA_SETS:
        return Refusal(
            f"{_sets(len(d))}: the signed-rank test needs {LEAST_DATA_SETS}; with {len(d)} "
            f"its smallest p is {smallest_p(len(d)):.3g}"
        )
    nonzero = d[d != 0]
    zeros = len(d) - len(nonzero)
    if not len(nonzero):
        return SignedRank(0.0, 1.0, 0, zeros, "all differences are zero")
    from scipy.stats import rankdata  # slow to load, and of few data sets refused before

    ranks = np.rint(2 * rankdata(np.abs(nonzero))).astype(int)  # doubled: averaged ranks end in a half
    total = int(ranks.sum())
    positive = int(ranks[nonzero > 0].sum())
    chance = np.zeros(total + 1)
    chance[0] = 1.0
    for rank in ranks:
        moved = np.zeros_like(chance)
        moved[rank:] = chance[: total + 1 - rank]
        chance = (chance + moved) / 2
    smaller = min(positive, total - positive)
    p = min(1.0, 2 * float(chance[: smaller + 1].sum()))
    ties = len(set(ranks.tolist())) < len(ranks)
    how = "exact" + (", ranks averaged over ties" if ties else "") + (f", zeros dropped: {zeros}" if zeros else "")
    return SignedRank(smaller / 2, p, len(nonzero), zeros, how)


def _sets(n: int) -> str:
    return f"{n} data set" if n == 1 else f"{n} data sets"


def smallest_p(n: int) -> float:
    """The smallest two-sided p that the signed-rank test of n differences can reach: 2 of the 2^n patterns of signs."""
    return min(1.0, 2.0 ** (1 - n))


def least_data_sets(tests: int, alpha: float = ALPHA) -> int:
    """Data sets from which one of `tests` signed-rank tests can be significant after Holm's correction at all."""
    return ceil(log2(2 * max(1, tests) / alpha))


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p values of m tests, in their order; each is compared with alpha itself. Holm 1979.

    The i-th smallest p (from 0) is multiplied by m - i; none is below that of a smaller p, nor above 1.
    """
    order = np.argsort(p, kind="stable")
    adjusted = [0.0] * len(p)
    highest = 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - place) * float(p[index])))
        adjusted[index] = highest
    return adjusted


@dataclass(frozen=True)
class Against:
    """One method against another over data sets; `p_holm` is adjusted within its family of tests."""

    first: str
    second: str
    mean: float
    wins: int
    ties: int
    losses: int
    n: int
    test: SignedRank | Refusal
    p_holm: float | None = None


def against(first: str, second: str, scores: ArrayLike, others: ArrayLike) -> Against:
    """Scores (n,) of `first` minus those of `second`, paired by data set."""
    d = np.round(np.asarray(scores, np.float64) - np.asarray(others, np.float64), 12)
    wins, ties, losses = (int((np.sign(d) == sign).sum()) for sign in (1, 0, -1))
    return Against(first, second, float(d.mean()) if len(d) else 0.0, wins, ties, losses, len(d), signed_rank(d))


def corrected(family: Sequence[Against]) -> list[Against]:
    """The comparisons of one family with their p adjusted by Holm's procedure, over those that could be tested."""
    tests = {n: result.test for n, result in enumerate(family) if isinstance(result.test, SignedRank)}
    adjusted = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    return [replace(result, p_holm=adjusted.get(n)) for n, result in enumerate(family)]


def all_pairs(scores: Mapping[str, ArrayLike]) -> list[Against] | Refusal:
    """Every pair of k methods with scores (n,) on the same n data sets: the cells of a multi-comparison matrix.

    Mean difference, wins, ties, losses and p, as Ismail-Fawaz et al. 2023, arXiv:2305.11921; p is also adjusted over
    all pairs.

    Returns:
        The pairs; or a `Refusal` where there are fewer than two methods, or so few data sets that after the correction
        none of the k (k - 1) / 2 tests could be significant.
    """
    names = list(scores)
    if len(names) < 2:
        return Refusal("one method: nothing to compare")
    n = len(np.asarray(scores[names[0]]))
    pairs = comb(len(names), 2)
    least = least_data_sets(pairs)
    if n < least:
        return Refusal(
            f"{_sets(n)}: {len(names)} methods make {pairs} pairs, which need {least} data sets before any could be "
            f"significant; the smallest p of {n} is {smallest_p(n):.3g}"
        )
    return corrected([against(a, b, scores[a], scores[b]) for a, b in combinations(names, 2)])


@dataclass(frozen=True)
class Diagram:
    """What a critical-difference diagram is drawn from. Demsar 2006.

    Attributes:
        ranks: method -> mean rank over data sets, 1 is best; from best to worst.
        difference: mean ranks further apart than this differ at 0.05 (Nemenyi).
        cliques: largest groups of methods within that difference, best first.
        statistic, p: Friedman's test that all methods are alike.
    """

    ranks: Mapping[str, float]
    difference: float
    cliques: tuple[tuple[str, ...], ...]
    statistic: float
    p: float
    n: int


def diagram(scores: Mapping[str, ArrayLike]) -> Diagram | Refusal:
    """Friedman's test and Nemenyi's critical difference of k methods with scores (n,), higher is better."""
    names = list(scores)
    table = np.round(np.array([np.asarray(scores[name], np.float64) for name in names]), 12)  # (k, n)
    k, n = table.shape if table.ndim == 2 else (len(names), 0)
    if n < LEAST_FOR_DIAGRAM:
        return Refusal(f"{_sets(n)}: a critical-difference diagram needs {LEAST_FOR_DIAGRAM}")
    if k < 3:
        return Refusal(f"{k} methods: a critical-difference diagram needs 3; two are compared by their own test")
    from scipy.stats import friedmanchisquare, rankdata, studentized_range  # slow to load, and mostly refused before

    mean = rankdata(-table, axis=0).mean(1)
    order = [int(i) for i in np.argsort(mean, kind="stable")]
    if (table == table[0]).all():
        statistic = 0.0
        p = 1.0
    else:
        statistic, p = (float(value) for value in friedmanchisquare(*table))
    difference = float(studentized_range.ppf(1 - ALPHA, k, np.inf) / np.sqrt(2) * np.sqrt(k * (k + 1) / (6 * n)))
    ends = [max(j for j in range(i, k) if mean[order[j]] - mean[order[i]] <= difference) for i in range(k)]
    spans = [(i, end) for i, end in enumerate(ends) if end > i and (i == 0 or end > ends[i - 1])]
    cliques = tuple(tuple(names[order[j]] for j in range(i, end + 1)) for i, end in spans)
    return Diagram({names[i]: float(mean[i]) for i in order}, difference, cliques, statistic, p, n)


# The gap --------------------------------------------------------------------------------------------------------------


def gap_closed(alone: ArrayLike, teacher: ArrayLike, method: ArrayLike) -> float | Refusal:
    """Share of the gap between the student alone and the best teacher that a method closes: 1 is all of it.

    Scores (n,) under the same n seeds. Without a gap there is no share: the teacher must be better by a point at
    least, and by more than the standard error of that difference.
    """
    base, top, own = (np.asarray(values, np.float64) for values in (alone, teacher, method))
    if not len(base):
        return Refusal("no seed is on record for student alone, teacher and method")
    gaps = top - base
    gap = float(gaps.mean())
    if gap <= 0:
        return Refusal("no teacher is better than the student alone: there is no gap to close")
    if gap < LEAST_GAP:
        return Refusal(f"the best teacher is {100 * gap:.2f} points ahead of the student alone: too small a gap")
    if len(gaps) > 1 and gap <= float(gaps.std(ddof=1)) / np.sqrt(len(gaps)):
        return Refusal(f"the gap of {100 * gap:.1f} points is within its standard error over {len(gaps)} seeds")
    return float((own - base).mean()) / gap


# Scores of predictions ------------------------------------------------------------------------------------------------
