"""Measure students on record: their cost, maps and, if the user asks for it, robustness."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmkd.core.errors import describe_error
from mmkd.data import Dataset
from mmkd.evaluation import deployment, maps, robustness
from mmkd.specs.teacher_nets import kind_of_net
from mmkd.store.record import Record
from mmkd.store.records import Extend
from mmkd.training.preparation import complete_teacher
from mmkd.training.student_model import StudentModel, load_teacher
from mmkd.training.unit_windows import load_view
from mmkd.training.workspace import Workspace
from mmkd.units.costs import EXPORTS, cost_key, is_steady, known_costs
from mmkd.units.splits import split_for


@dataclass(frozen=True)
class MeasurementJob:
    """A record to measure.

    Attributes:
        record: of a student.
        data: the data set of its unit.
        measurements: those of `record.MEASUREMENTS` to make.
    """

    record: Record
    data: Dataset
    measurements: Sequence[str]


class MeasurementRunner:
    """Measures students on record and adds each measurement to the record as soon as it is made.

    Attributes:
        problems: one line for each measurement that failed; the others are still made.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.problems: list[str] = []
        self._timed: set[str] = set()  # cost keys of the students that were measured here
        self._costs: dict[str, Mapping[str, Any]] | None = None  # by cost key; None: not looked up yet
        self._teacher_maps: dict[tuple[str, str], tuple[Any, Any]] = {}  # by key and epoch of the teacher

    def run(self, jobs: Sequence[MeasurementJob]) -> None:
        """Make the measurements of all jobs, costs first; records that cannot be written are left out."""
        writable = {job.record.key: os.access(job.record.folder, os.W_OK) for job in jobs}
        self.problems += [f"unit {key}: its record cannot be written" for key, can in writable.items() if not can]
        jobs = [job for job in jobs if writable[job.record.key]]
        measures: Mapping[str, Callable[[MeasurementJob], bytes | Extend]] = {
            "deployment.json": self._deployment,
            "maps.npz": self._maps,
        }
        for name, measure in measures.items():
            selected = [job for job in jobs if name in job.measurements]
            with self.workspace.progress.bar(name.partition(".")[0], len(selected)) as bar:
                for job in selected:
                    with self._catch_problems(name, [job]):
                        self.workspace.records.add_measurements(job.record, {name: measure(job)})
                    bar.advance()
        groups = list(_group_by_views([job for job in jobs if "robustness.json" in job.measurements]))
        steps = sum(1 + len(robustness.disturbances(group[0].data)) for group in groups)
        with self.workspace.progress.bar("robustness", steps) as bar:
            for group in groups:
                with self._catch_problems("robustness.json", group):
                    self._robustness(group, bar)

    @contextmanager
    def _catch_problems(self, name: str, jobs: Sequence[MeasurementJob]) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # the other measurements are still made
            self.problems += [f"{name} of unit {job.record.key}: {describe_error(error)}" for job in jobs]

    def _deployment(self, job: MeasurementJob) -> Extend:
        """`deployment.json`; students of the same cost are measured once in a folder of records. Exports stay."""
        key = cost_key(job.record)
        if self._costs is None:
            self._costs = known_costs(Path(self.workspace.runs), deployment.conditions())
        known = self._costs.get(key)
        if known is None or (not is_steady(known) and key not in self._timed):
            self._timed.add(key)
            windows = maps.evenly_spaced(np.flatnonzero(~job.data.test), deployment.REPEATS)
            measured = deployment.measure_deployment(StudentModel.load(job.record), job.data.x[windows])
            if known is None or is_steady(measured):  # else the machine is as busy as it was then
                known = measured
            self._costs[key] = known
        size = job.record.file("student.safetensors").stat().st_size
        measured = {**known, "size_bytes": size}
        return lambda own: _json({**measured, **({EXPORTS: own[EXPORTS]} if own.get(EXPORTS) else {})})

    def _maps(self, job: MeasurementJob) -> bytes:
        """`maps.npz`; the maps of a teacher are computed once."""
        record = job.record
        data = job.data
        spec = record.unit
        split = split_for(data, spec.data, spec.seed)
        part = "validation" if len(split.validation) else "train"
        windows = getattr(split, part)
        views = {name: load_view(name, spec, data, self.workspace).array for name in spec.views}
        batch_windows = maps.choose_windows(data.y, windows)
        first = batch_windows[:1]
        label = int(data.y[first[0]])

        def compute_maps(network: nn.Module, names: Sequence[str]) -> tuple[Any, Any]:
            example = {name: _tensor(views[name][first]) for name in names}
            batch = {name: _tensor(views[name][batch_windows]) for name in names}
            return maps.compute_maps(network, example, batch, label)

        arrays: maps.Arrays = {f"window/{name}": maps.first_planes(view[first[0]]) for name, view in views.items()}
        arrays |= {"window_label": np.array(label), "window_index": np.array(first[0]), "window_part": np.array(part)}
        arrays |= {"similarity_labels": data.y[batch_windows]}

        def add_maps(network: str, network_maps: tuple[Any, Mapping[str, Any]], modality: str) -> None:
            similarity, cams = network_maps
            arrays[f"similarity/{network}"] = similarity
            arrays.update({f"cam/{network.partition('-')[0]}-{name or modality}": cam for name, cam in cams.items()})

        for modality, key in record.teachers.items():
            taught = key, record.teacher_epoch
            teacher = None if taught in self._teacher_maps else self.workspace.records.get_whole(key)
            if teacher is not None and record.teacher_epoch == "last" and not teacher.knows_last_epoch:
                complete_teacher(modality, spec, data, self.workspace)
                teacher = self.workspace.records.get_whole(key)
            if teacher is not None and kind_of_net(teacher.teacher.net) != "peer":  # which has no maps
                network = load_teacher(teacher.at_epoch(record.teacher_epoch))
                self._teacher_maps[taught] = compute_maps(network, [modality])
            if taught in self._teacher_maps:
                add_maps(f"teacher-{modality}", self._teacher_maps[taught], modality)
        add_maps("student", compute_maps(StudentModel.load(record).network, spec.student), spec.student[0])
        return maps.to_npz(arrays)

    def _robustness(self, group: Sequence[MeasurementJob], bar: Any) -> None:
        """Add `robustness.json` to the records of students that read the same views."""
        jobs = []
        students = []
        for job in group:
            with self._catch_problems("robustness.json", [job]):
                students.append(StudentModel.load(job.record))
                jobs.append(job)
        if not jobs:
            return
        trainings = [job.record.unit.training for job in jobs]
        results = robustness.measure_robustness(students, trainings, jobs[0].data, self.workspace.torch_device, bar)
        for job, result in zip(jobs, results, strict=True):
            with self._catch_problems("robustness.json", [job]):
                self.workspace.records.add_measurements(job.record, {"robustness.json": _json(result)})


def _group_by_views(jobs: Sequence[MeasurementJob]) -> Iterator[list[MeasurementJob]]:
    """Groups of jobs whose students read the same views, at most `robustness.MAX_STUDENTS` each."""
    groups: dict[tuple[str, str], list[MeasurementJob]] = {}
    for job in jobs:
        data = job.record.unit.data
        key = data.sha256 + data.nan, robustness.views_key(job.record.result)
        groups.setdefault(key, []).append(job)
    for group in groups.values():
        for start in range(0, len(group), robustness.MAX_STUDENTS):
            yield group[start : start + robustness.MAX_STUDENTS]


def _tensor(view: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(view))


def _json(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, indent=1, allow_nan=False).encode()
