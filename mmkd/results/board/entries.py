"""Tables of the board as the template shows them: heads, cells, rows and what stands behind their names."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mmkd.comparison.rows import BOUND
from mmkd.report.phrases import CONTROLS
from mmkd.results.board.regime import BoardRegime
from mmkd.results.scores import Row


@dataclass(frozen=True)
class Head:
    """The head of a column; of one whose `better` is "higher" or "lower" the first click puts the best on top."""

    text: str
    meaning: str = ""
    better: str = ""
    number: bool = True


@dataclass(frozen=True)
class Cell:
    """A cell: its text, what it is sorted by ("" if it is not known), class names, and more for the pointer."""

    text: str
    value: float | str | None = None
    style: str = ""
    title: str = ""

    @property
    def sortable(self) -> str:
        """What the page sorts by."""
        return "" if self.value is None else self.value if isinstance(self.value, str) else repr(float(self.value))


@dataclass(frozen=True)
class Entry:
    """A row of a table.

    Attributes:
        badges: short texts behind its name.
        mark: "best", or "alike" of a row that is not told apart from it.
        kind: of the row; it can be looked for.
        part: the id of the part of the page that its name leads to.
    """

    name: str
    cells: Sequence[Cell]
    badges: Sequence[str] = ()
    mark: str = ""
    kind: str = ""
    part: str = ""


@dataclass(frozen=True)
class Body:
    """Rows that stay together when the table is sorted, under a heading."""

    heading: str
    rows: Sequence[Entry]


@dataclass(frozen=True)
class BoardTable:
    """A sortable table.

    Attributes:
        how: lines on how to read it, below it.
        notes: lines that nobody should miss, above it.
        filter: whether rows can be looked for.
        by: number of the head by which rows are sorted at first, the best on top; None: as they come.
    """

    id: str
    title: str
    first: str
    heads: Sequence[Head]
    bodies: Sequence[Body]
    how: Sequence[str] = field(default_factory=tuple)
    filter: bool = False
    by: int | None = None
    notes: Sequence[str] = ()

    @property
    def order(self) -> str:
        """How rows are sorted at first, as `aria-sort` says it."""
        better = "" if self.by is None else self.heads[self.by].better
        return {"higher": "descending", "lower": "ascending"}.get(better, "none")

    @property
    def count(self) -> int:
        """How many rows it has."""
        return sum(len(body.rows) for body in self.bodies)


def badges(regime: BoardRegime, row: Row) -> list[str]:
    """What is to be known of a row."""
    found = ["tuned"] if row.tuned and "tuned" not in row.name else []
    found += ["a bound: several students"] if row.method == BOUND else []
    found += ["extra data"] if row.extra_data else []
    found += [] if row.verified else ["not verified"]
    few = regime.few_seeds(row)
    return [*found, few] if few else found


def bodies(regime: BoardRegime, make: Callable[[Row], Entry | None], kinds: Iterable[tuple[str, str]]) -> list[Body]:
    """Rows by kinds, each under its heading; `kinds`: words, such as "student method", and heading."""
    found = []
    for words, heading in kinds:
        rows = [entry for row in regime.scores.of(*words.split()) if (entry := make(row)) is not None]
        found += [Body(heading, rows)] if rows else []
    return found


NETWORKS = (("student method", ""), ("control", CONTROLS))
PEERS = ("peer", "peers: no network, fitted on the same windows")
REFERENCES = (("teacher", "teachers"), PEERS)


def sorted_body(body: Body, by: int, better: str) -> Body:
    """The rows of a body by one of their cells, the best on top; those without a value last."""
    sign = 1 if better == "lower" else -1

    def place(entry: Entry) -> float:
        value = entry.cells[by].value
        return sign * value if isinstance(value, float) else np.inf

    return Body(body.heading, sorted(body.rows, key=place))


def without_empty(heads: Sequence[Head], bodies: Sequence[Body]) -> tuple[list[Head], list[Body]]:
    """Heads and bodies without the columns in which no row has a text."""
    rows = [row for body in bodies for row in body.rows]
    kept = [number for number in range(len(heads)) if any(row.cells[number].text for row in rows)]
    return [heads[number] for number in kept], [
        Body(body.heading, [replace(row, cells=[row.cells[number] for number in kept]) for row in body.rows])
        for body in bodies
    ]
