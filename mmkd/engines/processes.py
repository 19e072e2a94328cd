"""Worker processes on this machine: each does one task after the other, and the parent alone prints.

A worker is spawned, with its share of the threads in its environment before anything is imported. It gets tasks as
JSON and ends when its parent does. One that dies costs its task alone, which is tried once more in a fresh worker.
"""

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from mmkd.engines.worker import THREADS, Values, perform
from mmkd.training.workspace import Workspace

if TYPE_CHECKING:
    from mmkd.engines.plan import Job, JobResult

GRACE = 10.0  # seconds that a worker has to remove its temporary folders


@dataclass
class _Worker:
    """A process with our end of its pipe, the task that it works on, and how often that was begun."""

    process: Any
    pipe: Connection
    job: "Job | None" = None
    turn: int = 1


class ProcessEngine:
    """An engine of up to `jobs` worker processes, started as they are needed.

    Args:
        jobs: processes at a time.
        workspace: of the command, with the threads of each worker.
    """

    def __init__(self, jobs: int, workspace: Workspace) -> None:
        self.jobs = jobs
        self.workspace = workspace
        self.workers: list[_Worker] = []

    def __enter__(self) -> "ProcessEngine":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Idle workers are let go; after an error, Ctrl-C or SIGTERM working ones are stopped."""
        for worker in self.workers:
            if kind is not None and worker.job is not None:
                worker.process.terminate()
            worker.pipe.close()
        end = time.monotonic() + GRACE
        for worker in self.workers:
            worker.process.join(max(0.0, end - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self.workers = []

    @property
    def room(self) -> int:
        return self.jobs - sum(worker.job is not None for worker in self.workers)

    def start(self, job: "Job", turn: int = 1) -> None:
        idle = [worker for worker in self.workers if worker.job is None]
        if turn > 1 or not idle:
            with _threads(self.workspace.threads):
                worker = _spawn(self.workspace.to_json())
            self.workers.append(worker)
        else:
            worker = idle[0]
        worker.job = job
        worker.turn = turn
        with suppress(OSError):  # it died while it was idle; `wait` sees that
            worker.pipe.send_bytes(json.dumps(job.values()).encode())

    def wait(self) -> "list[tuple[Job, JobResult]]":
        from mmkd.engines.plan import JobResult

        ended: list[tuple[Job, JobResult]] = []
        while not ended:
            ready = wait([worker.pipe for worker in self.workers if worker.job is not None])
            for worker in [worker for worker in self.workers if worker.pipe in ready]:
                job = worker.job
                worker.job = None
                assert job is not None
                try:
                    ended.append((job, JobResult(**json.loads(worker.pipe.recv_bytes()))))
                except (OSError, EOFError):
                    why = self._bury(worker)
                    if worker.turn == 1:
                        self.start(job, 2)
                    else:
                        ended.append((job, JobResult("failed", f"{why}, twice")))
        return ended

    def _bury(self, worker: _Worker) -> str:
        """Take a dead worker off the list, and say what it died of."""
        worker.pipe.close()
        worker.process.join()
        self.workers.remove(worker)
        code = int(worker.process.exitcode)
        if code >= 0:
            return f"its worker process ended with code {code}"
        memory = " (out of memory?)" if code == -signal.SIGKILL else ""
        return f"its worker process was ended by {signal.Signals(-code).name}{memory}"


def _spawn(workspace: Values) -> _Worker:
    """A new worker; Ctrl-C on the terminal does not reach it, its parent decides."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, json.dumps(workspace)), name="mmkd-worker", daemon=True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a child begins with the mask of its parent
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return _Worker(process, ours)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Environment for a child that is started meanwhile: libraries read these variables when they are imported."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def serve(pipe: Connection, setting: str) -> None:
    """The life of a worker: a task comes, its outcome goes back, until the parent closes the pipe."""
    try:
        signal.signal(signal.SIGTERM, _stop)
        try:
            _serve(pipe, json.loads(setting))
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # nothing is left to be stopped
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGTERM)


def _serve(pipe: Connection, workspace: Values) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.dup2(2, 1)  # what methods print is no part of the command's answer
    with suppress(EOFError, OSError):  # the parent let us go
        while True:
            pipe.send_bytes(json.dumps(perform(json.loads(pipe.recv_bytes()), workspace)).encode())


def _stop(*_: object) -> None:
    """SIGTERM: leave through every `finally`, so that temporary folders are removed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """A parent that was killed cannot say so: its end is noticed, and the worker stops."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)
