"""What a student has of its teacher: reference numbers, slow loops of the definitions, and intervals."""

import math
from pathlib import Path

import numpy as np
import pytest

from mmkd.metrics import fidelity as fd
from mmkd.metrics.pairs import every_resample, resamples, weighted_interval

ORACLE = np.load(Path(__file__).parents[1] / "oracles" / "fidelity.npz", allow_pickle=False)
OWN = {
    "agreement": "agreement",
    "kappa": "kappa",
    "copied_errors": "copied_errors",
    "kept_right": "kept_right",
    "same_mistake": "same_wrong_given_both_wrong",
    "jensen_shannon": "jensen_shannon_nats",
    "kl": "kl_teacher_student",
    "activation_distance": "activation_distance",
    "rank_disagreement": "rank_disagreement",
}
"""Measure -> the key of its reference number."""


def softmax(logits):
    e = np.exp(logits.astype(float) - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def answers(logits):
    return fd.Answers(logits.argmax(1), softmax(logits))


def reference(name):
    return answers(ORACLE[f"input_{name}"])


TRUE = ORACLE["input_target"]
TEACHER, STUDENT = reference("teacher"), reference("student")


def measured(true, teacher, other, classes=6):
    sums = fd.pair_sums(true, teacher, other, classes)
    return {name: float(values[0]) for name, values in fd.measures_of(sums).items()}


# Definitions ----------------------------------------------------------------------------------------------------------


def slow(true, teacher, other):
    """Every measure, sample by sample, as it is defined."""
    p, q = teacher.probabilities, other.probabilities
    n, classes = p.shape
    found = {}
    t, s = [int(row.argmax()) for row in p], [int(row.argmax()) for row in q]
    found["agreement"] = sum(a == b for a, b in zip(t, s, strict=True)) / n
    chance = sum(t.count(k) / n * s.count(k) / n for k in range(classes))
    found["kappa"] = (found["agreement"] - chance) / (1 - chance)
    wrong = [i for i in range(n) if t[i] != true[i]]
    right = [i for i in range(n) if t[i] == true[i]]
    found["copied_errors"] = sum(s[i] == t[i] for i in wrong) / len(wrong)
    found["kept_right"] = sum(s[i] == t[i] for i in right) / len(right)
    both = [i for i in wrong if s[i] != true[i]]
    found["same_mistake"] = sum(s[i] == t[i] for i in both) / len(both)
    shannon = kl = distance = ranks = 0.0
    for a, b in zip(p, q, strict=True):
        for k in range(classes):
            m = (a[k] + b[k]) / 2
            shannon += (a[k] * math.log(a[k] / m) if a[k] else 0) / 2 + (b[k] * math.log(b[k] / m) if b[k] else 0) / 2
            kl += a[k] * math.log(a[k] / max(b[k], 1e-12)) if a[k] else 0
        distance += math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))
        orders = (sorted(range(classes), key=lambda k, row=row: -row[k]) for row in (a, b))
        ranks += sum(x != y for x, y in zip(*orders, strict=True)) / classes
    return found | {
        "jensen_shannon": shannon / n,
        "kl": kl / n,
        "activation_distance": distance / n,
        "rank_disagreement": ranks / n,
    }


@pytest.mark.parametrize("name", list(fd.MEASURES))
def test_measures_are_the_reference_numbers(name):
    found = measured(TRUE, TEACHER, STUDENT)[name]
    assert found == pytest.approx(float(ORACLE[OWN[name]]), rel=1e-6)
    assert found == pytest.approx(slow(TRUE, TEACHER, STUDENT)[name], rel=1e-9)


@pytest.mark.parametrize("seed", ["same_seed", "other_seed"])
def test_excess_is_that_over_the_student_alone(seed):
    alone = reference(f"alone_{seed}")
    own, base = (measured(TRUE, TEACHER, other) for other in (STUDENT, alone))
    excess = fd.excess_of({k: np.array(v) for k, v in own.items()}, {k: np.array(v) for k, v in base.items()})
    assert base["agreement"] == pytest.approx(float(ORACLE[f"{seed}_agreement_alone"]))
    assert base["copied_errors"] == pytest.approx(float(ORACLE[f"{seed}_copied_errors_alone"]))
    assert base["same_mistake"] == pytest.approx(float(ORACLE[f"{seed}_same_wrong_given_both_wrong_alone"]))
    for name in ("agreement", "copied_errors", "kept_right"):
        assert float(excess[name]) == pytest.approx(float(ORACLE[f"{seed}_{name}_excess"]))
    assert float(excess["asymmetry"]) == pytest.approx(float(ORACLE[f"{seed}_asymmetry"]))


