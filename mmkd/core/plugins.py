"""Plugins: Python files of users, named by `--plugin`, that register methods, views, networks, metrics or tasks."""

import hashlib
import sys
import types
from pathlib import Path

from mmkd.core.errors import MmkdError
from mmkd.core.registry import METHODS, REGISTRIES
from mmkd.core.source import CHECKSUM


def load_plugin(path: str | Path) -> None:
    """Run a user's file, which registers something in at least one registry.

    A second call with the same content does nothing, so that worker processes may repeat it. If the file has changed
    since, what it registered is removed and it is run again.

    Raises:
        MmkdError: there is no such file, it cannot be run, or it registers nothing.
    """
    path = Path(path).resolve()
    if path.suffix != ".py" or not path.is_file():
        raise MmkdError(f"--plugin {path}: no such Python file")
    name = f"mmkd_plugin_{path.stem}"
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) != str(path):
        raise MmkdError(f"--plugin {path}: a plugin of the same file name is loaded from {loaded.__file__}; rename one")
    try:
        text = path.read_bytes()
    except OSError as error:
        raise MmkdError(f"--plugin {path}: {error.strerror or error}") from None
    checksum = hashlib.sha256(text).hexdigest()
    if loaded is not None and getattr(loaded, CHECKSUM, None) == checksum:
        return
    METHODS.load()
    for registry in REGISTRIES:  # what an earlier text of the file registered
        for entry in registry.names_by(name):
            registry.unregister(entry)
    module = types.ModuleType(name)
    module.__file__ = str(path)
    setattr(module, CHECKSUM, checksum)
    sys.modules[name] = module

    def execute() -> None:  # from its source, because the bytecode cached for a file under edit may be out of date
        exec(compile(text, path, "exec"), module.__dict__)

    if not METHODS.try_import(str(path), execute, name):
        del sys.modules[name]
        raise MmkdError(f"--plugin {path}: {METHODS.clear_import_error(str(path))}")
    if not any(registry.names_by(name) for registry in REGISTRIES):
        del sys.modules[name]
        raise MmkdError(
            f"--plugin {path}: it registers nothing; decorate a class with @METHODS.register("
            '"name"), or with the registry of another kind'
        )
