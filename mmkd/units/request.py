"""What a user asks for, on the command line, in a suite file or from Python, and the units that come of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mmkd.core.errors import MmkdError, did_you_mean, unknown_name
from mmkd.core.options import shown
from mmkd.core.registry import load_plugin
from mmkd.data.cards import read_toml
from mmkd.tasks import TASKS

CHOICES = {
    "nan": ("refuse", "impute", "drop"),
    "epoch_rule": ("val-best", "last"),
    "precision": ("fp32", "bf16"),
}
OWN = "none"  # the form of a dense network without a fusion of its stages
WHOLE = ("epochs", "teacher_epochs", "image_size", "train_subjects", "folds")
MOST = 1_000_000  # of each of them; what is more was not meant
SEEDS = 10_000  # of one request
LISTS = ("methods", "datasets", "students", "teachers", "plugins", "seeds", "student_net", "fusion", "fold")
BY_TASK: tuple[str, ...] = ("as the task has it",)
"""Stands for a field that was not given, whose default depends on the task."""


@dataclass(frozen=True)
class Request:
    """The fields of a suite file, and what the flags of the same names mean. Lists multiply into units.

    `options` maps a method to its options; a list there multiplies too. Each of `variants` is one more unit of its
    `method`, with those options and the ones that it names beside: for ablations, one thing at a time.
    """

    methods: tuple[str, ...]
    datasets: tuple[str, ...] = BY_TASK
    data: str | None = None
    seeds: tuple[int, ...] = (0,)
    students: tuple[str, ...] = BY_TASK
    teachers: tuple[str, ...] = BY_TASK
    teacher_nets: Mapping[str, str] = field(default_factory=dict)
    teacher_checkpoints: Mapping[str, str] = field(default_factory=dict)
    student_net: tuple[str, ...] = ()
    fusion: tuple[str, ...] = ()
    preset: str = "quick"
    epochs: int | None = None
    teacher_epochs: int | None = None
    image_size: int | None = None
    train_subjects: int | None = None
    split: str = "card"
    folds: int | None = None
    fold: tuple[int, ...] = ()
    task: str = "classification"
    nan: str = "refuse"
    rate: float | None = None
    epoch_rule: str = "val-best"
    precision: str = "fp32"
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    variants: tuple[Mapping[str, Any], ...] = ()
    plugins: tuple[str, ...] = ()
    data_root: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise unknown_name(name.replace("_", "-"), str(value), choices)
        for plugin in self.plugins:  # one may bring the task
            load_plugin(plugin)
        task = TASKS.get(self.task)
        if self.preset not in task.presets:
            raise unknown_name("preset", str(self.preset), task.presets)
        for name in ("datasets", "students", "teachers"):
            if getattr(self, name) is BY_TASK:
                object.__setattr__(self, name, getattr(task, name))
        for name in ("student_net", "fusion"):
            if isinstance(getattr(self, name), str):
                object.__setattr__(self, name, (getattr(self, name),))
        for name in WHOLE:
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST:
                what = f"{name.replace('_', '-')} = {shown(value)}"
                raise MmkdError(f"{what} must be a whole number of at least 1 and at most {MOST:,}")
        self._check_rate()
        for name in ("methods", "datasets", "seeds", "students", "teachers"):
            if not getattr(self, name):
                raise MmkdError(f"{name} is empty")
        if not all(isinstance(seed, int) and not isinstance(seed, bool) for seed in self.seeds):
            raise MmkdError(f"seeds {self.seeds!r}: a seed is a whole number")
        if not isinstance(self.split, str) or not self.split or "\0" in self.split:
            raise MmkdError(f"split {shown(self.split)}: say card, loso, or name a split file")
        if self.folds is not None and self.split != "card":
            raise MmkdError(f"--split {shown(self.split)} and --folds {self.folds} both cut; give one of them")
        if self.fold and self.split == "card" and self.folds is None:
            raise MmkdError("--fold chooses among folds; give --folds K or --split loso, too")
        if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in self.fold):
            raise MmkdError(f"fold {shown(self.fold)}: folds are counted from 1")
        for name in LISTS:
            if name in ("seeds", "fold"):
                continue
            if not all(isinstance(value, str) and value for value in getattr(self, name)):
                raise MmkdError(f"{name} {shown(getattr(self, name))}: each must be a text, and none empty")
        for name in ("plugins", "data", "data_root"):
            value = getattr(self, name)
            if any("\0" in str(path) for path in (value if isinstance(value, tuple) else (value,))):
                raise MmkdError(f"{name} {shown(value)}: the name of a file holds no zero byte")
        if not isinstance(self.teacher_nets, Mapping):
            raise MmkdError(f"teacher_nets {self.teacher_nets!r}: give a mapping such as {{'sig': 'FCN'}}")
        given: Any = self.teacher_checkpoints
        if not isinstance(given, Mapping) or not all(isinstance(v, str | Path) for kv in given.items() for v in kv):
            raise MmkdError(f"teacher_checkpoints {given!r}: give a mapping such as {{'sig': 'FILE.safetensors'}}")
        for variant in self.variants:
            if not isinstance(variant, Mapping) or not isinstance(variant.get("method"), str):
                raise MmkdError(f"variants {shown(variant)}: give a table with a method and some of its options")
        if len(self.methods) > 1 and "all" in self.methods:
            raise MmkdError("methods: 'all' stands alone")
        if min(self.seeds) < 0:
            raise MmkdError(f"seed {min(self.seeds)} is negative; a seed is a whole number of at least 0")
        if max(self.seeds) >= 2**63:
            raise MmkdError(f"seeds {shown(max(self.seeds))}: a seed is a whole number below 2^63")

    def _check_rate(self) -> None:
        """Refuse a rate that is none, or that nothing could be brought to; a whole number becomes a float."""
        rate = self.rate
        if rate is None:
            return
        if not isinstance(rate, int | float) or isinstance(rate, bool) or not 0 < rate <= MOST:
            raise MmkdError(f"rate = {shown(rate)} must be a number of samples a second above 0, at most {MOST:,}")
        if self.data is not None:
            raise MmkdError(f"--rate {rate:g}: a file of --data does not say its own rate; resample its windows before")
        object.__setattr__(self, "rate", float(rate))


def read_suite(path: str | Path, **changes: Any) -> Request:
    """A request from a TOML file; `changes` (from flags that were given) take the place of its fields.

    Raises:
        MmkdError: no such file, not TOML, an unknown key, or a value of the wrong type.
    """
    path = Path(path)
    raw = read_toml(path, "--suite")
    known = {f.name: f for f in fields(Request)}
    values: dict[str, Any] = {"name": path.stem}
    for key, value in raw.items():
        name = key.replace("-", "_")
        if name not in known:
            hint = did_you_mean(key, known) or f" (keys: {', '.join(list(known)[:9])} and what flags are called)"
            raise MmkdError(f"--suite {path}: unknown key {shown(key)}{hint}")
        if name in values and name != "name":
            raise MmkdError(f"--suite {path}: the key {name!r} is given in both spellings")
        values[name] = _suite_value(name, value, path)
    if {"data", "datasets"} <= set(values):
        raise MmkdError(f"--suite {path}: 'data' and 'datasets' both name windows; give one of them")
    if "methods" not in values and "methods" not in changes:
        raise MmkdError(f"--suite {path}: the key 'methods' is missing")
    try:
        suite = Request(**{"methods": changes.get("methods"), **values})
    except MmkdError as error:
        raise MmkdError(f"--suite {path}: {error}") from None
    return Request(**{**values, **changes}) if changes else suite


def _suite_value(name: str, value: Any, path: Path) -> Any:
    """A TOML value as its field wants it; a single value stands for a list of one."""
    wanted = f"--suite {path}: {name} = {shown(value)}"
    if name in LISTS:
        values = value if isinstance(value, list) else [value]
        if name in ("seeds", "fold") and isinstance(value, str):
            try:
                return parse_seeds(value, name)
            except MmkdError as error:
                raise MmkdError(f"--suite {path}: {error}") from None
        kind = int if name in ("seeds", "fold") else str
        if not all(isinstance(v, kind) and not isinstance(v, bool) for v in values):
            raise MmkdError(f"{wanted} must be a list of {'whole numbers' if kind is int else 'texts'}")
        return tuple(values)
    if name in ("options", "teacher_nets", "teacher_checkpoints"):
        inner = dict if name == "options" else str
        if not isinstance(value, dict) or not all(isinstance(v, inner) for v in value.values()):
            raise MmkdError(f"{wanted} must be a table of {'tables' if name == 'options' else 'texts'}")
        return value
    if name in WHOLE:
        return value
    if name == "variants":
        if not isinstance(value, list):
            raise MmkdError(f"{wanted} must be tables, [[variants]]")
        return tuple(value)
    if not isinstance(value, str):
        raise MmkdError(f"{wanted} must be a text")
    return value


def parse_seeds(text: str, what: str = "seeds") -> tuple[int, ...]:
    """`0-4` or `0,3,7` or a mixture, without repeats.

    >>> parse_seeds("0-2,7")
    (0, 1, 2, 7)
    """
    seeds: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        ends = (low, high) if dash else (low, low)
        good = all(end.isdecimal() and len(end) < 40 for end in ends)
        if not good or int(ends[1]) < int(ends[0]):
            raise MmkdError(f"{what} {shown(text)}: write whole numbers and ranges, such as 0-4 or 0,3,7")
        if len(seeds) + int(ends[1]) - int(ends[0]) >= SEEDS:
            raise MmkdError(f"{what} {shown(text)}: more than {SEEDS:,}")
        seeds += range(int(ends[0]), int(ends[1]) + 1)
    return tuple(dict.fromkeys(seeds))
