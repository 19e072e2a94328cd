"""Each augmentation against a slow formula, window by window; texts; draws."""

import doctest

import numpy as np
import pytest

import mmkd.augment
import mmkd.augment.base
from mmkd import AUGMENTATIONS, MmkdError
from mmkd.augment import Channels, Pipeline, Streams, parse_augmentation, parse_augmentations
from mmkd.augment.base import describe_channels, format_sites, parse_sites
from mmkd.augment.sensors import rotation_matrices

SITES = (((0, 1, 2), (3, 4, 5)), ((8, 6, 7),))
LENGTH = 20


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(2, 3, (7, 10, LENGTH)).astype(np.float32)


@pytest.fixture
def channels(x):
    return describe_channels(x, np.arange(4), SITES)


def draws(count=7, stream=0):
    return Streams(5).draws(np.arange(count), np.zeros(count, int), stream)


def changed(text, x, channels):
    return parse_augmentation(text).apply(x.copy(), draws(len(x)), channels)


def test_docstrings():
    assert doctest.testmod(mmkd.augment)[0] == doctest.testmod(mmkd.augment.base)[0] == 0


def test_mean_and_deviation_of_channels_are_those_of_training_windows(x, channels):
    assert np.allclose(channels.mean, x[:4].mean((0, 2)), atol=1e-5)
    assert np.allclose(channels.std, x[:4].std((0, 2)), atol=1e-5)
    assert channels.triads == [(0, 1, 2), (3, 4, 5), (8, 6, 7)]
    assert channels.outside == [9]


def test_a_rotation_is_one_about_its_axis():
    axes = np.array([[0, 0, 2.0], [1, 1, 1], [3, 0, 0]])
    matrices = rotation_matrices(axes, np.deg2rad([90, 120, 0]))
    assert np.allclose(matrices[0] @ [1, 0, 0], [0, 1, 0], atol=1e-6)
    assert np.allclose(matrices[1] @ [1, 0, 0], [0, 1, 0], atol=1e-6)  # x goes to y, y to z
    assert np.allclose(matrices[1] @ [0, 1, 0], [0, 0, 1], atol=1e-6)
    assert np.allclose(matrices[2], np.eye(3), atol=1e-6)


def test_rotate_turns_the_triads_of_a_site_together(x, channels):
    rotated = changed("rotate:30", x, channels)
    numbers = draws()
    for site in SITES:
        matrices = rotation_matrices(numbers.normal(3), numbers.normal() * np.deg2rad(30))
        for window in range(len(x)):
            for triad in site:
                for t in range(LENGTH):
                    wanted = matrices[window] @ x[window, list(triad), t]
                    assert np.allclose(rotated[window, list(triad), t], wanted, atol=1e-4)
    assert np.array_equal(rotated[:, 9], x[:, 9])
    assert not np.allclose(rotated[:, :9], x[:, :9], atol=0.1)
    lengths = [np.linalg.norm(windows[:, :3], axis=1) for windows in (x, rotated)]
    assert np.allclose(*lengths, rtol=1e-4)


def test_the_angles_of_rotate_have_its_deviation():
    one = Channels((((0, 1, 2),),), np.zeros(3, np.float32), np.ones(3, np.float32))
    axes = np.broadcast_to(np.eye(3, dtype=np.float32), (4000, 3, 3)).copy()
    turned = parse_augmentation("rotate:20").apply(axes, draws(4000), one)
    traces = np.trace(turned, axis1=1, axis2=2)
    angles = np.arccos(np.clip((traces - 1) / 2, -1, 1))
    assert np.sqrt((angles**2).mean()) == pytest.approx(np.deg2rad(20), rel=0.05)


def test_gain_is_a_factor_a_triad_and_else_about_the_mean(x, channels):
    gained = changed("gain:0.1", x, channels)
    factors = 1 + 0.1 * draws().normal(4)
    for window in range(len(x)):
        for number, triad in enumerate(channels.triads):
            assert np.allclose(gained[window, list(triad)], factors[window, number] * x[window, list(triad)], atol=1e-4)
        wanted = channels.mean[9] + factors[window, 3] * (x[window, 9] - channels.mean[9])
        assert np.allclose(gained[window, 9], wanted, atol=1e-4)
    assert len(np.unique(factors.round(6))) == factors.size


