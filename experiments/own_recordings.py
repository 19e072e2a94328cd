"""Recordings that nobody prepared, made of HAPT and MotionSense, and the score of windows cut from them.

    python experiments/own_recordings.py --data-root DIR [--only motionsense] [--write]

Each subject's stream is written as CSV with a column of time: once as it is, and once as phones write it, with
stamps that jitter (the signal is read at the jittered moments), gaps, single samples that are missing, and a repeated
row. `python -m mmkd.data window` cuts both. Without jitter the windows must equal those of the data set's card, bit by
bit; with it, the score of the student alone is compared with that on the card's windows, same test subjects and seeds.
"""

import contextlib
import io
import json
import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.interpolate import CubicSpline

from mmkd.bench import main as bench
from mmkd.cli.flags import Parser
from mmkd.cli.script import run_script
from mmkd.data import load_dataset
from mmkd.data.__main__ import main as data_command

RATE = 50
SETS = {"motionsense": "motionsense", "hapt": "hapt6"}
"""Folder of the files -> the data set whose windows are compared."""
RESULT = Path(__file__).parent / "results" / "own-recordings.md"
PAGE = """# Windows of recordings that nobody prepared

`python experiments/own_recordings.py --data-root DIR --write` writes the recordings of each subject as CSV, cuts them
with `python -m mmkd.data window`, and compares with the windows of the data set's card: bit by bit where the stamps
are exact; where they jitter (standard deviation 2 ms of 20 ms), 0.2 % of the samples and a stretch of 0.4 to 1.2 s of
each recording are missing and a row is there twice, by the test accuracy of the student alone (`sig`, `micro`, {steps}
steps, three seeds, the card's test subjects; mean, and each seed).

| data set | windows of its card | equal without jitter | windows with jitter | accuracy, card | accuracy, own |
|---|---|---|---|---|---|
{rows}
"""


def streams(name, root):
    """(subject, recording, signal (T, C), label (T,) texts, bout (T,)) of each recording, and the channels."""
    if name == "motionsense":
        with np.load(root / "motionsense/motionsense_9ch_int16.npz", allow_pickle=False) as z:
            parts = zip(*(z[f"seq_{key}"].tolist() for key in ("start", "len", "label", "subject")), strict=True)
            names = [str(n) for n in z["class_names"]]
            x = z["xq"] * z["scale"]
        for number, (start, length, label, subject) in enumerate(parts):
            yield subject, number, x[start : start + length], np.full(length, names[label]), np.zeros(length, int)
        return
    card = load_dataset("hapt6", root)
    with np.load(root / "hapt/hapt_stream.npz", allow_pickle=False) as z:
        names = np.array([str(n) if str(n) in card.classes else "" for n in z["class_names"]])
        x, y, experiment, subject = (z[key] for key in ("x", "y", "experiment", "subject"))
    for number in np.unique(experiment):
        rows = np.flatnonzero(experiment == number)
        bout = np.cumsum(np.diff(y[rows].astype(int), prepend=0) != 0)
        yield int(subject[rows[0]]), int(number), x[rows], names[y[rows]], bout


