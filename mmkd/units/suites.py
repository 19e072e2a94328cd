"""Suite files: requests in TOML, of one part or of several."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmkd.core.errors import MmkdError, did_you_mean
from mmkd.core.options import shown
from mmkd.core.plugins import load_plugin
from mmkd.data.cards import read_toml
from mmkd.units.methods import named_methods
from mmkd.units.request import Request, parse_seeds, request_fields
from mmkd.units.tuning_settings import CARRIED

PARTS = "parts"
"""The key under which a suite has parts: a list of tables, `[[parts]]`."""
LONGEST_NAME = 60
"""Characters of the name of a part."""


def read_suite(path: str | Path, **changes: Any) -> Request:
    """Read the request of a suite of one part; arguments and errors are those of `read_suites`.

    Raises:
        MmkdError: the suite has several parts.
    """
    requests = read_suites(path, **changes)
    if len(requests) > 1:
        names = ", ".join(str(request.name) for request in requests)
        raise MmkdError(f"--suite {path}: it has {len(requests)} parts: {names}")
    return requests[0]


def read_suites(path: str | Path, parts: Sequence[str] = (), **changes: Any) -> list[Request]:
    """Read the requests of a suite, a TOML file.

    A file without the key `parts` is one request. Otherwise each table `[[parts]]` is one: it has a `name`, and its
    other keys replace those of the file. The name of its request is that of the file and its own. Names of `records`
    and the folder of `tuned` are relative to the folder of the suite.

    Args:
        parts: the names of the parts to read; empty: all.
        changes: fields that replace those of the file and of its parts, such as those of flags; with `methods` the
            options and variants of other methods are left out.

    Raises:
        MmkdError: there is no such file or part, the file is not TOML, or it has an unknown key or a value of the wrong
            type.
    """
    path = Path(path)
    table = read_toml(path, "--suite")
    tables = table.pop(PARTS, None)
    if tables is None:
        if parts:
            raise MmkdError(f"--part {', '.join(parts)}: suite {path} has no parts; leave it out")
        values = _values(table, f"--suite {path}")
        return [_request(f"--suite {path}", values.get("name", path.stem), values, changes, path.parent)]
    named = _parts(tables, f"--suite {path}")
    for name in parts:
        if name not in named:
            raise MmkdError(
                f"--part {shown(name)}: suite {path} has no such part{did_you_mean(name, named)} "
                f"(its parts: {', '.join(named)})"
            )
    shared = _values(table, f"--suite {path}")
    requests = []
    for name in parts or named:
        what = f"--suite {path}, part {name}"
        own = _values({key: value for key, value in named[name].items() if key != "name"}, what)
        windows = [field for field in ("data", "card", "datasets") if field in own]
        rest = {field: v for field, v in shared.items() if not windows or field not in ("data", "card", "datasets")}
        requests.append(
            _request(what, f"{shared.get('name', path.stem)} {name}", {**rest, **own}, changes, path.parent)
        )
    return requests


def _parts(tables: Any, what: str) -> dict[str, Mapping[str, Any]]:
    """Name -> table of each part.

    Raises:
        MmkdError: they are no list of tables, or their names are missing, odd or not distinct.
    """
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise MmkdError(f"{what}: 'parts' is a list of tables; write [[parts]] above the keys of each")
    named: dict[str, Mapping[str, Any]] = {}
    for number, table in enumerate(tables, 1):
        name = table.get("name")
        if not isinstance(name, str) or not _is_name(name):
            raise MmkdError(
                f"{what}, part {number}: give it a name, a text without commas or outer spaces, of one line and at "
                f"most {LONGEST_NAME} characters"
            )
        if name in named:
            raise MmkdError(f"{what}: two parts are called {name!r}")
        named[name] = table
    return named


def _is_name(text: str) -> bool:
    """Whether `--part` can name it, and it can be printed in one line."""
    return text == text.strip() != "" and "," not in text and text.isprintable() and len(text) <= LONGEST_NAME


def _values(table: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The fields of a request that a table of a suite names.

    Raises:
        MmkdError: a key is unknown or given twice, or several keys name windows.
    """
    values: dict[str, Any] = {}
    known = {f.name: f for f in request_fields()}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in known:
            hint = did_you_mean(key, known) or f" (keys: {', '.join(list(known)[:9])} and what flags are called)"
            raise MmkdError(f"{what}: unknown key {shown(key)}{hint}")
        if name in values:
            raise MmkdError(f"{what}: the key {name!r} is given in both spellings")
        values[name] = value
    windows = [name for name in ("data", "card", "datasets") if name in values]
    if len(windows) > 1:
        raise MmkdError(f"{what}: {windows[0]!r} and {windows[1]!r} both name windows; give one of them")
    return values


def with_options(request: Request, options: Mapping[str, Mapping[str, Any]]) -> Request:
    """A request with more options of its methods: they replace those of the same name, in either spelling.

    Variants keep their own.

    Args:
        options: method -> its options; those of methods that the request does not have are left out.
    """
    joined = dict(request.options)
    for method in _names(request):
        own = options.get(method, {})
        given = {name.replace("-", "_") for name in own}
        kept = {name: v for name, v in joined.get(method, {}).items() if name.replace("-", "_") not in given}
        if own:
            joined[method] = {**kept, **own}
    return replace(request, options=joined)


def _names(request: Request) -> tuple[str, ...]:
    return named_methods(request.methods, request.with_controls)


def _request(what: str, name: str, values: Mapping[str, Any], changes: Mapping[str, Any], folder: Path) -> Request:
    """The request of these values, which `changes` replace; an error names the suite if it is in its values.

    Args:
        folder: of the suite, which the names of its files of records and of its tuned options are relative to.
    """
    values = {**values, "name": name}
    if "methods" not in values and "methods" not in changes:
        raise MmkdError(f"{what}: the key 'methods' is missing")
    try:
        for field in ("seeds", "fold"):
            if isinstance(values.get(field), str):
                values[field] = parse_seeds(values[field], field)
        for plugin in changes.get("plugins", ()):  # one may register the task of the suite
            load_plugin(plugin)
        suite = Request(**{"methods": changes.get("methods"), **values})
    except MmkdError as error:
        raise MmkdError(f"{what}: {error}") from None
    if suite.records and "records" not in changes:
        for missing in (folder / name for name in suite.records if not os.path.exists(folder / name)):  # of any length
            raise MmkdError(
                f"{what}: records {missing}: there is no such file; their names are relative to the suite's folder"
            )
        changes = {**changes, "records": tuple(str(folder / name) for name in suite.records)}
    if suite.tuned not in (None, CARRIED) and not {"tuned", "tune"} & set(changes):
        changes = {**changes, "tuned": str(folder / suite.tuned)}
    if not changes:
        return suite
    request = Request(**{**values, **changes})
    if "methods" in changes:
        names = _names(request)
        if "options" not in changes:
            request = replace(request, options={name: own for name, own in suite.options.items() if name in names})
        if "variants" not in changes:
            request = replace(request, variants=tuple(one for one in suite.variants if one["method"] in names))
    return request
