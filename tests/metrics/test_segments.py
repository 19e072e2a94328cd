"""Scores of the dense task against slow formulas in loops, hand-made examples and scikit-learn."""

import itertools
import json
import math
import time
from fractions import Fraction

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, jaccard_score
from sklearn.metrics import confusion_matrix as sklearn_confusion

from mmkd.core.errors import MmkdError
from mmkd.metrics.boundaries import boundaries, boundary_f1, match_closest, match_count
from mmkd.metrics.delineation import delineation, delineation_scores
from mmkd.metrics.recordings import dense_scores, stitch
from mmkd.metrics.segments import OVERLAPS, edit_score, levenshtein, segment_counts, segmental_f1, segments
from mmkd.metrics.steps import class_f1, class_iou, class_names, confusion_matrix, frame_accuracy, macro_f1, mean_iou

SEEDS = range(60)


def labels(*runs):
    """labels((0, 3), (2, 1)) is 0 0 0 2."""
    return np.array([label for label, length in runs for _ in range(length)], np.int64)


def random_pair(seed, classes=4, ignored=True):
    """Two sequences of runs, somewhat alike; now and then with steps to ignore, in either."""
    rng = np.random.default_rng(seed)
    steps = int(rng.integers(1, 40))

    def runs(mean):
        return np.repeat(rng.integers(0, classes, steps), rng.geometric(1 / mean, steps))[:steps]

    true = runs(rng.choice([1, 4, 12]))
    predicted = np.where(rng.random(steps) < rng.choice([0.0, 0.2, 1.0]), runs(rng.choice([1, 4])), true)
    if ignored and seed % 2:
        true[rng.random(steps) < 0.15] = -1
        true[: rng.integers(0, 4)] = -1
        predicted[rng.random(steps) < 0.05] = -1
    return true, predicted


def closed(true, predicted):
    both = [(int(t), int(p)) for t, p in zip(true, predicted, strict=True) if t >= 0 and p >= 0]
    return [t for t, _ in both], [p for _, p in both]


# Steps ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_scores_of_steps_equal_scikit_learns(seed):
    true, predicted = random_pair(seed)
    t, p = closed(true, predicted)
    counts = confusion_matrix(true, predicted, 4)
    if not t:
        assert math.isnan(frame_accuracy(counts))
        assert math.isnan(macro_f1(counts))
        assert math.isnan(mean_iou(counts))
        return
    there = sorted(set(t) | set(p))
    assert np.array_equal(counts, sklearn_confusion(t, p, labels=range(4)))
    assert frame_accuracy(counts) == pytest.approx(accuracy_score(t, p))
    assert macro_f1(counts) == pytest.approx(f1_score(t, p, average="macro"))
    assert mean_iou(counts) == pytest.approx(jaccard_score(t, p, average="macro"))
    assert class_f1(counts)[there] == pytest.approx(f1_score(t, p, average=None))
    assert class_iou(counts)[there] == pytest.approx(jaccard_score(t, p, average=None))
    absent = [k for k in range(4) if k not in there]
    assert np.isnan(class_iou(counts)[absent]).all()
    assert np.isnan(class_f1(counts)[absent]).all()


def test_iou_by_hand():
    counts = confusion_matrix(labels((0, 4), (1, 4), (-1, 9)), labels((0, 6), (2, 1), (1, 10)), 5)
    assert class_iou(counts)[:3] == pytest.approx([4 / 6, 1 / 4, 0])  # a class in the prediction alone has 0
    assert mean_iou(counts) == pytest.approx((4 / 6 + 1 / 4 + 0) / 3)  # classes 3 and 4 are left out
    assert frame_accuracy(counts) == 5 / 8


# Segments -------------------------------------------------------------------------------------------------------------


def slow_segments(x):
    found, at = [], 0
    for label, group in itertools.groupby(x):
        n = len(list(group))
        found.append((at, at + n, label))
        at += n
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_segments_equal_a_loop(seed):
    true, _ = random_pair(seed)
    expected = slow_segments([int(x) for x in true if x >= 0])
    assert segments(true).tolist() == [list(row) for row in expected]


