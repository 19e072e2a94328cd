"""Does each part of the recipe hold on subjects that nobody looked at? python experiments/recipe.py run

The parts were first seen in scores of official test subjects. Here the test part of a unit is a third of the official
training subjects; the official test subjects are among those that it trains on. Sets without subjects have three
folds of all windows, stratified by class. One thing at a time is changed; what is compared shares data set, fold and
seed.

`run` trains what is not on record, as `python -m mmkd.bench` does, and `--dry-run` counts it; `table` reads the records
and writes `results/recipe.csv`, a line a network, and the tables of `results/recipe.md`.
"""

import csv
import itertools
import json
import sys
from argparse import Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold

from mmkd.cli.flags import Parser
from mmkd.cli.script import run_script
from mmkd.core.errors import unknown_name
from mmkd.core.progress import Lines, duration
from mmkd.data import Dataset, load_dataset
from mmkd.data.dataset import Fold
from mmkd.data.folds import fold_document
from mmkd.engines.estimate import estimate
from mmkd.engines.execution import run_by_workers
from mmkd.engines.plan import make_plan
from mmkd.engines.sweep import run_units
from mmkd.metrics.pairs import Paired, paired
from mmkd.specs.unit import UnitSpec
from mmkd.store.records import Records
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import expand
from mmkd.units.request import Request, parse_seeds
from mmkd.units.result import UnitResult

PATH = Path(__file__).parent / "results" / "recipe.csv"
PARTS = ("A", "B", "factors", "targets", "gaf")
SETS: Mapping[str, dict[str, Any]] = {
    "hapt6": {"rate": 25.0},
    "motionsense": {"rate": 25.0},
    "dsads": {},
    "natops": {},
    "racketsports": {},
}
"""Data set -> what is set for it."""
FOLDS = 3
COMMON: Mapping[str, Any] = {
    "preset": "standard",
    "students": ("sig",),
    "teachers": ("sig",),
    "teacher_nets": {"sig": "WRN16-1-window"},
    "steps": 1500,
    "teacher_steps": 1500,
}
STUDENTS = ("student", "kd", "aver", "fam-1d", "feature-kd", "sp")
"""Methods of the regimes."""
FACTORS: Mapping[str, Mapping[str, Any]] = {
    "standard": {},
    "no augmentation": {"augment": ("none",)},
    "best validation epoch": {"epoch_rule": "val-best"},
    "fixed receptive field": {"student_net": ("small",), "teacher_nets": {"sig": "WRN16-1"}},
}
"""Level -> what differs from the standard, of a student with a teacher that both read the whole signal."""
GAF: Mapping[str, Mapping[str, Any]] = {
    "gaf.range=train": {"view": {"gaf.range": "train"}},
    "gaf.range=window": {"view": {"gaf.range": "window"}},
}
SITES: Mapping[str, str] = {"hapt6": "sig@acc", "motionsense": "sig@acc", "dsads": "sig@right-arm"}
"""Data set -> the view of the student in regime B."""


@dataclass(frozen=True)
class Study:
    """Some units: the part of the study, the level of what is changed, and the request."""

    part: str
    level: str
    dataset: str
    request: Request

    def only(self, methods: Sequence[str]) -> "Study":
        """The same with these of its methods; without teachers no option of theirs."""
        kept = tuple(method for method in self.request.methods if method in methods)
        steps = self.request.teacher_steps if kept != ("student",) else None
        return replace(self, request=replace(self.request, methods=kept, teacher_steps=steps))


def studies(
    parts: Sequence[str], sets: Sequence[str], seeds: Sequence[int], root: str | None, folder: Path
) -> Iterator[Study]:
    """All studies of these parts, data sets and seeds.

    Args:
        root: the data folder.
        folder: where split files are written.
    """
    splits = {name: fresh_folds(name, root, folder) for name in sets}

    def study(part: str, level: str, name: str, **changes: Any) -> Study:
        values = {**COMMON, **SETS[name], **splits[name], "datasets": (name,), "seeds": tuple(seeds), "data_root": root}
        return Study(part, level, name, Request(**{**values, **changes}))

    for part, name in itertools.product(parts, sets):
        if part == "factors":
            net = {"student_net": ("small-window",), "methods": ("student", "kd")}
            for level, changes in FACTORS.items():
                yield study(part, level, name, **{**net, **changes})
        elif part == "targets":
            net = {"student_net": ("small-window",), "methods": ("kd",), "teacher_targets": f"out-of-fold:{FOLDS}"}
            yield study(part, "out-of-fold", name, **net)
        elif part == "gaf":
            own = {"students": ("gaf",), "student_net": ("WRN16-1",), "methods": ("student",), "image_size": 16}
            own |= {"teacher_nets": {}, "teacher_steps": None}
            for level, changes in GAF.items():
                yield study(part, level, name, **{**own, **changes})
        elif part == "A":
            few = {"labelled_subjects": 5} if name in SITES else {"labelled_windows": 10}
            yield study(part, "few labels", name, student_net=("micro",), methods=STUDENTS, **few)
        elif name in SITES:
            net = {"students": (SITES[name],), "student_net": ("micro",), "methods": STUDENTS}
            yield study(part, SITES[name], name, **net)


