"""What a record's settings say of where it belongs: which units may meet, and which are one row. And names for them."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .record import Record
from .table import variant_names

LONGEST = 200  # characters of a name

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
    """What all rows of a group have in common: the data, the student, its views and its training."""
    spec = record.spec
    return {
        "task": spec["task"],
        "data": {"train_subjects": 0, "test_subjects": [], "fold": "", **spec["data"]},  # fields that came later
        "student": "+".join(spec["student"]),
        "student_net": spec["student_net"],
        "fusion": spec["fusion"],
        "training": dict(spec["training"]),
        "view": {name: dict(spec["views"][name]) for name in spec["student"]},
    }


def row_settings(record: Record) -> dict[str, Any]:
    """What makes a row besides its method: options and teachers' networks."""
    return {**record.spec["options"], "teachers": dict(record.spec["teachers"])}


def making_settings(record: Record) -> dict[str, Any]:
    """And how its teachers were made, or whose the method is."""
    spec = record.spec
    taught = spec["teacher_training"] or {}
    given = spec.get("checkpoint_sha256") or {}
    views = {name: config for name, config in spec["views"].items() if name not in spec["student"]}
    return {
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
    fusion = f", {shared['fusion']}" if shared["fusion"] else ""
    return f"student {shared['student']} ({shared['student_net']}{fusion})"


def printable(text: str) -> str:
    """A text as one line without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def shortened(text: str, longest: int = LONGEST) -> str:
    """A name as one printable line of at most so many characters."""
    line = printable(text)
    return line if len(line) <= longest else f"{line[: longest - 20]}...{line[-17:]}"


def teacher_name(record: Record) -> str:
    """A teacher's modality and network."""
    return f"{record.spec['modality']} {record.spec['net']}"
