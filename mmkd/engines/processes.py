"""Worker processes on this machine: each runs one job after the other; only the parent process prints.

A worker is spawned with the number of its threads in its environment variables, before it imports anything. It receives
jobs as JSON and ends when its parent does. If a worker dies, its job is retried once in a new worker.
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

GRACE = 10.0  # seconds for a worker to remove its temporary folders


@dataclass
class _Worker:
    """A worker process.

    Attributes:
        pipe: the parent's end of its pipe.
        job: the job that it runs; None while it is idle.
        attempt: 1, or 2 if the job is retried.
    """

    process: Any
    pipe: Connection
    job: "Job | None" = None
    attempt: int = 1


class ProcessEngine:
    """An engine of up to `jobs` worker processes, which are started when they are needed.

    Args:
        jobs: maximal number of processes.
        workspace: of the command; it has the number of threads of each worker.
    """

    def __init__(self, jobs: int, workspace: Workspace) -> None:
        self.jobs = jobs
        self.workspace = workspace
        self.workers: list[_Worker] = []

    def __enter__(self) -> "ProcessEngine":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Let idle workers end; after an error, Ctrl-C or SIGTERM also stop those that run a job."""
        for worker in self.workers:
            if kind is not None and worker.job is not None:
                worker.process.terminate()
            worker.pipe.close()
        deadline = time.monotonic() + GRACE
        for worker in self.workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self.workers = []

    @property
    def free_slots(self) -> int:
        return self.jobs - sum(worker.job is not None for worker in self.workers)

    def start(self, job: "Job", attempt: int = 1) -> None:
        idle = [worker for worker in self.workers if worker.job is None]
        if attempt > 1 or not idle:
            with _threads(self.workspace.threads):
                worker = _spawn(self.workspace.to_json())
            self.workers.append(worker)
        else:
            worker = idle[0]
        worker.job = job
        worker.attempt = attempt
        with suppress(OSError):  # it died while it was idle; `wait` handles that
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
                    reason = self._remove_dead(worker)
                    if worker.attempt == 1:
                        self.start(job, 2)
                    else:
                        ended.append((job, JobResult("failed", f"{reason}, twice")))
        return ended

    def _remove_dead(self, worker: _Worker) -> str:
        """Remove a dead worker from the list; returns the reason of its end."""
        worker.pipe.close()
        worker.process.join()
        self.workers.remove(worker)
        code = int(worker.process.exitcode)
        if code >= 0:
            return f"its worker process ended with code {code}"
        memory = " (out of memory?)" if code == -signal.SIGKILL else ""
        return f"its worker process was ended by {signal.Signals(-code).name}{memory}"


def _spawn(workspace: Values) -> _Worker:
    """Start a worker that ignores Ctrl-C on the terminal: its parent stops it."""
    context = multiprocessing.get_context("spawn")
    parent_pipe, worker_pipe = context.Pipe()
    process = context.Process(target=serve, args=(worker_pipe, json.dumps(workspace)), name="mmkd-worker", daemon=True)
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a child inherits the mask of its parent
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
    worker_pipe.close()
    return _Worker(process, parent_pipe)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Set the variables for the number of threads, for a child that is started meanwhile.

    Libraries read these variables when they are imported.
    """
    previous = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(count)))
    try:
        yield
    finally:
        for name, value in previous.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def serve(pipe: Connection, workspace: str) -> None:
    """The main function of a worker: receive a job, run it, send its result, until the parent closes the pipe.

    Args:
        workspace: `Workspace.to_json`, as text.
    """
    try:
        signal.signal(signal.SIGTERM, _stop)
        try:
            _serve(pipe, json.loads(workspace))
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # nothing is running any more
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGTERM)


def _serve(pipe: Connection, workspace: Values) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.dup2(2, 1)  # what methods print must not get into the output of the command
    with suppress(EOFError, OSError):  # the parent closed the pipe
        while True:
            pipe.send_bytes(json.dumps(perform(json.loads(pipe.recv_bytes()), workspace)).encode())


def _stop(*_: object) -> None:
    """Handle SIGTERM: raise an exception, so that temporary folders are removed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """Stop this worker when its parent has ended, even if the parent was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)
