"""One training by several processes that `torchrun` started: each trains on its shard of every batch.

The process of rank 0 is the leader. It does everything that a single process does, and announces each training to the
other processes. These follow: they take part in the training and write nothing. At every step the processes first agree
that none of them has failed, so that an error in one process stops all of them at the same step. Then their gradients
are summed, so that all processes keep the same weights. Messages are JSON. PyTorch is imported when the processes
connect.
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

TIMEOUT = timedelta(days=7)  # processes may wait long for each other, for instance while the leader computes views


class ConnectionLost(KeyboardInterrupt):
    """Another process has ended, or does something else: the command ends as after Ctrl-C, and can be run again."""


class ProcessGroup:
    """A group of one process: nothing is communicated.

    Attributes:
        rank: number of this process, from 0.
        world_size: number of processes.
    """

    rank = 0
    world_size = 1

    @property
    def is_leader(self) -> bool:
        """Whether this process writes records and prints messages."""
        return self.rank == 0

    def announce(self, kind: str, **values: Any) -> None:
        """Leader: tell the other processes what comes next, and wait until all are ready. `values` are JSON values.

        Raises:
            UnitFailed: another process cannot do it.
        """

    @contextmanager
    def training(self, kind: str, **values: Any) -> Iterator[None]:
        """Leader: announce a training and run it in the body of this context."""
        yield

    @contextmanager
    def synchronized(self, parameters: Sequence["Parameter"] = ()) -> Iterator[None]:
        """Run the body in all processes at the same time; afterwards sum the gradients of `parameters` over them.

        Raises:
            UnitFailed: the body failed in another process. The process where it failed raises its own error.
        """
        yield

    def shard(self, positions: "Positions", minimum: int) -> "Positions":
        """This process's part of a batch, by the function `shard`."""
        return positions

    def sum_over_processes(self, values: Mapping[str, float]) -> dict[str, float]:
        """Sums over the processes, by name; a name may be missing in some processes."""
        return dict(values)

    def finish(self) -> None:
        """Leader: let the other processes end."""


SINGLE_PROCESS = ProcessGroup()