def test_jitter_is_white_noise_in_units_of_the_channels(x, channels):
    many = np.repeat(x[:1], 500, 0)
    noise = changed("jitter:0.2", many, channels) - many
    assert np.allclose(noise.std((0, 2)), 0.2 * channels.std, rtol=0.05)
    assert abs(noise.mean()) < 0.02
    assert abs(np.corrcoef(noise[:, 0].reshape(-1)[1:], noise[:, 0].reshape(-1)[:-1])[0, 1]) < 0.03


def mirrored(window, place):
    """The value of a window (C, W) at any place, by linear interpolation of the mirrored signal."""
    signal = np.concatenate([window[:, :0:-1], window, window[:, -2::-1]], 1)
    at = place + window.shape[1] - 1
    low = int(np.floor(at))
    part = at - low
    return (1 - part) * signal[:, low] + part * signal[:, min(low + 1, signal.shape[1] - 1)]


def test_shift_moves_all_channels_and_mirrors_the_gap(channels):
    x = np.random.default_rng(1).normal(size=(300, 10, LENGTH)).astype(np.float32)
    shifted = changed("shift:0.2", x, channels)
    steps = np.floor(draws(300).uniform(-4, 5)).astype(int)
    assert set(steps) == set(range(-4, 5))
    for window, out, step in zip(x, shifted, steps, strict=True):
        wanted = np.stack([mirrored(window, t - step) for t in range(LENGTH)], 1)
        assert np.allclose(out, wanted, atol=1e-5)


def test_scale_stretches_time_about_the_middle(channels):
    x = np.random.default_rng(1).normal(size=(50, 10, LENGTH)).astype(np.float32)
    scaled = changed("scale:0.5", x, channels)
    factors = np.clip(np.exp(0.5 * draws(50).normal()), 0.5, 2)
    assert factors.min() < 0.7
    assert factors.max() > 1.5
    middle = (LENGTH - 1) / 2
    for window, out, factor in zip(x, scaled, factors, strict=True):
        wanted = np.stack([mirrored(window, middle + factor * (t - middle)) for t in range(LENGTH)], 1)
        assert np.allclose(out, wanted, atol=1e-4)


def test_shift_by_half_a_window_and_an_even_length(channels):
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 4).repeat(200, 0)
    shifted = changed("shift:0.5", x, channels)
    assert {tuple(window[0].tolist()) for window in shifted} == {
        (2, 1, 0, 1),
        (1, 0, 1, 2),
        (0, 1, 2, 3),
        (1, 2, 3, 2),
        (2, 3, 2, 1),
    }


def test_mixup_mixes_with_a_partner_of_the_same_group(x, channels):
    pipeline = Pipeline(parse_augmentations(["mixup:0.4", "gain:0.1"]), channels, 3)
    assert [augmentation.name for augmentation in pipeline.changes] == ["gain"]
    windows = np.arange(2000) % 7
    numbers = np.arange(2000) // 7
    groups = [np.array([0, 2, 4]), np.array([1, 3, 5, 6])]
    mixing = pipeline.mixing(windows, numbers, windows, groups, LENGTH)
    for window, partner in zip(windows, mixing.partners, strict=True):
        assert (window % 2 == 0 and window < 6) == (partner % 2 == 0 and partner < 6)
    assert set(mixing.partners) == set(range(7))
    assert mixing.shares.min() >= 0.5
    assert np.allclose(mixing.weights, mixing.shares[:, None])
    shares = np.random.default_rng(0).beta(0.4, 0.4, 20000)
    assert mixing.shares.mean() == pytest.approx(np.maximum(shares, 1 - shares).mean(), abs=0.02)
    assert Pipeline(parse_augmentations(["gain:0.1"]), channels, 3).mixing(windows, numbers, windows, groups, 9) is None


def test_weights_of_less_than_a_half_are_exchanged(channels):
    class Cut(mmkd.augment.Augmentation):
        name = "cut"
        mixes = True

        def weights(self, draws, length):
            return np.tile(np.array([1, 0, 0, 0], np.float32), (len(draws), 1))

    mixing = Pipeline([Cut(1.0)], channels, 0).mixing(np.arange(2), np.zeros(2, int), np.arange(2), [np.arange(2)], 4)
    assert mixing.weights.tolist() == [[0, 1, 1, 1]] * 2
    assert mixing.shares.tolist() == [0.75, 0.75]


