"""Names for the things that can be added: methods, modalities, backbones, fusions.

A registry maps a name to a class or a factory. Methods are discovered, without a list anywhere, from three places: the
files of `baselines/`, the entry-point group `mmkd.methods` of other people's wheels, and `--plugin FILE.py`. A file
that cannot be imported is listed with its reason and does not stop the others; a name that is taken twice is an error
that names both places, never a silent winner.
"""

import importlib
import pkgutil
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from mmkd.core.errors import MmkdError, reason, unknown

T = TypeVar("T")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*\Z")


def _origin(thing: object) -> str:
    """Where `thing` was defined, for messages: its file when it is known, else its module."""
    module = sys.modules.get(getattr(thing, "__module__", ""))
    return str(getattr(module, "__file__", None) or getattr(thing, "__module__", "?"))


class _Taken(MmkdError):
    """A name that something else has already."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Registry(Generic[T]):
    """A mapping from names to classes or factories of one kind.

    Args:
        kind: what the entries are, in the singular, for messages (`"method"`).
        how: how a user lists them, for messages.
        check: says in a few words what is wrong with a thing to be registered, or None.
        discover: called once, before the first look-up, with this registry; it imports what registers itself here.
    """

    def __init__(
        self,
        kind: str,
        how: str = "",
        discover: "Callable[[Registry[T]], None] | None" = None,
        check: Callable[[Any], str | None] | None = None,
    ) -> None:
        self.kind, self.how, self._check = kind, how, check
        self.broken: dict[str, str] = {}  # a source that could not be imported -> the reason
        self._entries: dict[str, T] = {}
        self._contested: dict[str, str] = {}  # a name that two discovered files claim -> the message
        self._discover = discover

    def register(self, name: str) -> Callable[[Any], Any]:
        """Decorator that enters a class or function under `name`.

        Raises:
            MmkdError: the name is malformed, or taken by something defined elsewhere.
        """
        if not NAME.match(name):
            raise MmkdError(f"{self.kind} name {name!r}: use letters, digits, and - _ . + after the first")

        def enter(thing: Any) -> Any:
            wrong = self._check(thing) if self._check else None
            if wrong:
                raise MmkdError(f"{self.kind} {name!r} {wrong}")
            taken = self._entries.get(name)
            if taken is not None:
                raise _Taken(
                    name,
                    f"{self.kind} {name!r} is registered twice: in {_origin(taken)} and {_origin(thing)}; rename one",
                )
            self._entries[name] = thing
            return thing

        return enter

    def load(self) -> None:
        """Discover what registers itself here; a second call does nothing."""
        if self._discover is not None:
            discover, self._discover = self._discover, None
            discover(self)

    def get(self, name: str) -> T:
        """The entry called `name`; MmkdError with the closest name when there is none."""
        self.load()
        if name in self._contested:
            raise MmkdError(self._contested[name])
        if name not in self._entries:
            error = unknown(self.kind, name, self._entries, self.how)
            for source, reason in self.broken.items():
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
        """The name that a thing is entered under."""
        return next((name for name, entry in self._entries.items() if entry is thing), None)

    def drop(self, name: str) -> None:
        """Take a name out again (tests and notebooks)."""
        self._entries.pop(name, None)

    def forgive(self, source: str) -> str:
        """Forget that `source` is broken, and what it claimed; returns the reason."""
        reason = self.broken.pop(source)
        self._contested = {name: text for name, text in self._contested.items() if text != reason}
        return reason

    def attempt(self, source: str, action: Callable[[], Any]) -> bool:
        """Run an import; on failure keep the reason under `source`, undo its half-made entries, and say False."""
        before = dict(self._entries)
        try:
            action()
        except (Exception, SystemExit) as error:  # a plugin may raise anything; its reason is shown in the list
            self._entries = before
            self.broken[source] = reason(error)
            if isinstance(error, _Taken):
                self._contested[error.name] = str(error)
            return False
        return True


def discover_methods(registry: "Registry[Any]") -> None:
    """Import every file of `baselines/` and every entry point of the group `mmkd.methods`."""
    package = importlib.import_module("mmkd.baselines")
    for found in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
        name = f"mmkd.baselines.{found.name}"
        source = str(Path(getattr(found.module_finder, "path", ".")) / f"{found.name}.py")
        if not registry.attempt(source, lambda name=name: importlib.import_module(name)):  # type: ignore[misc]
            sys.modules.pop(name, None)
    for point in entry_points(group="mmkd.methods"):
        registry.attempt(f"entry point {point.name} = {point.value}", point.load)


def load_plugin(path: str | Path) -> None:
    """Import one file of a user's own, whose decorators enter its methods into `METHODS`.

    A second call with the same file does nothing, so that a worker process may repeat it.

    Raises:
        MmkdError: no such file, it cannot be imported, or it registers nothing.
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
    before = set(METHODS)
    module = types.ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module

    def execute() -> None:  # from its text: kept bytecode of a file that is being edited may be the one before
        exec(compile(path.read_bytes(), path, "exec"), module.__dict__)

    if not METHODS.attempt(str(path), execute):
        del sys.modules[name]
        raise MmkdError(f"--plugin {path}: {METHODS.forgive(str(path))}")
    if set(METHODS) == before:
        del sys.modules[name]
        raise MmkdError(f'--plugin {path}: it registers no method; decorate a class with @METHODS.register("name")')


def _not_a_method(thing: Any) -> str | None:
    """Known by its attributes, so that a list of names needs no torch."""
    if isinstance(thing, type) and all(hasattr(thing, name) for name in ("Config", "needs", "distils", "losses")):
        return None
    shown = getattr(thing, "__name__", type(thing).__name__)
    return f"is {shown}, which is no subclass of mmkd.Method"


METHODS: Registry[Any] = Registry("method", "python -m mmkd.bench --list methods", discover_methods, _not_a_method)
"""Every distillation method by name."""


def kind_of(name: str) -> str:
    """The registered modality that a name such as `gaf` or `gaf@gyro` stands for."""
    return name.partition("@")[0]


def only_of_kind(kind: str, names: Iterable[str]) -> str:
    """Of these modalities the only one of a kind, of whatever channels; empty where there is none, or several."""
    found = [name for name in names if kind_of(name) == kind]
    return found[0] if len(found) == 1 else ""


def group_of(name: str) -> str:
    """The channel group in a modality's name, empty where it is of all channels."""
    return name.partition("@")[2]
