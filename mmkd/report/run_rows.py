"""The rows of the table at the end of a run: teachers, the student alone, methods and references."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mmkd.comparison.equal import SAME, fold_equal, prediction_mark
from mmkd.comparison.gap import SCORE as GAP_SCORE
from mmkd.comparison.gap import Gap, gap_lines, largest_first, mean_fit, paired_gap
from mmkd.comparison.identity import as_key, student_spec, test_part_notes
from mmkd.comparison.predictions import one_class_note
from mmkd.comparison.taught import Taught, by_epoch, epoch_notes, few_errors_notes, validation_notes
from mmkd.comparison.units import Unit, different_machines, machine
from mmkd.metrics.registry import METRICS, score_columns
from mmkd.specs.data import DataSpec, fold_count, fold_kind
from mmkd.specs.unit import PeerSpec, UnitSpec
from mmkd.store.record import Record
from mmkd.tasks import TASKS, Task
from mmkd.units.expansion import reads_teachers
from mmkd.units.methods import kind_of_row, status_of
from mmkd.units.names import data_title, option_names, options_note
from mmkd.units.result import UnitResult

NO_STUDENT_ALONE = "gap: not known without the student alone; --method student,... trains it too"


@dataclass(frozen=True)
class TableRow:
    """One line: the scores of one teacher, method or reference over its seeds.

    In folds the value of a seed is the mean over all of them, and a seed that lacks one has none; of a single seed each
    fold has a value.

    Attributes:
        task: its name.
        values: metric -> one value a seed, or fold, on the test windows.
        change: the task's headline score minus that of the student alone under the same seed, for the seeds where that
            is on record.
        seconds: mean training time.
        test_part: how the test part of own data was made; empty of that of a card.
        of: what each value is of, "seed" or "fold"; folds: how many there are, 0 of the data set's own split.
        gaps: of each teacher of the group to the student alone, the same in all its rows.
        before: lines above the table of the group.
        notes: lines below the table.
        status: of the method, see `mmkd.methods.contract.STATUSES`; empty of what is none.
        mark: seed, fold and checksum of the predictions of each unit; empty if they are not on record.
    """

    group: str
    kind: str
    name: str
    task: str
    values: Mapping[str, tuple[float, ...]]
    change: tuple[float, ...]
    parameters: int
    seconds: float
    of: str = "seed"
    folds: int = 0
    test_part: tuple[str, ...] = ()
    gaps: tuple[Gap, ...] = ()
    before: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    mark: tuple[tuple[int, str, str], ...] = ()
    status: str = ""

    @property
    def score(self) -> tuple[float, ...]:
        """The values of the task's headline score."""
        return self.values[TASKS.get(self.task).headline]


@dataclass
class _Repeats:
    """Seed and fold of each record of a group, by its key; `folds` are all that the units have."""

    folds: frozenset[str]
    of: str
    by_key: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, record: Record, result: UnitResult) -> None:
        self.by_key[record.key] = result.spec.seed, result.spec.data.fold

    def values(self, scores: Iterable[tuple[str, float]]) -> tuple[float, ...]:
        """One value a seed, or fold, of (key, score) of each record."""
        scores = list(scores)
        if not self.folds or self.of == "fold":
            return tuple(score for _, score in scores)
        return tuple(self.by_repeat(scores).values())

    def by_repeat(self, scores: Iterable[tuple[str, float]]) -> dict[tuple[int, str], float]:
        """Seed and fold -> score, of (key, score) of each record; of several seeds in folds the mean over all folds."""
        known = [(self.by_key[key], score) for key, score in scores if key in self.by_key]
        if not self.folds or self.of == "fold":
            return dict(known)
        by_seed: dict[int, list[float]] = {}
        for (seed, _), score in known:
            by_seed.setdefault(seed, []).append(score)
        whole = {seed: values for seed, values in by_seed.items() if len(values) == len(self.folds)}
        return {(seed, ""): float(np.mean(values)) for seed, values in whole.items()}


