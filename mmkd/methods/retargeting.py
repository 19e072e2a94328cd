"""What the hook `Method.retarget` reads, and what it returns: other outputs in place of those of the teachers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from mmkd.methods.outputs import Outputs


class ReadOutputs(Protocol):
    """Reads outputs for some of the training windows."""

    def __call__(self, index: Tensor, copies: Tensor, number: int) -> Mapping[str, Outputs]:
        """Modality -> outputs for B windows, without gradients.

        Args:
            index: (B,) int64 positions in the training set, as in `Batch.index`; on the CPU.
            copies: (B,) int64 which augmented copy of each window; 0 where windows are not augmented. Of windows that
                are augmented anew each time it is the pass.
            number: of the pass over the training windows, from 0.
        """
        ...


@dataclass(frozen=True)
class Teaching:
    """The outputs of the teachers for the training windows, which a method may replace.

    Attributes:
        teachers: the modalities of the teachers.
        targets: (N,) classes of the training windows, as in `Setup`; on the CPU.
        labelled: (N,) bool, False for windows whose class is predicted or unknown; None if all have a label.
        classes: number of classes K.
        device: of the outputs.
        read: the outputs of the teachers. They are the same in each pass.
        logits: a function without arguments. It returns batches of all rows whose outputs are stored: positions (B,),
            and modality -> logits (B, K), or (B, K, T) of time steps. Of augmented windows these are all copies, or
            where they are augmented anew each time, those of the first pass.
        generator: from a text to a source of random numbers on the CPU, which depends on the text and on the seed of
            the unit alone.
        untrained: a function without arguments, which returns the same of networks that nobody trained: of the
            architectures of the teachers, which must be networks (see `Method.needs`), with weights of a seed of their
            own. The statistics of their batch normalisation are those of 30 batches of training windows.
    """

    teachers: tuple[str, ...]
    targets: Tensor
    labelled: Tensor | None
    classes: int
    device: torch.device
    read: ReadOutputs
    logits: Callable[[], Iterator[tuple[Tensor, Mapping[str, Tensor]]]]
    generator: Callable[[str], torch.Generator]
    untrained: "Callable[[], Teaching]"

    def known(self) -> Tensor:
        """(N,) bool, whether a window has a label."""
        return torch.ones(len(self.targets), dtype=torch.bool) if self.labelled is None else self.labelled


@dataclass(frozen=True)
class Replacement:
    """What a student is taught in place of the outputs of its teachers.

    Attributes:
        read: modality -> outputs, for all teachers.
        facts: what was replaced, in plain values, for the log and the record.
    """

    read: ReadOutputs
    facts: Mapping[str, Any] = field(default_factory=dict)
