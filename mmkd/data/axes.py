"""Which axis of an array is what: windows of signals, and images."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError

Kind = Literal["signal", "image"]
LEAST_SIDE = 8
"""Pixels that each side of an image has, if nothing else says that it is one."""
MOST_SKEWED = 1.5
"""Longer by shorter side of an image of one channel, if nothing else says that it is one."""


def as_windows(
    x: NDArray[Any], labels_shape: tuple[int, ...], kind: Kind | None
) -> tuple[NDArray[Any], tuple[int, int] | None, list[str]]:
    """Windows (N, C, W), or the pixels of images (N, C, H W) with their rows and columns (H, W); and warnings.

    An array of four axes holds images (N, C, H, W). If one axis has length 1, it may as well hold windows of a signal
    with an axis too many, and is refused, unless `kind` says what it is or the form shows it.

    Args:
        x: the array of a file.
        labels_shape: of its labels; those of pixels have the shape (N, H, W).
        kind: what the file says about itself.

    Raises:
        MmkdError: the array has another number of axes, an empty one, or can be understood in two ways.
    """
    n = len(x) if x.ndim else 0
    if x.ndim == 2 and x.size:
        raise MmkdError(
            f"x has shape {x.shape}; it must be (N windows, C channels, W samples): of one channel save x[:, None]"
        )
    if x.ndim not in (3, 4) or 0 in x.shape:
        raise MmkdError(
            f"x has shape {x.shape}; it must be (N windows, C channels, W samples) or, of images, (N, C, H, W), none "
            f"of them 0"
        )
    if x.ndim == 3 and kind != "image":
        return x, None, []
    if x.ndim == 3:
        x = x[:, None]
    if kind == "signal":
        return _without_unit_axes(x), None, []
    _, channels, height, width = x.shape
    if width in (1, 3, 4) and channels >= LEAST_SIDE and height >= LEAST_SIDE and _is_nearly_square(channels, height):
        raise MmkdError(f"x has shape {x.shape}: channels of images come second; save x.transpose(0, 3, 1, 2)")
    if kind is None and sorted(x.shape[1:])[1] == 1:  # one axis is longer than 1
        warning = f"x has shape {x.shape}: read as one channel of {x.size // n} samples"
        return x.reshape(n, 1, -1), None, [warning]
    if kind is None and 1 in x.shape[1:] and not _is_image(x, labels_shape):
        axis = x.shape.index(1, 1)
        index = {1: "x[:, 0]", 2: "x[:, :, 0]", 3: "x[..., 0]"}[axis]
        rest = tuple(np.delete(x.shape, axis).tolist())
        raise MmkdError(
            f"x has shape {x.shape}: images, or windows with an axis too many? For windows save {index}, now {rest}, "
            f"which must be (N, C channels, W samples), perhaps with .transpose(0, 2, 1); for images add kind='image'"
        )
    return x.reshape(n, channels, height * width), (height, width), []


def _is_nearly_square(height: int, width: int) -> bool:
    return max(height, width) <= MOST_SKEWED * min(height, width)


def _is_image(x: NDArray[Any], labels_shape: tuple[int, ...]) -> bool:
    """Whether an array with an axis of length 1 is clearly of images of one channel, (N, 1, H, W)."""
    n, channels, height, width = x.shape
    if channels != 1 or 1 in (height, width):
        return False
    nearly_square = min(height, width) >= LEAST_SIDE and _is_nearly_square(height, width)
    return nearly_square or x.dtype in (np.uint8, np.bool_) or labels_shape == (n, height, width)


def _without_unit_axes(x: NDArray[Any]) -> NDArray[Any]:
    """Windows (N, C, W) of an array of a signal that has an axis of length 1 besides."""
    units = [axis for axis in (1, 2, 3) if x.shape[axis] == 1]
    if not units:
        raise MmkdError(
            f"x has shape {x.shape} and kind 'signal'; windows of a signal must be (N, C channels, W samples)"
        )
    return x.reshape(len(x), 1, -1) if len(units) > 1 else x.squeeze(units[0])


def labels_of_samples(x_shape: tuple[int, ...], y: NDArray[Any], grid: tuple[int, int] | None) -> bool:
    """Whether labels are of samples, (N, W), or of pixels, (N, H, W), rather than of windows.

    Args:
        x_shape: (N, C, W), of images the flattened pixels.
        grid: rows and columns of images.

    Raises:
        MmkdError: x has its axes the other way round.
    """
    n, channels, length = x_shape
    if y.shape == ((n, *grid) if grid else (n, length)):
        return True
    if grid is None and y.shape == (n, channels) and channels > 1 and not _are_rows_of_classes(y, length):
        raise MmkdError(
            f"x has shape {x_shape} and y {y.shape}, a label for each step of x's second axis; samples must come last, "
            f"(N, C channels, W samples): save x.transpose(0, 2, 1)"
        )
    return False


def _are_rows_of_classes(labels: NDArray[Any], length: int) -> bool:
    """Whether labels (N, K) are one-hot, shares of classes, or zeros and ones for each class.

    Args:
        length: samples of a window; of zeros and ones it must be above K.
    """
    if labels.dtype.kind not in "iubf":
        return False
    values = labels[~np.isnan(labels)] if labels.dtype.kind == "f" else labels
    has_fractions = bool((values != np.round(values)).any()) if labels.dtype.kind == "f" else False
    is_of_classes = length > labels.shape[1] and bool(np.isin(values, (0, 1)).all())
    return has_fractions or is_of_classes or is_one_hot(labels)


def is_one_hot(labels: NDArray[Any]) -> bool:
    """Whether labels are rows (N, K) with a single 1 among zeros, K being at least 2."""
    if labels.ndim != 2 or labels.shape[1] < 2 or labels.dtype.kind not in "iubf":
        return False
    return bool(np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all())
