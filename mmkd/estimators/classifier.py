"""`mmkd.DistilledClassifier`: a distilled student as a classifier of scikit-learn."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from mmkd.core.errors import MmkdError, UnitFailed
from mmkd.core.text import one_line
from mmkd.estimators.arguments import BadInput
from mmkd.estimators.distilled import Distilled, as_windows


class DistilledClassifier(Distilled, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A small student that teachers of several views taught, by any method of mmkd, behind `fit` and `predict`.

    `fit` is a unit of the runner, as `mmkd.run` trains it: the same views, teachers, loop and seeds. All windows are
    for training; none is read as a test window, so that a score is what `score` computes of windows kept apart.
    Windows of fewer than 8 samples are lengthened to 8 by their last value, with a warning.

    >>> clf = mmkd.DistilledClassifier(method="kd", student="sig")  # doctest: +SKIP
    >>> clf.fit(X, y, groups=subjects).predict(X_new)  # doctest: +SKIP

    Args:
        method: one method (`python -m mmkd.bench --list methods`).
        teachers: their modalities, a list or a text such as "sig,gaf"; not used by methods without teachers.
        student: its modalities, such as "sig" or "sig+gaf".
        preset: "quick", "standard" or "full".
        epochs, steps: length of the trainings of student and teachers; None: that of the preset.
        random_state: the seed of the runner, a whole number; or None, or a generator of NumPy, for a drawn one.
        method_options: options of the method by name, such as `{"temperature": 2.0}`.
        verbose: 1 shows the progress.
        image_size, student_net, epoch_rule: as the flags. With `epoch_rule="val-best"` some training windows choose the
            epoch, by subject where `fit` is given `groups`.
        channels, rate_hz, channel_groups: what is known of X; see `mmkd.Dataset.from_arrays`.
        settings: any other argument of `mmkd.run` by name, such as `{"teacher_nets": {"sig": "WRN16-1"}, "lr": 0.01}`.
        device: "auto", "cpu" or "cuda".
        runs: folder where records are kept, and found again by a fit on the same windows; None: nothing is written but
            in a temporary folder, which is removed.
        cache: folder of views and teachers, which fits may share; None: beside the records.

    Attributes:
        classes_: (K,) the labels, sorted.
        n_features_in_: samples of a window where X has two axes, channels where it has three.
        n_channels_, n_timepoints_: C and W.
        teachers_: modality -> scores of the teacher: `training_accuracy`, `training_nll`, ..., and `validation_...`
            where there are validation windows.
        history_: one row an epoch: loss terms, learning rate, validation scores.
        student_: the trained student, as `mmkd.load_student` gives it.
        record_: the record of the unit; without `runs` its files are gone.
    """

    def fit(self, X: Any, y: Any, groups: Any = None) -> "DistilledClassifier":
        """Train the teachers, then the student.

        Args:
            X: (n_cases, n_channels, n_timepoints), or (n_cases, n_timepoints) of one channel.
            y: (n_cases,) labels.
            groups: (n_cases,) the person of each window: what is cut off the training windows is cut by person.

        Raises:
            BadInput: an argument or the data are wrong; it is a ValueError and an MmkdError.
            UnitFailed: the training failed.
        """
        try:
            self._fit(X, y, groups)
        except (BadInput, UnitFailed):
            raise
        except (MmkdError, ValueError) as error:
            raise BadInput(one_line(str(error))) from None
        return self

    def _fit(self, X: Any, y: Any, groups: Any) -> None:
        x, y = validate_data(self, X, y, allow_nd=True, ensure_all_finite=False)
        check_classification_targets(y)
        self._train(as_windows(x), y, groups)

    def predict(self, X: Any) -> NDArray[Any]:
        """The labels (n_cases,) of windows of the shape that was fitted.

        Raises:
            BadInput: they have another shape, or hold NaN or infinity.
        """
        numbers = self.predict_proba(X).argmax(1)
        labels: NDArray[Any] = self.classes_[numbers]
        return labels

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """The probabilities (n_cases, K) of the classes, in the order of `classes_`.

        Raises:
            BadInput: as `predict`.
        """
        check_is_fitted(self)
        try:
            x = validate_data(self, X, reset=False, allow_nd=True, ensure_all_finite=False)
            return self._probabilities(as_windows(x))
        except (MmkdError, ValueError) as error:
            raise BadInput(one_line(str(error))) from None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags
