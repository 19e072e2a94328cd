"""Equal tuning: the table of configurations of a method, and the units that try them.

Every method is tried with the same number of configurations. Number 0 has the options of the request, which are the
published ones unless the user set others. The others come from a fixed sequence that fills the ranges which stand on
the method's options (`option(tune=...)`); the options of the student's training are no method's to tune.

A configuration is tried on the training part alone: in one fold of its subjects (of each class, where there are none),
with teachers that do not see that fold, under a seed that the request has not.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_type_hints

from mmkd.core.errors import MmkdError
from mmkd.core.keys import digest, seed_for
from mmkd.core.options import older_options, recorded
from mmkd.core.ranges import Range, Tune, tuned_in
from mmkd.core.registry import METHODS
from mmkd.data import Dataset
from mmkd.specs.unit import UnitSpec
from mmkd.units.splits import split_for

VERSION = 1
"""Of the sequence of configurations; a table of another version is another table."""
SEED = 10_000
"""The lowest seed under which configurations are tried."""
FOLD = (1, 3)
"""The fold of the training part that configurations are tested on: the first of three."""
PATIENCE = 1000
"""How many points in a row may give nothing new before a table is taken to be whole."""


def ranges_of(method: str) -> Mapping[str, Tune]:
    """Option -> what is tried of it; empty of a method without ranges, and of controls, which nobody tunes."""
    cls = METHODS.get(method)
    return {} if cls.status == "control" else tuned_in(cls.Config)


def table_digest(method: str, base: Mapping[str, Any]) -> str:
    """A hash that is equal for equal tables, whatever their length.

    Args:
        base: the options of number 0, as `core.options.recorded` returns them.
    """
    ranges = {
        name: [tune.low, tune.high, tune.log] if isinstance(tune, Range) else list(tune)
        for name, tune in ranges_of(method).items()
    }
    return digest(
        {
            "version": VERSION,
            "method": method,
            "revision": METHODS.get(method).revision,
            "method_sha256": METHODS.source_sha256(method),
            "base": dict(base),
            "ranges": ranges,
        }
    )


def configurations(method: str, count: int, base: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The first configurations of a method's table, without repeats; fewer where there are no more.

    Number i is the same whatever the count is.

    Args:
        base: the options of number 0, as `core.options.recorded` returns them.

    Returns:
        Options, as `core.options.recorded` returns them.
    """
    config = METHODS.get(method).Config
    usual = older_options(config, base)
    found = {digest(dict(base)): dict(base)}
    failures = 0
    for drawn in _points(method, config):
        if len(found) >= count or failures >= PATIENCE:
            break
        try:
            options = recorded(config(**{**usual, **drawn}))
        except MmkdError:  # two options that exclude each other
            failures += 1
            continue
        failures = failures + 1 if digest(options) in found else 0
        found.setdefault(digest(options), options)
    return list(found.values())


def _points(method: str, config: type) -> Iterator[dict[str, Any]]:
    """Points that fill the ranges of a method evenly, without end.

    The additive sequence of the generalised golden ratio (Roberts 2018, "The unreasonable effectiveness of
    quasirandom sequences"), from a start of each option's own.
    """
    ranges = ranges_of(method)
    hints = get_type_hints(config)
    ratio = 1.5
    for _ in range(60):  # the root of r^(d + 1) = r + 1
        ratio = (1 + ratio) ** (1 / (len(ranges) + 1))
    starts = [seed_for(VERSION, f"tuning/{method}/{name}") / 2**48 for name in ranges]
    for number in itertools.count(1) if ranges else ():
        drawn = {}
        for place, (name, tune) in enumerate(ranges.items()):
            share = (starts[place] + number * ratio ** -(place + 1)) % 1.0
            value = tune.at(share) if isinstance(tune, Range) else tune[int(share * len(tune))]
            drawn[name] = round(value) if hints[name] in (int, int | None) and isinstance(tune, Range) else value
        yield drawn


@dataclass(frozen=True)
class Tries:
    """The configurations of one method under one setting: data, student and teachers.

    Attributes:
        method: its name.
        table: digest of its table.
        options: of each number.
        units: of each number its units, one for each data set that it is tried on.
        setting: what the units that will have the chosen options have in common, see `setting_of`.
    """

    method: str
    table: str
    options: Sequence[Mapping[str, Any]]
    units: Sequence[Sequence[tuple[UnitSpec, Dataset]]]
    setting: str

    @property
    def on(self) -> list[str]:
        """The names of the data sets that it is tried on."""
        return list(dict.fromkeys(spec.data.name for spec, _ in self.units[0]))

    def changed(self, number: int) -> dict[str, Any]:
        """The options of a number that are tuned."""
        own = older_options(METHODS.get(self.method).Config, self.options[number])
        return {name: own[name] for name in ranges_of(self.method)}


def setting_of(spec: UnitSpec, with_data: bool) -> str:
    """Equal for units that share what is chosen: those that differ in seed alone.

    Args:
        with_data: whether the data belong to it; not if other sets than those are tuned on.
    """
    names = {"task", "method", "options", "student", "student_net", "fusion", "teachers", *["data"] * with_data}
    return digest({name: value for name, value in recorded(spec).items() if name in names})


def tuning_seed(seeds: Sequence[int]) -> int:
    """The seed under which configurations are tried: none of these."""
    return next(seed for seed in itertools.count(SEED) if seed not in seeds)


def make_tries(bases: Sequence[tuple[UnitSpec, Dataset]], count: int, apart: bool) -> list[Tries]:
    """The tries of these units, whose options are those of number 0; none of methods without ranges.

    Args:
        bases: units under the seed of tuning.
        count: how many configurations each method has.
        apart: whether each data set has a choice of its own.

    Raises:
        MmkdError: the training part of a data set cannot be cut, or a method's options have lists of values.
    """
    together: dict[str, list[tuple[UnitSpec, Dataset]]] = {}
    for spec, data in bases:
        if ranges_of(spec.method):
            together.setdefault(setting_of(spec, apart), []).append((spec, data))
    tries = []
    for setting, members in together.items():
        first = members[0][0]
        options = configurations(first.method, count, first.options)
        table = table_digest(first.method, first.options)
        units = [
            [(in_tuning(spec, data, own, {"table": table, "number": n}), data) for spec, data in members]
            for n, own in enumerate(options)
        ]
        tries.append(Tries(first.method, table, options, units, setting))
    return tries


def in_tuning(spec: UnitSpec, data: Dataset, options: Mapping[str, Any], tuning: Mapping[str, Any]) -> UnitSpec:
    """The unit that tries these options in the fold of its training part; its teachers do not see the fold.

    Raises:
        MmkdError: the training part has no such fold, or the shares of the teachers are searched in other folds.
    """
    if spec.selection_folds:
        raise MmkdError(
            "--tune: --teacher-weights search would need folds inside a fold of the training part; leave one of them "
            "out"
        )
    inner = replace(spec.data, inner_fold=FOLD)
    try:
        split_for(data, inner, spec.seed)
    except MmkdError as error:
        raise MmkdError(
            f"--tune: the training part of {spec.data.name!r} cannot be cut: {error}; or tune on other sets, --tune-on "
            f"A,B"
        ) from None
    return replace(spec, data=inner, options=dict(options), tuning=dict(tuning), tuned={})
