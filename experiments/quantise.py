"""Is a distilled student harder or easier to quantise? The tables of results/quantise.md.

python -m mmkd.bench --suite experiments/quantise.toml --data-root DIR --runs RUNS     # the students
python experiments/quantise.py --runs RUNS --data-root DIR   # measures those that results/quantise.csv lacks
python experiments/quantise.py                               # the page alone, from the file

Each student is exported as `python -m mmkd.export --to c` does it, calibrated on training windows, and its integer
model (`mmkd/deploy/integer.py`, which the C source equals bit for bit) is run on the test windows beside the float32
student. A student is measured once: its line in the file is written at once, and is not made again.
"""

import csv
import io
import sys
from argparse import Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from scipy import stats

from mmkd.cli.flags import Parser
from mmkd.cli.script import run_script
from mmkd.comparison.gap import t_interval
from mmkd.core.errors import MmkdError
from mmkd.core.registry import METHODS
from mmkd.deploy.c.extract import extract
from mmkd.deploy.c.target import integer_model, integer_scores
from mmkd.deploy.windows import RecordWindows
from mmkd.metrics.pairs import ALPHA, holm
from mmkd.store.files import write_atomically
from mmkd.store.record import Record
from mmkd.store.records import Records
from mmkd.training.student_model import StudentModel
from mmkd.units.expansion import expand
from mmkd.units.request import Request
from mmkd.units.suites import read_suites

SUITE = Path(__file__).with_suffix(".toml")
FILE = Path(__file__).parent / "results" / "quantise.csv"
ALONE = "student"
"""The row that all others are compared with: the student without a teacher."""
DIGITS = 6
LEVEL = 0.95


@dataclass(frozen=True)
class Measured:
    """One student: macro-F1 in [0, 1] on the test windows, as it was trained and in integers.

    Attributes:
        role: "method" or "control".
        qat: the share of its training in which it was rounded; 0: none.
        agreement: share of test windows of which both have the same class.
        calibration: number of training windows that ranges were measured on.
        test: number of test windows.
    """

    dataset: str
    method: str
    role: str
    qat: float
    seed: int
    float32: float
    int8: float
    agreement: float
    calibration: int
    test: int
    parameters: int
    key: str

    @property
    def unit(self) -> tuple[str, str, float, int]:
        """What no two students of the study have in common."""
        return self.dataset, self.method, self.qat, self.seed


COLUMNS = [field.name for field in fields(Measured)]


def read(path: Path) -> list[Measured]:
    """The lines of a file that `write` wrote; none if there is no file.

    Raises:
        MmkdError: it is not such a file, or has two lines of one student.
    """
    if not path.exists():
        return []
    found: dict[tuple[str, str, float, int], Measured] = {}
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            if reader.fieldnames != COLUMNS:
                raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
            for number, line in enumerate(reader, 2):
                try:
                    row = Measured(**{field.name: field.type(line[field.name]) for field in fields(Measured)})  # type: ignore[operator]
                except (TypeError, ValueError) as error:
                    raise ValueError(f"line {number}: {error}") from None
                if not all(0 <= value <= 1 for value in (row.float32, row.int8, row.agreement, row.qat)):
                    raise ValueError(f"line {number}: a score is not between 0 and 1")
                if row.role not in ("method", "control"):
                    raise ValueError(f"line {number}: the role {row.role!r} is neither method nor control")
                if found.setdefault(row.unit, row) is not row:
                    raise ValueError(f"line {number}: {row.dataset}, {row.method}, seed {row.seed} is there twice")
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise MmkdError(f"{path}: {error}; it is no file of this study") from None
    return list(found.values())


