"""Units as tasks of Ray: on this machine, or on the cluster that RAY_ADDRESS names. The only importer of ray.

Every node has mmkd and sees the folders of runs, cache and data under the same paths. A lost node costs the tasks that
it worked on, and Ray starts them again elsewhere.
"""

import json
import logging
import os
import signal
import sys
import threading
from contextlib import ExitStack, redirect_stdout, suppress
from typing import TYPE_CHECKING, Any

from mmkd.core.errors import MmkdError, describe_error
from mmkd.engines.worker import THREADS, perform
from mmkd.training.workspace import Workspace, check_ray, parse_resources

if TYPE_CHECKING:
    from mmkd.engines.plan import Job, JobResult

RETRIES = 3  # how often Ray starts a task again whose node or process is gone
GRACE = 10.0  # seconds that tasks have to remove their temporary folders


class RayEngine:
    """An engine that hands every task to Ray, which does as many at a time as there are resources for.

    Args:
        workspace: of the command, with the resources and threads of each job; its progress is told once what Ray has.
    """

    room = 1 << 30  # Ray has a queue of its own

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = json.dumps(workspace.to_json())
        self.cpus, self.gpus = parse_resources(workspace.resources or "")
        self.threads = workspace.threads
        self.say = workspace.progress.say
        self.running: dict[Any, Job] = {}
        self.after = ExitStack()

    def __enter__(self) -> "RayEngine":
        check_ray()
        import ray

        self.ray = ray
        self.after.enter_context(redirect_stdout(sys.stderr))  # where Ray tells of lost nodes; stdout is the command's
        self.own = not ray.is_initialized()  # a program that is connected already stays so
        handler = signal.getsignal(signal.SIGTERM)
        if self.own:
            try:
                ray.init(
                    address=os.environ.get("RAY_ADDRESS") or "local",
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    include_dashboard=False if not os.environ.get("RAY_ADDRESS") else None,
                )
            except (ConnectionError, RuntimeError, ValueError, OSError) as error:
                self.after.close()
                where = os.environ.get("RAY_ADDRESS") or "on this machine"
                raise MmkdError(f"--engine ray: no Ray {where}: {describe_error(error)[:200]}") from error
            finally:
                if threading.current_thread() is threading.main_thread():
                    signal.signal(signal.SIGTERM, handler)  # Ray put one of its own there
        has = ray.cluster_resources()
        if has.get("CPU", 0) < self.cpus or has.get("GPU", 0) < self.gpus:
            what = f"{has.get('CPU', 0):g} CPUs and {has.get('GPU', 0):g} GPUs"
            self.__exit__(None)
            raise MmkdError(f"--resources: a task takes cpus={self.cpus:g},gpus={self.gpus:g}, but Ray has {what}")
        self.say(f"Ray: {len(ray.nodes())} nodes, {has.get('CPU', 0):g} CPUs, {has.get('GPU', 0):g} GPUs")
        self.remote = ray.remote(_perform).options(
            num_cpus=self.cpus,
            num_gpus=self.gpus,
            max_retries=RETRIES,
            runtime_env={"env_vars": dict.fromkeys(THREADS, str(self.threads))},
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """After an error, Ctrl-C or SIGTERM what is running is cancelled."""
        if kind is not None and self.running:
            for reference in self.running:
                with suppress(Exception):
                    self.ray.cancel(reference)
            with suppress(Exception):
                self.ray.wait(list(self.running), num_returns=len(self.running), timeout=GRACE)
        if self.own:
            self.ray.shutdown()
        self.after.close()

    def start(self, job: "Job") -> None:
        self.running[self.remote.remote(json.dumps(job.values()), self.workspace)] = job

    def wait(self) -> "list[tuple[Job, JobResult]]":
        from mmkd.engines.plan import JobResult

        ready, _ = self.ray.wait(list(self.running), num_returns=1)
        ended = []
        for reference in ready:
            job = self.running.pop(reference)
            try:
                ended.append((job, JobResult(**json.loads(self.ray.get(reference)))))
            except self.ray.exceptions.RayError as error:
                ended.append(
                    (job, JobResult("failed", f"Ray gave it up after {RETRIES} retries: {describe_error(error)[:300]}"))
                )
        return ended


def _perform(job: str, workspace: str) -> str:
    return json.dumps(perform(json.loads(job), json.loads(workspace)))
