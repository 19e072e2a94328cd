"""Recordings and windows at another sampling rate, with an anti-alias filter."""

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.data.recordings import Recording

CHUNK = 512
"""Windows that are resampled at a time."""


def resample(recording: Recording, rate_hz: float, new_rate_hz: float) -> Recording:
    """Resample a recording with SciPy's polyphase filter, whose cut-off is half the lower of the two rates.

    The label of a new sample is that of the old sample nearest in time.

    Args:
        rate_hz: the rate of the recording.
        new_rate_hz: the rate of the result.

    Raises:
        MmkdError: the recording has missing values, which a filter would spread; or the ratio of the rates is not a
            ratio of whole numbers up to 1000.
    """
    if np.isnan(recording.signal).any():
        raise MmkdError("a recording with missing values cannot be resampled; fill them first (linear, hold, zero)")
    ratio = _ratio(rate_hz, new_rate_hz)
    if ratio == 1:
        return recording
    signal = _filter(recording.signal, ratio)
    positions = np.arange(signal.shape[1]) * ratio.denominator / ratio.numerator
    nearest = np.minimum(np.round(positions).astype(np.int64), len(recording.labels) - 1)
    return Recording(signal, recording.labels[nearest], recording.subject)


def resampled_length(length: int, rate_hz: float, new_rate_hz: float) -> int:
    """How many samples a window of `length` samples has after resampling, rounded up.

    Raises:
        MmkdError: the ratio of the rates is not a ratio of whole numbers up to 1000.

    >>> resampled_length(128, 50, 20)
    52
    """
    ratio = _ratio(rate_hz, new_rate_hz)
    return -(-length * ratio.numerator // ratio.denominator)


def resample_windows(x: NDArray[Any], rate_hz: float, new_rate_hz: float) -> NDArray[np.float32]:
    """Resample windows (N, C, W), each by itself, to (N, C, W'), with the filter of `resample`.

    Raises:
        MmkdError: the ratio of the rates is not a ratio of whole numbers up to 1000.
    """
    ratio = _ratio(rate_hz, new_rate_hz)
    length = resampled_length(x.shape[2], rate_hz, new_rate_hz)
    out = np.empty((*x.shape[:2], length), np.float32)
    for start in range(0, len(x), CHUNK):
        out[start : start + CHUNK] = _filter(x[start : start + CHUNK], ratio)
    return out


def _ratio(rate_hz: float, new_rate_hz: float) -> Fraction:
    ratio = Fraction(new_rate_hz / rate_hz).limit_denominator(1000)
    if ratio.numerator == 0 or abs(float(ratio) - new_rate_hz / rate_hz) > 1e-6 * new_rate_hz / rate_hz:
        raise MmkdError(f"from {rate_hz:g} Hz to {new_rate_hz:g} Hz: no ratio of whole numbers up to 1000")
    return ratio


def _filter(signal: NDArray[Any], ratio: Fraction) -> NDArray[np.float32]:
    """A signal (..., T) at `ratio` times its rate."""
    from scipy.signal import resample_poly

    resampled = resample_poly(signal, ratio.numerator, ratio.denominator, axis=-1, padtype="line")
    return resampled.astype(np.float32)
