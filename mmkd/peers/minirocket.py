"""MiniRocket and a ridge classifier. Dempster et al., KDD 2021, arXiv:2012.08791.

Neither is written here: the features are those of aeon if it is installed, else those of tsai, and the classifier is
scikit-learn's. Features of the two packages differ in details, so the record says which it was.
"""

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.extras import how_to_install
from mmkd.peers.base import Floats, Ints, Peer, Signals, all_classes

SHORTEST = 9
"""The length of a kernel of MiniRocket: windows must have as many samples."""
KERNELS = 10_000
MOST_FITTED = 10_000
"""Training windows that the ridge is fitted on; of more an even part, because its time grows with their square."""
CHUNK = 256

Transform = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""From signals (n, C, W) to features (n, F)."""


class MiniRocket(Peer):
    """9,996 features of random convolutions, and a ridge classifier whose penalty is chosen by leaving windows out."""

    text = "MiniRocket and a ridge classifier"
    has_probabilities = False

    def fit(self, x: Signals, y: Ints, classes: int, seed: int) -> Self:
        import sklearn
        from sklearn.linear_model import RidgeClassifierCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        shortest = min(signal.shape[2] for signal in x)
        if shortest < SHORTEST:
            raise MmkdError(f"minirocket reads windows of {SHORTEST} samples or more, not of {shortest}")
        if len(np.unique(y)) < 2:
            raise MmkdError("minirocket needs training windows of two classes")
        if len(y) > MOST_FITTED:
            kept = np.linspace(0, len(y) - 1, MOST_FITTED).round().astype(int)
            self.notes.append(f"minirocket: fitted on {len(kept):,} of {len(y):,} training windows, evenly spaced")
            x = [signal[kept] for signal in x]
            y = y[kept]
        make, package = _package()
        self.made_with = f"{package}, scikit-learn {sklearn.__version__}"
        self.classes = classes
        self.transforms = [make(np.ascontiguousarray(signal, np.float32), seed % 2**31) for signal in x]
        self.model = make_pipeline(StandardScaler(with_mean=False), RidgeClassifierCV(alphas=np.logspace(-3, 3, 10)))
        self.model.fit(self._features(x), y)
        return self

    def logits(self, x: Signals) -> Floats:
        """What the ridge regressions of the classes, with targets -1 and 1, predict; -1 for a class that is absent."""
        scores = np.concatenate([self._decide(x, start) for start in range(0, len(x[0]), 8 * CHUNK)])
        if scores.ndim == 1:
            scores = np.stack([-scores, scores], axis=1)
        return all_classes(scores, self.model.classes_, self.classes, -1.0)

    def _decide(self, x: Signals, start: int) -> NDArray[Any]:
        scores: NDArray[Any] = self.model.decision_function(
            self._features([signal[start : start + 8 * CHUNK] for signal in x])
        )
        return scores

    def _features(self, x: Signals) -> NDArray[np.float32]:
        parts = zip(self.transforms, x, strict=True)
        return np.concatenate([transform(np.ascontiguousarray(part, np.float32)) for transform, part in parts], axis=1)


def _package() -> tuple[Callable[[NDArray[np.float32], int], Transform], str]:
    """A function that fits MiniRocket's features on windows under a seed, and the package with its version.

    Raises:
        MmkdError: neither aeon nor tsai is installed.
    """
    if find_spec("aeon") is not None:
        import aeon

        return _aeon, f"aeon {aeon.__version__}"
    if find_spec("tsai") is not None:
        from importlib.metadata import version

        return _tsai, f"tsai {version('tsai')}"
    raise MmkdError(
        f"minirocket needs aeon (python -m pip install --no-deps 'aeon>=1.6,<1.7') or tsai: {how_to_install('tsai')}"
    )


def _aeon(x: NDArray[np.float32], seed: int) -> Transform:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from aeon.transformations.collection.convolution_based import MiniRocket as Features

        made = Features(n_kernels=KERNELS, random_state=seed, n_jobs=1).fit(x)

    def transform(x: NDArray[np.float32]) -> NDArray[np.float32]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(made.transform(x), np.float32)

    return transform


def _tsai(x: NDArray[np.float32], seed: int) -> Transform:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tsai.models.MINIROCKET_Pytorch import MiniRocketFeatures

        made = MiniRocketFeatures(x.shape[1], x.shape[2], num_features=KERNELS, random_state=seed)
        made.fit(torch.from_numpy(x))

    @torch.no_grad()
    def transform(x: NDArray[np.float32]) -> NDArray[np.float32]:
        parts = [made(torch.tensor(x[start : start + CHUNK])) for start in range(0, len(x), CHUNK)]
        return np.concatenate([part.reshape(len(part), -1).numpy() for part in parts]).astype(np.float32)

    return transform
