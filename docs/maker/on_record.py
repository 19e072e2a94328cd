"""What the committed results say of each method: read from the files beside the pages of experiments/results/."""

import csv
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results"
COST_ROW = re.compile(r"^\| `([\w+-]+)` \|.*\| ([\d.]+) \|$", re.M)


@dataclass(frozen=True)
class Score:
    """A row of a comparison.

    Attributes:
        page: the page of the comparison on the site, such as measured/controls.md.
        group: the data and the student.
        row: the method with the options that were set.
        kind: student or control.
        runs: the number of seeds or folds.
        mean: macro-F1 on the test windows, a fraction.
        sd: its standard deviation over the runs.
        change: points of macro-F1 against the student alone of the same seeds; None where there is none.
    """

    page: str
    group: str
    row: str
    kind: str
    runs: int
    mean: float
    sd: float
    change: float | None

    @property
    def method(self) -> str:
        """The name of the method."""
        return self.row.split(" ")[0]


@cache
def scores() -> tuple[Score, ...]:
    """All rows of students on record."""
    found: list[Score] = []
    for path in sorted(RESULTS.glob("*/leaderboard.csv")):
        found += _of_leaderboard(path)
    for path in sorted(RESULTS.glob("*/results.csv")):
        found += _of_results(path)
    for path in sorted((ROOT / "experiments").glob("v*/results/*.csv")):
        found += _of_benchmark(path)
    return tuple(score for score in found if score.kind in ("student", "control"))


def _page(path: Path) -> str:
    return f"measured/{path.parent.name}.md"


def _of_leaderboard(path: Path) -> Iterator[Score]:
    with path.open(encoding="utf-8") as lines:
        for line in csv.DictReader(lines):
            if line["macro_f1_mean"]:
                change = 100 * float(line["change_mean"]) if line["change_mean"] else None
                mean, sd = float(line["macro_f1_mean"]), float(line["macro_f1_sd"] or 0)
                yield Score(_page(path), line["group"], line["row"], line["kind"], int(line["n"]), mean, sd, change)


def _of_results(path: Path) -> Iterator[Score]:
    runs: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    with path.open(encoding="utf-8") as lines:
        for line in csv.DictReader(lines):
            if line["metric"] == "macro_f1":
                runs[line["group"], line["kind"], line["row"]][line["seed"]] = float(line["value"])
    yield from _paired(_page(path), runs)


def _of_benchmark(path: Path) -> Iterator[Score]:
    """Of a table of the frozen benchmark: its students, methods and controls, as kinds student and control."""
    kinds = {"student": "student", "method": "student", "control": "control"}
    runs: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    with path.open(encoding="utf-8") as lines:
        for line in csv.DictReader(lines):
            if line["metric"] == "macro_f1" and not line["subject"] and line["kind"] in kinds:
                version = line["protocol"].partition("-")[0]
                group = f"{version}, regime {line['regime']}, {line['dataset']}, {line['student']}"
                runs[group, kinds[line["kind"]], line["row"]][line["seed"]] = float(line["value"])
    yield from _paired("results.md", runs)


def _paired(page: str, runs: Mapping[tuple[str, str, str], Mapping[str, float]]) -> Iterator[Score]:
    """The rows of (group, kind, row) -> run -> macro-F1, each beside the student alone of the same runs."""
    for (group, kind, row), values in runs.items():
        alone = runs.get((group, "student", "student"), {})
        shared = values.keys() & alone.keys()
        change = 100 * float(np.mean([values[run] - alone[run] for run in shared])) if shared else None
        x = np.array(list(values.values()))
        yield Score(page, group, row, kind, len(x), float(x.mean()), float(x.std(ddof=len(x) > 1)), change)


def rank(score: Score) -> tuple[int, int]:
    """The place of a row among the rows of methods of its group by mean macro-F1, from 1, and how many there are."""
    group = [s for s in scores() if (s.page, s.group, s.kind) == (score.page, score.group, score.kind)]
    return 1 + sum(other.mean > score.mean for other in group), len(group)


@cache
def costs() -> dict[str, float]:
    """What a training step of a method costs in steps of the student alone, by hapt6-methods.md."""
    text = (RESULTS / "hapt6-methods.md").read_text(encoding="utf-8")
    return {name: float(cost) for name, cost in reversed(COST_ROW.findall(text))}


@cache
def scales() -> dict[str, dict[str, list[float]]]:
    """Method -> term -> norms of its gradient beside that of cross-entropy, one a data set, by method-scale.csv."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with (RESULTS / "method-scale.csv").open(encoding="utf-8") as lines:
        for line in csv.DictReader(lines):
            found[line["method"]][line["term"]].append(float(line["later"]))
    return found
