"""What a record's settings say of where it belongs: which units may meet, and which are one row. And names for them."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmkd.specs.data import fold_kind
from mmkd.store.record import Record
from mmkd.units.names import variant_names

Settings = Mapping[str, Any]


def flat(settings: Settings, prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def as_key(settings: Any) -> str:
    """A text that is the same for the same settings, whatever their order."""
    return json.dumps(settings, sort_keys=True, default=str)


def group_settings(record: Record) -> dict[str, Any]:
    """What all rows of a group have in common: the data, the student, its views and its training.

    Detectors of anomalies, some of which are not trained at all, meet on the same data.
    """
    spec, fold = record.spec, fold_of(record)
    cut = {"test_subjects": [], "fold": fold_kind(fold[1]) if fold[0] else ""}
    data = {"train_subjects": 0, "rate": 0.0, **spec["data"], **cut}  # folds of one cut are one group
    own = {} if spec["task"] == "anomaly" else _network(record) | _making(record)
    return {"task": spec["task"], "data": data, **own}


def _network(record: Record) -> dict[str, Any]:
    spec = record.spec
    return {"student": "+".join(spec["student"]), "student_net": spec["student_net"], "fusion": spec["fusion"]}


def _making(record: Record) -> dict[str, Any]:
    """How the student is trained, and its views."""
    spec = record.spec
    views = {name: dict(spec["views"][name]) for name in spec["student"]}
    return {"training": dict(spec["training"]), "view": views}


def fold_of(record: Record) -> tuple[tuple[int, ...], str]:
    """The subjects of the test part, and its name; nobody and nothing where it is the data set's own."""
    data = record.spec["data"]
    return tuple(int(subject) for subject in data.get("test_subjects") or ()), str(data.get("fold") or "")


def row_settings(record: Record) -> dict[str, Any]:
    """What makes a row besides its method: options and teachers' networks; of a trained detector its own network."""
    own = _network(record) if record.spec["task"] == "anomaly" and record.kind == "student" else {}
    return {**record.spec["options"], "teachers": dict(record.spec["teachers"]), **own}


def making_settings(record: Record) -> dict[str, Any]:
    """And how its teachers were made, or whose the method is; of a trained detector how it was made itself."""
    if record.kind == "simple":
        return {}
    spec = record.spec
    taught = spec["teacher_training"] or {}
    given = spec.get("checkpoint_sha256") or {}
    views = {name: config for name, config in spec["views"].items() if name not in spec["student"]}
    own = flat({"student": _making(record)}) if spec["task"] == "anomaly" else {}
    return {
        **own,
        **flat({"teacher": dict(taught)}),
        **flat({"view": views}),
        **({"teacher_net": "+".join(f"{m}:{n}" for m, n in spec["teachers"].items())} if spec["teachers"] else {}),
        **{f"checkpoint.{name}": sha[:8] for name, sha in given.items()},
        "method_sha256": spec["method_sha256"][:8],
    }


def teacher_settings(record: Record) -> dict[str, Any]:
    """What makes a teacher's row besides its modality and network."""
    spec = record.spec
    checkpoint = (spec.get("checkpoint_sha256") or "")[:8]
    return {**flat({"training": dict(spec["training"]), "view": dict(spec["view"])}), "checkpoint": checkpoint}


def most_usual(given: Sequence[tuple[str, Settings]]) -> Callable[[str], Settings]:
    """Of the settings under each name, those of most units: what a name need not say."""

    def usual(name: str) -> Settings:
        members = [settings for other, settings in given if other == name]
        found = {}
        for key in dict.fromkeys(key for settings in members for key in settings):
            counts = Counter(as_key(settings.get(key)) for settings in members)
            most = counts.most_common(1)[0][0]
            found[key] = next(s.get(key) for s in members if as_key(s.get(key)) == most)
        return found

    return usual


def method_names(students: Sequence[Record]) -> dict[str, str]:
    """Key -> the unit's method and the options in which the units of one method differ anywhere.

    So a row has the same name on every data set.
    """
    given = [(str(record.spec["method"]), row_settings(record)) for record in students]
    usual = most_usual(given)
    common = {method: usual(method) for method in {method for method, _ in given}}
    return dict(zip([r.key for r in students], variant_names(given, lambda method: common[method]), strict=True))


def student_title(shared: Settings) -> str:
    """The student in words: its modalities, network and fusion."""
    if "student" not in shared:
        return "detectors"
    fusion = f", {shared['fusion']}" if shared["fusion"] else ""
    return f"student {shared['student']} ({shared['student_net']}{fusion})"


def teacher_name(record: Record) -> str:
    """A teacher's modality and network."""
    return f"{record.spec['modality']} {record.spec['net']}"
