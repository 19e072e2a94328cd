"""A check of somebody else's augmentation on a few windows, before a training."""

import warnings

import numpy as np
from numpy.typing import NDArray

from mmkd.augment.base import Augmentation, Channels
from mmkd.augment.draws import Streams
from mmkd.core.errors import MmkdError, describe_error


def check_augmentation(augmentation: Augmentation, windows: NDArray[np.float32], channels: Channels) -> None:
    """Check that an augmentation does with these windows what one does; what is wrong is said in one line.

    Args:
        windows: (n, C, W), a few training windows, n >= 1.

    Raises:
        MmkdError: it fails; what it returns are not n windows of finite numbers, or weights in [0, 1]; or it depends on
            other random numbers than its draws.
    """
    title = f"augmentation {augmentation.label!r} (class {type(augmentation).__name__})"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            problem = _find_problem(augmentation, windows, channels)
    except MmkdError:
        raise
    except Exception as error:  # somebody else's class may raise anything
        raise MmkdError(f"{title} fails on windows {windows.shape}: {describe_error(error)}") from error
    if problem:
        raise MmkdError(f"{title}: {problem}")


def _find_problem(augmentation: Augmentation, windows: NDArray[np.float32], channels: Channels) -> str:
    numbers = np.arange(len(windows))
    length = windows.shape[2]
    results = []
    for _ in range(2):
        draws = Streams(0).draws(numbers, numbers)
        if augmentation.mixes:
            results.append(augmentation.weights(draws, length))
        else:
            results.append(augmentation.apply(windows.copy(), draws, channels))
    what, shape = ("weights", (len(windows), length)) if augmentation.mixes else ("apply", windows.shape)
    first = results[0]
    if not isinstance(first, np.ndarray) or first.dtype.kind not in "fiu" or first.shape != shape:
        found = f"{first.dtype} {first.shape}" if isinstance(first, np.ndarray) else type(first).__name__
        return f"{what} returned {found}; it must be numbers of shape {shape}"
    if not np.isfinite(first).all():
        return f"{what} returned NaN or infinity"
    if augmentation.mixes and (first.min() < 0 or first.max() > 1):
        return "weights go beyond 0 and 1"
    if not np.array_equal(results[0], results[1]):
        return f"{what} returns something else each time for the same draws; take all random numbers from them"
    return ""
