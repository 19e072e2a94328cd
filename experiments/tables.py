"""Tables of the pages frequency.md, fam-side.md and segnext.md in results/, from the scores of single runs.

python -m mmkd.compare --runs DIR --out DIR
python experiments/tables.py keep DIR/results.csv experiments/results/NAME/results.csv   # the lines that a page needs
python experiments/tables.py NAME   # prints its tables, in Markdown
"""

import csv
import sys
from argparse import Namespace, RawDescriptionHelpFormatter
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from mmkd.cli.flags import Parser
from mmkd.cli.script import run_script
from mmkd.core.errors import MmkdError, unknown_name

RESULTS = Path(__file__).parent / "results"
METRICS = ("accuracy", "macro_f1", "miou", "iou_p", "parameters", "macs", "latency_ms", "seconds")
"""The metrics that are kept of `results.csv`."""


class Row(NamedTuple):
    """A row of the comparison: its group, kind (teacher or student) and name."""

    group: str
    kind: str
    name: str


Scores = Mapping[tuple[str, str, str], Mapping[int, float]]
"""(group, name of the row, metric) -> seed -> value."""


@dataclass(frozen=True)
class Table:
    """One table of a page.

    Attributes:
        groups: names in `results.csv` of the groups of the comparison. The rows of a single group have their own names,
            the one row of each of several groups that of its student.
        metric: the score that is compared, a fraction; differences are in points.
        others: metrics that are shown beside it, as means over seeds.
        baseline: the row that all others are compared with.
        references: method -> the row that its rows are compared with besides, such as the same method without its
            filter.
        reference: the heading of that comparison.
        teacher: the rows of this teacher and those without one; empty for all. Names of rows say the teachers where
            they differ from those of the first part of the suite, the signal.
    """

    groups: tuple[str, ...]
    metric: str = "macro_f1"
    others: tuple[str, ...] = ()
    baseline: str = "student"
    references: Mapping[str, str] = field(default_factory=dict)
    reference: str = "vs the same without its filter"
    teacher: str = ""


def read(file: Path) -> tuple[Scores, list[Row]]:
    """The scores of a results.csv, and its rows in their order."""
    scores: dict[tuple[str, str, str], dict[int, float]] = defaultdict(dict)
    rows = []
    with file.open(encoding="utf-8") as lines:
        for line in csv.DictReader(lines):
            scores[line["group"], line["row"], line["metric"]][int(line["seed"])] = float(line["value"])
            rows.append(Row(line["group"], line["kind"], line["row"]))
    return scores, list(dict.fromkeys(rows))


def keep(source: Path, target: Path) -> None:
    """Copy the lines of `METRICS` of a results.csv, with the values to six digits."""
    with source.open(encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        kept = [{**line, "value": f"{float(line['value']):.6g}"} for line in reader if line["metric"] in METRICS]
        names = reader.fieldnames or ()
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)


def change(scores: Mapping[int, float], others: Mapping[int, float], seeds: int) -> str:
    """`+1.2 (+0.3 to +2.1)`: mean difference in points over the common seeds, and its 95 % interval (Student's t).

    Args:
        scores: seed -> score of a row.
        others: likewise, of the row that it is compared with.
        seeds: their usual number; another one is said.
    """
    gaps = np.array([100 * (scores[seed] - others[seed]) for seed in sorted(set(scores) & set(others))])
    if not len(gaps):
        return ""
    text = f"{gaps.mean():+.1f}"
    if len(gaps) > 1:
        reach = stats.t.ppf(0.975, len(gaps) - 1) * stats.sem(gaps)
        text += f" ({gaps.mean() - reach:+.1f} to {gaps.mean() + reach:+.1f})"
    return text if len(gaps) == seeds else f"{text}, n {len(gaps)}"


def _score(values: Mapping[int, float]) -> str:
    x = np.array(list(values.values()))
    return f"{x.mean():.3f}" + (f" ± {x.std(ddof=1):.3f}" if len(x) > 1 else "")


def _mean(values: Mapping[int, float]) -> str:
    if not values:
        return ""
    mean = float(np.mean(list(values.values())))
    return f"{mean:,.0f}" if mean >= 100 else f"{mean:.3f}"


def _belongs(table: Table, row: Row) -> bool:
    if not table.teacher or row.name == table.baseline:
        return True
    teacher = row.name.split()[0] if row.kind == "teacher" else row.name.partition("teachers=")[2] or "sig"
    return teacher == table.teacher


