"""Run jobs as tasks of Ray, on this machine or on the cluster of RAY_ADDRESS. The only module that imports ray.

Every node must have mmkd installed, and the folders of runs, cache and data under the same paths. If a node is lost,
Ray starts its tasks again on another node.
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
from mmkd.core.threads import waiting_variables
from mmkd.engines.worker import THREADS, perform
from mmkd.training.workspace import Workspace, check_engine, parse_resources

if TYPE_CHECKING:
    from mmkd.engines.plan import Job, JobResult

RETRIES = 3  # how often Ray restarts a task whose node or process was lost
GRACE = 10.0  # seconds for tasks to remove their temporary folders


class RayEngine:
    """An engine that submits every job to Ray, which runs as many at a time as its resources allow.

    Args:
        workspace: of the command; it has the resources and threads of each job. Its progress shows once what Ray has.
    """

    free_slots = 1 << 30  # Ray has a queue of its own

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = json.dumps(workspace.to_json())
        self.cpus, self.gpus = parse_resources(workspace.resources or "")
        self.threads = workspace.threads
        self.say = workspace.progress.say
        self.running: dict[Any, Job] = {}
        self.exit_stack = ExitStack()

    def __enter__(self) -> "RayEngine":
        check_engine("ray")
        import ray

        self.ray = ray
        self.exit_stack.enter_context(redirect_stdout(sys.stderr))  # Ray prints messages about lost nodes to stdout
        self.started_ray = not ray.is_initialized()  # a program may be connected already, and then stays so
        handler = signal.getsignal(signal.SIGTERM)
        if self.started_ray:
            try:
                ray.init(
                    address=os.environ.get("RAY_ADDRESS") or "local",
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    include_dashboard=False if not os.environ.get("RAY_ADDRESS") else None,
                )
            except (ConnectionError, RuntimeError, ValueError, OSError) as error:
                self.exit_stack.close()
                where = os.environ.get("RAY_ADDRESS") or "on this machine"
                raise MmkdError(f"--engine ray: no Ray {where}: {describe_error(error)[:200]}") from error
            finally:
                if threading.current_thread() is threading.main_thread():
                    signal.signal(signal.SIGTERM, handler)  # Ray replaced the handler
        resources = ray.cluster_resources()
        cpus = resources.get("CPU", 0)
        gpus = resources.get("GPU", 0)
        if cpus < self.cpus or gpus < self.gpus:
            self.__exit__(None)
            task = f"cpus={self.cpus:g},gpus={self.gpus:g}"
            raise MmkdError(f"--resources: a task takes {task}, but Ray has {cpus:g} CPUs and {gpus:g} GPUs")
        self.say(f"Ray: {len(ray.nodes())} nodes, {cpus:g} CPUs, {gpus:g} GPUs")
        self.remote = ray.remote(_perform).options(
            num_cpus=self.cpus,
            num_gpus=self.gpus,
            max_retries=RETRIES,
            runtime_env={"env_vars": {**waiting_variables(), **dict.fromkeys(THREADS, str(self.threads))}},
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Disconnect; after an error, Ctrl-C or SIGTERM also cancel the running tasks."""
        if kind is not None and self.running:
            for reference in self.running:
                with suppress(Exception):
                    self.ray.cancel(reference)
            with suppress(Exception):
                self.ray.wait(list(self.running), num_returns=len(self.running), timeout=GRACE)
        if self.started_ray:
            self.ray.shutdown()
        self.exit_stack.close()

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
                    (job, JobResult("failed", f"Ray stopped after {RETRIES} retries: {describe_error(error)[:300]}"))
                )
        return ended


def _perform(job: str, workspace: str) -> str:
    return json.dumps(perform(json.loads(job), json.loads(workspace)))