Units = list[tuple[UnitSpec, Dataset]]


def fresh_folds(name: str, data_root: str | None, folder: Path) -> dict[str, Any]:
    """The setting of a request that makes the folds: of the official training subjects, or of windows.

    Args:
        folder: where the split file is written.
    """
    data = load_dataset(name, data_root)
    if data.subject is None:
        return {"folds": FOLDS}
    subjects = data.subject[~data.test]
    parts = GroupKFold(FOLDS).split(subjects, groups=subjects)
    groups = [tuple(np.unique(subjects[test]).tolist()) for _, test in parts]
    folds = [Fold(f"fold {number} of {FOLDS}", group) for number, group in enumerate(groups, 1)]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.split.json"
    path.write_text(json.dumps(fold_document(name, folds)))
    return {"split": str(path)}


def run(chosen: Sequence[Study], workspace: Workspace, dry: bool) -> None:
    """Train what is not on record; with `dry`, count it and estimate its time."""
    units = list({unit[0].key: unit for study in chosen for unit in expand(study.request)}.values())
    if dry:
        plan = make_plan(units, workspace.records, workspace.cache)
        left = sum(not job.exists and job.kind != "view" for job in plan)
        print(f"{len(units)} units and their teachers, {left} to be trained")
        print(estimate(plan, workspace.records, workspace.jobs, workspace.threads, workspace.device).text("in all"))
        return

    def tell(result: UnitResult) -> None:
        spec = result.spec
        scores = "" if result.record is None else f"{result.record.metrics.test['accuracy']:.4f}"
        title = f"{spec.data.name} {spec.data.fold} seed {spec.seed} {spec.method} {spec.student_net}"
        print(f"{title}: {result.status} {scores}{result.error}", flush=True)

    if workspace.uses_workers:
        run_by_workers(units, workspace, False, {}, tell)
    else:
        run_units(units, workspace, "skip", tell)


def fold_number(spec: UnitSpec) -> int:
    """The number of the fold of a unit, from 1."""
    return int(spec.data.fold.split()[1])


PLACE = ("part", "level", "dataset", "fold", "seed", "row")
COLUMNS = ("part", "level", "dataset", "fold", "seed", "row", "accuracy", "macro_f1", "last_accuracy", "seconds", "key")


def rows_of(chosen: Sequence[Study], records: Records) -> list[dict[str, Any]]:
    """A row of each network on record: the students, and their teachers."""
    rows = []
    for study in chosen:
        for spec, _ in expand(study.request):
            teachers = {f"teacher {name}": spec.teacher(name).key for name in spec.teachers}
            for row, key in {spec.method: spec.key, **teachers}.items():
                record = records.get(key)
                if record is None:
                    continue
                test = record.metrics.test
                rows.append(
                    {
                        "part": study.part,
                        "level": study.level,
                        "dataset": study.dataset,
                        "fold": fold_number(spec),
                        "seed": spec.seed,
                        "row": row,
                        "accuracy": round(test["accuracy"], 5),
                        "macro_f1": round(test["macro_f1"], 5),
                        "last_accuracy": round((record.metrics.test_last or test)["accuracy"], 5),
                        "seconds": round(record.seconds, 1),
                        "key": key,
                    }
                )
    return list({tuple(row.values()): row for row in rows}.values())


