"""What equal tuning chose, and the units that have the chosen options."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from mmkd.core.progress import duration
from mmkd.data import Dataset
from mmkd.metrics.registry import METRICS
from mmkd.specs.unit import UnitSpec
from mmkd.store.record import Record
from mmkd.tasks import TASKS
from mmkd.units.tuning import Tries

Units = Sequence[tuple[UnitSpec, Dataset]]


@dataclass(frozen=True)
class Choice:
    """The configuration that was chosen of one method's table.

    Attributes:
        table: digest of the table.
        number: of the configuration in it; 0 is that of the request.
        budget: how many configurations were tried.
        on: the names of the data sets that they were tried on.
        options: those chosen, as `core.options.recorded` returns them.
        changed: the values of the tuned options.
        metric: the metric that was compared.
        score: its mean in the fold of the training part; default_score: that of number 0.
        trainings: how many students were trained; seconds: how long their trainings took in all.
        lacking: numbers without a score, because a training failed.
        scores: the mean score of each configuration that has one, by number; empty of an older frozen one.
        file: the file that it was read from, of a frozen one.
    """

    method: str
    table: str
    number: int
    budget: int
    on: Sequence[str]
    options: Mapping[str, Any]
    changed: Mapping[str, Any]
    metric: str
    score: float
    default_score: float
    trainings: int
    seconds: float
    lacking: Sequence[int] = ()
    scores: Sequence[float] = ()
    file: str = ""

    @property
    def tuned(self) -> dict[str, Any]:
        """`UnitSpec.tuned` of its units."""
        return {"table": self.table, "number": self.number, "budget": self.budget, "on": list(self.on)}

    @property
    def line(self) -> str:
        """What is said of it."""
        metric = METRICS.get(self.metric)
        chosen = " ".join(f"{name}={value}" for name, value in self.changed.items())
        scores = f"{metric.label} {self.score:.4f}"
        if self.number:
            scores += f" (default {self.default_score:.4f})"
        lacking = f"; number {', '.join(map(str, self.lacking))} failed" if self.lacking else ""
        if self.file:
            where = f"number {self.number} of {self.budget} tried on {', '.join(self.on)}"
            return f"{self.method} (tuned): {chosen}, {where} ({self.file})"
        return (
            f"tuning of {self.method} on {', '.join(self.on)}: number {self.number} of {self.budget}, "
            f"{'the default, ' * (self.number == 0)}{chosen}, {scores} in a fold of the training part; "
            f"{self.trainings} student trainings of {duration(self.seconds)} in all{lacking}"
        )

    def as_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {"kind": "tuning", **asdict(self)}


def choose(tries: Tries, record_of: Callable[[str], Record | None]) -> Choice | None:
    """The configuration with the best mean score; None if number 0 has none on one of the data sets.

    Of several data sets it is the mean of the differences to number 0, so that each weighs the same. Of equal ones the
    lowest number is taken.

    Args:
        record_of: the record of a key, if there is one.
    """
    metric = METRICS.get(TASKS.get(tries.units[0][0][0].task).headline)
    records = [[record_of(spec.key) for spec, _ in units] for units in tries.units]
    scores = [[record.metrics.test[metric.name] for record in row if record is not None] for row in records]
    whole = [number for number, row in enumerate(scores) if len(row) == len(tries.units[number])]
    if 0 not in whole:
        return None
    gains = {n: sum(metric.sign * (a - b) for a, b in zip(scores[n], scores[0], strict=True)) for n in whole}
    best = max(whole, key=lambda number: (gains[number], -number))
    done = [record for row in records for record in row if record is not None]
    return Choice(
        method=tries.method,
        table=tries.table,
        number=best,
        budget=len(tries.options),
        on=tries.on,
        options=tries.options[best],
        changed=tries.changed(best),
        metric=metric.name,
        score=sum(scores[best]) / len(scores[best]),
        default_score=sum(scores[0]) / len(scores[0]),
        trainings=len(done),
        seconds=sum(record.seconds for record in done),
        lacking=[number for number in range(len(scores)) if number not in whole],
        scores=[sum(scores[number]) / len(scores[number]) for number in whole],
    )


def with_tuned(units: Units, choice_of: Callable[[UnitSpec], Choice | None]) -> list[tuple[UnitSpec, Dataset]]:
    """The units, each followed by the same unit with the options that were chosen for it.

    Args:
        choice_of: what was chosen for a unit; None if nothing was.
    """
    found = []
    for spec, data in units:
        found.append((spec, data))
        choice = choice_of(spec)
        if choice is not None:
            found.append((replace(spec, options=dict(choice.options), tuned=choice.tuned), data))
    return found