def test_measures_agree_with_slow_loops_on_sure_and_tied_answers():
    """Probabilities of 0 and of equal size: neither NaN nor another order of ranks."""
    rng = np.random.default_rng(4)
    true = rng.integers(0, 4, 90)
    both = []
    for sharp in (0.5, 60.0):
        p = softmax(sharp * rng.integers(-2, 3, (90, 4)).astype(float)).astype(np.float32).astype(float)
        both.append(fd.Answers(p.argmax(1), p))
    assert (both[1].probabilities == 0).any()
    for teacher, other in (both, both[::-1]):
        found, wanted = measured(true, teacher, other, 4), slow(true, teacher, other)
        assert found == pytest.approx(wanted, rel=1e-9)


def test_sums_of_subjects_add_up_to_those_of_all():
    rng = np.random.default_rng(0)
    subjects = rng.integers(0, 7, len(TRUE))
    parts = fd.pair_sums(TRUE, TEACHER, STUDENT, 6, subjects, 7)
    assert parts.shape == (7, 9 + 12)
    np.testing.assert_allclose(parts.sum(0), fd.pair_sums(TRUE, TEACHER, STUDENT, 6)[0])
    for number in range(7):
        own = subjects == number
        first, second = (fd.Answers(a.predicted[own], a.probabilities[own]) for a in (TEACHER, STUDENT))
        np.testing.assert_allclose(parts[number], fd.pair_sums(TRUE[own], first, second, 6)[0])


def test_without_probabilities_only_their_measures_are_missing():
    found = measured(TRUE, fd.Answers(TEACHER.predicted), STUDENT)
    missing = {name for name, value in found.items() if math.isnan(value)}
    assert missing == {name for name, measure in fd.MEASURES.items() if measure.needs_probabilities}


def test_what_cannot_be_told_is_not_a_number():
    right = fd.Answers(TRUE, None)
    found = measured(TRUE, right, STUDENT)
    assert math.isnan(found["copied_errors"])
    assert math.isnan(found["same_mistake"])
    constant = fd.Answers(np.zeros(8, int), None)
    found = measured(np.arange(8) % 2, constant, constant, 2)
    assert found["agreement"] == 1
    assert math.isnan(found["kappa"]), "two that always say the same class agree by chance alone"


# Over seeds -----------------------------------------------------------------------------------------------------------


def made(seeds=3, n=240, subjects=6, copies=0.6, classes=4):
    """Sums of students that copy a share of their teacher's answers, and of students alone; subjects differ."""
    rng = np.random.default_rng(1)
    found, raw = [], []
    for _ in range(seeds):
        true = rng.integers(0, classes, n)
        subject = np.arange(n) % subjects
        wrong = rng.random(n) < 0.15 + 0.05 * subject
        teacher = np.where(wrong, (true + 1) % classes, true)
        alone = np.where(rng.random(n) < 0.3, rng.integers(0, classes, n), true)
        other = np.where(rng.random(n) < 0.3, rng.integers(0, classes, n), true)
        student = np.where(rng.random(n) < copies, teacher, alone)
        raw.append((true, teacher, student, alone, subject))
        sums = [
            fd.pair_sums(true, fd.Answers(teacher), fd.Answers(predicted), classes, subject, subjects)
            for predicted in (student, alone, other)
        ]
        found.append(fd.SeedSums(*sums))
    return found, raw


def slow_excess(true, teacher, student, alone):
    wrong, right = teacher != true, teacher == true
    hits = {name: predicted == teacher for name, predicted in (("own", student), ("alone", alone))}
    copied = hits["own"][wrong].mean() - hits["alone"][wrong].mean()
    kept = hits["own"][right].mean() - hits["alone"][right].mean()
    return {
        "agreement": hits["own"].mean() - hits["alone"].mean(),
        "copied_errors": copied,
        "kept_right": kept,
        "asymmetry": copied - kept,
    }


def test_an_estimate_is_the_mean_over_seeds():
    seeds, raw = made()
    found = fd.fidelity("t", seeds)
    each = [slow_excess(true, teacher, student, alone) for true, teacher, student, alone, _ in raw]
    for name in each[0]:
        values = [one[name] for one in each]
        estimate = found.excess[name]
        assert estimate.mean == pytest.approx(np.mean(values))
        assert estimate.sd == pytest.approx(np.std(values, ddof=1))
        assert estimate.low < estimate.mean < estimate.high
    assert found.samples["wrong"] == pytest.approx(np.mean([(t != y).sum() for y, t, *_ in raw]))
    assert (found.clusters, found.of) == (6, "subject")
    assert found.excess["copied_errors"].low > 0, "these students do copy"


