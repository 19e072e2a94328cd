"""The table of results/controls.md: methods and controls in each part of the suite, from the files of the comparison.

python -m mmkd.compare --runs DIR --out DIR
python experiments/controls.py DIR/leaderboard.csv        # prints the table, in Markdown
"""

import csv
import sys
from argparse import Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from mmkd.cli.flags import Parser
from mmkd.cli.script import run_script

PARTS = {
    "A hapt6": "hapt6 at 25 Hz with labels of 5 subjects, student sig (micro)",
    "A natops": "natops with labels of 10 windows a class, student sig (micro)",
    "B hapt6": "hapt6 at 25 Hz, student sig@gyro (micro)",
    "C hapt6": "hapt6 at 25 Hz, student sig (micro)",
    "C natops": "natops, student sig (micro)",
}
"""Part of the suite -> the group of the comparison."""
HEADINGS = {"student": "methods", "control": "controls"}
"""Kind of a row -> what stands above its first line."""


def table(rows: Sequence[dict[str, str]]) -> str:
    """A line a method or control, a column a part: the change of macro-F1 against the student alone, in points.

    Args:
        rows: of `leaderboard.csv`.
    """
    groups = list(PARTS.values())
    cells = {(row["row"], row["group"]): row for row in rows if row["group"] in groups}
    lines = ["| | " + " | ".join(PARTS) + " |", "|---|" + "---:|" * len(PARTS)]
    alone = [_score(cells.get(("student", group))) for group in groups]
    teachers = [_score(next((r for r in rows if (r["kind"], r["group"]) == ("teacher", g)), None)) for g in groups]
    lines += ["| macro-F1 of the teacher | " + " | ".join(teachers) + " |"]
    lines += ["| of the student alone | " + " | ".join(alone) + " |"]
    for kind, heading in HEADINGS.items():
        names = dict.fromkeys(r["row"] for r in cells.values() if r["kind"] == kind and r["row"] != "student")
        lines.append(f"| *{heading}* |" + " |" * len(PARTS))
        for name in sorted(names, key=lambda name: -_mean(cells, name)):
            lines.append(f"| `{name}` | " + " | ".join(_change(cells.get((name, group))) for group in groups) + " |")
    return "\n".join(lines) + "\n"


def _mean(cells: dict[tuple[str, str], dict[str, str]], name: str) -> float:
    changes = [float(row["change_mean"]) for (row_name, _), row in cells.items() if row_name == name]
    return sum(changes) / len(changes)


def _score(row: dict[str, str] | None) -> str:
    return "-" if row is None else f"{float(row['macro_f1_mean']):.3f}"


def _change(row: dict[str, str] | None) -> str:
    """`+1.2 (+0.3 to +2.1)`, with the number of seeds where it is another than three."""
    if row is None:
        return "-"
    mean, low, high = (100 * float(row[f"change_{name}"]) if row[f"change_{name}"] else None for name in MEASURED)
    assert mean is not None
    text = f"{mean:+.1f}" + ("" if low is None or high is None else f" ({low:+.1f} to {high:+.1f})")
    return text + ("" if row["change_n"] == SEEDS else f", n {row['change_n']}")


MEASURED = ("mean", "low", "high")
SEEDS = "3"


def show(args: Namespace) -> None:
    """Print the table of a file."""
    with args.file.open(encoding="utf-8") as lines:
        print(table(list(csv.DictReader(lines))), end="")


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="controls.py", description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("file", metavar="DIR/leaderboard.csv", type=Path)
    return run_script(parser, show, argv)


if __name__ == "__main__":
    sys.exit(main())