def rows(
    results: Sequence[UnitResult],
    teachers: Iterable[Record] = (),
    alone: Mapping[str, Record] | None = None,
    references: Iterable[Record] = (),
) -> list[TableRow]:
    """Rows of a sweep, grouped by data set and, where the task compares methods on one student, by student.

    Args:
        teachers: the records of all teachers of these units.
        alone: key of a unit -> the record of the student alone under the same seed.
        references: records of detectors or classifiers that are no network.
    """
    by_key = {record.key: record for record in teachers}
    references = list(references)
    groups: dict[tuple[str, str, str], list[UnitResult]] = {}
    for result in results:
        spec = result.spec
        kind = fold_kind(spec.data.fold, spec.data.test_subjects) if spec.data.fold else ""
        student = spec.student_title if TASKS.get(spec.task).groups_by_student else ""
        groups.setdefault((_data_name(spec.data), kind, student), []).append(result)
    for record in references:
        if not TASKS.get(record.spec.task).groups_by_student:
            groups.setdefault((_data_name(record.spec.data), "", ""), [])
    table = []
    for (data, kind, student), members in groups.items():
        own = [record for record in references if _data_name(record.spec.data) == data and not student]
        if student:
            table += _student_group(data, kind, student, members, by_key, alone or {}, references)
        else:
            table += _detector_group(data, members, own)
    return table


def _data_name(data: DataSpec) -> str:
    return data_title(data.name, data.rate, data)


def _student_group(
    data: str,
    kind: str,
    student: str,
    members: Sequence[UnitResult],
    teachers: Mapping[str, Record],
    alone: Mapping[str, Record],
    references: Sequence[Record] = (),
) -> list[TableRow]:
    """Teachers, the student alone, methods and controls, in the order of the sweep; then peers on the same windows."""
    repeats = _repeats_of(members)
    group = f"{data}{_in_folds(members, kind, len(repeats.folds))}, {student}"
    task = TASKS.get(members[0].spec.task)
    taught: list[tuple[str, Record, str]] = []
    titles: dict[str, str] = {}
    for result in members:
        for modality in result.spec.teachers if reads_teachers(result.spec.method) else ():
            teacher = result.spec.teacher(modality)
            key = teacher.key
            if key in teachers and task.teachers_share_metrics:
                epoch = result.record.teacher_epoch if result.record else "best"
                taught.append((f"{teacher.title}, {teacher.data.epoch_rule}", teachers[key], epoch))
                titles[key] = teacher.title
                repeats.add(teachers[key], result)
    by_name: dict[str, list[Record]] = {}
    specs: dict[str, UnitSpec] = {}
    base: dict[str, Record] = {}
    for result, name in zip(members, option_names([result.spec for result in members]), strict=True):
        if result.record is not None:
            by_name.setdefault(name, []).append(result.record)
            specs[name] = result.spec
            repeats.add(result.record, result)
            if result.spec.key in alone:
                base[result.spec.key] = alone[result.spec.key]
                repeats.add(alone[result.spec.key], result)
    table = _teacher_rows(group, taught, titles, repeats, task)
    alone_by_key = {record.key: record for record in base.values()}
    shown = {record.key for records in by_name.values() for record in records}
    if alone_by_key and not shown & set(alone_by_key):
        table.append(_row(group, "student", "student", list(alone_by_key.values()), {}, repeats, task))
    for name, records in by_name.items():
        method = specs[name].method
        status = status_of(method, records[0].result)
        row = _row(group, kind_of_row("student", method, status), name, records, base, repeats, task)
        lines = (*options_note(specs[name], name), *one_class_note(name, records))
        table.append(replace(row, notes=lines, status=status))
    trained = [record for records in by_name.values() for record in records] + list(alone_by_key.values())
    times = [*time_notes(by_name, base), *machine_notes(trained)]
    table = [replace(row, notes=(*row.notes, *times)) for row in table]
    table += _peer_rows(group, members, alone, references, repeats, task)
    sent = [result.spec for result in members]
    notes = validation_notes(sent, teachers) + few_errors_notes(sent, teachers)
    gaps = _gaps(taught, titles, alone_by_key.values(), repeats)
    before = (*gap_lines(gaps), *([NO_STUDENT_ALONE] if taught and not alone_by_key else []))
    rows = [replace(row, gaps=tuple(gaps), before=before, notes=(*row.notes, *notes)) for row in table]
    return _fold(rows)


