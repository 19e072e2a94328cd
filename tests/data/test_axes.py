"""Which axis is what: windows with an axis too many, images, and labels of samples."""

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.data import load_file

RNG = np.random.default_rng(0)
SIX = RNG.normal(size=(40, 6, 64))
Y = np.arange(40) % 2


@pytest.fixture
def load(tmp_path):
    """Saves arrays as `own.npz` and loads them."""

    def call(x, **arrays):
        np.savez(tmp_path / "own.npz", **{"x": x, "y": Y, **arrays})
        return load_file(tmp_path / "own.npz")

    return call


@pytest.mark.parametrize(
    ("x", "index"),
    [
        (SIX[:, None], r"x\[:, 0\], now \(40, 6, 64\)"),  # EEGNet: (N, 1, C, T)
        (SIX.transpose(0, 2, 1)[:, None], r"x\[:, 0\], now \(40, 64, 6\)"),  # (N, 1, T, C)
        (SIX[..., None], r"x\[\.\.\., 0\], now \(40, 6, 64\)"),
        (SIX.transpose(0, 2, 1)[..., None], r"x\[\.\.\., 0\], now \(40, 64, 6\)"),  # Keras: (N, T, C, 1)
        (SIX[:, :, None], r"x\[:, :, 0\], now \(40, 6, 64\)"),
    ],
)
def test_windows_with_an_axis_too_many(load, x, index):
    with pytest.raises(MmkdError, match=rf"images, or windows with an axis too many\? For windows save {index}, which"):
        load(x)
    stated = load(x, kind="signal")
    assert stated.grid is None
    np.testing.assert_array_equal(stated.x, x.squeeze().astype(np.float32))
    assert load(x, kind="image").grid == x.shape[2:]


def test_one_channel_with_two_axes_too_many(load):
    x = SIX[:, :1]
    for shape in ((40, 1, 1, 64), (40, 1, 64, 1), (40, 64, 1, 1)):
        data = load(x.reshape(shape))
        np.testing.assert_array_equal(data.x, x.astype(np.float32))
        assert data.warnings == (f"x has shape {shape}: read as one channel of 64 samples",)


@pytest.mark.parametrize(
    "x",
    [
        RNG.normal(size=(40, 1, 28, 28)),
        RNG.normal(size=(40, 1, 24, 20)),
        RNG.integers(0, 255, size=(40, 1, 64, 6)).astype(np.uint8),
        RNG.normal(size=(40, 3, 64, 6)),
    ],
)
def test_clearly_images(load, x):
    data = load(x)
    assert data.grid == x.shape[2:]
    assert data.warnings == ()
    np.testing.assert_array_equal(data.x, x.reshape(*x.shape[:2], -1).astype(np.float32))


def test_labels_of_pixels_show_that_they_are_images(load):
    labels = RNG.integers(0, 2, size=(40, 6, 64))
    data = load(SIX[:, None], y=labels)
    assert data.grid == (6, 64)
    np.testing.assert_array_equal(data.y, labels.reshape(40, -1))


def test_images_without_an_axis_for_channels(load):
    assert load(SIX, kind="image").grid == (6, 64)
    assert load(SIX, kind="image").x.shape == (40, 1, 384)


def test_channels_of_images_that_come_last(load):
    for kind in ({}, {"kind": "image"}):
        with pytest.raises(MmkdError, match=r"channels of images come second; save x\.transpose\(0, 3, 1, 2\)"):
            load(RNG.normal(size=(40, 28, 28, 3)), **kind)


def test_transposed_windows_with_labels_of_samples(load):
    y = np.repeat(Y[:, None], 64, 1)
    message = r"x has shape \(40, 64, 6\) and y \(40, 64\), .*; samples must come last.*: save x\.transpose\(0, 2, 1\)"
    with pytest.raises(MmkdError, match=message):
        load(SIX.transpose(0, 2, 1), y=y)
    np.testing.assert_array_equal(load(SIX, y=y).y, y)


@pytest.mark.parametrize(
    "y",
    [
        RNG.dirichlet(np.ones(6), 40),
        RNG.dirichlet(np.ones(6), 40).astype(np.float16),
        RNG.integers(0, 2, size=(40, 6)),
        RNG.integers(0, 2, size=(40, 6)).astype(np.float32),
        RNG.integers(0, 2, size=(40, 6)).astype(bool),
        np.zeros((40, 6), np.int64),
    ],
)
def test_as_many_classes_as_channels_are_no_transposed_windows(load, y):
    with pytest.raises(
        MmkdError, match=r"y has shape \(40, 6\); .*several labels a window, or shares of classes, cannot"
    ):
        load(SIX, y=y)


def test_as_many_one_hot_classes_as_channels(load):
    numbers = np.arange(40) % 6
    np.testing.assert_array_equal(load(SIX, y=np.eye(6)[numbers]).y, numbers)


@pytest.mark.parametrize("kind", [np.int64, np.float32])
def test_transposed_windows_with_labels_of_two_or_three_kinds(load, kind):
    """Zeros and ones of many steps before few channels, and numbers of classes of few steps."""
    zeros_and_ones = RNG.integers(0, 2, size=(40, 64)).astype(kind)
    numbers = RNG.integers(0, 3, size=(40, 6)).astype(kind)
    for x, y in ((SIX.transpose(0, 2, 1), zeros_and_ones), (SIX, numbers)):
        with pytest.raises(MmkdError, match=r"save x\.transpose\(0, 2, 1\)"):
            load(x, y=y)


@pytest.mark.parametrize(
    ("x", "more", "message"),
    [
        (SIX[:, 0], {}, r"x has shape \(40, 64\).*: of one channel save x\[:, None\]"),
        (SIX[:, :, None, None], {"kind": "signal"}, r"x has shape \(40, 6, 1, 1, 64\)"),
        (SIX.reshape(40, 6, 8, 8), {"kind": "signal"}, r"x has shape \(40, 6, 8, 8\) and kind 'signal'"),
        (SIX, {"kind": "video"}, "kind is 'video'; it must be 'signal' or 'image'"),
        (SIX, {"kind": 3}, r"kind is int64 of shape \(\); it must hold a text"),
    ],
)
def test_refused(load, x, more, message):
    with pytest.raises(MmkdError, match=message):
        load(x, **more)
