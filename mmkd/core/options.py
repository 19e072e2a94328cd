"""Options as frozen dataclasses: the default, a line of help and the range of a field stand in one place.

A `Config` is written once and read three ways: from the command line (`--temperature 2`), from TOML
(`temperature = 2.0`) and from Python (`temperature=2.0`). All three give the same object or the same error.
"""

import operator
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from numbers import Integral, Real
from os import PathLike, fspath
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from mmkd.core.errors import MmkdError, did_you_mean
from mmkd.core.ranges import Tune
from mmkd.core.text import shown as shown

C = TypeVar("C")
Bound = tuple[str, Callable[[Any, Any], bool], float]
"""A sign in words, its comparison, and the number on its right."""
SIGNS = {"ge": (">=", operator.ge), "gt": (">", operator.gt), "le": ("<=", operator.le), "lt": ("<", operator.lt)}
"""Name of a bound of `option` -> its sign and comparison."""
FIRST_FORMAT = 2
"""The format of keys and records; an option that is added later names the next number, `since=3`."""


def option(
    default: Any,
    help: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    since: int = FIRST_FORMAT,
    before: Any = MISSING,
    tune: Tune | None = None,
) -> Any:
    """A dataclass field with a line of help and a range (`ge` >=, `gt` >, `le` <=, `lt` <).

    Args:
        since: the record format that brought the option, of one that is added later. While such an option has its
            default it is left out of keys and records, so that records made before it stay valid.
        before: the value that stands for what older records did, if that is not the default. The option is then left
            out while it has this value, and older records answer to it.
        tune: what equal tuning (`--tune`) tries: a `Range`, or the values themselves. It is part of no key.
    """
    metadata = {"help": help, "ge": ge, "gt": gt, "le": le, "lt": lt, "since": since, "tune": tune}
    if before is not MISSING:
        metadata["before"] = before
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def recorded(options: Any) -> dict[str, Any]:
    """The fields of a dataclass, nested dataclasses too, as they go into keys and into the options of a record.

    Two kinds of fields are left out: those with the metadata `in_key: False`, and those that were added later
    (`since`), as long as they have the value of older records: the default, or `before`.
    """
    values: dict[str, Any] = {}
    cls: type = type(options)
    for name, is_later, older in _fields_of_keys(cls):
        value = getattr(options, name)
        if is_later and value == older:
            continue
        values[name] = recorded(value) if is_dataclass(value) else value
    return values


@cache
def _fields_of_keys(cls: type) -> list[tuple[str, bool, Any]]:
    """Of each field of a dataclass that goes into keys: its name, whether it was added later, and its older value."""
    own = [f for f in fields(cls) if f.metadata.get("in_key", True)]
    return [(f.name, f.metadata.get("since", FIRST_FORMAT) > FIRST_FORMAT, _older_value(f)) for f in own]


def _older_value(f: "Field[Any]") -> Any:
    """What a field that was added later stands for where a record lacks it."""
    if "before" in f.metadata:
        return f.metadata["before"]
    return f.default if f.default_factory is MISSING else f.default_factory()