def test_the_interval_draws_whole_subjects_for_all_seeds_together():
    """Three subjects, two seeds: all 27 resamples, each with its windows written out."""
    seeds, raw = made(seeds=2, n=180, subjects=3)
    found = fd.fidelity("t", seeds).excess["copied_errors"]
    means = []
    for picks in np.ndindex(3, 3, 3):
        values = []
        for true, teacher, student, alone, subject in raw:
            drawn = np.concatenate([np.flatnonzero(subject == one) for one in picks])
            values.append(slow_excess(true[drawn], teacher[drawn], student[drawn], alone[drawn])["copied_errors"])
        means.append(np.mean(values))
    means = np.sort(means)
    reached = np.arange(1, 28) / 27
    assert found.low == pytest.approx(means[np.searchsorted(reached, 0.025)])
    assert found.high == pytest.approx(means[np.searchsorted(reached, 0.975)])


def test_windows_of_one_subject_are_not_counted_as_many():
    """Copies of each window make the sample no larger: an interval over subjects stays, one over windows shrinks."""
    rng = np.random.default_rng(3)
    true, teacher, student, alone = (rng.integers(0, 3, 40) for _ in range(4))

    def width(times, of_windows):
        arrays = [np.repeat(a, times) for a in (true, teacher, student, alone)]
        group = np.arange(40 * times) if of_windows else np.repeat(np.arange(40), times)
        sums = [
            fd.pair_sums(arrays[0], fd.Answers(arrays[1]), fd.Answers(a), 3, group, group.max() + 1) for a in arrays[2:]
        ]
        estimate = fd.fidelity("t", [fd.SeedSums(*sums)]).excess["agreement"]
        return estimate.high - estimate.low

    assert width(9, of_windows=False) == pytest.approx(width(1, of_windows=True))
    assert width(9, of_windows=True) < 0.5 * width(1, of_windows=True)


def test_few_errors_of_the_teacher_and_one_subject_have_no_interval():
    seeds, _ = made(n=60, subjects=6)
    found = fd.fidelity("t", seeds)
    assert found.samples["wrong"] < fd.LEAST_SAMPLES < found.samples["right"]
    for name in ("copied_errors", "asymmetry", "same_mistake"):
        assert found.excess[name].low is None
        assert "wrong on" in found.excess[name].why
    assert found.excess["kept_right"].low is not None
    one, _ = made(subjects=1)
    found = fd.fidelity("t", one)
    assert all(estimate.why == "an interval needs two subjects" for estimate in found.excess.values())
    assert all(estimate.low is None for estimate in found.own.values())


def test_the_noise_floor_is_what_two_students_alone_differ_by():
    seeds, _ = made()
    found = fd.fidelity("t", seeds)
    each = [
        fd.measures_of(s.alone.sum(0))["agreement"] - fd.measures_of(s.other_seed.sum(0))["agreement"] for s in seeds
    ]
    assert found.noise["agreement"] == pytest.approx(np.mean(np.abs(each)))
    assert found.other_seed["agreement"] == pytest.approx(found.excess["agreement"].mean + np.mean(each))
    without = fd.fidelity("t", [fd.SeedSums(s.own, s.alone) for s in seeds])
    assert (without.other_seed, without.noise) == ({}, {})
    nobody = fd.fidelity("t", [fd.SeedSums(s.own) for s in seeds])
    assert (nobody.alone, nobody.excess) == ({}, {})
    assert nobody.own["agreement"].mean == found.own["agreement"].mean


def test_resamples_are_the_bootstrap():
    counts, weights = resamples(4, 0, 100)
    assert weights.sum() == pytest.approx(1)
    assert (counts.sum(1) == 4).all()
    assert (counts == every_resample(4)[0]).all()
    counts, weights = resamples(30, 0, 4000)
    assert counts.shape == (4000, 30)
    assert counts.mean(0) == pytest.approx(np.ones(30), abs=0.1)
    assert weighted_interval(np.array([3.0, 1.0, 2.0]), np.array([0.02, 0.02, 0.96])) == (2.0, 2.0)
    assert weighted_interval(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 2.0])) == (1.0, 3.0)
