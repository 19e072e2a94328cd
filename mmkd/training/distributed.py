"""One training done by several processes that `torchrun` started: each takes its share of every batch.

The process of rank 0 leads. It does all that one process does, and tells the others of each training before it begins;
they follow, train along and write nothing. Gradients are summed over the processes at every step, so that all of them
hold the same weights. Before that they agree that none has failed: one that fails is heard of by all at the same step,
and none waits for it. Messages are JSON. PyTorch is imported when the processes meet.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from mmkd.core.errors import MmkdError, UnitFailed, describe_error

if TYPE_CHECKING:
    from numpy import int64
    from numpy.typing import NDArray
    from torch import Tensor
    from torch.nn import Parameter

    Positions = NDArray[int64]

PATIENCE = timedelta(days=7)  # that processes wait for each other, for instance while the leader makes views


class ConnectionLost(KeyboardInterrupt):
    """Another process is gone, or out of step: as after Ctrl-C the command ends, and is given once more."""


class ProcessGroup:
    """One process by itself: nothing is shared.

    Attributes:
        rank, world: which process this is, from 0, and how many there are.
    """

    rank, world = 0, 1

    @property
    def leads(self) -> bool:
        """Whether this process keeps records and speaks to the user."""
        return self.rank == 0

    def announce(self, kind: str, **values: Any) -> None:
        """Leader: say what comes next, and wait until all are ready for it. `values` are ready for JSON.

        Raises:
            UnitFailed: a process cannot.
        """

    @contextmanager
    def training(self, kind: str, **values: Any) -> Iterator[None]:
        """Leader: around a training that the others are told of."""
        yield

    @contextmanager
    def together(self, parameters: Sequence["Parameter"] = ()) -> Iterator[None]:
        """Around what all processes do at once; after it the gradients of `parameters` are sums over the processes.

        Raises:
            UnitFailed: it failed in another process. In the one where it failed its own error goes on.
        """
        yield

    def share(self, positions: "Positions", least: int) -> "Positions":
        """This process's part of a batch, as `share` cuts it."""
        return positions

    def add(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Sums over the processes, by name; not every process has every name."""
        return dict(sums)

    def finish(self) -> None:
        """Leader: send the others home."""


SINGLE_PROCESS = ProcessGroup()


def current_group() -> ProcessGroup:
    """The group of this process: of those that torchrun started, or of itself alone."""
    if "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1:
        return TorchrunGroup(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    return SINGLE_PROCESS


def share(positions: "Positions", rank: int, world: int, least: int) -> "Positions":
    """Every so manyth position of a batch. A share has `least` positions or more, or none.

    >>> [share(np.arange(7), rank, 4, 2).tolist() for rank in range(4)]
    [[0, 3, 6], [1, 4], [2, 5], []]
    """
    among = max(1, min(world, len(positions) // least))
    return positions[rank::among] if rank < among else positions[:0]


class TorchrunGroup(ProcessGroup):
    """This process among those of torchrun."""

    def __init__(self, rank: int, world: int) -> None:
        self.rank, self.world = rank, world
        self.met = self.lost = False
        self.told: Exception | None = None  # the last failure that all processes have heard of

    def announce(self, kind: str, **values: Any) -> None:
        self._meet()
        self._gather({"kind": kind, **values})
        with self.together():
            pass

    def follow(self, prepare: Callable[[dict[str, Any]], Callable[[], object] | None]) -> None:
        """Follower: do what the leader says until it says "end"; a failure that all have heard of is the leader's.

        Args:
            prepare: gets a message of `announce` and returns what is then done in step with the leader.
        """
        self._meet()
        while (message := self._gather(None)[0])["kind"] != "end":
            try:
                with self.together():
                    work = prepare(message)
                if work is not None:
                    work()
            except Exception as error:
                if error is not self.told:
                    raise
        self._part()

    @contextmanager
    def training(self, kind: str, **values: Any) -> Iterator[None]:
        if self.lost:
            raise ConnectionLost("the processes of torchrun are out of step")
        try:
            self.announce(kind, **values)
            yield
        except Exception as error:
            if error is not self.told:  # the others do not know: they end when the connection does
                self._part()
            raise

    @contextmanager
    def together(self, parameters: Sequence["Parameter"] = ()) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._agree(parameters, error)
            raise
        self._agree(parameters, None)

    def share(self, positions: "Positions", least: int) -> "Positions":
        return share(positions, self.rank, self.world, least)

    def add(self, sums: Mapping[str, float]) -> dict[str, float]:
        found: dict[str, float] = {}
        for each in self._gather(dict(sums)):
            for name, value in each.items():
                found[name] = found.get(name, 0.0) + value
        return found

    def finish(self) -> None:
        if not self.lost:
            with suppress(ConnectionLost, MmkdError):  # torchrun ends the others
                self._meet()
                self._gather({"kind": "end"})
                self._part()

    def take_device(self, name: str) -> None:
        """Follower: use the CUDA device of this process's number on its machine.

        Raises:
            MmkdError: there is none.
        """
        import torch

        if name.startswith("cuda"):
            local, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
            if local >= count:
                raise MmkdError(f"--device cuda: {count} CUDA devices here; give torchrun --nproc-per-node {count}")
            torch.cuda.set_device(local)

    def _meet(self) -> None:
        if self.met:
            return
        import torch
        from torch import distributed

        gpus = torch.cuda.is_available() and distributed.is_nccl_available()
        try:
            distributed.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=PATIENCE)
        except (RuntimeError, ValueError) as error:
            self.lost = True
            raise MmkdError(f"the processes that torchrun started do not meet: {describe_error(error)}") from error
        self.met = True

    def _part(self) -> None:
        from torch import distributed

        self.lost = True
        if distributed.is_initialized():
            distributed.destroy_process_group()

    def _agree(self, parameters: Sequence["Parameter"], error: Exception | None) -> None:
        """Raise UnitFailed where another process has failed, else sum the gradients of `parameters`."""
        import torch
        from torch import distributed

        marks = torch.tensor([error is not None, *(p.grad is not None for p in parameters)], dtype=torch.int32)
        with _connected():
            distributed.all_reduce(marks)
        failed, *having = marks.tolist()
        if not failed:
            with _connected():
                sum_gradients([p for p, some in zip(parameters, having, strict=True) if some], distributed.all_reduce)
            return
        said = self._gather(None if error is None else describe_error(error))
        self.told = error or UnitFailed(next(f"process {n}: {why}" for n, why in enumerate(said) if why is not None))
        if error is None:
            raise self.told

    def _gather(self, value: Any) -> list[Any]:
        """The values of all processes, ready for JSON, in the order of their ranks."""
        import torch
        from torch import distributed

        own = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world)]
        with _connected():
            distributed.all_gather(lengths, torch.tensor([len(own)]))
        longest = max(int(length) for length in lengths)
        texts = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.world)]
        with _connected():
            distributed.all_gather(texts, torch.nn.functional.pad(own, (0, longest - len(own))))
        return [json.loads(bytes(t[: int(n)].numpy())) for t, n in zip(texts, lengths, strict=True)]


@contextmanager
def _connected() -> Iterator[None]:
    """Lost where a process does not answer."""
    try:
        yield
    except RuntimeError as error:
        raise ConnectionLost(f"another process of torchrun is lost: {describe_error(error)}") from error


def sum_gradients(parameters: Sequence["Parameter"], reduce: Callable[["Tensor"], object]) -> None:
    """Sum gradients over the processes, all of them in one vector; one that is missing here counts as zero.

    Args:
        reduce: replaces a vector by its sum over the processes.
    """
    import torch

    if not parameters:
        return
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in parameters])
    reduce(flat)
    for p, part in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
        if p.grad is None:
            p.grad = torch.empty_like(p)  # in the parameter's order in memory: fused optimizers go by that alone
        p.grad.copy_(part.view(p.shape))