def test_what_is_ignored_splits_no_segment():
    assert segments(labels((-1, 2), (1, 3), (-1, 4), (1, 2), (0, 1), (-1, 1))).tolist() == [[0, 5, 1], [5, 6, 0]]
    assert segments(labels((-1, 5))).shape == segments(labels()).shape == (0, 3)
    assert segments(labels((3, 1))).tolist() == [[0, 1, 3]]


def slow_counts(true, predicted, overlap):
    """The published rule, a predicted segment at a time, on sets of steps and in exact fractions."""
    t, p = closed(true, predicted)
    real = [(set(range(a, b)), label) for a, b, label in slow_segments(t) if label != 0]
    found = [(set(range(a, b)), label) for a, b, label in slow_segments(p) if label != 0]
    used, false = set(), 0
    for steps, label in found:
        ious = [Fraction(len(steps & s), len(steps | s)) if label == other else Fraction(-1) for s, other in real]
        best = max(range(len(real)), key=lambda i: (ious[i], -i), default=None)
        if best is not None and ious[best] >= overlap and best not in used:
            used.add(best)
        else:
            false += 1
    return [len(used), false, len(real) - len(used)]


@pytest.mark.parametrize("seed", range(150))
def test_segment_counts_equal_the_published_rule(seed):
    true, predicted = random_pair(seed, classes=3)
    exact = [Fraction(1, 10), Fraction(1, 4), Fraction(1, 2)]
    assert segment_counts(true, predicted).tolist() == [slow_counts(true, predicted, k) for k in exact]
    assert segment_counts(true, predicted, [1.0]).tolist() == [slow_counts(true, predicted, 1)]


def test_segmental_f1_by_hand():
    true = labels((0, 5), (1, 10), (0, 5), (2, 10))
    predicted = labels((0, 5), (1, 3), (0, 1), (1, 6), (0, 5), (1, 2), (2, 8))
    # 1: IoU 3/10 and 6/10 with the same segment; the first is best held against it too, and takes it at 10 and 25.
    # 1 again: none of its label is under it. 2: 8/10.
    assert segment_counts(true, predicted).tolist() == [[2, 2, 0], [2, 2, 0], [2, 2, 0]]
    assert segmental_f1([(true, predicted)], 0.5) == 4 / 6
    assert segment_counts(true, predicted, [0.3, 0.61, 0.8, 0.81]).tolist() == [
        [2, 2, 0],
        [1, 3, 1],
        [1, 3, 1],
        [0, 4, 2],
    ]


def test_an_overlap_of_just_k_is_a_hit():
    for k, n in ((0.10, 10), (0.25, 4), (0.50, 2)):
        assert segment_counts(labels((1, n)), labels((1, 1), (2, n - 1)), [k])[0, 0] == 1
        assert segment_counts(labels((1, n + 1)), labels((1, 1), (2, n)), [k])[0, 0] == 0


def test_a_second_segment_on_a_taken_one_is_false():
    true, predicted = labels((1, 10)), labels((1, 5), (0, 1), (1, 4))
    assert segment_counts(true, predicted, [0.1]).tolist() == [[1, 1, 0]]


def test_of_two_equally_good_true_segments_it_is_the_first():
    true, predicted = labels((1, 4), (0, 1), (1, 4)), labels((0, 2), (1, 5), (0, 1), (1, 1))
    # The first has IoU 2/7 with both and takes the first; the second, with 1/4, finds the other one free.
    assert segment_counts(true, predicted, [0.25]).tolist() == [[2, 0, 0]]
    assert slow_counts(true, predicted, Fraction(1, 4)) == [2, 0, 0]


def test_counts_are_pooled_over_recordings():
    good = (labels((1, 4)), labels((1, 4)))
    bad = (labels((1, 4), (0, 1), (2, 3), (0, 1), (1, 3)), labels((0, 12)))
    assert segmental_f1([good, bad], 0.5) == 2 * 1 / (2 * 1 + 0 + 3)  # the mean of recordings would be 1/2
    assert dense_scores([good, bad], 3, None)["f1_50"] == 0.4


def test_overlaps_out_of_range():
    for k in (0, 1.1, -1):
        with pytest.raises(ValueError, match="overlap"):
            segment_counts(labels((1, 2)), labels((1, 2)), [k])


