"""Registries: the named things that users can add, such as methods, modalities, backbones and fusions.

A registry maps a name to a class or a factory. Methods are discovered in three places, without a list to maintain: the
files of `baselines/`, the entry-point group `mmkd.methods` of installed packages, and `--plugin FILE.py`. A file that
cannot be imported is listed with the reason and does not stop the others. A name that is registered twice is an error
that names both places; neither of the two wins.
"""

import importlib
import pkgutil
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

from mmkd.core.errors import MmkdError, describe_error, unknown_name
from mmkd.core.text import shown

T = TypeVar("T")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*\Z")


def _origin(thing: object, registering: str) -> str:
    """The module that defines a class or function; of an object such as a task the one that registers it."""
    return str(thing.__module__) if isinstance(thing, type | types.FunctionType) else registering


def _file(module: str) -> str:
    """The file of a module, for messages; its name where the file is not known."""
    return str(getattr(sys.modules.get(module), "__file__", None) or module)


class _DuplicateName(MmkdError):
    """A name is registered twice."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


REGISTRIES: "list[Registry[Any]]" = []
"""Every registry there is; a plugin may add to any of them."""


class Registry(Generic[T]):
    """A mapping from names to classes or factories of one kind.

    Args:
        kind: what the entries are, in the singular, for messages, such as "method".
        how: how a user lists the entries, for messages.
        discover: called once with this registry, before the first look-up; it imports the modules that register
            entries here.
        check: gets an object that is about to be registered, and returns in a few words what is wrong with it, or None.

    Attributes:
        import_errors: source that could not be imported -> the reason.

    >>> shapes = Registry("shape")
    >>> @shapes.register("circle")
    ... class Circle: ...
    >>> shapes.get("circle") is Circle
    True
    """

    def __init__(
        self,
        kind: str,
        how: str = "",
        discover: "Callable[[Registry[T]], None] | None" = None,
        check: Callable[[Any], str | None] | None = None,
    ) -> None:
        self.kind = kind
        self.how = how
        self.import_errors: dict[str, str] = {}
        self._check = check
        self._discover = discover
        self._entries: dict[str, T] = {}
        self._origins: dict[str, str] = {}  # name -> module that defines it
        self._registering: set[str] = set()  # modules that registered something
        self._duplicates: dict[str, str] = {}  # a name that two discovered files register -> the message
        REGISTRIES.append(self)

    def register(self, name: str) -> Callable[[Any], Any]:
        """Decorator that registers a class or function under `name`.

        Raises:
            MmkdError: the name is malformed or already registered, or the object fails the registry's check.
        """
        if not NAME.match(name):
            raise MmkdError(f"{self.kind} name {name!r}: use letters, digits, and - _ . + after the first")

        def add(thing: Any) -> Any:
            problem = self._check(thing) if self._check else None
            if problem:
                raise MmkdError(f"{self.kind} {name!r} {problem}")
            registering = sys._getframe(1).f_globals["__name__"]
            origin = _origin(thing, registering)
            if name in self._entries:
                files = f"in {_file(self._origins[name])} and {_file(origin)}"
                raise _DuplicateName(name, f"{self.kind} {name!r} is registered twice: {files}; rename one")
            self._entries[name] = thing
            self._origins[name] = origin
            self._registering.add(registering)
            return thing

        return add

    def load(self) -> None:
        """Run the discovery; a second call does nothing."""
        discover = self._discover
        self._discover = None
        if discover is not None:
            discover(self)

    def get(self, name: str) -> T:
        """The entry called `name`.

        Raises:
            MmkdError: there is no such entry (with the closest name), its file could not be imported, or two files
                register the name.
        """
        self.load()
        if not isinstance(name, str):
            raise MmkdError(f"{self.kind} = {shown(name)} is not a text; give the name of a {self.kind}")
        if name in self._duplicates:
            raise MmkdError(self._duplicates[name])
        if name not in self._entries:
            error = unknown_name(self.kind, name, self._entries, self.how)
            for source, reason in self.import_errors.items():
                if Path(source).stem.replace("_", "-") == name.replace("_", "-"):
                    error = MmkdError(f"{self.kind} {name!r} could not be loaded from {source}: {reason}")
            raise error
        return self._entries[name]

    def values(self) -> list[T]:
        """Every entry, in the order in which they were registered."""
        self.load()
        return list(self._entries.values())

    def __contains__(self, name: object) -> bool:
        self.load()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self.load()
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        self.load()
        return len(self._entries)

    def name_of(self, thing: Any) -> str | None:
        """The name that an object is registered under; None if it is not registered."""
        return next((name for name, entry in self._entries.items() if entry is thing), None)

    def unregister(self, name: str) -> None:
        """Remove a name, for tests and notebooks."""
        self._entries.pop(name, None)

    def clear_import_error(self, source: str) -> str:
        """Forget that `source` could not be imported, and the names it tried to register twice; returns the reason."""
        reason = self.import_errors.pop(source)
        self._duplicates = {name: message for name, message in self._duplicates.items() if message != reason}
        return reason

    def try_import(self, source: str, action: Callable[[], Any]) -> bool:
        """Run `action`, which imports `source`, and return whether it succeeded.

        If it fails, the entries that it made are removed, and the reason is stored in `import_errors`.
        """
        before = dict(self._entries)
        try:
            action()
        except (Exception, SystemExit) as error:  # a plugin may raise anything; the list of methods shows the reason
            self._entries = before
            self.import_errors[source] = describe_error(error)
            if isinstance(error, _DuplicateName):
                self._duplicates[error.name] = str(error)
            return False
        return True


def discover_methods(registry: "Registry[Any]") -> None:
    """Import every file of `baselines/` and every entry point of the group `mmkd.methods`."""
    from importlib.metadata import entry_points  # slow to import, and not needed for help

    package = importlib.import_module("mmkd.baselines")
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        name = f"mmkd.baselines.{module.name}"
        source = str(Path(getattr(module.module_finder, "path", ".")) / f"{module.name}.py")
        if not registry.try_import(source, lambda name=name: importlib.import_module(name)):  # type: ignore[misc]
            sys.modules.pop(name, None)
    for point in entry_points(group="mmkd.methods"):
        registry.try_import(f"entry point {point.name} = {point.value}", point.load)


def load_plugin(path: str | Path) -> None:
    """Import a user's file, which registers methods in `METHODS`, or a task, a metric or a network in their registries.

    A second call with the same file does nothing, so that worker processes may repeat it.

    Raises:
        MmkdError: there is no such file, it cannot be imported, or it registers nothing.
    """
    path = Path(path).resolve()
    if path.suffix != ".py" or not path.is_file():
        raise MmkdError(f"--plugin {path}: no such Python file")
    name = f"mmkd_plugin_{path.stem}"
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return
    if loaded is not None:
        raise MmkdError(f"--plugin {path}: a plugin of the same file name is loaded from {loaded.__file__}; rename one")
    METHODS.load()
    before = {id(registry): dict(registry._entries) for registry in REGISTRIES}
    for registry in REGISTRIES:
        registry._registering.discard(name)
    module = types.ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module

    def execute() -> None:  # from its source, because the bytecode cached for a file under edit may be out of date
        exec(compile(path.read_bytes(), path, "exec"), module.__dict__)

    if not METHODS.try_import(str(path), execute):
        del sys.modules[name]
        for registry in REGISTRIES:  # nothing stays of a file that failed half-way
            registry._entries = before.get(id(registry), registry._entries)
        raise MmkdError(f"--plugin {path}: {METHODS.clear_import_error(str(path))}")
    if not any(name in registry._registering for registry in REGISTRIES):
        del sys.modules[name]
        raise MmkdError(
            f"--plugin {path}: it registers no method (nor anything else); decorate a class with "
            f'@METHODS.register("name")'
        )


def _check_method(thing: Any) -> str | None:
    """What is wrong with a class that is no method. Methods are recognised by their attributes, without torch."""
    if isinstance(thing, type) and all(hasattr(thing, name) for name in ("Config", "needs", "distils", "losses")):
        return None
    name = getattr(thing, "__name__", type(thing).__name__)
    return f"is {name}, which is no subclass of mmkd.Method"


METHODS: Registry[Any] = Registry("method", "python -m mmkd.bench --list methods", discover_methods, _check_method)
"""Every distillation method by name."""


def kind_of(name: str) -> str:
    """The registered modality in a modality name.

    >>> kind_of("gaf"), kind_of("gaf@gyro")
    ('gaf', 'gaf')
    """
    return name.partition("@")[0]


def only_of_kind(kind: str, names: Iterable[str]) -> str:
    """The one name of the registered modality `kind`, of any channel group; empty if there is none or several.

    >>> only_of_kind("gaf", ["sig", "gaf@gyro"])
    'gaf@gyro'
    """
    matches = [name for name in names if kind_of(name) == kind]
    return matches[0] if len(matches) == 1 else ""


def group_of(name: str) -> str:
    """The channel group in a modality name; empty if it is of all channels.

    >>> group_of("gaf@gyro")
    'gyro'
    """
    return name.partition("@")[2]