@pytest.mark.parametrize("text", ["rotate:30", "gain:0.1", "jitter:0.1", "shift:0.3", "scale:0.2"])
def test_a_window_is_changed_the_same_whatever_its_batch(text, x, channels):
    """And otherwise in another pass, in another training, and than another window."""
    same = np.repeat(x[:1], 4, 0)

    def change(windows, numbers, seed=1, rows=same):
        pipeline = Pipeline(
            parse_augmentations([text, "jitter:0.01"][: 1 if text.startswith("jitter") else 2]), channels, seed
        )
        return pipeline.change(rows.copy(), np.array(windows), np.array(numbers))

    first = change([3, 5, 3, 9], [0, 0, 1, 2])
    assert np.array_equal(change([9, 3, 5, 3], [2, 1, 0, 0]), first[[3, 2, 1, 0]])
    assert np.array_equal(change([5], [0], rows=same[:1]), first[1:2])
    assert len(np.unique(first.reshape(4, -1), axis=0)) == 4
    assert not np.array_equal(change([3, 5, 3, 9], [0, 0, 1, 2], seed=2), first)


def test_draws_of_streams_and_shapes():
    one, other = draws(3).normal(4), draws(3, stream=1).normal(4)
    assert one.shape == (3, 4)
    assert not np.allclose(one, other)
    assert draws(3).uniform(2, 3, 5, 2).shape == (3, 5, 2)
    uniform = draws(500).uniform(-1, 3, 40)
    assert -1 <= uniform.min() < -0.98
    assert 2.98 < uniform.max() < 3
    assert draws(2).noise(3, 4).shape == (2, 3, 4)
    assert draws(2).noise(300, 400).std() == pytest.approx(1, abs=0.01)  # longer than what the table is used for
    assert draws(3).each(lambda generator: generator.integers(9)).shape == (3,)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["rotat:30"], "did you mean 'rotate'"),
        (["rotate"], "rotate:DEG takes a number above 0 and at most 180, such as rotate:30; it lacks one"),
        (["rotate:"], "it lacks one"),
        (["rotate:x"], "'x' is not one"),
        (["rotate:200"], "'200' is not one"),
        (["gain:-0.1"], "gain:SD takes a number above 0"),
        (["gain:0"], "above 0"),
        (["jitter:nan"], "'nan' is not one"),
        (["jitter:inf"], "'inf' is not one"),
        (["gain:0.1", "gain:0.2"], "gain is named twice"),
    ],
)
def test_bad_texts_are_one_line(texts, message):
    with pytest.raises(MmkdError) as error:
        parse_augmentations(texts)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_texts_have_one_spelling():
    texts = ["rotate:30.00", " gain : 0.10", "jitter:5e-2", "shift:.1", "scale:1e-5"]
    labels = [augmentation.label for augmentation in parse_augmentations(texts)]
    assert labels == ["rotate:30", "gain:0.1", "jitter:0.05", "shift:0.1", "scale:1e-05"]
    assert [augmentation.label for augmentation in parse_augmentations(labels)] == labels


def test_two_that_mix_are_refused():
    @AUGMENTATIONS.register("stir")
    class Stir(mmkd.augment.Augmentation):
        "Mixes."

        name = "stir"
        mixes = True

    with pytest.raises(MmkdError, match="stir:1 and mixup:0.2 both mix windows"):
        parse_augmentations(["stir:1", "mixup:0.2"])


def test_sites_as_texts():
    texts = format_sites({"a": SITES[0], "b": SITES[1]})
    assert texts == ("a=0,1,2;3,4,5", "b=8,6,7")
    assert parse_sites(texts) == SITES
    assert parse_sites(()) == ()


def test_what_cannot_be_shifted_or_scaled():
    assert "less than one sample" in parse_augmentation("shift:0.04").find_problem(1, 24)
    assert parse_augmentation("shift:0.05").find_problem(1, 24) is None
    assert parse_augmentation("scale:0.1").find_problem(1, 3)
    assert parse_augmentation("rotate:3").find_problem(3, 2) is None
