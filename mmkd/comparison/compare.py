"""Records to groups: which of them can be compared, and why others are left out. Needs neither torch nor mlflow."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

import numpy as np

from mmkd.comparison.groups import Group, build_group
from mmkd.comparison.identity import (
    Settings,
    as_key,
    flat,
    group_settings,
    making_settings,
    method_names,
    most_usual,
    row_settings,
    student_spec,
    student_title,
    teacher_name,
    teacher_settings,
)
from mmkd.comparison.parts import is_part_of_another
from mmkd.comparison.predictions import with_current_scores
from mmkd.comparison.rows import STUDENT_ONLY
from mmkd.comparison.selection import Selection, selections
from mmkd.comparison.tuning import TuningPhase, tuning_phases
from mmkd.comparison.units import Unit, machine, recorded_metrics
from mmkd.core.errors import DamageWarning, MmkdError, unknown_name
from mmkd.core.text import shorten
from mmkd.metrics.registry import SELECTION, count_metrics
from mmkd.specs.data import DataSpec
from mmkd.specs.unit import PeerSpec, TeacherSpec, UnitSpec
from mmkd.store.record import Record
from mmkd.store.records import Records
from mmkd.tasks import TASKS, Task
from mmkd.units.costs import share_costs
from mmkd.units.names import variant_names


@dataclass
class Comparison:
    """Groups, and what was left out with the reason.

    Attributes:
        records: those that stand in the groups.
        parts: those of the selection and tuning phases, and of students that were trained for another unit.
    """

    groups: list[Group]
    control: str
    left_out: list[str]
    records: list[Record]
    selections: list[Selection] = field(default_factory=list)
    tunings: list[TuningPhase] = field(default_factory=list)
    parts: list[Record] = field(default_factory=list)


def read_records(records: Records) -> tuple[list[Record], list[str]]:
    """All records of a folder that are whole, and a line for each that is not."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        readable = list(records)
        different = records.differences(readable)
    return readable, different + [str(w.message) for w in caught if issubclass(w.category, DamageWarning)]


def compare(records: Iterable[Record], control: str = STUDENT_ONLY, left_out: Sequence[str] = ()) -> Comparison:
    """Groups of comparable rows of these records.

    Args:
        control: the method that each row's change is measured against.
        left_out: lines on records that could not be read.

    Raises:
        MmkdError: no unit is among them, or no unit of the control.
    """
    left_out = list(left_out)
    records = list(records)
    units: dict[str, Record] = {}
    teachers: dict[str, Record] = {}
    parts: list[Record] = []
    for record in sorted(records, key=lambda record: (str(record.result.get("key")), record.folder)):
        reason = why_unusable(record)
        if not reason and is_part_of_another(record):
            parts.append(record)
        elif reason:
            left_out.append(f"record {record.folder.name}: {reason}; left out")
        else:
            (teachers if record.kind == "teacher" else units).setdefault(record.key, record)
    units = {record.key: with_current_scores(record) for record in share_costs(units.values())}
    teachers = {key: with_current_scores(record) for key, record in teachers.items()}
    if all(record.kind == "reference" for record in units.values()):
        raise MmkdError(
            "no unit is on record here" + (f" ({len(left_out)} left out: {left_out[0]})" if left_out else "")
        )
    students = sorted((record for record in units.values() if record.kind != "reference"), key=_order)
    references = sorted((record for record in units.values() if record.kind == "reference"), key=_order)
    methods = {student_spec(record).method for record in students}
    if control not in methods and control != STUDENT_ONLY:
        raise unknown_name("method", control, methods)
    by_settings: dict[str, list[Record]] = {}
    for record in students:
        by_settings.setdefault(as_key(group_settings(record)), []).append(record)
    names = _names(list(by_settings.values()))
    groups = []
    for members in by_settings.values():
        group = build_group(members, teachers, names, control, beside(members, references))
        if any(row.is_student for row in group.rows):
            groups.append(group)
        else:
            left_out.append(f"{group.title}: {'; '.join(group.notes)}")
    if not groups:
        raise MmkdError(f"no unit here has all its folds on record ({left_out[-1]})")
    _name_differences(groups)
    _note_differences(groups, method_names(students))
    groups.sort(key=lambda group: (group.task, group.dataset, group.student, group.title))
    used = {unit.key for group in groups for row in group.rows for unit in row.members}
    used |= {key for r in students if not TASKS.get(r.spec.task).teachers_share_metrics for key in r.teachers.values()}
    used |= {key for r in students for keys in dict(r.result.get("fold_teachers") or {}).values() for key in keys}
    alone = sum(record.key not in used for record in references)
    if alone:
        left_out.append(
            f"{alone} peer{'s' if alone > 1 else ''} on record beside no unit of the same windows; left out"
        )
    idle = len(set(teachers) - used)
    if idle:
        left_out.append(f"{idle} teacher{'s' if idle > 1 else ''} on record taught none of these units; left out")
    compared = [record for record in [*students, *references, *teachers.values()] if record.key in used]
    phases = selections(parts), tuning_phases(parts)
    return Comparison(groups, control, left_out, compared, *phases, parts)


