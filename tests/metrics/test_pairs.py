"""Statistics: against scipy and sklearn, by hand, and by counting everything; wrong ones must be told apart."""

from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest
import scipy.stats

from mmkd.core.refusal import Refusal
from mmkd.metrics import classes
from mmkd.metrics import pairs as st

RNG = np.random.default_rng(7)


# Pairs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_interval_of_few_pairs_counts_every_resample(n):
    for x in (RNG.normal(size=n), RNG.integers(0, 3, n).astype(float)):
        means = np.sort([np.mean(each) for each in product(x, repeat=n)])
        low, high, how = st.bootstrap_interval(x)
        assert how == "exact"
        at = [int(np.ceil(share * len(means) - 1e-9)) - 1 for share in (0.025, 0.975)]
        assert (low, high) == pytest.approx((means[at[0]], means[at[1]]))


def test_interval_of_three_by_hand():
    """Of 27 resamples one is (0, 0, 0): more than 2.5 %, so the interval is the range of the values."""
    assert st.bootstrap_interval([0.0, 1.0, 5.0])[:2] == (0.0, 5.0)


@pytest.mark.parametrize("n", [8, 9, 30])
def test_interval_is_that_of_scipy(n):
    x = RNG.normal(size=n)
    found = scipy.stats.bootstrap((x,), np.mean, method="percentile", n_resamples=20_000, rng=1).confidence_interval
    low, high, how = st.bootstrap_interval(x)
    assert how == ("exact" if n <= 8 else "sampled")
    assert (low, high) == pytest.approx((found.low, found.high), abs=0.04)


def test_paired_differences():
    found = st.paired([0.01, 0.03, 0.05])
    assert found == st.Paired(
        pytest.approx(0.03), pytest.approx(0.02), 3, pytest.approx(0.01), pytest.approx(0.05), "exact"
    )
    assert st.paired([0.02]) == st.Paired(0.02, None, 1, None, None, "")
    assert isinstance(st.paired([]), Refusal)
    many = RNG.normal(size=12)
    assert st.paired(many) == st.paired(many), "the same seed draws the same resamples"
    assert st.paired(many, 0) != st.paired(many, 1)


# Wilcoxon -------------------------------------------------------------------------------------------------------------


def counted_p(differences):
    """Two-sided p over all patterns of signs, as fractions; zeros dropped, ranks of ties averaged."""
    d = np.array([x for x in differences if x != 0])
    ranks = scipy.stats.rankdata(np.abs(d))
    sums = [sum(r for r, sign in zip(ranks, signs, strict=True) if sign) for signs in product((0, 1), repeat=len(d))]
    own = ranks[d > 0].sum()
    tails = [sum(s <= own for s in sums), sum(s >= own for s in sums)]
    return float(min(Fraction(1), 2 * Fraction(min(tails), len(sums))))


def check_signed_rank(p_of):
    """What the two-sided exact test is; raises AssertionError for another test."""
    for n in (6, 7, 9, 12):
        for shift in (-1.0, 0.0, 0.3, 1.0):
            d = np.random.default_rng(n).normal(shift, 1, n)
            assert p_of(d) == pytest.approx(scipy.stats.wilcoxon(d, method="exact").pvalue)
            assert p_of(d) == pytest.approx(counted_p(d))
            assert p_of(-d) == pytest.approx(p_of(d)), "two-sided: no direction"
    assert p_of(np.arange(1.0, 7)) == 2 / 64
    for d in ([1, 1, -1, 2, 2, 3.0], [0, 1, 2, -3, 4, 5, 6.0], [1, 1, 1, 1, 1, 1, -1.0]):
        assert p_of(np.array(d)) == pytest.approx(counted_p(d))


def test_signed_rank_is_exact_and_two_sided():
    check_signed_rank(lambda d: st.signed_rank(d).p)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda d: scipy.stats.wilcoxon(d, alternative="greater", method="exact").pvalue,
        # one-sided in the direction that was observed, as a well-known package does
        lambda d: scipy.stats.wilcoxon(d, alternative="greater" if np.median(d) > 0 else "less", method="exact").pvalue,
        lambda d: scipy.stats.wilcoxon(d, method="asymptotic").pvalue,
    ],
    ids=["one-sided", "observed direction", "asymptotic"],
)
def test_wrong_signed_rank_tests_are_told_apart(wrong):
    with pytest.raises(AssertionError):
        check_signed_rank(wrong)


def test_signed_rank_with_ties_is_scipys_permutation_test():
    d = np.array([0.5, -0.5, 1, 1, 2, -1, 3, 0.5])
    every = scipy.stats.PermutationMethod(n_resamples=np.inf)
    assert st.signed_rank(d).p == pytest.approx(scipy.stats.wilcoxon(d, method=every).pvalue)
    assert "ties" in st.signed_rank(d).how
    large = np.random.default_rng(3).normal(0.2, 1, 60)
    assert st.signed_rank(large).p == pytest.approx(scipy.stats.wilcoxon(large, method="exact").pvalue)