def slow_levenshtein(a, b):
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(len(a) + 1):
        for j in range(len(b) + 1):
            if not i or not j:
                table[i][j] = i + j
            else:
                swap = table[i - 1][j - 1] + (a[i - 1] != b[j - 1])
                table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, swap)
    return table[-1][-1]


@pytest.mark.parametrize("seed", SEEDS)
def test_levenshtein_equals_the_table(seed):
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, rng.integers(1, 6), rng.integers(0, 12)).tolist() for _ in range(2))
    assert levenshtein(a, b) == levenshtein(b, a) == slow_levenshtein(a, b)


def test_levenshtein_of_long_sequences():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 5, 150).tolist()
    b = [x for x in a if rng.random() > 0.2] + rng.integers(0, 5, 20).tolist()
    assert levenshtein(a, b) == slow_levenshtein(a, b)
    assert levenshtein(list(map(ord, "kitten")), list(map(ord, "sitting"))) == 3


@pytest.mark.parametrize("seed", SEEDS)
def test_edit_score_equals_its_formula(seed):
    true, predicted = random_pair(seed)
    t, p = ([label for _, _, label in slow_segments(x) if label] for x in closed(true, predicted))
    n = max(len(t), len(p))
    assert edit_score(true, predicted) == pytest.approx(100 * (1 - slow_levenshtein(t, p) / n) if n else 100)


def test_edit_score_by_hand():
    true = labels((1, 3), (0, 2), (1, 3), (2, 4))  # 1 1 2: the null class is dropped and still parts the two
    assert edit_score(true, labels((1, 8), (2, 4))) == pytest.approx(100 * (1 - 1 / 3))
    assert edit_score(true, true) == 100
    assert edit_score(true, labels((0, 12))) == 0
    assert edit_score(labels((0, 4)), labels((0, 4))) == 100
    assert edit_score(labels((0, 4)), labels((3, 4))) == 0
    assert edit_score(labels((-1, 4)), labels((3, 4))) == 100


# Places ---------------------------------------------------------------------------------------------------------------


def all_matchings(true, predicted, tolerance):
    """Every one-to-one matching, as a set of pairs."""
    if not true:
        yield ()
        return
    yield from all_matchings(true[:-1], predicted, tolerance)
    for j, at in enumerate(predicted):
        if at is not None and abs(at - true[-1]) <= tolerance:
            rest = [None if i == j else p for i, p in enumerate(predicted)]
            for other in all_matchings(true[:-1], rest, tolerance):
                yield (*other, (len(true) - 1, j))


def random_points(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.choice([6, 12, 30]))
    true, predicted = (np.sort(rng.choice(size, rng.integers(0, 6), replace=False)) for _ in range(2))
    return true, predicted, float(rng.choice([0, 1, 2, 2.5, 6]))


@pytest.mark.parametrize("seed", range(500))
def test_matchings_are_the_best_of_all(seed):
    true, predicted, tolerance = random_points(seed)
    every = list(all_matchings(true.tolist(), predicted.tolist(), tolerance))
    most = max(map(len, every))
    assert match_count(true, predicted, tolerance) == match_count(predicted, true, tolerance) == most
    pairs = match_closest(true, predicted, tolerance)
    assert len(pairs) == most
    assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == most
    distances = np.abs(true[pairs[:, 0]] - predicted[pairs[:, 1]])
    assert (distances <= tolerance).all()
    least = min(sum(abs(true[i] - predicted[j]) for i, j in one) for one in every if len(one) == most)
    assert distances.sum() == least


def test_the_closest_point_wins():
    assert match_closest(np.array([100]), np.array([70, 100]), 37.5).tolist() == [[0, 1]]
    assert match_closest(np.array([10, 20]), np.array([20, 31]), 11).tolist() == [[0, 0], [1, 1]]  # two before one
    assert match_closest(np.array([0, 1]), np.array([2, 4]), 2).tolist() == [
        [1, 0]
    ]  # 0 and 4 are in one chain, too far
    assert match_closest(np.array([], int), np.array([3]), 5).shape == (0, 2)


def test_a_point_is_matched_once():
    true, predicted = labels((0, 10), (1, 10)), labels((0, 8), (1, 1), (0, 1), (1, 10))
    assert boundaries(predicted).tolist() == [8, 9, 10]
    assert boundary_f1(true, predicted, 3) == 2 / (2 + 2)