def write(path: Path, rows: Sequence[Measured]) -> None:
    """Write the lines in their order, the whole file at once."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in sorted(rows, key=lambda row: row.unit))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.getvalue().encode())


# Measuring ------------------------------------------------------------------------------------------------------------


def measure(record: Record, data: str | None = None, root: str | None = None) -> Measured:
    """Export a student to integers and score it beside float32.

    Args:
        data, root: the file of the windows, and the data folder, as the flags of `python -m mmkd.export`.

    Raises:
        MmkdError: it has no weights or no C form, or its windows are not at hand.
    """
    spec = record.unit
    student = StudentModel.load(record)
    windows = RecordWindows(record, data, root)
    network = extract(student)
    chosen = windows.for_calibration(None, 0)
    scores = integer_scores(student, windows, integer_model(student, network, chosen.x))
    if not scores:
        raise MmkdError(f"record {record.key}: {spec.data.name} has no test windows with a label")
    return Measured(
        spec.data.name,
        spec.method,
        "control" if METHODS.get(spec.method).status == "control" else "method",
        float(spec.options.get("qat", 0.0)),
        spec.seed,
        round(scores["float32_macro_f1"], DIGITS),
        round(scores["macro_f1"], DIGITS),
        round(scores["agreement"], DIGITS),
        int(chosen.facts["number"]),
        len(windows.test),
        record.parameters,
        record.key,
    )


def measure_all(requests: Sequence[Request], records: Records, path: Path, root: str | None) -> tuple[int, int]:
    """Measure the students of a suite that are on record and not in the file, which grows line by line.

    Returns:
        How many students the suite has, and how many of them are in the file now.

    Raises:
        MmkdError: as `measure`; or two students of the suite would be one row, or a line is of another one.
    """
    rows = read(path)
    known = {row.key: row for row in rows}
    units = {spec.key: (spec, request) for request in requests for spec, _ in expand(request)}
    if not any(records.get_whole(key) for key in units.keys() - known.keys()) and not units.keys() & known.keys():
        raise MmkdError(f"{records.runs}: no student of the suite is on record there")
    places = {row.unit: row.key for row in rows}
    for number, (key, (spec, request)) in enumerate(units.items(), 1):
        place = spec.data.name, spec.method, float(spec.options.get("qat", 0.0)), spec.seed
        if places.setdefault(place, key) != key:
            raise MmkdError(
                f"{spec.method} on {spec.data.name}, seed {spec.seed}, is unit {key}, and {places[place]} is another "
                f"one of that name; --out another folder"
            )
        if key in known:
            continue
        record = records.get_whole(key)
        if record is None:
            continue
        known[key] = measure(record, request.data, root)
        write(path, list(known.values()))
        row = known[key]
        lost = 100 * (row.float32 - row.int8)
        print(f"{number} of {len(units)}: {' '.join(map(str, row.unit))}: {lost:+.2f} points lost", flush=True)
    return len(units), len(units.keys() & known.keys())


# Statistics -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """A mean over n seeds, in points, with its 95 % interval by Student's t; p of the t-test against 0, or None."""

    mean: float
    low: float | None
    high: float | None
    n: int
    p: float | None

    @property
    def cell(self) -> str:
        """`+1.20 (+0.30 to +2.10)`."""
        interval = "" if self.low is None or self.high is None else f" ({self.low:+z.2f} to {self.high:+z.2f})"
        return f"{self.mean:+z.2f}{interval}"


BySeed = Mapping[int, float]
"""Seed -> points."""


def change(values: Sequence[float]) -> Change:
    """Of the values of at least one seed. Equal values that are not 0 have no test: they have no spread."""
    x = np.round(np.asarray(values, np.float64), DIGITS)
    low, high = t_interval(x, LEVEL)
    if len(x) < 2 or (np.ptp(x) == 0 and x[0] != 0):
        p = None
    else:
        p = 1.0 if np.ptp(x) == 0 else float(stats.ttest_1samp(x, 0).pvalue)
    return Change(float(x.mean()), low, high, len(x), p)


@dataclass(frozen=True)
class Line:
    """A row of a table: what a method loses, and how much more than the student alone.

    Attributes:
        scores: means of macro-F1 over its seeds, by the heading.
        drop: points lost in integers.
        more: that minus what the student alone loses, under the same seeds; None of the student alone.
        p: of `more`, adjusted by Holm over the rows of the table; None where there is no test.
    """

    method: str
    role: str
    scores: Mapping[str, float]
    drop: Change
    more: Change | None = None
    p: float | None = None

    @property
    def differs(self) -> str:
        """`more`, `less`, `not shown`, or a dash of the student alone."""
        if self.more is None:
            return "-"
        if self.p is None or self.p >= ALPHA:
            return "not shown"
        return "more" if self.more.mean > 0 else "less"


@dataclass(frozen=True)
class Drops:
    """What the rows of a data set lose: `scores` by heading, and points, each by method and seed."""

    roles: Mapping[str, str]
    scores: Mapping[str, Mapping[str, BySeed]]
    drop: Mapping[str, BySeed]