def older_options(config: type, recorded_options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a record, with those added since filled in by the values that they stand for.

    Args:
        config: the options of the method today.
        recorded_options: the options of a record, as `recorded` returned them.

    Returns:
        Values from which `config` makes the options of that record, whatever its defaults are today.
    """
    later = (f for f in fields(config) if f.metadata.get("since", FIRST_FORMAT) > FIRST_FORMAT)
    return {**{f.name: _older_value(f) for f in later}, **recorded_options}


@dataclass(frozen=True)
class Options:
    """Base of every set of options: types, choices and ranges are checked when an object is made."""

    def __post_init__(self) -> None:
        cls: type = type(self)
        for name, hint, bounds in _rules(cls):
            given = getattr(self, name)
            value = _typed(given, hint, name)
            if value is not given:
                object.__setattr__(self, name, value)
            if bounds:
                _in_range(value, name, bounds)

    @classmethod
    def parse(cls: type[C], values: Mapping[str, Any], what: str) -> C:
        """Make the options from a mapping of names to values or to strings; `what` names their owner in messages.

        Names may be written with dashes or underscores.
        """
        known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
        parsed: dict[str, Any] = {}
        for name, value in values.items():
            field_name = name.replace("-", "_")
            if field_name not in known:
                hint = did_you_mean(name, [k.replace("_", "-") for k in known])
                its = ", ".join(k.replace("_", "-") for k in known)
                raise MmkdError(
                    f"{what} has no option {shown(name)}{hint} ({f'its options: {its}' if its else 'it has none'})"
                )
            if field_name in parsed:
                raise MmkdError(f"{what}: option {name!r} is given twice, with dashes and with underscores")
            parsed[field_name] = value
        try:
            return cls(**parsed)
        except MmkdError as error:
            raise MmkdError(f"{what}: {error}") from None


@cache
def _hints(cls: type) -> dict[str, Any]:
    """The types of the options of a class: five hundred records have thousands of options, and some twenty classes."""
    return get_type_hints(cls)


@cache
def _rules(cls: type) -> list[tuple[str, Any, list[Bound]]]:
    """Of each option of a class its name, its type and its bounds."""
    hints = _hints(cls)
    return [
        (f.name, hints[f.name], [(*SIGNS[key], f.metadata[key]) for key in SIGNS if f.metadata.get(key) is not None])
        for f in fields(cls)
    ]


def describe(cls: type) -> list[tuple[str, str, Any, str]]:
    """Of each option: its flag, its type or choices in words, its default, and its line of help."""
    hints = _hints(cls)
    rows = []
    for f in fields(cls):
        default = None if f.default is MISSING else f.default
        rows.append((f.name.replace("_", "-"), _words(hints[f.name]), default, f.metadata.get("help", "")))
    return rows


def _words(hint: Any) -> str:
    """A type in words: `float`, `a|b|c` of choices, `int|none`."""
    if get_origin(hint) is Literal:
        return "|".join(str(choice) for choice in get_args(hint))
    if get_origin(hint) in (types.UnionType, Union):
        return "|".join(_words(inner) for inner in get_args(hint) if inner is not type(None)) + "|none"
    return getattr(hint, "__name__", str(hint))


TRUTHS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def _typed(value: Any, hint: Any, name: str) -> Any:
    """`value` as the type `hint`. Strings are read as the command line writes them, a list as a tuple; no other
    conversion is made.
    """
    if type(value) is hint and (hint in (str, bool) or (hint in (int, float) and abs(value) < 2**63)):
        return value  # as most are
    origin = get_origin(hint)
    if hint is Any:
        return value
    if origin is Literal:
        return _choice(value, get_args(hint), name)
    if origin in (types.UnionType, Union):
        inner = next(choice for choice in get_args(hint) if choice is not type(None))
        if value is None or (inner is not str and isinstance(value, str) and value.lower() == "none"):
            return None
        return _typed(value, inner, name)
    if origin is tuple:
        return _tuple(value, get_args(hint)[0], name)
    if origin is Mapping:
        return _mapping(value, get_args(hint)[1], name)
    if hint is bool:
        truth = TRUTHS.get(value.lower()) if isinstance(value, str) else value
        if not isinstance(truth, bool):
            raise MmkdError(f"{_what(name, value)} is not true or false")
        return truth
    if hint in (int, float):
        return _number(value, hint, name)
    if hint is str:
        if isinstance(value, PathLike):
            return fspath(value)
        if not isinstance(value, str):
            raise MmkdError(f"{_what(name, value)} is not a text")
        return value
    raise TypeError(f"option {name}: the type {hint!r} is not one that options can have")


def _what(name: str, value: Any) -> str:
    """An option and its value, for a message."""
    return f"{name.replace('_', '-')} = {shown(value)}"


def _choice(value: Any, choices: tuple[Any, ...], name: str) -> Any:
    for choice in choices if getattr(value, "shape", ()) == () else ():  # arrays and tables compare item by item
        if value == choice or (isinstance(value, str) and value == str(choice)):
            return choice
    words = [str(choice) for choice in choices]
    hint = did_you_mean(value, words) if isinstance(value, str) else ""
    raise MmkdError(f"{_what(name, value)} is not one of {', '.join(words)}{hint}")


def _tuple(value: Any, hint: Any, name: str) -> tuple[Any, ...]:
    """A list or tuple of one type; a single value stands for a list of one. A tuple that fits is returned as it is."""
    values = tuple(value) if isinstance(value, list | tuple | range) else (value,)
    typed = tuple(_typed(item, hint, name) for item in values)
    same = isinstance(value, tuple) and all(new is old for new, old in zip(typed, value, strict=True))
    return value if same else typed


def _mapping(value: Any, hint: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise MmkdError(f"{_what(name, value)} is not a mapping of names to values")
    return {key: _typed(item, hint, f"{name}.{key}") for key, item in value.items()}


def _number(given: Any, hint: type, name: str) -> int | float:
    if isinstance(given, bool) or not isinstance(given, Real | str):
        raise MmkdError(f"{_what(name, given)} is not a number")
    value: Any = given
    if not isinstance(given, str):  # NumPy's numbers become Python's
        value = int(given) if isinstance(given, Integral) else float(given)
    try:
        exact = Decimal(value)  # keeps every digit of a large whole number
        number = float(exact)
    except (InvalidOperation, ValueError):
        raise MmkdError(f"{_what(name, given)} is not a number") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise MmkdError(f"{_what(name, given)} is not a finite number")
    if hint is float:
        return number
    if exact != int(exact):
        raise MmkdError(f"{_what(name, given)} is not a whole number")
    if abs(exact) >= 2**63:
        raise MmkdError(f"{_what(name, given)} is past 2^63")
    return int(exact)


def _in_range(value: Any, name: str, bounds: list[Bound]) -> None:
    for sign, holds, bound in bounds:
        if value is not None and not holds(value, bound):
            raise MmkdError(f"{_what(name, value)} must be {sign} {bound:g}")
