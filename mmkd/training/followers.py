"""What a process does that `torchrun` started and that does not lead: it trains along, and writes nothing."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from mmkd.core.errors import MmkdError
from mmkd.core.memory import keep_freed_memory
from mmkd.core.registry import load_plugin
from mmkd.data import Dataset
from mmkd.specs.data import DataSpec
from mmkd.specs.unit import TeacherSpec, Training, UnitSpec
from mmkd.training.distributed import TorchrunGroup
from mmkd.training.loop import TrainingResult
from mmkd.training.preparation import prepare_unit, training_data
from mmkd.training.student import train_student
from mmkd.training.teachers import initial_network, train_teacher
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import in_fold, source_sha256, split_for
from mmkd.views.cached import get_view

VERSIONS = "is another version here than where the command leads"


def follow(group: TorchrunGroup) -> None:
    """Train along in a process that does not lead, until the one that leads has ended its command."""
    group.follow(_Follower(group))


class _Follower:
    """Answers each message of the leader: the command first, then its trainings."""

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
    """The training that the leader announced, ready to be run in step with it.

    Args:
        message: of `ProcessGroup.training`: kind, key, spec, and shares of the teachers.

    Raises:
        MmkdError: the data, the method or mmkd itself is not what the leader has.
    """
    values = message["spec"]
    if message["kind"] == "teacher":
        return _join_teacher(message["key"], values, workspace)
    spec = UnitSpec.parse(values)
    if spec.key != message["key"] or source_sha256(spec.method) != spec.method_sha256:
        raise MmkdError(f"method {spec.method!r} or mmkd itself {VERSIONS}")
    unit = prepare_unit(spec, _load(spec.data, workspace), workspace, message["shares"])
    return partial(train_student, unit, workspace)


def _load(spec: DataSpec, workspace: Workspace) -> Dataset:
    data = workspace.load(spec)
    if data.sha256 != spec.sha256:
        raise MmkdError(f"data {spec.name!r} is not the same here as where the command leads")
    return in_fold(data, spec)


def _join_teacher(key: str, values: Mapping[str, Any], workspace: Workspace) -> Callable[[], TrainingResult]:
    parsed = {"data": DataSpec(**values["data"]), "training": Training(**values["training"])}
    spec = TeacherSpec(**{**values, **parsed})
    if spec.key != key:
        raise MmkdError(f"mmkd {VERSIONS}")
    data = _load(spec.data, workspace)
    split = split_for(data, spec.data, spec.seed)
    name = spec.modality
    view = get_view(name, spec.view, data, spec.data, split, cache=workspace.cache, progress=workspace.progress)
    windows = training_data(data, split, {name: view.array}, spec, workspace)
    return partial(train_teacher, spec, initial_network(spec, windows), windows, workspace)