def write(rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows as CSV."""
    with PATH.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


Scores = Mapping[tuple[int, int], float]
"""(fold, seed) -> accuracy."""


def scores(rows: Sequence[Mapping[str, Any]], column: str = "accuracy", **where: str) -> Scores:
    """The accuracy at each fold and seed of the rows with these values."""
    chosen = [row for row in rows if all(row[name] == value for name, value in where.items())]
    return {(int(row["fold"]), int(row["seed"])): float(row[column]) for row in chosen}


def difference(ours: Scores, others: Scores) -> str:
    """The mean paired difference in points, its standard deviation, interval and number of pairs."""
    common = sorted(set(ours) & set(others))
    result = paired([100 * (ours[pair] - others[pair]) for pair in common])
    if not isinstance(result, Paired):
        return "-"
    text = f"{result.mean:+.1f}"
    if result.low is not None and result.high is not None:
        text += f" ({result.low:+.1f} to {result.high:+.1f})"
    return f"{text}, n {len(common)}"


def level(values: Scores) -> str:
    """Mean and standard deviation."""
    numbers = list(values.values())
    if not numbers:
        return "-"
    return f"{np.mean(numbers):.3f}" + (f" ± {np.std(numbers, ddof=1):.3f}" if len(numbers) > 1 else "")


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, without the lines that hold nothing."""
    filled = [line for line in lines if any(cell != "-" for cell in line[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *filled)) + "\n"


def tables(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The tables of the page, as Markdown."""
    sets = [name for name in SETS if any(row["dataset"] == name for row in rows)]
    for row, title in (("student", "the student alone"), ("teacher sig", "the teacher")):
        lines = []
        for name in sets:
            of = {"part": "factors", "dataset": name, "row": row}
            standard = scores(rows, level="standard", **of)
            validated = scores(rows, level="best validation epoch", **of)
            validated_last = scores(rows, "last_accuracy", level="best validation epoch", **of)
            changes = [
                difference(standard, scores(rows, level="no augmentation", **of)),
                difference(validated_last, validated),
                difference(standard, validated_last),
                difference(standard, scores(rows, level="fixed receptive field", **of)),
            ]
            lines.append([name, level(standard), *changes])
        yield f"What each part adds to {title}, in points of accuracy:\n"
        header = ("set", "standard", "augmentation", "last epoch", "all training windows", "receptive field by window")
        yield table(header, lines)
    lines = []
    for name in sets:
        of = {"level": "standard", "dataset": name}
        alone = scores(rows, row="student", **of)
        fitted = scores(rows, row="kd", **of)
        honest = scores(rows, part="targets", dataset=name, row="kd")
        lines.append([name, difference(fitted, alone), difference(honest, alone), difference(honest, fitted)])
    yield "`kd` with all labels and the same input, in points:\n"
    yield table(("set", "fitted - alone", "out-of-fold - alone", "out-of-fold - fitted"), lines)
    lines = []
    for name in sets:
        by_level = {one: scores(rows, part="gaf", level=one, dataset=name, row="student") for one in GAF}
        first, second = by_level.values()
        lines.append([name, level(second), level(first), difference(first, second)])
    yield "A network on GAF images, scaled by each window or by the training windows:\n"
    yield table(("set", "range=window", "range=train", "difference"), lines)
    for part in ("A", "B"):
        lines = []
        for name in sets:
            of = {"part": part, "dataset": name}
            alone = scores(rows, row="student", **of)
            if alone:
                gap = difference(scores(rows, row="teacher sig", **of), alone)
                methods = [difference(scores(rows, row=method, **of), alone) for method in STUDENTS[1:]]
                lines.append([name, level(alone), gap, *methods])
        yield f"Regime {part}, methods against the student alone, in points:\n"
        yield table(("set", "alone", "gap", *STUDENTS[1:]), lines)


def carry_out(args: Namespace) -> None:
    """Run the study, or write its tables.

    Raises:
        MmkdError: there is no such part or data set.
    """
    for kind, names, known in (("part", args.parts, PARTS), ("data set", args.sets, SETS)):
        if unknown := [name for name in names.split(",") if name not in known]:
            raise unknown_name(kind, unknown[0], known)
    seeds = parse_seeds(args.seeds)
    folder = Path(args.runs) / "folds"
    chosen = list(studies(args.parts.split(","), args.sets.split(","), seeds, args.data_root or None, folder))
    if args.methods:
        chosen = [study.only(args.methods.split(",")) for study in chosen]
    workspace = Workspace(
        runs=args.runs,
        cache_folder=args.cache,
        device=args.device,
        jobs=args.jobs,
        data_root=args.data_root,
        progress=Lines(sys.stderr),
    )
    if args.what == "run":
        run(chosen, workspace, args.dry_run)
        return
    stored = list(csv.DictReader(PATH.open())) if PATH.is_file() else []
    merged = {tuple(str(row[name]) for name in PLACE): row for row in (*stored, *rows_of(chosen, workspace.records))}
    rows = [merged[place] for place in sorted(merged)]
    write(rows)
    print("\n".join(tables(rows)))
    print(f"{len(rows)} networks, {duration(sum(float(row['seconds']) for row in rows))} of training")


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="recipe.py", description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--methods", help="only these of the part's methods")
    parser.add_argument("--runs", default="runs/recipe")
    parser.add_argument("--cache")
    parser.add_argument("--data-root", default="")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--dry-run", action="store_true")
    return run_script(parser, carry_out, argv)


if __name__ == "__main__":
    sys.exit(main())
