"""Peers: statistics of windows against plain loops, classes that are absent, temperatures, MiniRocket where it is."""

from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.peers import PEERS, MiniRocket, RandomForest, best_temperature, minirocket
from mmkd.peers.base import all_classes, softmax
from mmkd.peers.forest import BANDS, pixels, window_statistics
from mmkd.units.expansion import expand, student_alone
from mmkd.units.request import Request

needs_a_package = pytest.mark.skipif(
    find_spec("tsai") is None and find_spec("aeon") is None, reason="neither tsai nor aeon is installed"
)


def waves(n, length=32, channels=2, seed=0):
    """Windows of two classes that differ in their frequency, and the classes."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    time = np.arange(length)
    x = np.sin(time * np.where(y == 0, 0.4, 1.3)[:, None, None] + rng.uniform(0, 6, (n, channels, 1)))
    return (x + 0.1 * rng.standard_normal(x.shape)).astype(np.float32), y


def test_statistics_of_a_channel_are_those_of_a_plain_loop():
    x = np.random.default_rng(0).standard_normal((3, 2, 21)).astype(np.float32)
    rows = window_statistics(x)
    assert rows.shape == (3, 32)
    for n in range(3):
        for c in range(2):
            series = x[n, c].astype(np.float64)
            power = [
                abs(sum((series - series.mean()) * np.exp(-2j * np.pi * k * np.arange(21) / 21))) ** 2
                for k in range(1, 11)
            ]
            shares = np.array(power) / sum(power)
            frequency = np.arange(1, 11) / 10
            bands = [
                sum(share for share, f in zip(shares, frequency, strict=True) if low < f <= high)
                for low, high in pairwise(BANDS)
            ]
            expected = [
                series.mean(), series.std(), series.min(), *np.percentile(series, (25, 50, 75)), series.max(),
                np.mean([abs(series[t + 1] - series[t]) for t in range(20)]),
                frequency[np.argmax(shares)], (shares * frequency).sum(), -(shares * np.log(shares)).sum() / np.log(10),
                *bands,
            ]  # fmt: skip
            np.testing.assert_allclose(rows[n, 16 * c : 16 * c + 16], expected, rtol=2e-5, atol=1e-6)


def test_a_constant_channel_has_no_spectrum():
    x = np.full((1, 1, 16), 1234.567, np.float32)
    row = window_statistics(x)[0]
    assert np.isfinite(row).all()
    np.testing.assert_allclose(row[:8], [1234.567, 0, *[1234.567] * 5, 0], atol=1e-3)
    assert not row[8:].any()


@pytest.mark.parametrize("length", [1, 2, 3])
def test_short_windows_have_finite_statistics(length):
    assert np.isfinite(window_statistics(np.random.default_rng(0).standard_normal((4, 1, length)))).all()


def test_a_forest_learns_and_repeats_itself():
    x, y = waves(40)
    other, truth = waves(40, seed=1)
    one, two = (RandomForest().fit([x], y, 2, 5).logits([other]) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert (one.argmax(1) == truth).mean() > 0.9
    np.testing.assert_allclose(softmax(one).sum(1), 1)
    assert not np.array_equal(one, RandomForest().fit([x], y, 2, 6).logits([other]))


def test_a_class_without_training_windows_is_never_predicted():
    x, y = waves(20)
    logits = RandomForest().fit([x], 2 * y, 3, 0).logits([x])
    assert logits.shape == (20, 3)
    assert set(logits.argmax(1)) == {0, 2}
    np.testing.assert_array_equal(all_classes(np.array([[5.0, 6.0]]), np.array([1, 2]), 4, -1), [[-1, 5, 6, -1]])


def test_several_signals_are_read_side_by_side():
    """The second one, of another length, has what tells the classes apart."""
    x, y = waves(40)
    noise = np.random.default_rng(3).standard_normal((40, 1, 16)).astype(np.float32)
    peer = RandomForest().fit([noise, x], y, 2, 0)
    assert (peer.logits([noise, x]).argmax(1) == y).all()


def test_images_with_too_many_pixels_are_left_out():
    assert pixels(np.zeros((2, 3, 16), np.float32)).shape == (2, 48)
    with pytest.raises(MmkdError, match="images of 4,800 values are left out; random-forest reads at most 4,096"):
        pixels(np.zeros((2, 3, 1600), np.float32))


def test_the_best_temperature_is_that_of_a_grid():
    rng = np.random.default_rng(0)
    logits = 5 * rng.standard_normal((200, 3))
    y = np.array([rng.choice(3, p=softmax(row[None] / 7)[0]) for row in logits])
    targets = np.full((200, 3), 1 / 404)
    targets[np.arange(200), y] = 1 - 1 / 202
    grid = np.exp(np.linspace(np.log(1), np.log(100), 2001))
    losses = [-(targets * np.log(softmax(logits / t))).sum() for t in grid]
    assert best_temperature(logits, y) == pytest.approx(grid[np.argmin(losses)], rel=5e-3)


def test_a_classifier_without_an_error_has_a_finite_scale():
    logits = np.where(np.eye(3)[np.arange(60) % 3] > 0, 1.0, 0.0)
    probabilities = softmax(logits / best_temperature(logits, np.arange(60) % 3))
    np.testing.assert_allclose(probabilities.max(1), 1 - 1 / 62, atol=1e-3)


@needs_a_package
def test_minirocket_learns_in_two_classes_and_more():
    x, y = waves(40)
    other, truth = waves(40, seed=1)
    peer = MiniRocket().fit([x], y, 2, 5)
    logits = peer.logits([other])
    assert (logits.argmax(1) == truth).mean() > 0.9
    assert peer.made_with.startswith(("aeon ", "tsai "))
    three = MiniRocket().fit([x], np.where(np.arange(40) % 4 == 3, 2, y), 4, 5).logits([other])
    assert three.shape == (40, 4)
    assert (three[:, 3] == -1).all()


@needs_a_package
def test_minirocket_of_too_many_windows_says_how_many(monkeypatch):
    monkeypatch.setattr(minirocket, "MOST_FITTED", 10)
    x, y = waves(41)
    peer = MiniRocket().fit([x], y, 2, 0)
    assert peer.notes == ["minirocket: fitted on 10 of 41 training windows, evenly spaced"]


def test_minirocket_says_in_a_line_what_it_cannot_read(monkeypatch):
    x, y = waves(8, length=8)
    with pytest.raises(MmkdError, match="reads windows of 9 samples or more, not of 8"):
        MiniRocket().fit([x], y, 2, 0)
    x, y = waves(8)
    with pytest.raises(MmkdError, match="training windows of two classes"):
        MiniRocket().fit([x], 0 * y, 2, 0)
    monkeypatch.setattr(minirocket, "find_spec", lambda name: None)
    with pytest.raises(
        MmkdError, match=r"pip install --no-deps 'aeon>=1\.6,<1\.7'\) or tsai: install the extra mmkd\[tsai\]"
    ):
        MiniRocket().fit([x], y, 2, 0)


def test_the_task_names_the_peers():
    from mmkd.tasks import TASKS

    assert TASKS.get("classification").reference_names == tuple(PEERS)


def test_a_peer_that_computes_something_else_is_another_teacher(sines, monkeypatch):
    request = Request(
        methods=("kd",), data=str(sines), students=("sig",), teachers=("sig",), teacher_nets={"sig": "random-forest"}
    )
    ((before, _),) = expand(request)
    assert before.peer_revisions == {}
    monkeypatch.setattr(RandomForest, "revision", 2)
    ((after, _),) = expand(request)
    assert before.key != after.key
    assert before.teacher("sig").key != after.teacher("sig").key
    assert student_alone(before).key == student_alone(after).key
