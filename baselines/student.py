"""The student alone: cross-entropy without a teacher. All other methods are compared with it."""

from collections.abc import Mapping

from torch import Tensor

from mmkd import METHODS, Batch, Method, MethodConfig, Outputs


@METHODS.register("student")
class Student(Method):
    """Cross-entropy without a teacher, the baseline of all other methods."""

    Config = MethodConfig
    tasks = frozenset({"classification", "segmentation", "anomaly"})
    distils = False
    status = "control"

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        return self.supervised(student, batch)