def slow_boundary_f1(true, predicted, tolerance):
    at = [
        [
            i
            for i in range(1, len(x))
            if x[i] != x[i - 1] and min(true[i], true[i - 1], predicted[i], predicted[i - 1]) >= 0
        ]
        for x in (true, predicted)
    ]
    hits = max(map(len, all_matchings(at[0], at[1], tolerance)))
    return 2 * hits / (len(at[0]) + len(at[1])) if at[0] or at[1] else 1.0


@pytest.mark.parametrize("seed", SEEDS)
def test_boundary_f1_equals_brute_force(seed):
    rng = np.random.default_rng(seed)
    true, predicted = (np.repeat(rng.integers(0, 3, 5), rng.integers(1, 5, 5))[:12] for _ in range(2))
    n = min(len(true), len(predicted))
    tolerance = float(rng.choice([0, 1, 2, 4]))
    assert boundary_f1(true[:n], predicted[:n], tolerance) == pytest.approx(
        slow_boundary_f1(true[:n], predicted[:n], tolerance)
    )


def test_boundaries_by_hand():
    true = labels((0, 10), (1, 10), (2, 10))
    predicted = labels((0, 12), (1, 3), (0, 2), (1, 3), (2, 10))  # 12, 15, 17, 20
    assert boundary_f1(true, predicted, 2) == 2 * 2 / (2 + 4)
    assert boundary_f1(true, predicted, 1) == 2 * 1 / (2 + 4)
    assert boundary_f1(true, labels((0, 30)), 2) == 0
    assert boundary_f1(labels((0, 30)), labels((0, 30)), 2) == 1
    assert boundary_f1(labels((0, 30)), predicted, 2) == 0


def test_the_tolerance_is_a_time_and_includes_its_end():
    true, late = labels((0, 20), (1, 20)), labels((0, 23), (1, 17))
    for rate, limit, expected in (
        (20.0, 150, 1),
        (20.0, 149, 0),
        (100.0, 29, 0),
        (100.0, 30, 1),
        (None, 3, 1),
        (None, 2, 0),
    ):
        assert dense_scores([(true, late)], 2, rate, limit)["boundary_f1"] == expected
    shifted = labels((0, 27), (1, 13))
    assert 7000 / 360 * 360 / 1000 < 7  # in floats
    assert dense_scores([(true, shifted)], 2, 360.0, 7000 / 360)["boundary_f1"] == 1
    assert delineation([(true, shifted)], 2, 360.0, 7000 / 360)["1", "onset"].hits == 1


def test_a_change_across_ignored_steps_has_no_place():
    true, predicted = labels((0, 5), (-1, 3), (1, 5)), labels((0, 5), (0, 3), (1, 5))
    assert boundaries(true).tolist() == []
    assert boundary_f1(true, predicted, 0) == 1


def test_a_lone_boundary_near_ignored_steps_is_not_counted():
    """The truth may change among the ignored steps 8 and 9, as the prediction does just after them."""
    true = labels((0, 8), (-1, 2), (1, 10), (2, 5))
    predicted = labels((0, 12), (1, 8), (2, 5))
    assert boundary_f1(true, predicted, 2) == 1
    assert boundary_f1(true, predicted, 1) == 2 / (2 + 1)
    flicker = labels((0, 10), (1, 1), (0, 1), (1, 8), (2, 5))  # 11 and 12: one of the two is let off, not both
    assert boundary_f1(true, flicker, 2) == 2 / (2 + 1)
    # One that is false at each edge, with segments so short that others could be taken for its partner.
    true = labels((-1, 5), (1, 6), (0, 6), (1, 6), (0, 6), (1, 6), (-1, 5))
    assert boundary_f1(true, labels((0, 8), (1, 6), (0, 6), (1, 6), (0, 6), (1, 8)), 6) == 1
    # The same for a true one, but nothing of the kind at the ends of a recording.
    assert boundary_f1(labels((-1, 4), (0, 2), (1, 6)), labels((0, 4), (1, 8)), 2) == 1
    assert boundary_f1(labels((0, 2), (1, 6)), labels((1, 8)), 2) == 0


def slow_points(x, label):
    """Known onsets and offsets, with their step, where nothing is ignored."""
    onsets = [i for i in range(1, len(x)) if x[i] == label and x[i - 1] != label]
    offsets = [i for i in range(1, len(x)) if x[i] != label and x[i - 1] == label]
    return {"onset": onsets, "offset": offsets}


@pytest.mark.parametrize("seed", range(30))
def test_delineation_equals_brute_force(seed):
    """Recordings that begin and end with the null class: every onset and offset is known."""
    rng = np.random.default_rng(seed)
    recordings = []
    for _ in range(3):
        true, predicted = (np.repeat(rng.integers(0, 3, 8), rng.integers(1, 6, 8))[:20] for _ in range(2))
        n = min(len(true), len(predicted))
        recordings.append(tuple(np.pad(x[:n], 1) for x in (true, predicted)))
    found = delineation(recordings, 3, 50, 60)  # 3 steps of 20 ms
    assert set(found) == {(name, end) for name in "12" for end in ("onset", "offset")}
    for (name, end), points in found.items():
        hits = total_t = total_p = least = 0
        for recording in recordings:
            t, p = (slow_points(x, int(name))[end] for x in recording)
            every = list(all_matchings(t, p, 3))
            most = max(map(len, every))
            hits, total_t, total_p = hits + most, total_t + len(t), total_p + len(p)
            least += min(sum(abs(t[i] - p[j]) for i, j in one) for one in every if len(one) == most)
        assert (points.hits, points.missed, points.false) == (hits, total_t - hits, total_p - hits)
        assert points.sensitivity == pytest.approx(hits / total_t if total_t else math.nan, nan_ok=True)
        assert points.ppv == pytest.approx(hits / total_p if total_p else math.nan, nan_ok=True)
        both = total_t + total_p
        assert points.f1 == pytest.approx(2 * hits / both if both else math.nan, nan_ok=True)
        if hits > 1:
            bound = least * 20 / hits  # mean absolute error of the best pairing
            assert abs(points.error_mean) <= bound + 1e-9
            assert points.error_sd <= 60 * math.sqrt(hits / (hits - 1)) + 1e-9


def test_delineation_by_hand():
    """At 250 Hz a step is 4 ms and 150 ms are 37.5 steps."""
    true = labels((0, 100), (1, 20), (0, 100), (1, 20), (0, 100), (1, 20), (0, 100))  # onsets 100, 220, 340
    predicted = labels((0, 102), (1, 20), (0, 102), (1, 12), (0, 66), (1, 10), (0, 48), (1, 10), (0, 90))
    # onsets 102, 224, 302 (38 steps early: lost), 360 (20 late); offsets 122, 236, 312, 370 for 120, 240, 360
    found = delineation([(true, predicted)], ["none", "QRS"], 250.0)
    onset, offset = found["QRS", "onset"], found["QRS", "offset"]
    assert (onset.hits, onset.missed, onset.false) == (3, 0, 1)
    assert onset.sensitivity == 1
    assert onset.ppv == 3 / 4
    assert onset.f1 == 6 / 7
    errors = np.array([2, 4, 20]) * 4.0
    assert onset.error_mean == pytest.approx(errors.mean())
    assert onset.error_sd == pytest.approx(errors.std(ddof=1))
    errors = np.array([2, -4, 10]) * 4.0
    assert offset.error_mean == pytest.approx(errors.mean())
    assert offset.error_sd == pytest.approx(errors.std(ddof=1))
    in_steps = delineation([(true, predicted)], 2, None, 37.5)["1", "onset"]
    assert (in_steps.hits, in_steps.error_mean) == (3, pytest.approx(26 / 3))


def test_onsets_of_a_class_of_its_own():
    """An onset of another class at the same step is no hit."""
    true, predicted = labels((0, 10), (1, 5), (0, 10)), labels((0, 10), (2, 5), (0, 10))
    found = delineation([(true, predicted)], 3, 100.0)
    assert (found["1", "onset"].hits, found["1", "onset"].missed) == (0, 1)
    assert (found["2", "offset"].hits, found["2", "offset"].false) == (0, 1)
    assert found["1", "onset"].f1 == 0
    flat = delineation_scores([(true, predicted)], ["null", "P wave", "QRS"], 100.0)
    assert flat["onset_sensitivity_p_wave"] == 0
    assert "onset_ppv_p_wave" not in flat
    assert "onset_error_mean_qrs" not in flat
    json.dumps(flat, allow_nan=False)
    assert list(delineation_scores([], 2, 100.0)) == [
        f"{end}_{n}_1" for end in ("onset", "offset") for n in ("hits", "false", "missed")
    ]


