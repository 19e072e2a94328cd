"""The student alone: cross-entropy, no teacher. The row that every other is measured against."""

from collections.abc import Mapping

from torch import Tensor

from mmkd import METHODS, Batch, Method, MethodConfig, Outputs


@METHODS.register("student")
class Student(Method):
    """Cross-entropy alone: no teacher, the row that every method is measured against."""

    Config = MethodConfig
    tasks = frozenset({"classification", "segmentation", "anomaly"})
    distils = False

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        return self.supervised(student, batch)
