"""The source of a training whose method replaces the outputs of the teachers."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmkd.methods.outputs import Outputs
from mmkd.methods.retargeting import Replacement
from mmkd.training.teacher_outputs import TeacherSource


class Replaced:
    """The source of a training whose method replaces the teachers' outputs.

    Args:
        replacement: what the hook returned.
        count: number of training windows.
        number: of the pass over them whose outputs are read.
    """

    networks: Mapping[str, nn.Module] = {}

    def __init__(self, replacement: Replacement, count: int, number: int = 0) -> None:
        self.replacement = replacement
        self.count = count
        self.number = number

    def in_pass(self, number: int) -> "Replaced":
        """The same source in another pass."""
        return Replaced(self.replacement, self.count, number)

    def outputs(self, positions: NDArray[np.int64], views: Mapping[str, Tensor]) -> Mapping[str, Outputs]:
        copies, index = np.divmod(positions, self.count)
        return self.replacement.read(torch.from_numpy(index), torch.from_numpy(copies), self.number)


def in_pass(source: TeacherSource, number: int) -> TeacherSource:
    """The source as it is in a pass over the training windows, from 0."""
    return source.in_pass(number) if isinstance(source, Replaced) else source