def test_segments_cut_by_ignored_steps_have_no_onset_there():
    true = labels((-1, 10), (1, 5), (0, 10), (1, 5), (-1, 10))  # cut at 10 and at 30; known: offset 15, onset 25
    right = labels((0, 7), (1, 8), (0, 10), (1, 8), (0, 7))
    late = labels((0, 12), (1, 3), (0, 10), (1, 2), (0, 13))  # its onset 12 and offset 27 may be those that are cut
    for predicted in (right, late):
        found = delineation([(true, predicted)], 2, None, 4)
        assert all((x.hits, x.missed, x.false) == (1, 0, 0) for x in found.values())
    strict = delineation([(true, late)], 2, None, 1)
    assert strict["1", "onset"].false == strict["1", "offset"].false == 1
    swapped = delineation([(late, np.where(true < 0, -1, right))], 2, None, 4)
    assert all((x.hits, x.missed, x.false) == (1, 0, 0) for x in swapped.values())
    other = labels((0, 12), (2, 3), (0, 10), (1, 5), (0, 10))  # of another class: false
    assert delineation([(true, other)], 3, None, 4)["2", "onset"].false == 1


# All together ---------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:y_pred contains classes", "ignore:A single label was found")  # of scikit-learn
@pytest.mark.parametrize("seed", range(20))
def test_dense_scores_are_means_and_pools_of_the_parts(seed):
    recordings = [random_pair(1000 * seed + i) for i in range(4)]
    kept = [(t, p) for t, p in recordings if closed(t, p)[0]]
    found = dense_scores(recordings, 4, None, 2)
    each = [closed(t, p) for t, p in kept]
    assert found["accuracy"] == pytest.approx(np.mean([accuracy_score(t, p) for t, p in each]))
    assert found["macro_f1"] == pytest.approx(np.mean([f1_score(t, p, average="macro") for t, p in each]))
    assert found["miou"] == pytest.approx(np.mean([jaccard_score(t, p, average="macro") for t, p in each]))
    balanced = [balanced_accuracy_score(t, p) for t, p in each]
    assert found["balanced_accuracy"] == pytest.approx(np.mean(balanced))
    assert found["edit"] == pytest.approx(np.mean([edit_score(t, p) for t, p in kept]))
    assert found["boundary_f1"] == pytest.approx(np.mean([boundary_f1(t, p, 2) for t, p in kept]))
    t, p = (list(itertools.chain(*x)) for x in zip(*each, strict=True))
    assert found["pooled_accuracy"] == pytest.approx(accuracy_score(t, p))
    assert found["pooled_macro_f1"] == pytest.approx(f1_score(t, p, average="macro"))
    assert found["pooled_balanced_accuracy"] == pytest.approx(balanced_accuracy_score(t, p))
    assert found["pooled_miou"] == pytest.approx(jaccard_score(t, p, average="macro"))
    for k, name in zip(OVERLAPS, ("f1_10", "f1_25", "f1_50"), strict=True):
        hits, false, missed = np.sum([slow_counts(t, p, Fraction(str(k))) for t, p in kept], axis=0)
        assert found[name] == pytest.approx(2 * hits / (2 * hits + false + missed) if hits + false + missed else 1)
        assert found[name] == segmental_f1(recordings, k)
    for label in range(4):
        there = [jaccard_score(t, p, labels=[label], average=None)[0] for t, p in each if label in t + p]
        assert found.get(f"iou_{label}", math.nan) == pytest.approx(np.mean(there) if there else math.nan, nan_ok=True)
    json.dumps(found, allow_nan=False)


