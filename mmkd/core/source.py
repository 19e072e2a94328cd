"""Which file something was defined in, and the checksum of that file."""

import hashlib
import inspect
import sys
from functools import lru_cache
from pathlib import Path

CHECKSUM = "__mmkd_sha256__"
"""The name, in the module of a plugin, of the checksum of the text that was run."""


def is_own(module: str) -> bool:
    """Whether a module belongs to mmkd.

    >>> is_own("mmkd.nets.wrn"), is_own("mmkd_plugin_mine")
    (True, False)
    """
    return module == "mmkd" or module.startswith("mmkd.")


def source_sha256(module: str, thing: object) -> str:
    """Checksum of the source of something.

    Args:
        module: the name of the module that defines it.
        thing: the class or function, whose own text is taken where the module has no file, as in a notebook.

    Returns:
        Of a plugin that of the text that was run, even if the file has changed since; of another module that of its
        file at the first look; empty where neither file nor text is known.
    """
    loaded = sys.modules.get(module)
    if hasattr(loaded, CHECKSUM):
        return str(getattr(loaded, CHECKSUM))
    path = getattr(loaded, "__file__", None)
    if path and Path(path).is_file():
        return _file_sha256(str(path))
    try:
        return hashlib.sha256(inspect.getsource(thing).encode()).hexdigest()  # type: ignore[arg-type]
    except (OSError, TypeError):
        return ""


@lru_cache(maxsize=256)
def _file_sha256(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
