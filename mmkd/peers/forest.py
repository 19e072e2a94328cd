"""A random forest on statistics of windows. Breiman 2001, https://doi.org/10.1023/A:1010933404324."""

from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.peers.base import Floats, Ints, Peer, Signals, all_classes

TREES = 300
BANDS = (0.0, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Edges of the bands of a spectrum, as shares of the highest frequency."""
MOST_PIXELS = 4096
"""Values of an image of which each is a feature."""


class RandomForest(Peer):
    """300 trees on mean, standard deviation, minimum, quartiles, maximum and spectral statistics of each channel."""

    text = "300 trees on statistics of each channel"
    images = True

    def fit(self, x: Signals, y: Ints, classes: int, seed: int) -> Self:
        import sklearn
        from sklearn.ensemble import RandomForestClassifier

        self.made_with = f"scikit-learn {sklearn.__version__}"
        self.classes = classes
        self.model = RandomForestClassifier(TREES, random_state=seed % 2**32, n_jobs=1).fit(features(x), y)
        return self

    def logits(self, x: Signals) -> Floats:
        """The logarithm of the mean probabilities of the trees; 0 counts as half a tree of 300."""
        probabilities = all_classes(self.model.predict_proba(features(x)), self.model.classes_, self.classes, 0.0)
        return np.log(np.maximum(probabilities, 0.5 / TREES))


def features(x: Signals) -> NDArray[np.float32]:
    """The statistics of all signals of each window beside each other, (n, F); pixels (n, F) are features themselves."""
    return np.concatenate([window_statistics(part) if part.ndim == 3 else part for part in x], axis=1)


def window_statistics(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Statistics of each channel of windows.

    Mean, standard deviation, minimum, quartiles and maximum; the mean absolute difference of neighbouring samples; of
    the power spectrum without its mean: the frequency of its highest peak and of its centre, as shares of the highest
    frequency, its entropy as a share of the largest one, and the share of the power in each of five bands. A channel
    that is constant in a window has spectral statistics of 0.

    Args:
        x: (n, C, W).

    Returns:
        (n, 16 C), the statistics of a channel beside each other.
    """
    n, channels, length = x.shape
    x = np.asarray(x, np.float64)
    low, first, median, third, high = np.quantile(x, (0, 0.25, 0.5, 0.75, 1), axis=2)
    steps = np.abs(np.diff(x, axis=2)).mean(2) if length > 1 else np.zeros((n, channels))
    columns = [x.mean(2), x.std(2), low, first, median, third, high, steps]
    power = np.abs(np.fft.rfft(x - x.mean(2, keepdims=True), axis=2)[:, :, 1:]) ** 2
    size = power.shape[2]
    total = power.sum(2, keepdims=True)
    varies = total > 1e-12 * np.maximum((x**2).sum(2, keepdims=True), 1e-300) * max(length, 1)
    shares = np.divide(power, total, out=np.zeros_like(power), where=varies)
    frequency = np.arange(1, size + 1) / max(size, 1)
    if size:
        columns.append(frequency[shares.argmax(2)] * varies[:, :, 0])
        logarithm = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
        entropy = -(shares * logarithm).sum(2) / np.log(max(size, 2))
    else:
        columns.append(np.zeros((n, channels)))
        entropy = np.zeros((n, channels))
    columns += [(shares * frequency).sum(2), entropy]
    for start, end in pairwise(BANDS):
        inside = (frequency > start) & (frequency <= end)
        columns.append(shares[:, :, inside].sum(2))
    return np.stack(columns, axis=2).reshape(n, -1).astype(np.float32)


def pixels(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The pixels (n, F) of images (n, planes, H W).

    Raises:
        MmkdError: there are more than `MOST_PIXELS` values in an image.
    """
    flat = x.reshape(len(x), -1)
    if flat.shape[1] > MOST_PIXELS:
        raise MmkdError(f"images of {flat.shape[1]:,} values are left out; random-forest reads at most {MOST_PIXELS:,}")
    return flat