def test_names_of_the_scores():
    true = labels((0, 3), (1, 3))
    found = dense_scores([(true, true)], ["null", "STAND_TO_SIT", "Lying (left)"], 50.0, 20)
    assert list(found) == [
        *("accuracy", "macro_f1", "balanced_accuracy", "miou", "edit", "boundary_f1", "f1_10", "f1_25", "f1_50"),
        *("pooled_accuracy", "pooled_macro_f1", "pooled_balanced_accuracy", "pooled_miou"),
        *("iou_null", "iou_stand_to_sit"),
    ]
    assert set(found.values()) == {1.0, 100.0}
    assert found["edit"] == 100
    without = dense_scores([(true, true)], 2, None)
    assert {*without} - {*found} == {"boundary_f1_steps", "boundary_tolerance_steps", "iou_0", "iou_1"}
    assert {n: v for n, v in without.items() if "iou_" in n} == {
        "iou_0": 1.0,
        "iou_1": 1.0,
    }
    assert class_names(3) == ["0", "1", "2"]
    with pytest.raises(MmkdError, match="one name"):
        class_names(["a b", "A_B"])


def test_a_recording_counts_once_however_long():
    long, short = labels((0, 90)), labels((0, 10))
    found = dense_scores([(long, long), (short, short + 1)], 2, None)
    assert found["accuracy"] == 0.5
    assert found["pooled_accuracy"] == 0.9
    assert found["miou"] == 0.5
    assert found["pooled_miou"] == pytest.approx((0.9 + 0) / 2)


def test_all_null_single_steps_and_all_ignored():
    null, one, nothing = labels((0, 9)), labels((2, 1)), labels((-1, 7))
    assert set(dense_scores([(null, null), (one, one)], 3, None, 1).values()) == {1.0, 100.0}
    assert set(dense_scores([(null, null)], 3, None, 1).values()) == {1.0, 100.0}
    found = dense_scores([(null, null + 1), (nothing, labels((0, 7)))], 3, None)
    assert found["accuracy"] == found["edit"] == found["f1_10"] == 0
    assert found["boundary_f1_steps"] == 1  # no boundary on either side
    with_it = dense_scores([(one, one), (nothing, labels((1, 7))), (labels(), labels())], 3, None)
    assert with_it == dense_scores([(one, one)], 3, None)
    for recordings in ([], [(nothing, labels((0, 7)))], [(labels((0, 7)), nothing)], [(labels(), labels())]):
        with pytest.raises(MmkdError, match="nothing to score"):
            dense_scores(recordings, 3, None)


def test_a_class_that_is_never_predicted():
    true, predicted = labels((0, 5), (1, 2), (0, 5), (2, 4)), labels((0, 12), (2, 4))
    found = dense_scores([(true, predicted)], 3, 10.0)
    assert found["iou_1"] == 0
    assert found["iou_2"] == 1
    assert found["miou"] == pytest.approx((10 / 12 + 0 + 1) / 3)
    assert found["f1_50"] == 2 / 3
    assert found["edit"] == 50


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32])
def test_any_integer_type(dtype):
    true, predicted = labels((0, 100), (12, 100)), labels((0, 70), (12, 130))
    narrow = [(true.astype(dtype), predicted.astype(dtype))]
    assert dense_scores(narrow, 13, 50.0) == dense_scores([(true, predicted)], 13, 50.0)
    assert dense_scores([(true.astype(dtype), predicted)], 13, 50.0) == dense_scores([(true, predicted)], 13, 50.0)


def test_nothing_is_changed_in_place():
    true, predicted = random_pair(7)
    before = true.copy(), predicted.copy()
    dense_scores([(true, predicted)], 4, 50.0)
    delineation([(true, predicted)], 4, 50.0)
    assert np.array_equal(true, before[0])
    assert np.array_equal(predicted, before[1])


def test_faults_of_the_input():
    five = labels((0, 5))
    for bad in (labels((0, 4)), np.zeros((5, 1), int), five - 2, five + 3, five.astype(float)):
        with pytest.raises(ValueError, match="label"):
            dense_scores([(five, bad)], 3, None)
    for tolerance, rate in ((-1, None), (math.nan, 50.0), (150, 0.0), (150, -1.0)):
        with pytest.raises(MmkdError, match="tolerance"):
            dense_scores([(five, five)], 3, rate, tolerance)
        with pytest.raises(MmkdError, match="tolerance"):
            delineation([(five, five)], 3, rate, tolerance)