def test_signed_rank_says_what_it_dropped_and_refuses():
    found = st.signed_rank([0.0, 0.0, 1, 2, 3, 4, 5, 6])
    assert (found.p, found.n, found.zeros, found.statistic) == (2 / 64, 6, 2, 0.0)
    assert "zeros dropped: 2" in found.how
    assert st.signed_rank([0.0] * 6).p == 1.0
    refused = st.signed_rank([1.0, 2, 3, 4, 5])
    assert isinstance(refused, Refusal)
    assert "needs 6" in refused.why
    assert "0.0625" in refused.why
    rounding = [0.1 + 0.2 - 0.3, 1, 2, 3, 4, 5, 6]
    assert st.signed_rank(rounding).zeros == 1, "0.1 + 0.2 - 0.3 is a zero"


# Holm and what data sets can carry ------------------------------------------------------------------------------------


def check_holm(holm):
    """The step-down procedure; raises AssertionError for another."""
    p = [0.01, 0.04, 0.03, 0.005]
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02]), "by hand: 4 x 0.005, 3 x 0.01, 2 x 0.03, then no smaller"
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([0.2]) == pytest.approx([0.2])
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = list(rng.uniform(0, 0.2, rng.integers(1, 8)))
        adjusted = holm(p)
        for alpha in (0.01, 0.05, 0.1):  # by the definition: step down until one is not below alpha / (m - i)
            rejected = set()
            for place, index in enumerate(np.argsort(p)):
                if p[index] > alpha / (len(p) - place):
                    break
                rejected.add(int(index))
            assert {n for n, value in enumerate(adjusted) if value <= alpha} == rejected


def test_holm():
    check_holm(st.holm)
    assert st.holm([]) == []


@pytest.mark.parametrize(
    "wrong",
    [
        lambda p: [min(1.0, x * len(p)) for x in p],  # alpha / (k - 1) for each: Bonferroni
        lambda p: list(p),
        lambda p: [min(1.0, x * (len(p) - r)) for x, r in zip(p, np.argsort(np.argsort(p)), strict=True)],
    ],
    ids=["alpha/(k-1)", "uncorrected", "not monotone"],
)
def test_wrong_corrections_are_told_apart(wrong):
    with pytest.raises(AssertionError):
        check_holm(wrong)


def test_data_sets_that_a_comparison_needs():
    assert st.smallest_p(5) == 0.0625
    assert st.smallest_p(6) == 0.03125
    assert st.least_data_sets(1) == 6
    assert st.least_data_sets(3) == 7, "all pairs of 3 methods"
    assert st.least_data_sets(45) == 11, "all pairs of 10"
    for tests in range(1, 50):
        least = st.least_data_sets(tests)
        assert tests * st.smallest_p(least) <= 0.05 < tests * st.smallest_p(least - 1)


def test_against():
    found = st.against("a", "b", [0.5, 0.6, 0.7, 0.7, 0.8, 0.9, 0.9], [0.4, 0.6, 0.6, 0.5, 0.5, 0.5, 0.95])
    assert (found.wins, found.ties, found.losses, found.n) == (5, 1, 1, 7)
    assert found.mean == pytest.approx((0.1 + 0.1 + 0.2 + 0.3 + 0.4 - 0.05) / 7)
    assert found.test.n == 6


def test_matrix_of_all_pairs():
    rng = np.random.default_rng(5)
    scores = {name: rng.uniform(size=8) + shift for name, shift in (("a", 0.0), ("b", 0.5), ("c", 0.1))}
    found = st.all_pairs(scores)
    assert [(each.first, each.second) for each in found] == list(combinations("abc", 2))
    raw = [scipy.stats.wilcoxon(scores[x] - scores[y], method="exact").pvalue for x, y in combinations("abc", 2)]
    assert [each.test.p for each in found] == pytest.approx(raw)
    assert [each.p_holm for each in found] == pytest.approx(st.holm(raw))
    refused = st.all_pairs({name: values[:6] for name, values in scores.items()})
    assert isinstance(refused, Refusal)
    assert "need 7" in refused.why
    assert not isinstance(st.all_pairs({name: values[:7] for name, values in scores.items()}), Refusal)
    ten = {str(n): rng.uniform(size=11) for n in range(10)}
    assert not isinstance(st.all_pairs(ten), Refusal)
    assert isinstance(st.all_pairs({name: values[:10] for name, values in ten.items()}), Refusal)
    assert isinstance(st.all_pairs({"a": [1.0]}), Refusal)


