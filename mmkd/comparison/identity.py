"""From a record's settings: which units may be compared, which are one row, and names for both."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mmkd.comparison.length import settings_by_length
from mmkd.specs.data import fold_kind
from mmkd.specs.unit import DetectorSpec, TeacherSpec, UnitSpec, student_sources
from mmkd.store.record import Record
from mmkd.tasks import TASKS
from mmkd.units.names import tuned_name, tuned_settings, variant_names

Settings = Mapping[str, Any]
OLDER = "older-form"
"""Stands in the name of a row that an older form of its method made."""

WHERE_CHOSEN = frozenset(
    ("ce_weight", "class_weights", "first_epochs", "focal_gamma", "label_smoothing", "method_lr_factor", "mix")
) | {"prompt_steps", "qat", "second_epochs", "teacher_errors", "tokens", "wavelet"}
"""Options of methods that are on record only where they were chosen (those with `since`): a record without them may be
new."""


def flat(settings: Settings, prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names."""
    dotted: dict[str, Any] = {}
    for name, value in settings.items():
        dotted |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return dotted


def as_key(settings: Any) -> str:
    """A text that is the same for the same settings, whatever their order."""
    return json.dumps(settings, sort_keys=True, default=str)


def student_spec(record: Record) -> UnitSpec | DetectorSpec:
    """The spec of a student's record, or of a reference beside students.

    Raises:
        TypeError: it is the record of a teacher.
    """
    if isinstance(record.spec, TeacherSpec):
        raise TypeError("the record of a teacher")
    return record.spec


def group_settings(record: Record) -> dict[str, Any]:
    """What all rows of a group have in common: the data, the student, its views and its training.

    Where a task does not group by student, such as detectors of anomalies, they meet on the same data.
    """
    spec = student_spec(record)
    subjects, fold = fold_of(record)
    data = {
        **asdict(spec.data),
        "test_subjects": [],
        "stratified_fold": (),
        "fold": fold_kind(fold, subjects) if subjects else "",
        "unlabelled_file": "",  # its checksum tells it from others
    }  # of one cut
    own = _network(spec) | _making(record, spec) if _by_student(spec) else {}
    return {"task": spec.task, "data": data, **own}


def _by_student(spec: UnitSpec | DetectorSpec) -> bool:
    return TASKS.get(spec.task).groups_by_student


def _network(spec: UnitSpec | DetectorSpec) -> dict[str, Any]:
    fusion = spec.fusion if isinstance(spec, UnitSpec) else None
    return {"student": "+".join(spec.student), "student_net": spec.student_net, "fusion": fusion}


def _making(record: Record, spec: UnitSpec | DetectorSpec) -> dict[str, Any]:
    """How the student is trained, its views, and the plugins' code that it is made with."""
    if not isinstance(spec, UnitSpec):
        return {}
    views = {name: dict(spec.views[name]) for name in spec.student}
    sources = _short(student_sources(spec))
    training = settings_by_length(spec.training, record, teacher=False)
    return {"training": training, "view": views, **({"source": sources} if sources else {})}


def _short(sources: Mapping[str, str]) -> dict[str, str]:
    return {entry: checksum[:8] for entry, checksum in sources.items()}


def fold_of(record: Record) -> tuple[tuple[int | str, ...], str]:
    """The subjects of the test part, or which stratified fold it is, and its name.

    Nobody and nothing where it is the data set's own.
    """
    data = record.spec.data
    return data.tested, str(data.fold or "")


def test_part_notes(records: Iterable[Record]) -> list[str]:
    """How the test part of own data was made; nothing of older records, which do not say it."""
    return list(dict.fromkeys(str(record.data["test_part"]) for record in records if record.data.get("test_part")))


def data_warnings(records: Iterable[Record]) -> list[str]:
    """What is suspicious in the data of records, as they say it themselves."""
    return list(dict.fromkeys(str(line) for record in records for line in record.data.get("warnings") or ()))


def row_settings(record: Record) -> dict[str, Any]:
    """What makes a row besides its method: options and teachers' networks; of a trained detector its own network."""
    spec = student_spec(record)
    if not isinstance(spec, UnitSpec):
        return {**spec.options, "teachers": dict(spec.teachers)}
    own = {} if _by_student(spec) else _network(spec)
    if spec.tuned:  # its options may differ between data sets and folds, and are one row all the same
        return {**tuned_settings(spec.tuned), "teachers": dict(spec.teachers), **own}
    epoch = {"teacher_epoch": record.teacher_epoch} if spec.chooses_epoch else {}
    return {**spec.distinct_options, **epoch, "teachers": dict(spec.teachers), **own}