def after_training(rows: Sequence[Measured], dataset: str) -> Drops:
    """Of students trained in float32: float32 minus integers, of the same weights."""
    own = [row for row in rows if row.dataset == dataset and row.qat == 0]
    return _drops(own, {row.unit[1::2]: row for row in own}, ("float32", "int8"))


def in_training(rows: Sequence[Measured], dataset: str) -> Drops:
    """Of students trained for int8: float32 of the one that was not, under the same seed, minus their integers."""
    plain = {row.unit[1::2]: row for row in rows if row.dataset == dataset and row.qat == 0}
    own = [row for row in rows if row.dataset == dataset and row.qat > 0 and row.unit[1::2] in plain]
    return _drops(own, plain, ("float32 without", "int8 with"))


def own_rounding(rows: Sequence[Measured], dataset: str) -> Drops:
    """Of students trained for int8: float32 minus integers, of the same weights."""
    own = [row for row in rows if row.dataset == dataset and row.qat > 0]
    return _drops(own, {row.unit[1::2]: row for row in own}, ("float32 with", "int8 with"))


def _drops(own: Sequence[Measured], floats: Mapping[tuple[object, ...], Measured], heads: tuple[str, str]) -> Drops:
    scores: dict[str, dict[str, dict[int, float]]] = {head: {} for head in heads}
    drop: dict[str, dict[int, float]] = {}
    for row in own:
        before = floats[row.unit[1::2]].float32
        for head, value in zip(heads, (before, row.int8), strict=True):
            scores[head].setdefault(row.method, {})[row.seed] = value
        drop.setdefault(row.method, {})[row.seed] = 100 * (before - row.int8)
    return Drops({row.method: row.role for row in own}, scores, drop)


def lines(drops: Drops) -> list[Line]:
    """A line a method, those that lose least first; p is adjusted over all rows but the student alone."""
    alone = drops.drop.get(ALONE, {})
    made = []
    for method, points in drops.drop.items():
        common = sorted(points.keys() & alone.keys())
        compared = method != ALONE and bool(common)
        scores = {head: float(np.mean(list(values[method].values()))) for head, values in drops.scores.items()}
        more = change([points[seed] - alone[seed] for seed in common]) if compared else None
        made.append(Line(method, drops.roles[method], scores, change(list(points.values())), more))
    tested = [n for n, line in enumerate(made) if line.more is not None and line.more.p is not None]
    adjusted = holm([made[n].more.p for n in tested])  # type: ignore[union-attr,misc]
    for n, p in zip(tested, adjusted, strict=True):
        made[n] = Line(**{**vars(made[n]), "p": p})
    return sorted(made, key=lambda line: line.drop.mean)


def together(drops: Drops, role: str) -> Line | None:
    """The mean of all rows of a role under each seed that all of them have; None if there is none."""
    alone = drops.drop.get(ALONE, {})
    own = [points for method, points in drops.drop.items() if drops.roles[method] == role and method != ALONE]
    seeds = sorted(set(alone).intersection(*own)) if own else []
    if not seeds:
        return None
    means = {seed: float(np.mean([points[seed] for points in own])) for seed in seeds}
    more = change([means[seed] - alone[seed] for seed in seeds])
    return Line(_count(len(own), role), role, {}, change(list(means.values())), more, more.p)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


# The page -------------------------------------------------------------------------------------------------------------


def table(drops: Drops) -> str:
    """A table in Markdown: a line a method and control."""
    heads = [*drops.scores, "points lost", "more than `student`", "p (Holm)", "differs"]
    text = ["| | seeds | " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) + 1)]
    for line in lines(drops):
        name = f"`{line.method}`" + (" (control)" if line.role == "control" and line.method != ALONE else "")
        scores = [f"{line.scores[head]:.4f}" for head in drops.scores]
        more = "-" if line.more is None else line.more.cell
        p = "-" if line.p is None else f"{line.p:.3g}"
        text.append(" | ".join([f"| {name}", str(line.drop.n), *scores, line.drop.cell, more, p, f"{line.differs} |"]))
    return "\n".join(text) + "\n"