def why_unusable(record: Record) -> str:
    """Why a record that is whole cannot stand in a table; empty where it can."""
    try:
        spec = record.spec
        task = TASKS.get(spec.task)
        if record.kind not in ("student", "teacher", *["simple", "reference"] * bool(task.references)):
            return f"it is of an unknown kind, {record.kind!r}"
        if record.kind == "teacher":
            as_key([teacher_name(record), teacher_settings(record)])
        else:
            as_key([group_settings(record), row_settings(record), making_settings(record)])
            _ = record.teachers
        if record.data.get("windows", {}).get("test", 1) == 0:
            return "it has no test windows, and so no scores to compare"
        texts = [spec.task, spec.data.name, "" if isinstance(spec, TeacherSpec) else spec.method]
        if not all(isinstance(text, str) for text in texts) or not isinstance(spec.seed, int):
            raise TypeError("task, data set, method or seed")
        needed = needed_scores(task, record.kind)
        complete = all(needed <= set(scores) for scores in (record.metrics.test, record.metrics.test_last or needed))
        if not complete or not np.isfinite([*recorded_metrics(record).values()]).all():
            raise ValueError("scores")
        machine(Unit(record.key, 0, {}, record))
    except (KeyError, TypeError, ValueError, AttributeError, MmkdError) as error:
        return f"its values are not those of a unit ({type(error).__name__}: {error})"
    return ""


def beside(members: Sequence[Record], references: Sequence[Record]) -> list[Record]:
    """Those references that were fitted on the windows and channels of one of these units."""
    units = [spec for record in members if isinstance(spec := record.spec, UnitSpec)]
    forms = {(spec.method, spec.revision) for record in references if isinstance(spec := record.spec, PeerSpec)}
    keys = {PeerSpec.beside(unit, *form).key for unit in units for form in forms}
    return [record for record in references if record.key in keys]


def needed_scores(task: Task, kind: str) -> set[str]:
    """The scores that a record must have: what is compared, and what all tasks with classes have."""
    if kind == "teacher" and not task.teachers_share_metrics:
        return {SELECTION}
    return {task.headline} | {metric.name for metric in count_metrics("window") if metric.name in task.metrics}


def _order(record: Record) -> tuple[Any, ...]:
    """What sorts the units of a comparison."""
    spec = student_spec(record)
    return spec.task, spec.data.name, spec.method, spec.seed, record.key


def _names(groups: Sequence[Sequence[Record]]) -> dict[str, str]:
    """The names of all units: in groups of one task and student, which rankings compare, by the same rule."""
    together: dict[tuple[str, str], list[Record]] = {}
    for members in groups:
        together.setdefault((members[0].spec.task, student_title(members[0])), []).extend(members)
    return {key: name for students in together.values() for key, name in method_names(students).items()}


def _note_differences(groups: Sequence[Group], everywhere: Mapping[str, str]) -> None:
    """Note options in which a row differs from rows of its method in tables of other students; its name has none.

    Args:
        everywhere: key of a unit -> its method with the options in which the units of the method differ anywhere.
    """
    for group in groups:
        for row in group.rows:
            words = shorten(everywhere.get(row.members[0].key, "")).removeprefix(shorten(row.base)).split()
            told = row.name.split()
            hidden = [word for word in words if word not in told and not word.startswith("teachers=")]
            if hidden:
                group.notes.append(f"{row.name}: {', '.join(hidden)}, unlike in tables of other students")


def _name_differences(groups: Sequence[Group]) -> None:
    """Add to the titles of groups in what else they differ; a field of the data that has its default has no name.

    Nor do subjects that are known by their names; those that are counted from 0 are of older records.
    """
    defaults = {f"data.{f.name}": f.default for f in fields(DataSpec) if f.default is not MISSING}

    def told(settings: Settings) -> dict[str, Any]:
        told = {name: None if value == defaults.get(name, MISSING) else value for name, value in settings.items()}
        return {**told, "data.by_name": None if settings.get("data.by_name") else False}

    named = [(group.title, told(flat(group.settings))) for group in groups]
    usual = most_usual(named)
    names = variant_names(named, lambda title: {**usual(title), **dict.fromkeys(defaults)})
    for group, title in zip(groups, names, strict=True):
        group.title = shorten(title)
