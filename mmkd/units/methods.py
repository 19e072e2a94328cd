"""Words for several methods, such as `--method all`; and what status a method has, without torch."""

import ast
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from mmkd.core.errors import MmkdError
from mmkd.core.registry import METHODS, files_of_method, method_files

WORDS = ("all", "current", "controls")
"""Each stands alone in place of names of methods."""
CONTROL = "control"
"""The status of what is no method."""
ALONE = "student"
"""The student without a teacher, with which every method is compared."""
MARKS = {"classic": "of before 2021", "notes": "from the project's notes, with a meaning of their own"}
"""The statuses that a table marks, and their meaning."""


def stands_for_several(methods: Sequence[str]) -> bool:
    """Whether these are a word for several methods, of which those that do not fit are left out."""
    return len(methods) == 1 and methods[0] in WORDS


def check_words(methods: Sequence[str]) -> None:
    """Check that a word for several methods stands alone.

    Raises:
        MmkdError: There are other names beside it.
    """
    for word in WORDS:
        if word in methods and len(methods) > 1:
            more = "; --with-controls adds them to other methods" if word == "controls" else ""
            raise MmkdError(f"methods: {word!r} must be the only name{more}")


def named_methods(methods: Sequence[str], with_controls: bool = False) -> tuple[str, ...]:
    """The names of methods, with those that "all", "current" or "controls" stands for.

    Each word has the student alone. "all" are the methods of every status but "control"; "current" and "controls" those
    of one status.

    Args:
        with_controls: whether the controls are added: the student alone first, the others last.
    """
    names = list(methods)
    if stands_for_several(methods):
        word = methods[0]
        names = [name for name in METHODS if name == ALONE or _belongs(METHODS.get(name).status, word)]
    if with_controls:
        names = [*([] if ALONE in names else [ALONE]), *names]
        names += [name for name in METHODS if METHODS.get(name).status == CONTROL]
    return tuple(dict.fromkeys(names))


def _belongs(status: str, word: str) -> bool:
    """Whether methods of a status are among those that a word stands for."""
    return status != CONTROL if word == "all" else status == {"controls": CONTROL}.get(word, word)


def may_be_left_out(methods: Sequence[str], with_controls: bool = False) -> Callable[[str], bool]:
    """Whether a method that refuses is left out, by its name: one that a word stands for, or that was added.

    Args:
        methods: as the user named them; with_controls: whether the controls were added.
    """
    if stands_for_several(methods):
        return lambda name: True
    return lambda name: with_controls and name not in methods


def status_of(method: str, result: Mapping[str, Any]) -> str:
    """The status of a method of mmkd; of a plugin's the one that its record has, "" if it has none.

    Args:
        result: `result.json` of a record of the method; "control" where its options are an ablation.
    """
    known = {name: own for file in files_of_method(method).values() for name, own in _declared_in(file).items()}
    if method not in known:
        return str(result.get("method_status") or "")
    status, ablations = known[method]
    options = (result.get("spec") or {}).get("options") or {}
    return CONTROL if is_ablation(options, ablations) else status


def is_ablation(options: Mapping[str, Any], ablations: Mapping[str, Sequence[Any]]) -> bool:
    """Whether options take away the part of a method that it is about, see `Method.ablations`.

    >>> is_ablation({"mask": "none"}, {"mask": ("none", "random")})
    True
    """
    return any(name in options and options[name] in values for name, values in ablations.items())


def kind_of_row(kind: str, method: str, status: str) -> str:
    """The kind of a row: that of its records, but "control" of students that are held against methods.

    Args:
        kind: of the records, such as "student"; status: of the method.
    """
    return "control" if kind == "student" and status == CONTROL and method != ALONE else kind


def own_statuses() -> dict[str, str]:
    """The status of every method of mmkd, read from the text of its file, because its import needs torch."""
    return {name: status for file in method_files().values() for name, (status, _) in _declared_in(file).items()}


@cache
def _declared_in(file: Path) -> dict[str, tuple[str, Mapping[str, Sequence[Any]]]]:
    """The status and the ablations of every method that a file of mmkd registers."""
    declared: dict[str, tuple[str, Mapping[str, Sequence[Any]]]] = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            calls = [call for call in node.decorator_list if isinstance(call, ast.Call)]
            names = [str(ast.literal_eval(c.args[0])) for c in calls if ast.unparse(c.func) == "METHODS.register"]
            own = (_assigned(node, "status", "current"), _assigned(node, "ablations", {}))
            declared |= dict.fromkeys(names, own)
    return declared


def _assigned(node: ast.ClassDef, name: str, usual: Any) -> Any:
    """The value that a class assigns to a name, without a computation."""
    for statement in node.body:
        if isinstance(statement, ast.Assign):
            target, value = statement.targets[0], statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            target, value = statement.target, statement.value
        else:
            continue
        if ast.unparse(target) == name:
            return ast.literal_eval(value)
    return usual


def status_line(rows: Sequence[tuple[str, str]]) -> str:
    """A line that names what a table marks, from (name, status) of its rows; "" if there is none."""
    parts = []
    for status, meaning in MARKS.items():
        names = list(dict.fromkeys(name for name, own in rows if own == status))
        if names:
            parts.append(f"{status} ({meaning}): {', '.join(names)}")
    return "; ".join(parts)