def _gaps(
    taught: Sequence[tuple[str, Record, str]], titles: Mapping[str, str], alone: Iterable[Record], repeats: _Repeats
) -> list[Gap]:
    """The gap of each row of teachers to the student alone, the largest first.

    Of students alone that differ in their options it is the one with the highest mean.
    """

    def scores(records: Iterable[Record]) -> dict[tuple[int, str], float]:
        return repeats.by_repeat([(r.key, r.metrics.test[GAP_SCORE]) for r in records if GAP_SCORE in r.metrics.test])

    by_options: dict[str, list[Record]] = {}
    for record in alone:
        by_options.setdefault(as_key((record.result.get("spec") or {}).get("options")), []).append(record)
    candidates = [values for records in by_options.values() if (values := scores(records))]
    of_student = max(candidates, key=lambda values: float(np.mean([*values.values()])), default={})
    rows = by_epoch(taught)
    names = _teacher_titles(rows, titles)
    gaps = [
        paired_gap(name, scores(row.records), of_student, repeats.of, mean_fit(row.records))
        for name, row in zip(names, rows, strict=True)
    ]
    return largest_first(gap for gap in gaps if isinstance(gap, Gap))


def _teacher_titles(rows: Sequence[Taught], titles: Mapping[str, str]) -> list[str]:
    """The names of rows of teachers; where two would be the same, with the epoch with which they taught."""
    names = [titles[row.records[0].key] for row in rows]
    return [
        f"{name}, {' or '.join(row.asked)} epoch" if names.count(name) > 1 else name
        for name, row in zip(names, rows, strict=True)
    ]


def _peer_rows(
    group: str,
    members: Sequence[UnitResult],
    alone: Mapping[str, Record],
    references: Sequence[Record],
    repeats: _Repeats,
    task: Task,
) -> list[TableRow]:
    """A row for each peer that was fitted on the windows of these units."""
    by_name: dict[str, list[Record]] = {}
    base: dict[str, Record] = {}
    for record in references:
        spec = record.spec
        assert isinstance(spec, PeerSpec)
        same = [r for r in members if PeerSpec.beside(r.spec, spec.method, spec.revision).key == record.key]
        if same:
            by_name.setdefault(spec.method, []).append(record)
            repeats.add(record, same[0])
            for result in same:
                if result.spec.key in alone:
                    base[record.key] = alone[result.spec.key]
    table = []
    for name, records in by_name.items():
        notes = dict.fromkeys(str(line) for record in records for line in record.result.get("notes") or ())
        row = _row(group, "reference", name, records, base, repeats, task)
        table.append(replace(row, notes=tuple(notes)))
    return table


def _teacher_rows(
    group: str,
    taught: Sequence[tuple[str, Record, str]],
    titles: Mapping[str, str],
    repeats: _Repeats,
    task: Task,
) -> list[TableRow]:
    """A row for each network and epoch with which it taught; `titles` are of each key."""
    rows = by_epoch(taught)
    table = [
        _row(group, "teacher", title, row.records, {}, repeats, task)
        for title, row in zip(_teacher_titles(rows, titles), rows, strict=True)
    ]
    notes = tuple(epoch_notes(row.epoch for row in rows))
    return [replace(row, notes=notes) for row in table]


def _fold(table: Sequence[TableRow]) -> list[TableRow]:
    """Rows that are equal to the bit as one, with the names of all and a note."""
    folded = []
    for equal in fold_equal(table, lambda row: (row.kind, row.mark) if row.mark else None):
        title = " = ".join(row.name for row in equal)
        same = (SAME.format(title),) if len(equal) > 1 else ()
        notes = dict.fromkeys(note for row in equal for note in row.notes)
        folded.append(replace(equal[0], name=title, notes=(*notes, *same)))
    return folded


def time_notes(by_name: Mapping[str, Sequence[Record]], alone: Mapping[str, Record]) -> list[str]:
    """A line on how long augmented trainings take, each in times of that of the student alone; none of others.

    Args:
        by_name: name of a row -> its records.
        alone: key of a unit -> the record of the student alone under the same seed.
    """
    parts = []
    for name, records in by_name.items():
        augmented = [record for record in records if record.unit.training.augment and record.teachers]
        pairs = [
            (record.result["seconds"], alone[record.key].result["seconds"])
            for record in augmented
            if record.key in alone
        ]
        usual = sum(seconds for _, seconds in pairs)
        if usual > 0:
            parts.append(f"{name} {sum(seconds for seconds, _ in pairs) / usual:.1f}")
    return [f"training time in times of the student alone, augmented alike: {', '.join(parts)}"] if parts else []


