"""The file of a stranger's method, parsed and never executed: which methods it registers."""

import ast
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from mmkd.core.errors import MmkdError
from mmkd.core.text import is_utf16, not_utf8, shown
from mmkd.results.submission.reading import read_file
from mmkd.results.submission.values import METHOD, ours

LARGEST_FILE = 256 << 10
FLAG = "--method-file"


def registered_methods(path: Path) -> list[str]:
    """The names that a file registers with `@METHODS.register("name")` on a class.

    Raises:
        MmkdError: it is too large, or no Python file.
    """
    content = read_file(path, LARGEST_FILE, FLAG)
    if is_utf16(content):
        raise MmkdError(f"{FLAG} {path}: {not_utf8(content)}")
    if b"\0" in content:
        raise MmkdError(f"{FLAG} {path}: it has a zero byte")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the file's escapes and comparisons
            tree = ast.parse(content.decode("utf-8-sig"))
            return list(_registered(tree))
    except UnicodeDecodeError:
        raise MmkdError(f"{FLAG} {path}: {not_utf8(content)}") from None
    except SyntaxError as error:
        raise MmkdError(f"{FLAG} {path}, line {error.lineno}: it is no Python file ({error.msg})") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise MmkdError(f"{FLAG} {path}: it cannot be parsed ({type(error).__name__})") from None


def _registered(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        for call in node.decorator_list:
            if isinstance(call, ast.Call) and _is_register(call.func) and call.args:
                name = call.args[0]
                if isinstance(name, ast.Constant) and isinstance(name.value, str):
                    yield name.value


def _is_register(node: ast.expr) -> bool:
    """Whether an expression is `METHODS.register` or `mmkd.METHODS.register`."""
    if not isinstance(node, ast.Attribute) or node.attr != "register":
        return False
    owner = node.value
    return (isinstance(owner, ast.Name) and owner.id == "METHODS") or (
        isinstance(owner, ast.Attribute) and owner.attr == "METHODS"
    )


def method_file_problems(path: Path, methods: Iterable[str]) -> list[str]:
    """What is wrong with the file of these methods, a sentence each.

    Raises:
        MmkdError: it is no Python file that can be read.
    """
    names = registered_methods(path)
    its = ", ".join(shown(name) for name in names) or "none"
    problems = [f"it registers no method {shown(name)} (it registers {its})" for name in methods if name not in names]
    problems += [f"it registers {shown(name)}, which is a method of mmkd" for name in names if name.lower() in ours()]
    problems += [f"it registers {shown(name)}, which is no name" for name in names if not METHOD.match(name)]
    problems += [f"it registers {shown(name)} twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    return problems