def current_group() -> ProcessGroup:
    """The group of this process: the processes that torchrun started, or this process alone."""
    if "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1:
        return TorchrunGroup(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    return SINGLE_PROCESS


def shard(positions: "Positions", rank: int, world_size: int, minimum: int) -> "Positions":
    """The part of a batch for one process: every n-th position. A shard has at least `minimum` positions, or none.

    >>> [shard(np.arange(7), rank, 4, 2).tolist() for rank in range(4)]
    [[0, 3, 6], [1, 4], [2, 5], []]
    """
    shards = max(1, min(world_size, len(positions) // minimum))
    return positions[rank::shards] if rank < shards else positions[:0]


class TorchrunGroup(ProcessGroup):
    """The processes that torchrun started, seen from this one."""

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank = rank
        self.world_size = world_size
        self.connected = False
        self.closed = False
        self.shared_failure: Exception | None = None  # the last failure that all processes know of

    def announce(self, kind: str, **values: Any) -> None:
        self._connect()
        self._gather({"kind": kind, **values})
        with self.synchronized():
            pass

    def follow(self, join: Callable[[dict[str, Any]], Callable[[], object] | None]) -> None:
        """Follower: do what the leader announces until it sends "end"; the leader reports failures that all know of.

        Args:
            join: called with each announced message; returns the function that is then run in step with the leader.
        """
        self._connect()
        while (message := self._gather(None)[0])["kind"] != "end":
            try:
                with self.synchronized():
                    work = join(message)
                if work is not None:
                    work()
            except Exception as error:
                if error is not self.shared_failure:
                    raise
        self._disconnect()

    @contextmanager
    def training(self, kind: str, **values: Any) -> Iterator[None]:
        if self.closed:
            raise ConnectionLost("the processes of torchrun are out of step")
        try:
            self.announce(kind, **values)
            yield
        except Exception as error:
            if error is not self.shared_failure:  # the other processes do not know of it: closing ends them
                self._disconnect()
            raise

    @contextmanager
    def synchronized(self, parameters: Sequence["Parameter"] = ()) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._synchronize(parameters, error)
            raise
        self._synchronize(parameters, None)

    def shard(self, positions: "Positions", minimum: int) -> "Positions":
        return shard(positions, self.rank, self.world_size, minimum)

    def sum_over_processes(self, values: Mapping[str, float]) -> dict[str, float]:
        sums: dict[str, float] = {}
        for process_values in self._gather(dict(values)):
            for name, value in process_values.items():
                sums[name] = sums.get(name, 0.0) + value
        return sums

    def finish(self) -> None:
        if not self.closed:
            with suppress(ConnectionLost, MmkdError):  # torchrun ends the other processes
                self._connect()
                self._gather({"kind": "end"})
                self._disconnect()

    def set_device(self, name: str) -> None:
        """Follower: use the CUDA device with this process's number on its machine.

        Raises:
            MmkdError: this machine has fewer devices than processes.
        """
        import torch

        if name.startswith("cuda"):
            local_rank = int(os.environ["LOCAL_RANK"])
            count = torch.cuda.device_count()
            if local_rank >= count:
                raise MmkdError(f"--device cuda: {count} CUDA devices here; give torchrun --nproc-per-node {count}")
            torch.cuda.set_device(local_rank)

    def _connect(self) -> None:
        if self.connected:
            return
        import torch
        from torch import distributed

        gpus = torch.cuda.is_available() and distributed.is_nccl_available()
        try:
            distributed.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=TIMEOUT)
        except (RuntimeError, ValueError) as error:
            self.closed = True
            raise MmkdError(f"the processes that torchrun started cannot connect: {describe_error(error)}") from error
        self.connected = True

    def _disconnect(self) -> None:
        from torch import distributed

        self.closed = True
        if distributed.is_initialized():
            distributed.destroy_process_group()

    def _synchronize(self, parameters: Sequence["Parameter"], error: Exception | None) -> None:
        """Raise UnitFailed if another process has failed, else sum the gradients of `parameters`."""
        import torch
        from torch import distributed

        flags = torch.tensor([error is not None, *(p.grad is not None for p in parameters)], dtype=torch.int32)
        with _connection_errors():
            distributed.all_reduce(flags)
        failures, *gradients = flags.tolist()
        if not failures:
            with _connection_errors():
                sum_gradients([p for p, n in zip(parameters, gradients, strict=True) if n], distributed.all_reduce)
            return
        messages = self._gather(None if error is None else describe_error(error))
        failure = next(f"process {n}: {text}" for n, text in enumerate(messages) if text is not None)
        self.shared_failure = error or UnitFailed(failure)
        if error is None:
            raise self.shared_failure

    def _gather(self, value: Any) -> list[Any]:
        """The JSON values of all processes, in the order of their ranks."""
        import torch
        from torch import distributed

        own = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world_size)]
        with _connection_errors():
            distributed.all_gather(lengths, torch.tensor([len(own)]))
        longest = max(int(length) for length in lengths)
        texts = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.world_size)]
        with _connection_errors():
            distributed.all_gather(texts, torch.nn.functional.pad(own, (0, longest - len(own))))
        return [json.loads(bytes(t[: int(n)].numpy())) for t, n in zip(texts, lengths, strict=True)]


@contextmanager
def _connection_errors() -> Iterator[None]:
    """Raise ConnectionLost if a process does not answer."""
    try:
        yield
    except RuntimeError as error:
        raise ConnectionLost(f"another process of torchrun is lost: {describe_error(error)}") from error


def sum_gradients(parameters: Sequence["Parameter"], reduce: Callable[["Tensor"], object]) -> None:
    """Sum gradients over the processes, all of them in one vector; a gradient that is missing here counts as zero.

    Args:
        reduce: replaces a vector, in place, by its sum over the processes.
    """
    import torch

    if not parameters:
        return
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in parameters])
    reduce(flat)
    for p, part in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
        if p.grad is None:
            p.grad = torch.empty_like(p)  # with the parameter's memory format, which fused optimizers rely on
        p.grad.copy_(part.view(p.shape))
