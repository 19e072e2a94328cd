"""Students like that of a unit, trained alone under another training seed. Each is a unit with a record of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from mmkd.core.errors import MmkdError
from mmkd.data import Dataset
from mmkd.methods.contract import Method
from mmkd.specs.unit import UnitSpec
from mmkd.store.record import Record
from mmkd.tasks import TASKS
from mmkd.training.loop import TrainingResult
from mmkd.training.state import snapshot
from mmkd.training.student_model import StudentModel, load_weights
from mmkd.training.workspace import Workspace

LAST_WEIGHTS = "student_last.safetensors"
"""Weights of the last epoch, in the record of a like whose best epoch may be another."""


@dataclass(frozen=True)
class Like:
    """A student trained alone, in evaluation mode and without gradients.

    Attributes:
        checkpoint: the epoch of its weights; "best" only of the student alone itself, whose last ones are not kept.
        seconds: time of its training.
    """

    spec: UnitSpec
    network: nn.Module
    checkpoint: str
    seconds: float


def record_of_alone(alone: UnitSpec, data: Dataset, workspace: Workspace) -> Record:
    """The record of a student trained alone, with its weights; it is trained first if there is none.

    Raises:
        MmkdError: this process is a follower, and the record that the leader has is not here.
    """
    records = workspace.records
    if not workspace.group.is_leader:
        record = records.get_whole(alone.key)
        if record is None:
            raise MmkdError(f"--runs {records.runs}: record {alone.key} is not here; all processes need one --runs")
        return record
    with records.lock(alone.key):
        return records.get_whole(alone.key) or TASKS.get(alone.task).run_unit(alone, data, workspace)


def get_like(alone: UnitSpec, data: Dataset, workspace: Workspace) -> Like:
    """The student of `record_of_alone`, with the weights of its last epoch."""
    record = record_of_alone(alone, data, workspace)
    network = StudentModel.load(record).network
    if LAST_WEIGHTS in record.result.get("files", {}):
        load_weights(network, record.file(LAST_WEIGHTS), "student")
    network.to(workspace.torch_device).eval().requires_grad_(False)
    checkpoint = "best" if alone.data.epoch_rule != "last" and alone.training_seed is None else "last"
    return Like(alone, network, checkpoint, record.seconds)


def combine(method: Method, likes: Sequence[Like]) -> TrainingResult:
    """The network that a method combines of trained students, as the result of a training of no epochs.

    Its time is that of their trainings together.
    """
    network = method.combine([like.network for like in likes]).eval()
    state = snapshot(network)
    return TrainingResult(
        history=[],
        network=network,
        best=state,
        last=state,
        best_epoch=-1,
        seconds=sum(like.seconds for like in likes),
        method_parameters=0,
    )
