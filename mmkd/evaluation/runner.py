"""What is measured of students once they are on record: their cost, maps and, where it was asked for, robustness."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmkd.core.errors import describe_error
from mmkd.data import Dataset
from mmkd.evaluation import deployment, maps, robustness
from mmkd.store.record import Record
from mmkd.training.preparation import view_of
from mmkd.training.student_model import StudentModel, load_teacher
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import split_for


@dataclass(frozen=True)
class MeasurementJob:
    """A student's record, the data of its unit, and which of `record.MEASUREMENTS` are to be made."""

    record: Record
    data: Dataset
    wanted: Sequence[str]


class MeasurementRunner:
    """Measures students on record and puts what it finds beside their records, each as soon as it is known.

    What goes wrong with one of them is a line in `problems`, and the others go on.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.problems: list[str] = []
        self._costs: dict[str, dict[str, Any]] = {}
        self._taught: dict[str, tuple[Any, Any]] = {}  # what the maps of a teacher show

    def run(self, jobs: Sequence[MeasurementJob]) -> None:
        """All that the jobs want, costs first; of records that cannot be written nothing."""
        open_ = {job.record.key: os.access(job.record.folder, os.W_OK) for job in jobs}
        self.problems += [f"unit {key}: its record cannot be written" for key, can in open_.items() if not can]
        jobs = [job for job in jobs if open_[job.record.key]]
        for name, one in (("deployment.json", self._cost), ("maps.npz", self._maps)):
            wanting = [job for job in jobs if name in job.wanted]
            with self.workspace.progress.bar(name.partition(".")[0], len(wanting)) as bar:
                for job in wanting:
                    with self._telling(name, [job]):
                        self.workspace.records.add_measurements(job.record, {name: one(job)})
                    bar.advance()
        wanting = [job for job in jobs if "robustness.json" in job.wanted]
        groups = list(_alike(wanting))
        steps = sum(1 + len(robustness.disturbances(group[0].data)) for group in groups)
        with self.workspace.progress.bar("robustness", steps) as bar:
            for group in groups:
                with self._telling("robustness.json", group):
                    self._robustness(group, bar)

    @contextmanager
    def _telling(self, name: str, jobs: Sequence[MeasurementJob]) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a measurement costs no record
            self.problems += [f"{name} of unit {job.record.key}: {describe_error(error)}" for job in jobs]

    def _cost(self, job: MeasurementJob) -> bytes:
        alike = deployment.network_of(job.record)
        if alike not in self._costs:
            windows = maps.spaced(np.flatnonzero(~job.data.test), deployment.REPEATS)
            self._costs[alike] = deployment.measure_deployment(StudentModel.load(job.record), job.data.x[windows])
        size = job.record.file("student.safetensors").stat().st_size
        return _json({**self._costs[alike], "size_bytes": size})

    def _maps(self, job: MeasurementJob) -> bytes:
        record = job.record
        data = job.data
        spec = record.unit
        split = split_for(data, spec.data, spec.seed)
        part = "validation" if len(split.validation) else "train"
        windows = getattr(split, part)
        views = {name: view_of(name, spec, data, self.workspace).array for name in spec.views}
        some = maps.choose(data.y, windows)
        first = some[:1]
        label = int(data.y[first[0]])

        def look(network: nn.Module, names: Sequence[str]) -> tuple[Any, Any]:
            example, batch = ({name: _tensor(views[name][which]) for name in names} for which in (first, some))
            return maps.look(network, example, batch, label)

        arrays: maps.Arrays = {f"window/{name}": maps.some_planes(view[first[0]]) for name, view in views.items()}
        arrays |= {"window_label": np.array(label), "window_index": np.array(first[0]), "window_part": np.array(part)}
        arrays |= {"similarity_labels": data.y[some]}

        def keep(network: str, found: tuple[Any, Mapping[str, Any]], alone: str) -> None:
            arrays[f"similarity/{network}"] = found[0]
            arrays.update({f"cam/{network.partition('-')[0]}-{name or alone}": cam for name, cam in found[1].items()})

        for modality, key in record.teachers.items():
            if key not in self._taught and (teacher := self.workspace.records.get(key)) is not None:
                self._taught[key] = look(load_teacher(teacher), [modality])
            if key in self._taught:
                keep(f"teacher-{modality}", self._taught[key], modality)
        keep("student", look(StudentModel.load(record).network, spec.student), spec.student[0])
        return maps.packed(arrays)

    def _robustness(self, group: Sequence[MeasurementJob], bar: Any) -> None:
        there, students = [], []
        for job in group:
            with self._telling("robustness.json", [job]):
                students.append(StudentModel.load(job.record))
                there.append(job)
        if not there:
            return
        trainings = [job.record.unit.training for job in there]
        found = robustness.measure_robustness(students, trainings, there[0].data, self.workspace.torch_device, bar)
        for job, said in zip(there, found, strict=True):
            with self._telling("robustness.json", [job]):
                self.workspace.records.add_measurements(job.record, {"robustness.json": _json(said)})


def _alike(jobs: Sequence[MeasurementJob]) -> Iterator[list[MeasurementJob]]:
    """Jobs whose students read the very same views, a few at a time."""
    groups: dict[tuple[str, str], list[MeasurementJob]] = {}
    for job in jobs:
        data = job.record.unit.data
        key = data.sha256 + data.nan, robustness.views_of(job.record.result)
        groups.setdefault(key, []).append(job)
    for group in groups.values():
        for start in range(0, len(group), robustness.TOGETHER):
            yield group[start : start + robustness.TOGETHER]


def _tensor(view: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(view))


def _json(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said, indent=1, allow_nan=False).encode()