def test_two_hundred_long_recordings_are_scored_soon():
    rng = np.random.default_rng(0)
    recordings = []
    for _ in range(200):
        true = np.repeat(rng.integers(0, 13, 200), rng.integers(1, 400, 200))[:5000]
        recordings.append(
            (true, np.where(rng.random(len(true)) < 0.02, rng.integers(0, 13, len(true)), np.roll(true, 3)))
        )
    start = time.process_time()
    dense_scores(recordings, 13, 50.0)
    assert time.process_time() - start < 5  # about 0.25 s on an idle core


# Windows --------------------------------------------------------------------------------------------------------------


def slow_stitch(windows, recording, start):
    found = {}
    for number in sorted(set(recording.tolist())):
        own = [i for i in range(len(recording)) if recording[i] == number]
        sequence = []
        for step in range(max(start[i] for i in own) + windows.shape[1]):
            over = [windows[i, step - start[i]] for i in own if 0 <= step - start[i] < windows.shape[1]]
            if windows.ndim == 3:
                sequence.append(int(np.mean(over, axis=0).argmax()) if over else -1)
            else:
                votes = [int(x) for x in over if x >= 0]
                sequence.append(min(votes, key=lambda x: (-votes.count(x), x)) if votes else -1)
        found[number] = sequence
    return found


@pytest.mark.parametrize("seed", range(40))
def test_stitching_equals_a_loop(seed):
    rng = np.random.default_rng(seed)
    n, width = int(rng.integers(1, 9)), int(rng.integers(1, 7))
    recording, start = rng.choice([3, 5, 11], n), rng.integers(0, 20, n)
    windows = rng.integers(-1, 4, (n, width)) if seed % 2 else rng.dirichlet(np.ones(4), (n, width))
    found = stitch(windows, recording, start)
    assert list(found) == sorted(set(recording.tolist()))
    assert {k: x.tolist() for k, x in found.items()} == slow_stitch(windows, recording, start)
    order = rng.permutation(n)
    again = stitch(windows[order], recording[order], start[order])
    assert all(np.array_equal(found[k], again[k]) for k in found)


def test_stitching_by_hand():
    windows = np.array([[[0.9, 0.1], [0.6, 0.4]], [[0.1, 0.9], [0.2, 0.8]], [[0.3, 0.7], [0.8, 0.2]]])
    found = stitch(windows, np.array([0, 0, 4]), np.array([1, 2, 0]))
    assert found[0].tolist() == [-1, 0, 1, 1]  # 0.6 and 0.1 have the mean 0.35
    assert found[4].tolist() == [1, 0]
    gap = stitch(windows, np.array([0, 0, 0]), np.array([0, 4, 7]))[0]
    assert gap.tolist() == [0, 0, -1, -1, 1, 1, -1, 1, 0]


def test_labels_cut_into_windows_come_back():
    rng = np.random.default_rng(0)
    true = rng.integers(-1, 5, 103).astype(np.int8)
    start = np.append(np.arange(0, 93, 7), 93)
    windows = np.stack([true[s : s + 10] for s in start])
    assert np.array_equal(stitch(windows, np.zeros(len(start), int), start)[0], true)
    truth = np.where(true < 0, 0, true)
    assert np.array_equal(stitch(np.eye(5)[truth][start[:, None] + np.arange(10)], start * 0, start)[0], truth)


def test_stitched_gaps_are_not_scored():
    windows = np.array([[1, 1], [2, 2]])
    predicted = stitch(windows, np.array([0, 0]), np.array([0, 4]))[0]
    found = dense_scores([(labels((1, 4), (2, 2)), predicted)], 3, None, 1)
    assert set(found.values()) == {1.0, 100.0}


def test_stitching_refuses_what_does_not_fit():
    two, zeros = np.zeros((2, 3), int), np.zeros(2, int)
    for windows, recording, start in (
        (two[0], zeros, zeros),
        (two, zeros[:1], zeros[:1]),
        (two, zeros, zeros[:1]),
        (two.astype(float), zeros, zeros),
        (two - 2, zeros, zeros),
        (two, zeros, zeros - 1),
    ):
        with pytest.raises(ValueError, match="window"):
            stitch(windows, recording, start)
    assert stitch(two[:0], zeros[:0], zeros[:0]) == {}
