"""`mmkd.aeon.DistilledClassifier`: a distilled student as a classifier of aeon, which is installed apart."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError, UnitFailed
from mmkd.core.extras import how_to_install
from mmkd.core.text import one_line
from mmkd.estimators.arguments import BadInput
from mmkd.estimators.distilled import Distilled, as_windows


class NotInstalled(MmkdError, ImportError):
    """aeon is not there."""


try:
    from aeon.classification.base import BaseClassifier
except ImportError as error:
    raise NotInstalled(
        f"mmkd.aeon needs aeon ({error}), in an environment of its own: {how_to_install('aeon', constrained=False)}; "
        f"mmkd.DistilledClassifier needs scikit-learn alone"
    ) from None


class DistilledClassifier(Distilled, BaseClassifier):  # type: ignore[misc]
    """A small student that teachers of several views taught; arguments and attributes of `mmkd.DistilledClassifier`.

    It takes collections of equal length, (n_cases, n_channels, n_timepoints), of one channel or of several. The persons
    of the windows cannot be given: `fit` of aeon has no argument for them.
    """

    _tags: ClassVar[dict[str, Any]] = {
        "X_inner_type": "numpy3D",
        "capability:multivariate": True,
        "algorithm_type": "deeplearning",
        "python_dependencies": "torch",
    }

    def _fit(self, X: NDArray[Any], y: NDArray[Any]) -> "DistilledClassifier":
        try:
            self._train(as_windows(X), y, None)
        except UnitFailed:
            raise
        except MmkdError as error:
            raise BadInput(one_line(str(error))) from None
        return self

    def _predict(self, X: NDArray[Any]) -> NDArray[Any]:
        numbers = self._predict_proba(X).argmax(1)
        labels: NDArray[Any] = self.classes_[numbers]
        return labels

    def _predict_proba(self, X: NDArray[Any]) -> NDArray[np.float64]:
        try:
            return self._probabilities(as_windows(X))
        except MmkdError as error:
            raise BadInput(one_line(str(error))) from None

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> dict[str, Any]:
        """The arguments of aeon's own checks: small networks, and few steps."""
        nets = {"teacher_nets": {"sig": "micro"}, "lr": 0.02}
        return {"teachers": "sig", "student_net": "micro", "epochs": 2, "settings": nets}