def answer(drops: Drops) -> str:
    """What a table says, in two or three sentences."""
    made = lines(drops)
    alone = next((line for line in made if line.method == ALONE), None)
    rest = [line for line in made if line.more is not None]
    if alone is None or not rest:
        return "The student alone is not measured under these seeds: nothing can be said."
    text = f"the student alone loses {alone.drop.cell} points. "
    others = _count(len(rest), "other row")
    shown = {way: [f"`{line.method}`" for line in rest if line.differs == way] for way in ("more", "less")}
    said = [
        f"{', '.join(names)} {'lose' if len(names) > 1 else 'loses'} {way}" for way, names in shown.items() if names
    ]
    if said:
        text += f"Shown after Holm's correction over {others}: {'; '.join(said)}. "
    elif any(line.p is not None for line in rest):
        text += f"Of {others}, none can be told apart from it after Holm's correction. "
    else:
        text += f"The {others} cannot be tested: that takes two seeds. "
    parts = [line for role in ("method", "control") if (line := together(drops, role)) is not None]
    words = [f"the {line.method} on average {line.more.cell} against it" for line in parts if line.more is not None]
    return text + (f"Taken together, {' and '.join(words)}." if words else "")


def conclusion(rows: Sequence[Measured], datasets: Sequence[str]) -> str:
    """The answer to the question of the page, a sentence."""
    shown = []
    for dataset in datasets:
        for way, drops in (("", after_training(rows, dataset)), (" with `--qat`", in_training(rows, dataset))):
            differing = [line for line in lines(drops) if line.differs in ("more", "less")]
            shown += [f"`{line.method}` loses {line.differs} on {dataset}{way}" for line in differing]
    if not shown:
        return "**It cannot be told: no row is shown to lose more, or less, in int8 than the student alone.**"
    return f"**Beside the student alone {', '.join(shown)}; the others cannot be told apart from it.**"


def spread(rows: Sequence[Measured], dataset: str) -> str:
    """What training for int8 does to what rounding costs, over all rows that were trained both ways."""
    plain, trained = after_training(rows, dataset).drop, own_rounding(rows, dataset).drop
    both = [method for method in plain if method in trained]
    seeds = sorted(set.intersection(*(plain[m].keys() & trained[m].keys() for m in both))) if both else []
    if not seeds:
        return ""
    changed = change([float(np.mean([trained[m][seed] - plain[m][seed] for m in both])) for seed in seeds])
    before = np.mean([plain[m][seed] for m in both for seed in seeds])
    after = np.mean([trained[m][seed] for m in both for seed in seeds])
    return (
        f"Rounding the weights that were trained costs {before:+.2f} points on average over {len(both)} rows, and "
        f"{after:+.2f} after training for int8: a change of {changed.cell}."
    )


HEAD = """# Is a distilled student harder or easier to quantise?

    python -m mmkd.bench --suite experiments/quantise.toml --data-root DIR --runs RUNS
    python experiments/quantise.py --runs RUNS --data-root DIR        # this page, and quantise.csv, a line a student

{methods} methods and {controls} controls beside the student alone, each trained without and with `--qat {qat}`: as if
in int8 in the last {qat} of the training. Every student is exported as `--to c` does it, ranges from {calibration}
training windows, and its integer model (`mmkd/deploy/integer.py`, which the C source equals bit for bit) is run on all
test windows. Points are of macro-F1, paired by seed; intervals are 95 % by Student's t over seeds. "differs" is about
what a row loses beyond the student alone under the same seeds: a t-test, with Holm's correction over the rows of its
table, at {alpha}.

Small on purpose: student {student} ({parameters} parameters), {steps} steps a student and {teacher_steps} a teacher
(`{preset}` has 1,200 to 3,000), {augmentation}, all labels; teacher and student read the same signal, and each
method has its published defaults. {seeds}. With so few, a t-test needs a difference that is large or very steady: "not
shown" is not "equal".
"""
NOTES = """A loss below 0 is a gain: rounding moves windows at the borders of classes both ways. Where all lose little,
little can differ: this says nothing of 4 bits, of larger students, or of ranges that are chosen in another way. Rows
with a low score in float32 are no good methods at this length and with these weights, whatever they lose.
"""
TRAINED = "Trained in float32, then rounded (post-training quantisation): float32 and integers of the same weights."
ROUNDED = (
    "Trained for int8 (`--qat`): what is lost against the float32 student of the same method and seed that was trained "
    "without it. It holds what the other training changes, too, for better or worse."
)


def page(rows: Sequence[Measured], requests: Sequence[Request]) -> str:
    """The page in Markdown."""
    return "\n".join([_head(rows, requests), *_sections(rows, requests)])