def _label(table: Table, row: Row) -> str:
    if row.kind == "teacher":
        return f"teacher `{row.name}`"
    return f"`{row.name}`" if len(table.groups) == 1 else f"`{row.group.split('(')[-1].rstrip(')')}`"


def markdown(table: Table, scores: Scores, rows: Sequence[Row]) -> str:
    """The table in Markdown: a line a row, teachers first, then as in the file; a column a metric and a comparison."""
    own = [row for row in rows if row.group in table.groups and _belongs(table, row)]
    labels = {_label(table, row): row for row in sorted(own, key=lambda row: row.kind != "teacher")}
    baseline = labels[f"`{table.baseline}`"]
    heads = [table.metric, *table.others, f"vs `{table.baseline}`"]
    heads += [table.reference] if table.references else []
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]

    def of(row: Row, metric: str = table.metric) -> Mapping[int, float]:
        return scores.get((row.group, row.name, metric), {})

    for label, row in labels.items():
        cells = [_score(of(row)), *(_mean(of(row, metric)) for metric in table.others)]
        taught = row.kind != "teacher" and row != baseline
        cells.append(change(of(row), of(baseline), len(of(baseline))) if taught else "")
        if table.references:
            reference = labels.get(f"`{table.references.get(row.name.split()[0])}`")
            compared = taught and reference is not None and reference != row
            cells.append(change(of(row), of(reference), len(of(baseline))) if compared and reference else "")
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


UNFILTERED = {
    "fam-1d": "fam-1d mask=none",
    "freq-lh": "freq-lh strategy=all-pass",
    "freekd": "freekd bands=all-pass",
    "fd-cmkd": "fd-cmkd strategy=all-pass",
    "figkd": "figkd bands=all-pass",
}
"""Method -> its row without a filter."""
SIDES = "hapt6, student sig@gyro (small, batch-size=32)"
STAGES = ("none", "freqfusion", "dwt", "freqfusion-attention", "dwt-attention", "dsconv")
"""The fusions of the stages of SegNeXt."""


def _segnext(data: str) -> Table:
    fusions = ["segnext-small-ham" + ("" if name == "none" else f", {name}") for name in STAGES]
    groups = tuple(f"{data}, student sig ({text})" for text in fusions)
    return Table(groups, "miou", ("macro_f1", "parameters", "macs"), "segnext-small-ham")


PAGES = {
    "frequency": {
        "Classification": Table(
            ("hapt6 at 25 Hz, student sig@gyro (micro)",), others=("accuracy",), references=UNFILTERED
        ),
        "Dense": Table(("ludb, student sig (fast-scnn-small)",), "miou", ("macro_f1",), references=UNFILTERED),
    },
    "fam-side": {
        "Lines lifted to maps of 64 and 32": Table(
            (SIDES,),
            references={"fam": "fam mask=none", "fam-1d": "fam-1d mask=none"},
            reference="vs `mask=none`",
            teacher="sig",
        ),
        "Maps of Gramian fields of 64 x 64": Table(
            (SIDES,),
            references={"fam": "fam mask=none stages=stage1,stage2 teachers=gaf"},
            reference="vs `mask=none`",
            teacher="gaf",
        ),
    },
    "segnext": {"LUDB": _segnext("ludb"), "HAPT as streams": _segnext("hapt-dense")},
}
"""Page -> heading of a table -> the table."""


def tables(page: str) -> dict[str, str]:
    """Heading -> table in Markdown, of the page results/PAGE.md."""
    scores, rows = read(RESULTS / page / "results.csv")
    return {heading: markdown(table, scores, rows) for heading, table in PAGES[page].items()}


def show(args: Namespace) -> None:
    """Keep the lines of a page, or print its tables.

    Raises:
        MmkdError: there is no such page, or there are not two files.
    """
    if args.what == "keep":
        if len(args.files) != 2:
            raise MmkdError("keep takes two files: results.csv of the comparison, and that of the page")
        keep(*args.files)
        return
    if args.what not in PAGES:
        raise unknown_name("page", args.what, PAGES)
    if args.files:
        raise MmkdError(f"{args.what} takes no {str(args.files[0])!r}")
    for heading, text in tables(args.what).items():
        print(f"**{heading}**\n\n{text}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="tables.py", description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("what", metavar="NAME", help=f"keep, or one of {', '.join(PAGES)}")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="of keep: from, to")
    return run_script(parser, show, argv)


if __name__ == "__main__":
    sys.exit(main())
