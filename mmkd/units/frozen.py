"""Frozen configurations: what equal tuning chose, in `METHOD.toml` files, with where it comes from."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mmkd
from mmkd.core.errors import MmkdError
from mmkd.core.options import older_options, recorded, shown
from mmkd.core.registry import METHODS
from mmkd.data.cards import read_toml
from mmkd.metrics.registry import METRICS
from mmkd.specs.unit import UnitSpec
from mmkd.store.environment import git_state
from mmkd.units.tuned import Choice
from mmkd.units.tuning import FOLD, Tries, configurations, ranges_of, table_digest
from mmkd.units.tuning_settings import CARRIED, MOST

FACTS: Mapping[str, type | tuple[type, ...]] = {
    "method": str,
    "table": str,
    "number": int,
    "budget": int,
    "metric": str,
    "score": (float, int),
    "default_score": (float, int),
    "trainings": int,
    "seconds": (float, int),
    "data": list,
    "options": dict,
}
"""What a file must say, and its type."""


def carried_folder() -> Path:
    """`experiments/tuned` of the checkout if there is one, else the copy inside the wheel."""
    package = Path(mmkd.__path__[0]).resolve()
    checkout = package.parent / CARRIED
    return checkout if (package.parent / "pyproject.toml").is_file() and checkout.is_dir() else package / "tuned"


def find_folder(name: str) -> Path:
    """The folder of `--tuned`.

    Raises:
        MmkdError: there is no such folder.
    """
    folder = carried_folder() if name == CARRIED and not Path(name).is_dir() else Path(name)
    if not folder.is_dir():
        raise MmkdError(f"--tuned {name}: there is no such folder; --tune N --freeze {name} makes it")
    return folder


def check_folder(name: str) -> None:
    """Check that frozen configurations could be written to a folder.

    Raises:
        MmkdError: they could not.
    """
    folder = Path(name)
    existing = next((path for path in (folder, *folder.absolute().parents) if path.exists()), None)
    if not name or existing is None or not existing.is_dir():
        raise MmkdError(f"--freeze {shown(name)}: {existing or 'the name'} is not a folder; name another")


def freeze(folder: Path, tries: Tries, choice: Choice) -> Path:
    """Write a choice as `METHOD.toml`; an older file of the method is replaced. Returns the file.

    Raises:
        MmkdError: the folder cannot be written.
    """
    spec = tries.units[0][0][0]
    git = git_state()
    values: dict[str, Any] = {
        **{name: value for name, value in asdict(choice).items() if name in FACTS and name not in ("data", "options")},
        "failed": list(choice.lacking),
        "scores": list(choice.scores),
        "task": spec.task,
        "student": f"{spec.student_name} {spec.student_net}",
        "teachers": dict(spec.teachers),
        "seed": spec.seed,
        "fold": f"{FOLD[0]} of {FOLD[1]}",
        "version": mmkd.__version__,
        "commit": str(git.get("commit", "")) + " with changes" * bool(git.get("dirty")),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "data": [
            {"name": own.data.name, "sha256": own.data.sha256, "rate": own.data.rate} for own, _ in tries.units[0]
        ],
        "options": _whole(choice.method, choice.options),
        "default": _whole(choice.method, tries.options[0]),
    }
    lines = ["# Chosen by equal tuning (--tune N --freeze DIR); read by --tuned DIR. Not written by hand."]
    lines += [f"{name} = {_literal(value)}" for name, value in values.items() if name not in ("options", "default")]
    for table in ("options", "default"):
        lines += ["", f"[{table}]", *(f"{name} = {_literal(value)}" for name, value in values[table].items())]
    path = folder / f"{choice.method}.toml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise MmkdError(f"--freeze {folder}: {error.strerror or error}; name another folder") from None
    return path


def read_frozen(folder: Path, specs: Sequence[UnitSpec]) -> dict[str, Choice]:
    """Method -> its frozen configuration, of the methods of these units that have one.

    Raises:
        MmkdError: no method has one; or a file is damaged, or was made for other options, other ranges or another form
            of its method.
    """
    found: dict[str, Choice] = {}
    for spec in specs:
        path = folder / f"{spec.method}.toml"
        if path.is_file():
            found[spec.method] = _read(path, spec)
    if not found:
        methods = ", ".join(dict.fromkeys(spec.method for spec in specs))
        raise MmkdError(f"--tuned {folder}: it has no file of {methods}; --tune N --freeze {folder} makes them")
    return found


def frozen_options(folder: Path, method: str) -> dict[str, Any] | None:
    """The options of a method's frozen configuration; None where it has none.

    Raises:
        MmkdError: the file is damaged, or names options that the method has not.
    """
    path = folder / f"{method}.toml"
    if not path.is_file():
        return None
    values = read_toml(path, "--tuned")
    if wrong := _unusable(values):
        raise MmkdError(f"--tuned {path}: it has no usable {shown(wrong[0])}")
    return recorded(METHODS.get(method).Config.parse(values["options"], f"--tuned {path}"))


def _read(path: Path, spec: UnitSpec) -> Choice:
    values = read_toml(path, "--tuned")
    wrong = _unusable(values)
    if wrong or values["method"] != spec.method:
        what = f"no usable {shown(wrong[0])}" if wrong else f"the configuration of {shown(values['method'])}"
        raise MmkdError(f"--tuned {path}: it has {what}; write it again with --tune N --freeze {path.parent}")
    again = f"tune again with --tune {values['budget']} --freeze {path.parent}"
    if values["table"] != table_digest(spec.method, spec.options):
        raise MmkdError(f"--tuned {path}: {_difference(values, spec)}, and tables are not mixed; {again}")
    options = recorded(METHODS.get(spec.method).Config.parse(values["options"], f"--tuned {path}"))
    table = configurations(spec.method, values["number"] + 1, spec.options)
    if values["number"] >= len(table) or table[values["number"]] != options:
        raise MmkdError(f"--tuned {path}: its options are not number {values['number']} of its table; {again}")
    return Choice(
        **{name: values[name] for name in FACTS if name not in ("data", "options")},
        on=[entry["name"] for entry in values["data"]],
        options=options,
        changed={
            name: older_options(METHODS.get(spec.method).Config, options)[name] for name in ranges_of(spec.method)
        },
        lacking=list(values.get("failed") or ()),
        file=str(path),
    )


def _unusable(values: Mapping[str, Any]) -> list[str]:
    """The names of the facts that a file lacks, or of which it has what `freeze` never writes."""
    wrong = {name for name, kind in FACTS.items() if not isinstance(values.get(name), kind)}
    wrong |= {name for name, value in values.items() if name in FACTS and isinstance(value, bool)}
    right: Mapping[str, Callable[[], bool]] = {
        "data": lambda: bool(values["data"]) and all(_names_data(entry) for entry in values["data"]),
        "metric": lambda: values["metric"] in METRICS,
        "budget": lambda: 1 <= values["budget"] <= MOST,
        "number": lambda: 0 <= values["number"] < values["budget"],
    }
    for name, is_right in right.items():
        if not wrong & {name, "budget"} and not is_right():
            wrong.add(name)
    failed = values.get("failed", [])
    if not isinstance(failed, list) or not all(isinstance(number, int) for number in failed):
        wrong.add("failed")
    return [name for name in (*FACTS, "failed") if name in wrong]


def _names_data(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("name"), str)


def _difference(values: Mapping[str, Any], spec: UnitSpec) -> str:
    """In what a file's table differs from that of today, in words."""
    own = _whole(spec.method, spec.options)
    default = values.get("default")
    default = default if isinstance(default, dict) else {}
    for name, value in default.items():
        if name in own and own[name] != value:
            flag = name.replace("_", "-")
            return f"it was made with {spec.method} --{flag} {value}, and here it is {own[name]}"
    return f"it was made for other options or ranges of {spec.method}, or an older form of it"


def _whole(method: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a method as TOML has them: none is a text there."""
    values = older_options(METHODS.get(method).Config, options)
    return {name: "none" if value is None else value for name, value in values.items()}


def _literal(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(name)} = {_literal(own)}" for name, own in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
