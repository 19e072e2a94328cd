"""The form of a record: of which type of JSON each field of a `result.json` is.

A checksum says that a file is what somebody wrote, not that a record was written. Fields that are missing are those of
an older mmkd; fields that are not named here are those of a newer one.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from mmkd.specs.unit import KINDS

Check = Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _objects_of(check: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _lists_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


NUMBER = "no number", _is_number
TEXT = "no text", _is_text
OBJECT = "no object", _is_object
LIST = "no list", _is_list
TEXTS = "no list of texts", _lists_of(_is_text)
OBJECTS = "no object of objects", _objects_of(_is_object)
NAMED_TEXTS = "no object of texts", _objects_of(_is_text)
NAMED_NUMBERS = "no object of numbers", _objects_of(_is_number)
NAMED_LISTS = "no object of lists of texts", _objects_of(_lists_of(_is_text))
SCORES = "no object of objects of numbers", _objects_of(_objects_of(_is_number))

FORMS: Mapping[str, tuple[str, Check]] = {
    "kind": TEXT,
    "spec": OBJECT,
    "metrics": SCORES,
    "parameters": NUMBER,
    "seconds": NUMBER,
    "best_epoch": NUMBER,
    "method_parameters": NUMBER,
    "training_threads": NUMBER,
    "process_peak_memory_mib": NUMBER,
    "status": TEXT,
    "method_status": TEXT,
    "deploys": TEXT,
    "teachers": NAMED_TEXTS,
    "teacher_checkpoint": TEXT,
    "teacher_weights": TEXT,
    "training_fit": SCORES,
    "fold_teachers": NAMED_LISTS,
    "likes": NAMED_TEXTS,
    "length": OBJECT,
    "replaced_outputs": NAMED_NUMBERS,
    "views": OBJECTS,
    "files": OBJECTS,
    "notes": TEXTS,
    "data": OBJECT,
    "data.classes": TEXTS,
    "data.labels": LIST,
    "data.channels": TEXTS,
    "data.grid": LIST,
    "data.offset": LIST,
    "data.window": NUMBER,
    "data.rate_hz": NUMBER,
    "data.subjects": NUMBER,
    "data.windows": NAMED_NUMBERS,
    "data.split": OBJECT,
    "data.test_part": TEXT,
    "data.understood": TEXT,
    "data.warnings": TEXTS,
    "environment": OBJECT,
    "environment.device": TEXT,
    "environment.processor": TEXT,
    "environment.platform": TEXT,
    "environment.python": TEXT,
    "environment.command": TEXT,
    "environment.created": TEXT,
    "environment.threads": NUMBER,
    "environment.processes": NUMBER,
    "environment.versions": NAMED_TEXTS,
    "environment.git": OBJECT,
    "environment.git.commit": TEXT,
}
"""Field, or fields of a field, -> what is said of one that is not of its type, and whether a value is."""
NEVER_NULL = ("kind", "spec", "metrics", "parameters", "seconds", "files")


def check_form(result: Mapping[str, Any]) -> None:
    """Raise ValueError if a field of a record's `result.json` is of a wrong type; a missing one is right."""
    for name, (what, check) in FORMS.items():
        *above, last = name.split(".")
        place: Any = result
        for part in above:
            place = place.get(part) or {}
        if last not in place or (place[last] is None and name not in NEVER_NULL):
            continue
        try:
            is_right = check(place[last])
        except OverflowError:  # a whole number of hundreds of digits
            is_right = False
        if not is_right:
            raise ValueError(f"its {name} is {what}")
    cls = KINDS.get(result.get("kind") or "")
    if cls is not None and "spec" in result:
        _check_spec(cls, result["spec"], "spec")


def _check_spec(cls: type, values: Mapping[str, Any], name: str) -> None:
    """Raise ValueError if a value is not of the type that its field has in the class of a spec."""
    for field, hint in _hints(cls).items():
        if field in values and not _fits(hint, values[field]):
            raise ValueError(f"its {name}.{field} is no value of that field")
        own = [part for part in (hint, *get_args(hint)) if is_dataclass(part)]
        if own and isinstance(values.get(field), dict):
            _check_spec(own[0], values[field], f"{name}.{field}")  # type: ignore[arg-type]


@cache
def _hints(cls: type) -> Mapping[str, Any]:
    """Field of a spec -> its type."""
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls)}


def _fits(hint: Any, value: Any) -> bool:
    """Whether a value of JSON is one of a type: of a class of plain values an object, of a tuple a list."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is None or hint is NoneType:
        return value is None
    if origin in (Union, UnionType):
        return any(_fits(part, value) for part in inner)
    if is_dataclass(hint):
        return _is_object(value)
    if origin is tuple:
        return _is_list(value) and all(_fits(inner[0], item) for item in value)
    if origin is Mapping:
        return _is_object(value) and all(_fits(inner[1], item) for item in value.values())
    if hint is bool:
        return isinstance(value, bool)
    if hint in (int, float):
        return _is_number(value)
    return _is_text(value) if hint is str or origin is Literal else True
