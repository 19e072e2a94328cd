"""The tuning phase of a request (`--tune N`): configurations are tried on the training part, the best one is kept."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmkd.core.errors import MmkdError
from mmkd.core.keys import digest
from mmkd.data import Dataset
from mmkd.data.relatives import are_relatives
from mmkd.engines.sweep import Existing, run_units
from mmkd.engines.workers import run_by_workers
from mmkd.specs.unit import UnitSpec
from mmkd.store.record import Record
from mmkd.store.records import Records
from mmkd.tasks import TASKS
from mmkd.training.workspace import Workspace
from mmkd.units import frozen
from mmkd.units.expansion import expand
from mmkd.units.names import title
from mmkd.units.request import Request
from mmkd.units.result import UnitResult
from mmkd.units.tuned import Choice, choose, with_tuned
from mmkd.units.tuning import Tries, make_tries, ranges_of, setting_of, tuning_seed

Units = Sequence[tuple[UnitSpec, Dataset]]


@dataclass(frozen=True)
class Tuning:
    """The tuning phase of a request; without `--tune` it has no tries.

    Attributes:
        tries: of each method and setting.
        apart: whether each data set has a choice of its own.
        untuned: methods of the request that have no ranges or, with `--tuned`, no frozen configuration.
        frozen: setting -> what is read with `--tuned`, in place of tries.
    """

    tries: Sequence[Tries] = ()
    apart: bool = True
    untuned: Sequence[str] = ()
    frozen: Mapping[str, Choice] = field(default_factory=dict)

    @property
    def units(self) -> list[tuple[UnitSpec, Dataset]]:
        """All that is tried, number 0 of every method first: where less is wanted, it is there early."""
        longest = max((len(tries.units) for tries in self.tries), default=0)
        return [unit for n in range(longest) for tries in self.tries if n < len(tries.units) for unit in tries.units[n]]

    def records(self, records: Records) -> list[Record]:
        """Those of what is tried that exist."""
        return [record for record in (records.get(spec.key) for spec, _ in self.units) if record is not None]

    def choices(self, records: Records) -> dict[str, Choice]:
        """Setting -> what its records show to be best, of tries that can be chosen from."""
        chosen = {tries.setting: choose(tries, records.get) for tries in self.tries}
        return {**self.frozen, **{setting: choice for setting, choice in chosen.items() if choice is not None}}

    def later(self, units: Units, records: Records) -> list[tuple[UnitSpec, Dataset]]:
        """The tuned units that a command will have, for estimates: with number 0 where nothing is chosen yet."""
        settings = {tries.setting for tries in self.tries}
        choices = self.choices(records)
        found = []
        for spec, data in units:
            setting = setting_of(spec, self.apart)
            if setting in choices:
                found += self.extend([(spec, data)], choices)[1:]
            elif setting in settings:
                found.append((replace(spec, tuned={"number": 0}), data))
        return found

    def extend(self, units: Units, choices: dict[str, Choice]) -> list[tuple[UnitSpec, Dataset]]:
        """The units of the request, each followed by its tuned one."""
        return with_tuned(units, lambda spec: choices.get(setting_of(spec, self.apart))) if choices else list(units)


def expand_with_tuning(
    request: Request, given: Dataset | None = None
) -> tuple[list[tuple[UnitSpec, Dataset]], list[tuple[UnitSpec, Dataset]]]:
    """The units of a request, and those that are number 0 of what is tried: under the seed of tuning.

    Args:
        given: windows in memory, in place of those that the request names.

    Raises:
        MmkdError: the request is invalid, or would tune on a data set that it reports on.
    """
    if request.tune is None:
        return list(expand(request, given)), []
    if TASKS.get(request.task).of_series:
        raise MmkdError(
            f"--tune {request.tune}: series of --task {request.task} are scored by their anomalies, which no training "
            f"part has; leave it out"
        )
    seed = tuning_seed(request.seeds)
    if not request.tune_on:
        both = list(expand(replace(request, seeds=(*request.seeds, seed)), given))
        own = [(spec, data) for spec, data in both if spec.seed != seed]
        return own, [(spec, data) for spec, data in both if spec.seed == seed]
    units = list(expand(request, given))
    for one in request.tune_on:
        for other in dict.fromkeys(data.name for _, data in units):
            if are_relatives(one, other):
                same = "both" if one == other else f"{other}, which has the same recordings,"
                raise MmkdError(f"--tune-on {one}: the request reports on {same} too; tune on other sets")
    elsewhere = replace(
        request,
        **dict.fromkeys(("data", "card", "folds", "unlabelled")),  # type: ignore[arg-type]
        datasets=request.tune_on,
        seeds=(seed,),
        split="card",
        fold=(),
    )
    return units, list(expand(elsewhere))


def plan_tuning(request: Request, units: Units, bases: Units, broken: Collection[str] = ()) -> Tuning:
    """The tuning phase of these units.

    Args:
        units: those of the request that will be run.
        bases: as `expand_with_tuning` returns them.
        broken: keys of units that will fail, whose methods are not tuned.

    Raises:
        MmkdError: no method has ranges, a method's options have lists of values, or a training part cannot be cut.
    """
    if request.tune is None:
        return _read_frozen(request.tuned, units)
    methods = list(dict.fromkeys(spec.method for spec, _ in units))
    if not any(map(ranges_of, methods)):
        raise MmkdError(
            f"--tune {request.tune}: {', '.join(methods)} has no option with a range to tune; --method NAME --help "
            f"shows the ranges"
        )
    check_one_set(f"--tune {request.tune}", units)
    apart = not request.tune_on
    settings = {setting_of(spec, apart) for spec, _ in units if spec.key not in broken}
    wanted = [(spec, data) for spec, data in bases if setting_of(spec, apart) in settings]
    tries = make_tries(wanted, request.tune, apart)
    if request.freeze is not None:
        frozen.check_folder(request.freeze)
        several = [name for name in methods if sum(own.method == name for own in tries) > 1]
        if several:
            raise MmkdError(
                f"--freeze {request.freeze}: a file holds one configuration, and {several[0]} gets one for each data "
                f"set, student and set of teachers; ask for one of each, or tune on other sets with --tune-on A,B"
            )
    return Tuning(tries, apart, [name for name in methods if not ranges_of(name)])


def check_one_set(flag: str, units: Units) -> None:
    """Refuse lists of values, and variants, of methods that have ranges: tuning begins from one set of options."""
    options: dict[str, set[str]] = {}
    for spec, _ in units:
        options.setdefault(spec.method, set()).add(digest(dict(spec.options)))
    for method, own in options.items():
        if len(own) > 1 and ranges_of(method):
            raise MmkdError(
                f"{flag}: {method} is asked for with {len(own)} sets of options, by lists of values or variants; "
                f"tuning begins from one"
            )


def _read_frozen(folder: str | None, units: Units) -> Tuning:
    """The frozen configurations of these units; nothing without `--tuned`."""
    if folder is None:
        return Tuning()
    specs = {setting_of(spec, True): spec for spec, _ in units}
    check_one_set("--tuned", units)
    by_method = frozen.read_frozen(frozen.find_folder(folder), list(specs.values()))
    found = {setting: by_method[spec.method] for setting, spec in specs.items() if spec.method in by_method}
    methods = dict.fromkeys(spec.method for spec in specs.values())
    return Tuning(untuned=[name for name in methods if name not in by_method], frozen=found)


def write_frozen(tuning: Tuning, choices: Mapping[str, Choice], folder: str) -> list[str]:
    """Freeze what was chosen: a line for each file."""
    chosen = [(tries, choices[tries.setting]) for tries in tuning.tries if tries.setting in choices]
    return [f"frozen: {frozen.freeze(Path(folder), tries, choice)}" for tries, choice in chosen]


def run_tuning(
    tuning: Tuning, workspace: Workspace, existing: Existing, on_result: Callable[[UnitResult], None]
) -> list[str]:
    """Train what is not on record, in this process or by workers; one line for each training that failed.

    Raises:
        MmkdError: under "only", something is not on record.
    """
    units = tuning.units
    if existing == "only":
        missing = [spec for spec, _ in units if workspace.records.get(spec.key) is None]
        if missing:
            names = ", ".join(dict.fromkeys(spec.method for spec in missing))
            raise MmkdError(
                f"--tune with --existing only: {len(missing)} of {len(units)} trainings of the tuning phase are not on "
                f"record ({names}); run it without --existing only"
            )
        return []
    if workspace.uses_workers:
        results = run_by_workers(units, workspace, existing == "rerun", {}, on_result)
    else:
        results = run_units(units, workspace, existing, on_result)
    failed = [result for result in results if result.record is None]
    return [f"tuning, {title(result.spec)} failed: {result.error} ({result.log})" for result in failed]


def distinct(choices: Mapping[str, Choice]) -> list[Choice]:
    """What was chosen, each once, where several data sets share it."""
    return list({choice.line: choice for choice in choices.values()}.values())


def notes_of(tuning: Tuning, asked: int, choices: Mapping[str, Choice]) -> list[str]:
    """What is not tuned, or not as often as asked, a line each.

    Args:
        asked: how many configurations were asked for.
    """
    lines = []
    for tries in tuning.tries:
        if tries.setting not in choices:
            lines.append(f"tuning of {tries.method} on {', '.join(tries.on)}: number 0, its default, failed; not tuned")
    for method, count in {tries.method: len(tries.options) for tries in tuning.tries}.items():
        if count < asked:
            lines.append(f"tuning of {method}: its ranges have {count} configurations, not {asked}")
    if tuning.frozen and tuning.untuned:
        lines.append(f"no frozen configuration: {', '.join(tuning.untuned)}")
    elif tuning.untuned:
        lines.append(f"not tuned, without a range or as a control: {', '.join(tuning.untuned)}")
    return lines
