"""The followers: processes that `torchrun` started beside the leader. They take part in trainings and write nothing."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from mmkd.core.errors import MmkdError
from mmkd.core.memory import keep_freed_memory
from mmkd.core.plugins import load_plugin
from mmkd.data import Dataset
from mmkd.specs.unit import TeacherSpec, UnitSpec
from mmkd.tasks import TASKS
from mmkd.training.distributed import TorchrunGroup
from mmkd.training.loop import TrainingResult
from mmkd.training.preparation import prepare_unit
from mmkd.training.student import train_student
from mmkd.training.teachers import initial_network, train_teacher
from mmkd.training.unit_windows import teacher_windows
from mmkd.training.workspace import Workspace
from mmkd.units.sources import check_loaded
from mmkd.units.splits import select_fold

OTHER_VERSION = "has another version here than in the process that leads"


def follow(group: TorchrunGroup) -> None:
    """Take part in the trainings of the leader, until its command has ended."""
    group.follow(_Follower(group))


class _Follower:
    """Handles each message of the leader: the command first, then its trainings."""

    def __init__(self, group: TorchrunGroup) -> None:
        self.group = group
        self.workspace = Workspace(group=group)

    def __call__(self, message: dict[str, Any]) -> Callable[[], object] | None:
        if message["kind"] != "command":
            return join_training(message, self.workspace)
        keep_freed_memory()
        workspace = Workspace.from_json({k: v for k, v in message.items() if k != "kind"}, self.group)
        for plugin in workspace.plugins:
            load_plugin(plugin)
        self.group.set_device(str(workspace.torch_device))
        self.workspace = workspace
        return None


def join_training(message: Mapping[str, Any], workspace: Workspace) -> Callable[[], TrainingResult]:
    """Prepare the training that the leader announced; the returned function runs it in step with the leader.

    Args:
        message: the arguments of `ProcessGroup.training`: kind, key, spec, and the shares of the teachers.

    Raises:
        MmkdError: the data, the method or mmkd differ from those of the leader.
    """
    if message["kind"] == "teacher":
        return _join_teacher(message["key"], message["spec"], workspace)
    spec = UnitSpec.parse(message["spec"])
    check_loaded(spec, OTHER_VERSION)
    if spec.key != message["key"]:
        raise MmkdError(f"mmkd {OTHER_VERSION}")
    unit = prepare_unit(spec, _load(spec, workspace), workspace, message["shares"])
    return partial(train_student, unit, workspace)


def _load(spec: UnitSpec | TeacherSpec, workspace: Workspace) -> Dataset:
    data = TASKS.get(spec.task).accept(workspace.load(spec.data))
    if data.sha256 != spec.data.sha256:
        raise MmkdError(f"data {spec.data.name!r} is not the same here as in the process that leads")
    return select_fold(data, spec.data)


def _join_teacher(key: str, values: Mapping[str, Any], workspace: Workspace) -> Callable[[], TrainingResult]:
    spec = TeacherSpec.parse(values)
    check_loaded(spec, OTHER_VERSION)
    if spec.key != key:
        raise MmkdError(f"mmkd {OTHER_VERSION}")
    data = _load(spec, workspace)
    _, windows = teacher_windows(spec, data, workspace)
    return partial(train_teacher, spec, initial_network(spec, windows), windows, workspace)