def as_phones_write(rng, signal, labels):
    """Time, signal and labels of a recording with jittered stamps, a gap, missing samples and a repeated row."""
    times = np.arange(len(signal)) / RATE
    jittered = np.clip(times + rng.normal(0, 0.002, len(times)), 0, times[-1])
    jittered = np.maximum.accumulate(jittered) + 1e-6 * np.arange(len(times))
    values = CubicSpline(times, signal)(jittered)
    keep = rng.uniform(size=len(times)) > 0.002
    gap = int(rng.integers(0, max(1, len(times) - 100)))
    keep[gap : gap + int(rng.integers(20, 60))] = False
    keep[:2] = True
    rows = np.flatnonzero(keep)
    rows = np.sort(np.append(rows, rows[len(rows) // 2]))  # one is there twice
    return jittered[rows].round(6), values[rows], labels[rows]


def write_csv(folder, name, root, channels, untidy):
    """A CSV file a subject; returns their folder."""
    rng = np.random.default_rng(0)
    tables = {}
    for subject, number, signal, labels, _ in streams(name, root):
        time = np.arange(len(signal)) / RATE
        if untidy:
            time, signal, labels = as_phones_write(rng, signal.astype(np.float64), labels)
        table = pd.DataFrame(signal, columns=channels)
        table.insert(0, "time", time)
        tables.setdefault(subject, []).append(table.assign(activity=labels, user=subject, session=number))
    folder.mkdir(parents=True)
    for subject, parts in tables.items():
        pd.concat(parts).to_csv(folder / f"user{subject}.csv", index=False)
    return folder


def cut(folder, out, channels, name):
    """The windows of a folder of CSV files, and what the command says."""
    grid = ["--grid", "label"] if name == "hapt" else []  # as the authors of HAPT cut theirs
    columns = f"--channels {','.join(channels)} --label activity --subject user --recording session --time time"
    flags = [*columns.split(), "--window", "2.56s", "--step", "1.28s", "--out", str(out), "--quiet", *grid]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = data_command(["window", str(folder), *flags])
    assert code == 0
    return said.getvalue()


def rows_of(x, y, subject, classes):
    """The windows as sorted bytes, with label and subject."""
    return sorted((str(classes[k]), int(who), window.tobytes()) for window, k, who in zip(x, y, subject, strict=True))


def equals_card(out, card):
    """Whether the windows of a file are those of the card, in any order."""
    with np.load(out, allow_pickle=False) as z:
        mine = rows_of(z["x"], z["y"], z["subject"], z["classes"])
    return mine == rows_of(card.x, card.y, card.subject, card.classes)


def scores(flags, split, runs, steps):
    """Test accuracy of the student alone, of three seeds."""
    unit = f"--method student --student sig --student-net micro --seeds 0-2 --steps {steps} --peers none --json --quiet"
    where = ["--split", str(split), "--runs", str(runs)]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        code = bench([*unit.split(), *where, *flags])
    assert code == 0
    return [unit["metrics"]["test"]["accuracy"] for unit in json.loads(said.getvalue())]


def run(args: Namespace) -> None:
    """Print a line a data set, and write the page."""
    lines = []
    for name, dataset in SETS.items():
        if args.only not in (None, name):
            continue
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            card = load_dataset(dataset, args.data_root)
            cut(
                write_csv(folder / "tidy", name, args.data_root, card.channels, False),
                folder / "tidy.npz",
                card.channels,
                name,
            )
            same = equals_card(folder / "tidy.npz", card)
            untidy = write_csv(folder / "untidy", name, args.data_root, card.channels, True)
            print(cut(untidy, folder / "untidy.npz", card.channels, name))
            tested = np.unique(card.subject[card.test]).tolist()
            split = folder / "split.json"
            split.write_text(json.dumps({"folds": [{"name": "official", "test_subjects": tested}]}))
            of_card = scores(
                ["--dataset", dataset, "--data-root", str(args.data_root)], split, folder / "a", args.steps
            )
            own = scores(["--data", str(folder / "untidy.npz")], split, folder / "b", args.steps)
            with np.load(folder / "untidy.npz", allow_pickle=False) as z:
                number = len(z["x"])
        shown = [", ".join(f"{score:.3f}" for score in part) for part in (of_card, own)]
        means = [f"{np.mean(part):.3f} ({text})" for part, text in zip((of_card, own), shown, strict=True)]
        equal = "yes" if same else "no"
        lines.append(f"| {dataset} | {len(card.x):,} | {equal} | {number:,} | {means[0]} | {means[1]} |")
        print(lines[-1], flush=True)
    if args.write:
        RESULT.write_text(PAGE.format(steps=args.steps, rows="\n".join(lines)), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="own_recordings.py", description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--only", choices=SETS)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--write", action="store_true")
    return run_script(parser, run, argv)


if __name__ == "__main__":
    sys.exit(main())
