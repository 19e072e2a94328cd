"""How many threads a training step is worth.

Threads wait for each other after every operation. On small tensors the waiting takes longer than the work: a step of a
network of a few thousand parameters is up to three times as fast on one thread as on two. So a training runs on one
thread for each `WORK_A_THREAD` that an operation has on average, at least on one, at most on those that the process may
use. The work is counted once, in the first forward pass, and not timed: a training runs on as many threads wherever
there are enough, and its numbers do not depend on other work on the machine. That first pass takes one thread.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from mmkd.nets.cost import FOURIER

FLOPS_AN_ELEMENT = 120
"""Floating-point operations of a convolution or a product in the time that one element of a result is written."""
WORK_A_THREAD = 200_000
"""Elements: from twice as many on a second thread pays; `python experiments/speed --only waiting` measures where."""


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """PyTorch on so many threads, and afterwards on as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class StepThreads(AbstractContextManager["StepThreads"]):
    """Inside, PyTorch computes on as many threads as a training step is worth; outside, on as many as before.

    Attributes:
        work: of an operation on average, in elements; 0 while nothing was counted.
        used: the number of threads.
    """

    def __init__(self, device: torch.device, work: float = 0.0) -> None:
        """
        Args:
            device: of the training; on another one than a CPU nothing is counted or set.
            work: what was counted before the training was interrupted.
        """
        self.available = self.used = torch.get_num_threads()
        self.work = work
        self.on_cpu = device.type == "cpu"

    def __enter__(self) -> "StepThreads":
        if self.on_cpu:
            self._use()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        torch.set_num_threads(self.available)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Around the forward pass of a step and its loss: counts its work, unless that was done before."""
        if not self.on_cpu or self.work:
            yield
            return
        with FlopCounterMode(display=False, custom_mapping=dict(FOURIER)) as flops, _Elements() as elements:
            yield
        work = elements.written + flops.get_total_flops() / FLOPS_AN_ELEMENT
        self.work = max(1.0, work / max(1, elements.operations))
        self._use()

    def _use(self) -> None:
        self.used = max(1, min(self.available, int(self.work / WORK_A_THREAD)))
        torch.set_num_threads(self.used)


class _Elements(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations that write a tensor, and its elements."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = self.written = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        first = result[0] if isinstance(result, (tuple, list)) and result else result
        if isinstance(first, Tensor) and not func.is_view:
            self.operations += 1
            self.written += first.numel()
        return result
