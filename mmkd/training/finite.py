"""The check that loss terms, gradients and outputs are finite, which names the first term that is not."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmkd.core.errors import UnitFailed

ADVICE = "a lower learning rate may help (--lr, of a teacher --teacher-lr)"


class FiniteCheck:
    """Checks the steps of one epoch.

    On a CPU a step is checked before the optimizer changes the weights. On another device that would make the process
    wait for the device in each step, so the values are kept, and checked after the epoch.

    Args:
        label: the network and its method in words, for the message.
        epoch: from 0.
        steps: number of steps of the epoch.
        at_once: whether each step is checked at once.
    """

    def __init__(self, label: str, epoch: int, steps: int, at_once: bool) -> None:
        self.label = label
        self.epoch = epoch
        self.steps = steps
        self.at_once = at_once
        self.kept: list[tuple[int, Sequence[str], Tensor]] = []

    def check_terms(self, step: int, terms: Mapping[str, Tensor]) -> None:
        """Check the loss terms of a step before its weights change.

        Raises:
            UnitFailed: a term is not finite.
        """
        values = torch.stack([term.detach() for term in terms.values()])
        if not self.at_once:
            self.kept.append((step, list(terms), values))
        elif not math.isfinite(float(values.sum())):
            self._find(step, list(terms), values)

    def check_gradients(
        self, step: int, parameters: Sequence[nn.Parameter], compute_terms: Callable[[], Mapping[str, Tensor]]
    ) -> None:
        """Check the gradients of a step whose terms are finite, before its weights change.

        Args:
            compute_terms: computes the terms of the step again, to find the one with this gradient.

        Raises:
            UnitFailed: a gradient is not finite.
        """
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not self.at_once or not gradients or _all_finite(gradients):
            return
        for name, term in compute_terms().items():
            own = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
            if not _all_finite([gradient for gradient in own if gradient is not None]):
                value = float(term.detach())
                raise self._failure(step, f"the gradient of loss term {name} is not finite ({name} = {value:g})")
        raise self._failure(step, "the gradient of the loss is not finite")

    def check_kept(self) -> None:
        """Check the values that were kept.

        Raises:
            UnitFailed: a term was not finite.
        """
        if self.kept and not math.isfinite(float(torch.cat([values for _, _, values in self.kept]).sum())):
            for kept in self.kept:
                self._find(*kept)

    def _find(self, step: int, names: Sequence[str], values: Tensor) -> None:
        """Raise UnitFailed if one of these values is not finite; if only their sum is not, nothing is wrong yet."""
        wrong = [(name, value) for name, value in zip(names, values.tolist(), strict=True) if not math.isfinite(value)]
        if wrong:
            (name, value), *others = wrong
            more = f", and so {'is' if len(others) == 1 else 'are'} {', '.join(other for other, _ in others)}"
            raise self._failure(step, f"loss term {name} is {value}{more * bool(others)}")

    def _failure(self, step: int, what: str) -> UnitFailed:
        return UnitFailed(f"{self.label}: {what} in epoch {self.epoch + 1}, step {step + 1} of {self.steps}; {ADVICE}")


def check_outputs(probabilities: NDArray[np.float64]) -> None:
    """Check class probabilities (N, ...): a class, and so an accuracy, could be read off NaN too.

    Raises:
        UnitFailed: some are not finite.
    """
    if not np.isfinite(probabilities.sum()):
        wrong = sum(not np.isfinite(of_window).all() for of_window in probabilities)
        raise UnitFailed(f"the outputs for {wrong} of {len(probabilities)} windows are not finite; {ADVICE}")


def _all_finite(gradients: Sequence[Tensor]) -> bool:
    """Whether all values are finite: then so is the largest, and mostly their sum, which is several times faster."""
    if not gradients or math.isfinite(float(torch.stack([gradient.sum() for gradient in gradients]).sum())):
        return True
    return math.isfinite(float(nn.utils.get_total_norm(gradients, norm_type=math.inf)))
