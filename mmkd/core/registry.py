"""Registries: the named things that users can add, such as methods, modalities, backbones and fusions.

A registry maps a name to a class or a factory. Entries come from mmkd itself, from installed packages, which name a
module under the registry's entry-point group (`mmkd.methods`, `mmkd.backbones` and so on), and from `--plugin FILE.py`
(`core.plugins`). A file or package that cannot be imported is listed with the reason and does not stop the others. A
name that is registered twice is an error that names both places; neither of the two wins.

Entries of others have a checksum of their source, which is part of the keys of what they made.
"""

import importlib
import pkgutil
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from mmkd.core.errors import MmkdError, describe_error, unknown_name
from mmkd.core.source import is_own, source_sha256
from mmkd.core.text import shown

T = TypeVar("T")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*\Z")
REGISTERS_METHOD = re.compile(r"""\bMETHODS\.register\(\s*["']([^"']+)["']""")
RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)Hz\Z")
"""The last part of the name of a modality at a sampling rate of its own, such as `sig@acc@25Hz`."""


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
        discover: called once with this registry, before the first look-up; it imports the modules of mmkd that
            register entries here.
        find: imports only the module of mmkd that registers one name, given this registry and the name; returns False
            where that is not clear. `get` then needs no discovery.
        check: gets an object that is about to be registered, and returns in a few words what is wrong with it, or None.
        group: the entry-point group of installed packages that register entries here, such as "mmkd.methods".

    Attributes:
        import_errors: source that could not be imported -> the reason.
        broken_packages: of these the entry points of installed packages.
        group: as given.

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
        group: str = "",
        find: "Callable[[Registry[T], str], bool] | None" = None,
    ) -> None:
        self.kind = kind
        self.how = how
        self.import_errors: dict[str, str] = {}
        self.broken_packages: dict[str, str] = {}
        self._check = check
        self._discover = discover
        self._find = find
        self._found: set[str] = set()  # names whose one module was imported before the discovery
        self.group = group
        self._loads_packages = bool(group)
        self._entries: dict[str, T] = {}
        self._origins: dict[str, str] = {}  # name -> module that defines it
        self._registered_by: dict[str, str] = {}  # name -> module that registered it
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
            own = getattr(thing, "name", name)
            if isinstance(own, str) and own not in ("", name):
                problem = problem or f"calls itself {own!r}; register it under that name"
            if problem:
                raise MmkdError(f"{self.kind} {name!r} {problem}")
            registering = sys._getframe(1).f_globals["__name__"]
            if not is_own(registering):  # mmkd's own names are there first
                self.load()
            origin = _origin(thing, registering)
            if name in self._entries:
                files = f"in {_file(self._origins[name])} and {_file(origin)}"
                raise _DuplicateName(name, f"{self.kind} {name!r} is registered twice: {files}; rename one")
            self._entries[name] = thing
            self._origins[name] = origin
            self._registered_by[name] = registering
            return thing

        return add

    def load(self) -> None:
        """Run the discovery, then import the modules of installed packages; a second call does nothing."""
        discover, self._discover = self._discover, None
        if discover is not None:
            discover(self)
        self._load_packages()

    def _load_for(self, name: str) -> None:
        """Import what registers `name`: one module of mmkd where it is clear which, else all; and installed packages.

        A package that registers anything brings all modules of mmkd with it, as a plugin does: see `register`.
        """
        if self._discover is not None and name not in self._found:
            if self._find is not None and self._find(self, name):
                self._found.add(name)
            else:
                self.load()
        if self._loads_packages:
            self._load_packages()

    def _load_packages(self) -> None:
        """Import every entry point of the group; a second call does nothing."""
        packages, self._loads_packages = self._loads_packages, False
        for point in installed_entry_points().select(group=self.group) if packages else ():
            source = f"entry point {point.name} = {point.value} of {self.group}"
            module = point.value.partition(":")[0]
            if not self.try_import(source, point.load, module):
                self.broken_packages[source] = self.import_errors[source]

    def get(self, name: str) -> T:
        """The entry called `name`.

        Raises:
            MmkdError: there is no such entry (with the closest name), its file could not be imported, or two files
                register the name.
        """
        if not isinstance(name, str):
            raise MmkdError(f"{self.kind} = {shown(name)} is not a text; give the name of a {self.kind}")
        if self._discover is not None or self._loads_packages:
            self._load_for(name)
        if name in self._duplicates:
            raise MmkdError(self._duplicates[name])
        if name not in self._entries:
            for source, reason in self.import_errors.items():
                if Path(source).stem.replace("_", "-") == name.replace("_", "-"):
                    raise MmkdError(f"{self.kind} {name!r} could not be loaded from {source}: {reason}")
            error = unknown_name(self.kind, name, self._entries, self.how)
            for source, reason in self.broken_packages.items():  # one of them may have it
                error = MmkdError(f"{error}; {source} could not be loaded: {reason}")
            raise error
        return self._entries[name]

    def values(self) -> list[T]:
        """Every entry, in the order in which they were registered."""
        self.load()
        return list(self._entries.values())

    def known(self) -> list[T]:
        """The entries so far, without a search for more, for the help."""
        return list(self._entries.values())

    def source_sha256(self, name: str) -> str:
        """Checksum of the file that defines an entry; empty for the entries of mmkd itself.

        Modules that this file imports are not seen. Of an entry of mmkd that somebody registers under another name it
        is that of the registering file.

        Raises:
            MmkdError: there is no such entry.
        """
        thing = self.get(name)
        modules = [self._origins[name], self._registered_by[name]]
        return next((source_sha256(module, thing) for module in modules if not is_own(module)), "")

    def source_file(self, name: str) -> str:
        """The file that defines an entry, for messages."""
        return _file(self._origins[name])

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

    def names_by(self, module: str) -> list[str]:
        """The names that a module registered."""
        return [name for name in self._entries if self._registered_by.get(name) == module]

    def clear_import_error(self, source: str) -> str:
        """Forget that `source` could not be imported, and the names it tried to register twice; returns the reason."""
        reason = self.import_errors.pop(source)
        self._duplicates = {name: message for name, message in self._duplicates.items() if message != reason}
        return reason

    def try_import(self, source: str, action: Callable[[], Any], module: str = "") -> bool:
        """Run `action`, which imports `source`, and return whether it succeeded.

        If it fails, the entries that it made in any registry are removed, and the reason is stored in `import_errors`.

        Args:
            module: the module that is imported; empty if it is not known, which stands for any but those of mmkd.
        """
        before = {id(registry): set(registry._entries) for registry in REGISTRIES}
        try:
            action()
        except (Exception, SystemExit) as error:  # a plugin may raise anything; the list of methods shows the reason
            _remove_later(before, module)
            self.import_errors[source] = describe_error(error)
            if isinstance(error, _DuplicateName):
                self._duplicates[error.name] = str(error)
            return False
        return True