def _head(rows: Sequence[Measured], requests: Sequence[Request]) -> str:
    request = requests[0]
    names = {role: {row.method for row in rows if row.role == role} - {ALONE} for role in ("method", "control")}
    asked = sum(len(r.seeds) * len(r.datasets) for r in requests) * 2 * len(request.methods)
    missing = f"; {len(rows)} of {asked} students are measured" if len(rows) < asked else ""
    seeds = sorted({row.seed for row in rows})
    parameters = sorted({row.parameters for row in rows})
    return HEAD.format(
        methods=len(names["method"]),
        controls=len(names["control"]),
        qat=" and ".join(f"{qat:g}" for qat in sorted({row.qat for row in rows if row.qat})) or "-",
        calibration=" or ".join(f"{number:,}" for number in sorted({row.calibration for row in rows}, reverse=True)),
        alpha=ALPHA,
        student=f"`{', '.join(request.student_net)}`",
        parameters=" to ".join(f"{number:,}" for number in dict.fromkeys((parameters[0], parameters[-1]))),
        steps=request.steps,
        teacher_steps=f"{request.teacher_steps or request.steps or 0:,}",
        preset=request.preset,
        augmentation="no augmentation" if request.augment == ("none",) else "augmentations of the preset",
        seeds=f"Seeds {', '.join(map(str, seeds))}{missing}",
    )


def _sections(rows: Sequence[Measured], requests: Sequence[Request]) -> Iterator[str]:
    """The answers, then the tables, of the data sets of which every row is measured under some seed."""
    asked = set(requests[0].methods)
    datasets = list(dict.fromkeys(row.dataset for row in rows))
    whole = [name for name in datasets if asked <= {row.method for row in rows if row.dataset == name}]
    yield (
        f"## The answer\n\n{conclusion(rows, whole)}\n"
        if whole
        else "## The answer\n\nNo data set has all of its rows yet.\n"
    )
    for dataset in whole:
        drops = after_training(rows, dataset), in_training(rows, dataset)
        yield f"- {dataset}, rounded after training: {answer(drops[0])}"
        if drops[1].drop:
            yield f"- {dataset}, trained for int8: {answer(drops[1])}"
        if said := spread(rows, dataset):
            yield f"- {dataset}: {said}"
    for dataset in (name for name in datasets if name not in whole):
        number = sum(row.dataset == dataset for row in rows)
        yield f"- {dataset}: {_count(number, 'student')} measured so far, too few for a table"
    yield f"\n{NOTES}"
    for dataset in whole:
        windows = max(row.test for row in rows if row.dataset == dataset)
        yield f"## {dataset}, {windows:,} test windows\n"
        for text, drop in ((TRAINED, after_training(rows, dataset)), (ROUNDED, in_training(rows, dataset))):
            if drop.drop:
                yield f"{text}\n\n{table(drop)}"


def run(args: Namespace) -> None:
    """Measure what is not measured, and write the file and its page."""
    path = Path(args.out)
    if path.suffix != ".csv":
        raise MmkdError(f"--out {path}: name a file that ends in .csv")
    changes = {} if args.data_root is None else {"data_root": args.data_root}
    requests = read_suites(args.suite, **changes)
    if args.runs is not None:
        if not Path(args.runs).is_dir():
            raise MmkdError(f"--runs {args.runs}: there is no such folder")
        asked, found = measure_all(requests, Records(args.runs), path, args.data_root)
        print(f"{found} of {asked} students of the suite are measured")
    rows = read(path)
    if not rows:
        raise MmkdError(f"--out {path}: nothing is measured yet; give --runs, the folder of the records")
    write_atomically(path.with_suffix(".md"), page(rows, requests).encode())
    print(f"{len(rows)} students: {path}, {path.with_suffix('.md')}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the study; the exit code is 0, or 2 for bad input."""
    parser = Parser(prog="quantise.py", description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--runs", help="folder of the records; without it only the page is written")
    parser.add_argument("--suite", default=str(SUITE))
    parser.add_argument("--data-root", help="the data folder, as of mmkd.bench")
    parser.add_argument("--out", default=str(FILE), metavar="FILE.csv", help="the file; the page is FILE.md beside it")
    return run_script(parser, run, argv)


if __name__ == "__main__":
    sys.exit(main())