def making_settings(record: Record) -> dict[str, Any]:
    """And how its teachers were made, or whose the method is; of a trained detector how it was made itself."""
    spec = student_spec(record)
    if not isinstance(spec, UnitSpec):
        return {}
    training = spec.teacher_training
    teachers = settings_by_length(training, record, teacher=True) if training is not None else {}
    views = {name: config for name, config in spec.views.items() if name not in spec.student}
    sources = {entry: checksum for entry, checksum in spec.sources.items() if entry not in student_sources(spec)}
    own = {} if _by_student(spec) else flat({"student": _making(record, spec)})
    return {
        **own,
        **flat({"teacher": teachers}),
        **flat({"view": views}),
        **flat({"source": _short(sources)}),
        **({"teacher_net": "+".join(f"{m}:{n}" for m, n in spec.teachers.items())} if spec.teachers else {}),
        **{f"checkpoint.{name}": sha[:8] for name, sha in spec.checkpoint_sha256.items()},
        **({"selection_folds": spec.selection_folds} if spec.selection_folds else {}),
        **({"teacher_targets": spec.teacher_targets} if spec.teacher_targets != "fitted" else {}),
        **flat({"peer_revision": spec.peer_revisions}),
        "method_sha256": spec.method_sha256[:8],
        "revision": spec.revision,
    }


def teacher_settings(record: Record) -> dict[str, Any]:
    """What makes a teacher's row besides its modality, its network and the epoch of its weights."""
    spec = record.teacher
    validation = spec.data.validation if spec.data.epoch_rule == "val-best" else 0.0
    training = settings_by_length(spec.training, record, teacher=True)
    settings = flat({"training": training, "view": dict(spec.view), "source": _short(spec.sources)})
    revision = {"revision": spec.revision} if spec.revision != 1 else {}
    return {**settings, "checkpoint": spec.checkpoint_sha256[:8], "validation": validation, **revision}


def most_usual(named: Sequence[tuple[str, Settings]]) -> Callable[[str], Settings]:
    """A function from a name to the most frequent value of each setting under that name; names leave these out."""

    def usual(name: str) -> Settings:
        members = [settings for other, settings in named if other == name]
        values = {}
        for key in dict.fromkeys(key for settings in members for key in settings):
            counts = Counter(as_key(settings.get(key)) for settings in members)
            most = counts.most_common(1)[0][0]
            values[key] = next(s.get(key) for s in members if as_key(s.get(key)) == most)
        return values

    return usual


def _form(record: Record) -> tuple[int, int]:
    """The form of the method that made a unit, newer ones last: its revision, and how many options it always had."""
    spec = student_spec(record)
    return (spec.revision if isinstance(spec, UnitSpec) else 1), len(spec.options.keys() - WHERE_CHOSEN)


def _method_name(record: Record) -> str:
    spec = student_spec(record)
    return tuned_name(spec) if isinstance(spec, UnitSpec) else spec.method


def method_names(students: Sequence[Record]) -> dict[str, str]:
    """Key -> the unit's method and the options in which these units of one method differ.

    If they differ in several options, those are left out that have the most usual value among the units that the newest
    form of the method made. `OLDER` is added to the names of units whose form has a lower revision or lacks an option.

    Args:
        students: all units of one task and student, on any data set, so that a row has the same name on each.
    """
    named = [(_method_name(record), row_settings(record)) for record in students]
    forms = [_form(record) for record in students]
    newest: dict[str, tuple[int, int]] = {}
    for (method, _), form in zip(named, forms, strict=True):
        newest[method] = max(form, newest.get(method, form))
    new = [own for own, form in zip(named, forms, strict=True) if form == newest[own[0]]]
    usual = most_usual(new)
    common = {method: usual(method) for method in newest}
    texts = variant_names(named, lambda method: common[method])
    names = {}
    for record, (method, settings), form, text in zip(students, named, forms, texts, strict=True):
        lacks = common[method].keys() - settings.keys() - WHERE_CHOSEN - {"teacher_epoch"}  # without it none is chosen
        is_older = form[0] < newest[method][0] or (form < newest[method] and lacks)
        names[record.key] = f"{text} {OLDER}" if is_older else text
    return names


def student_title(record: Record) -> str:
    """The student in words: its modalities, network and fusion, and what the user set of its views and training."""
    spec = student_spec(record)
    return spec.student_title if isinstance(spec, UnitSpec) and _by_student(spec) else "detectors"


def teacher_name(record: Record) -> str:
    """A teacher's modality and network, and what the user set of its view and training."""
    return record.teacher.title
