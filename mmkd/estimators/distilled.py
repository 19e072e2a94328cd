"""What estimators of scikit-learn and of aeon share: their arguments, and what they keep of a fit."""

import warnings
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError

from mmkd.core.errors import DataWarning, MmkdError
from mmkd.core.text import shown
from mmkd.estimators.arguments import run_arguments, seed_of
from mmkd.estimators.fitting import Fitted, fit_student

if TYPE_CHECKING:
    from mmkd.deploy.export import Exported
    from mmkd.store.record import Record
    from mmkd.training.student_model import StudentModel

SHORTEST = 8
"""Samples of a window that the networks of mmkd need."""


class Distilled:
    """The arguments of an estimator, its fit on windows, and the attributes that it has then."""

    _fitted: Fitted

    def __init__(
        self,
        method: str = "kd",
        teachers: Any = ("sig", "gaf", "pi"),
        student: Any = "sig",
        preset: str = "quick",
        epochs: int | None = None,
        random_state: Any = 0,
        method_options: Any = None,
        verbose: int = 0,
        *,
        steps: int | None = None,
        image_size: int | None = None,
        student_net: str | None = None,
        epoch_rule: str | None = None,
        channels: Any = None,
        rate_hz: float | None = None,
        channel_groups: Any = None,
        settings: Any = None,
        device: str = "auto",
        runs: Any = None,
        cache: Any = None,
    ) -> None:
        self.method = method
        self.teachers = teachers
        self.student = student
        self.preset = preset
        self.epochs = epochs
        self.random_state = random_state
        self.method_options = method_options
        self.verbose = verbose
        self.steps = steps
        self.image_size = image_size
        self.student_net = student_net
        self.epoch_rule = epoch_rule
        self.channels = channels
        self.rate_hz = rate_hz
        self.channel_groups = channel_groups
        self.settings = settings
        self.device = device
        self.runs = runs
        self.cache = cache
        super().__init__()

    def _train(self, windows: NDArray[Any], y: NDArray[Any], groups: Any) -> None:
        """Check the arguments, and train on windows (N, C, W).

        Raises:
            MmkdError: an argument or the data are wrong.
            UnitFailed: the training failed.
        """
        n, channels, length = windows.shape
        if len(np.unique(y)) < 2:
            raise MmkdError(f"y holds one class only, {shown(y[0])}; a classifier needs two or more")
        arguments = run_arguments(self.get_params(deep=False))  # type: ignore[attr-defined]
        if groups is not None and np.shape(groups) != (n,):
            raise MmkdError(f"groups has shape {np.shape(groups)}; with {n} windows it must be ({n},)")
        if length < SHORTEST:
            line = f"windows of {length} samples are lengthened to {SHORTEST} by their last value"
            warnings.warn(line, DataWarning, stacklevel=5)
        self.classes_, self._fitted = fit_student(
            lengthen(windows),
            y,
            groups,
            arguments,
            seed=seed_of(self.random_state),
            runs=self.runs,
            cache=self.cache,
            facts={"channels": self.channels, "rate_hz": self.rate_hz, "groups": self.channel_groups},
            progress=_is_verbose(self.verbose),
        )
        self.n_channels_, self.n_timepoints_ = channels, length

    def _probabilities(self, windows: NDArray[Any]) -> NDArray[np.float64]:
        """(N, K) of windows (N, C, W).

        Raises:
            MmkdError: they have another shape than those of the fit.
        """
        shape = (self.n_channels_, self.n_timepoints_)
        if windows.shape[1:] != shape:
            raise MmkdError(f"X has windows of shape {windows.shape[1:]}; this classifier was fitted to {shape}")
        probabilities: NDArray[np.float64] = self.student_.predict_proba(lengthen(windows))
        return probabilities

    @property
    def student_(self) -> "StudentModel":
        """The trained student; made of its weights when it is first asked for."""
        return self._kept().student

    @property
    def record_(self) -> "Record":
        """The record of the unit."""
        return self._kept().record

    @property
    def history_(self) -> list[dict[str, float]]:
        """One row an epoch."""
        return self._kept().history

    @property
    def teachers_(self) -> dict[str, dict[str, float]]:
        """Modality -> scores."""
        return self._kept().teachers

    def export(self, out: str | PathLike[str], to: str = "onnx", force: bool = False) -> "Exported":
        """Write the trained student as files for a device, as `mmkd.export_student` does; checked with made-up windows.

        Raises:
            MmkdError: as `mmkd.export_student`; a form in integers needs windows, which an estimator does not keep.
        """
        from mmkd.deploy.export import export_model

        return export_model(self.record_, self.student_, to, out, force=force)

    def _kept(self) -> Fitted:
        """What is kept of the fit.

        Raises:
            NotFittedError: there was none.
        """
        if "_fitted" not in self.__dict__:
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet; call fit first")
        return self._fitted

    def __sklearn_is_fitted__(self) -> bool:
        return "_fitted" in self.__dict__

    def __getstate__(self) -> dict[str, Any]:
        """Plain values: the network is stored as the bytes of its safetensors file, and the record as JSON."""
        state: dict[str, Any] = {**super().__getstate__()}  # type: ignore[dict-item]
        return state | ({"_fitted": self._fitted.values()} if "_fitted" in state else {})

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_fitted" in state:
            state = {**state, "_fitted": Fitted(**state["_fitted"])}
        super().__setstate__(state)  # type: ignore[misc]


def as_windows(x: NDArray[Any]) -> NDArray[Any]:
    """Windows (N, C, W) of X, finite.

    Raises:
        MmkdError: X has another number of axes, or holds NaN or infinity.
    """
    if x.ndim not in (2, 3) or 0 in x.shape:
        raise MmkdError(
            f"X has shape {x.shape}; it must be (cases, channels, timepoints), or (cases, timepoints), none of them 0"
        )
    windows = x[:, None] if x.ndim == 2 else x
    bad = ~np.isfinite(windows).all(axis=(1, 2))
    if bad.any():
        raise MmkdError(
            f"X holds NaN or inf in {int(bad.sum())} of {len(x)} windows, the first is window {int(bad.argmax())}; "
            f"fill them, or leave these windows out"
        )
    return windows


def lengthen(windows: NDArray[Any]) -> NDArray[Any]:
    """Windows (N, C, W) of at least `SHORTEST` samples; shorter ones repeat their last value."""
    missing = max(0, SHORTEST - windows.shape[2])
    return np.pad(windows, ((0, 0), (0, 0), (0, missing)), mode="edge") if missing else windows


def _is_verbose(verbose: Any) -> bool:
    if not isinstance(verbose, bool | int | np.integer):
        raise MmkdError(f"verbose = {shown(verbose)}: 1 shows the progress, 0 does not")
    return bool(verbose)