@cache
def installed_entry_points() -> Any:
    """The entry points of all installed packages, read once for all registries, each of which selects its group."""
    from importlib.metadata import entry_points  # slow to import, and not needed for help

    return entry_points()


def broken_packages() -> list[str]:
    """One line for each entry point of an installed package that could not be imported, of the registries in use."""
    broken = {source: reason for registry in REGISTRIES for source, reason in registry.broken_packages.items()}
    return [f"left out: {source}: {reason}" for source, reason in broken.items()]


def _remove_later(before: dict[int, set[str]], module: str) -> None:
    """Remove from every registry what a module that failed has registered since.

    Args:
        before: the names in each registry before, by its id.
    """
    for registry in REGISTRIES:
        for name in set(registry._entries) - before.get(id(registry), set()):
            by = registry._registered_by[name]
            if f"{by}.".startswith(f"{module}.") if module else not is_own(by):
                registry.unregister(name)


def method_files() -> dict[str, Path]:
    """Module -> file, of every file of `baselines/`, in the order of their names."""
    package = importlib.import_module("mmkd.baselines")
    modules = sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name)
    return {
        f"mmkd.baselines.{module.name}": Path(getattr(module.module_finder, "path", ".")) / f"{module.name}.py"
        for module in modules
    }


def files_of_method(name: str) -> dict[str, Path]:
    """Module -> file, of the files of `baselines/` in whose text a method is registered under `name`."""
    return {module: file for module, file in method_files().items() if name in _registered_in(file)}


@cache
def _registered_in(file: Path) -> tuple[str, ...]:
    """The names of methods that the text of a file registers; none of a file that cannot be read."""
    try:
        return tuple(REGISTERS_METHOD.findall(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return ()


def find_method(registry: "Registry[Any]", name: str) -> bool:
    """Import the one file of `baselines/` that registers `name`; False if there is none, or several, or it fails."""
    files = files_of_method(name)
    return (
        len(files) == 1 and all(_import_method(registry, *each) for each in files.items()) and name in registry._entries
    )


def discover_methods(registry: "Registry[Any]") -> None:
    """Import every file of `baselines/`."""
    for module, file in method_files().items():
        _import_method(registry, module, file)


def _import_method(registry: "Registry[Any]", module: str, file: Path) -> bool:
    """Import a file of `baselines/`; returns whether it succeeded."""
    imported = registry.try_import(str(file), partial(importlib.import_module, module), module)
    if not imported:
        sys.modules.pop(module, None)
    return imported


def _check_method(thing: Any) -> str | None:
    """What is wrong with a class that is no method. Methods are recognised by their attributes, without torch."""
    if isinstance(thing, type) and all(hasattr(thing, name) for name in ("Config", "needs", "distils", "losses")):
        return None
    name = getattr(thing, "__name__", type(thing).__name__)
    return f"is {name}, which is no subclass of mmkd.Method"


def not_callable(thing: Any) -> str | None:
    """What is wrong with a factory that cannot be called; the check of registries of functions and classes."""
    return None if callable(thing) else f"is {type(thing).__name__}, which is no class or function"


METHODS: Registry[Any] = Registry(
    "method",
    "python -m mmkd.bench --list methods; your own: --plugin FILE.py",
    discover_methods,
    _check_method,
    "mmkd.methods",
    find_method,
)
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

    >>> group_of("gaf@gyro"), group_of("gaf@gyro@25Hz"), group_of("gaf@25Hz")
    ('gyro', 'gyro', '')
    """
    return without_rate(name).partition("@")[2]


def rate_of(name: str) -> float:
    """The sampling rate in a modality name, in Hz; 0 if it is that of the data.

    >>> rate_of("sig@acc@12.5Hz"), rate_of("sig@25Hz"), rate_of("sig@acc")
    (12.5, 25.0, 0.0)
    """
    match = RATE.match(name.rpartition("@")[2]) if "@" in name else None
    return float(match[1]) if match else 0.0


def without_rate(name: str) -> str:
    """A modality name without its sampling rate.

    >>> without_rate("sig@acc@12.5Hz"), without_rate("sig@acc")
    ('sig@acc', 'sig@acc')
    """
    return name.rpartition("@")[0] if rate_of(name) else name


def with_rate(name: str, rate_hz: float) -> str:
    """The modality name of the same view of a slower sensor.

    >>> with_rate("sig@acc", 25.0)
    'sig@acc@25Hz'
    """
    return f"{name}@{rate_hz:.10g}Hz"
