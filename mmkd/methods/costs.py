"""What the networks of a unit cost to run and to train."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Costs:
    """The work of distillation, in forward passes of networks and windows.

    Attributes:
        student: multiply-accumulates of one forward pass of the student for a window.
        teachers: modality -> those of that teacher; 0 of one that is no network.
        windows: how many windows the student reads in all: epochs times training windows, or steps times batch.
        stored: of how many windows, augmented copies too, the outputs of a teacher are computed once and stored; None
            where teachers run in every step.
        trained: modality -> how many windows the trainings of that teacher read in all; 0 where weights are given.
    """

    student: int
    teachers: Mapping[str, int]
    windows: int
    stored: int | None
    trained: Mapping[str, int]