@pytest.mark.parametrize(("k", "q"), [(3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_critical_difference(k, q):
    """Nemenyi's critical values at 0.05 as printed in Demsar 2006, table 5."""
    n = 14
    table = np.random.default_rng(k).normal(size=(n, k)).round(1)  # with ties
    found = st.diagram({str(m): table[:, m] for m in range(k)})
    assert found.difference == pytest.approx(q * np.sqrt(k * (k + 1) / (6 * n)), abs=1e-3)
    ranks = [[1 + sum(x > y for x in row) + (sum(x == y for x in row) - 1) / 2 for y in row] for row in table]
    assert found.ranks == pytest.approx({str(m): np.mean([row[m] for row in ranks]) for m in range(k)})
    assert list(found.ranks.values()) == sorted(found.ranks.values()), "best first"
    test = scipy.stats.friedmanchisquare(*table.T)
    assert (found.statistic, found.p, found.n) == (pytest.approx(test.statistic), pytest.approx(test.pvalue), n)


def test_cliques_are_the_largest_groups_within_the_difference():
    base = np.random.default_rng(0).uniform(size=30)
    scores = {"worst": base, "low": base + 1, "high": base + 2, "best": base + 3}
    found = st.diagram(scores)
    assert found.cliques == (), "ranks 1 to 4 on every data set lie further apart than the difference"
    assert found.difference < 1
    few = st.diagram({name: values[:10] for name, values in scores.items()})
    assert 1 < few.difference < 2
    assert few.cliques == (("best", "high"), ("high", "low"), ("low", "worst"))


def test_diagram_refuses():
    assert "needs 10" in st.diagram({name: [0.1] * 9 for name in "abc"}).why
    assert "2 methods" in st.diagram({name: [0.1] * 10 for name in "ab"}).why
    alike = st.diagram({name: [0.1] * 10 for name in "abc"})
    assert (alike.statistic, alike.p) == (0.0, 1.0)
    assert alike.cliques == (("a", "b", "c"),)


# The gap --------------------------------------------------------------------------------------------------------------


def test_gap_closed():
    assert st.gap_closed([0.80, 0.82], [0.90, 0.92], [0.85, 0.87]) == pytest.approx(0.5)
    assert st.gap_closed([0.8], [0.9], [0.95]) == pytest.approx(1.5)
    assert st.gap_closed([0.8], [0.9], [0.7]) == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("alone", "teacher", "why"),
    [
        ([0.9], [0.8], "no teacher is better"),
        ([0.9], [0.9], "no teacher is better"),
        ([0.9], [0.909], "too small"),
        ([0.80, 0.90, 0.85], [0.90, 0.81, 0.88], "standard error"),
        ([], [], "no seed"),
    ],
)
def test_no_gap_has_no_share(alone, teacher, why):
    found = st.gap_closed(alone, teacher, alone)
    assert isinstance(found, Refusal)
    assert why in found.why


def test_the_error_of_a_gap_is_the_standard_error_of_the_sample():
    """Of gaps with mean 0.05 there is a share where 0.05 > s / sqrt(n); s has the divisor n - 1."""
    for n in (2, 3, 5):
        signs = np.array([1.0, -1.0] * n)[:n]
        signs -= signs.mean()
        shape = signs / np.sqrt((signs**2).sum() / (n - 1))
        for factor, known in ((0.99, True), (1.01, False)):
            teacher = 0.85 + factor * 0.05 * np.sqrt(n) * shape
            alone = np.full(n, 0.80)
            assert np.mean(teacher - alone) == pytest.approx(0.05)
            found = st.gap_closed(alone, teacher, alone + 0.025)
            assert isinstance(found, float) == known, (n, factor)
            assert known == (found == pytest.approx(0.5) if known else False)


def test_a_comparison_that_cannot_be_tested_is_no_test_of_its_family():
    scores = RNG.uniform(size=7)
    family = [
        st.against("a", "c", scores, scores - 0.1 - 0.01 * np.arange(7)),
        st.against("b", "c", scores[:4], scores[:4] + 0.1),
    ]
    assert isinstance(family[1].test, Refusal)
    first, second = st.corrected(family)
    assert first.p_holm == first.test.p == 2 / 2**7, "one test needs no correction"
    assert second.p_holm is None


# Scores ---------------------------------------------------------------------------------------------------------------


def test_calibration_by_hand():
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.0, 1.0]])
    y = np.array([0, 1, 1, 1])
    found = classes.reliability(y, p, bins=10)
    assert found.error == pytest.approx(0.5 * abs(0.5 - 0.9) + 0.25 * 0.4 + 0.25 * 0.0)
    assert found.share[8] == 0.5, "0.9 belongs to the bin from 0.8 to 0.9"
    assert sum(found.share) == 1.0


def test_ensembles_mean_probabilities():
    a, b = np.array([[0.9, 0.1]]), np.array([[0.2, 0.8]])
    assert classes.mean_of([a, b]) == pytest.approx(np.array([[0.55, 0.45]]))
    single = classes.mean_of([a.astype(np.float32)])
    assert single.dtype == np.float64