def machine_notes(records: Iterable[Record]) -> list[str]:
    """A line where units were trained on several kinds of machine, as those of `--records` may be; none of others."""
    kinds = different_machines(machine(Unit(record.key, 0, {}, record)) for record in records)
    return ["time: of units of several kinds of machine; mmkd.compare gives ratios of one"] if len(kinds) > 1 else []


def _detector_group(data: str, members: Sequence[UnitResult], references: Sequence[Record]) -> list[TableRow]:
    """Methods of any student and the references, the best first; controls last."""
    by_name: dict[str, list[Record]] = {}
    specs: dict[str, UnitSpec] = {}
    for result, name in zip(members, option_names([result.spec for result in members]), strict=True):
        if result.record is not None:
            network = f"{result.spec.student_name} {result.spec.student_net}"
            title = f"{name} ({', '.join(part for part in (network, result.spec.given_text) if part)})"
            by_name.setdefault(title, []).append(result.record)
            specs[title] = result.spec
    for record in references:
        by_name.setdefault(student_spec(record).method, []).append(record)
    records = [record for group in by_name.values() for record in group]
    if not records:
        return []
    task = TASKS.get(records[0].spec.task)
    series = records[0].result.get("series")
    counts = f", {series['scored']} series, {len(series['left_out'])} left out" if series else ""
    repeats = _Repeats(frozenset(), "seed")
    table = []
    for name, own in by_name.items():
        method = specs[name].method if name in specs else ""
        kind = kind_of_row("student", method, status_of(method, own[0].result)) if method else "student"
        row = _row(f"{data}{counts}", kind, name, own, {}, repeats, task)
        table.append(replace(row, notes=tuple(options_note(specs[name], name) if name in specs else ())))
    sign = METRICS.get(task.headline).sign
    return sorted(table, key=lambda row: (row.kind == "control", -sign * float(np.mean(row.score))))


def _repeats_of(members: Sequence[UnitResult]) -> _Repeats:
    folds = frozenset(result.spec.data.fold for result in members) - {""}
    single_seed = folds and len({result.spec.seed for result in members}) == 1
    return _Repeats(folds, "fold" if single_seed else "seed")


def _in_folds(members: Sequence[UnitResult], kind: str, on_record: int) -> str:
    """` in 5 folds`, ` in 3 of 5 folds`; empty of the data set's own split."""
    if not kind:
        return ""
    subjects = [result.record.data.get("subjects") for result in members if result.record is not None]
    count = fold_count(kind, on_record, max((number for number in subjects if number), default=None))
    return f" in {on_record}{f' of {count}' * (on_record < count)} fold{'s' * (count > 1)}"


def _row(
    group: str,
    kind: str,
    name: str,
    records: Sequence[Record],
    base: Mapping[str, Record],
    repeats: _Repeats,
    task: Task,
) -> TableRow:
    tests = [(record.key, record.metrics.test) for record in records]
    values = {}
    for metric in score_columns(task):
        known = [(key, test[metric.name]) for key, test in tests if metric.name in test]
        values[metric.name] = repeats.values(known) if len(known) == len(tests) else ()  # some are older than it
    score = task.headline
    change = [
        (key, test[score] - base[key].metrics.test[score])
        for key, test in tests
        if key in base and base[key].key != key
    ]
    return TableRow(
        group=group,
        kind=kind,
        name=name,
        task=task.name,
        values=values,
        change=repeats.values(change),
        parameters=records[0].parameters,
        seconds=float(np.mean([record.seconds for record in records])),
        of=repeats.of,
        folds=len(repeats.folds),
        test_part=tuple(test_part_notes(records)),
        mark=_mark(records, repeats),
    )


def _mark(records: Sequence[Record], repeats: _Repeats) -> tuple[tuple[int, str, str], ...]:
    marks = [(*repeats.by_key.get(record.key, (0, "")), prediction_mark(record) or "") for record in records]
    return tuple(sorted(marks)) if all(mark for *_, mark in marks) else ()
