"""One suite beside the sum of plain PyTorch loops: python experiments/speed/suite.py (under 15 minutes on 2 cores)

Ten logit and feature methods under two seeds with a signal-only student on basic-motions, as one command from an empty
cache, with one process and with `--jobs 2`. The peer is a plain loop for each of the 20 students and of their 6
teachers, with the same networks, weights, batches, losses and learning rates: all that it reads is in memory, and only
training and one test are timed. On as many threads as the suite takes for each training, the loops give its predictions
to the last bit; on all threads, as PyTorch runs them by default, and in two processes the scores are those on average,
for sums are rounded otherwise.
"""

import os
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from loops import Loop, loops
from pairs import seconds, user_seconds

from mmkd.cli.flags import Parser
from mmkd.cli.script import run_script
from mmkd.store.record import Record
from mmkd.store.records import Records
from mmkd.training.step_threads import on_threads
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import expand
from mmkd.units.request import Request

METHODS = ("kd", "aver", "dkd", "dist", "ls-kd", "fitnet", "at", "sp", "pkt", "feature-kd")
SEEDS = (0, 1)
LOOPS, ALL_THREADS = "a plain loop a training, in all", "the same loops on all threads, PyTorch's default"
ONE, TWO = "one command", "one command, `--jobs 2`"
GOALS = {ONE: "at most 1.15", TWO: "at most 0.62"}
RESULT = Path(__file__).resolve().parents[1] / "results" / "speed-suite.md"
Costs = list[tuple[float, float]]


def cost(action: Callable[[], object]) -> tuple[float, float]:
    """The seconds that a call takes on a clock, and those of processors outside the system's kernel."""
    wall: list[float] = []
    user = user_seconds(lambda: wall.append(seconds(action)))
    return wall[0], user


def run(folder: str, jobs: int) -> None:
    """Run the suite from an empty cache."""
    command = [sys.executable, "-m", "mmkd.bench", "--method", ",".join(METHODS), "--student", "sig", "--quiet"]
    command += ["--seeds", ",".join(map(str, SEEDS)), "--json", "--jobs", str(jobs)]
    command += ["--runs", f"{folder}/runs", "--cache", f"{folder}/cache"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def trained(folder: str) -> list[Record]:
    """The records of students and teachers."""
    return [record for record in Records(f"{folder}/runs") if record.kind in ("student", "teacher")]


def scores(folder: str) -> dict[str, float]:
    """The loss on the test windows of each student and teacher, by key."""
    return {record.key: record.metrics["test"]["nll"] for record in trained(folder)}


def run_loops(trainings: Sequence[Loop], records: Records | None = None) -> None:
    """Run the loops one after the other, each on as many threads as its record says, without records on all."""
    for loop in trainings:
        record = None if records is None else records.get_whole(loop.key)
        with on_threads(torch.get_num_threads() if record is None else record.result["training_threads"]):
            loop.run()


def prepare_loops(folder: str) -> list[Loop]:
    """The loops of the trainings whose records and cache are in a folder."""
    request = Request(METHODS, students=("sig",), seeds=SEEDS)
    return loops(expand(request), Workspace(runs=f"{folder}/runs", cache_folder=f"{folder}/cache"))


def check_loops(trainings: Sequence[Loop], folder: str) -> None:
    """Check that every loop predicts what the record of its training holds, to the last bit."""
    records = Records(f"{folder}/runs")
    for loop in trainings:
        record = records.get_whole(loop.key)
        assert record is not None, f"no record of {loop.key}"
        with np.load(record.file("predictions.npz"), allow_pickle=False) as stored:
            expected = stored["probabilities"]
        assert np.array_equal(loop.probabilities.numpy(), expected), f"the loop of {loop.key} gives other numbers"


def page(costs: dict[str, Costs], count: int, epochs: Sequence[float]) -> str:
    """The table in Markdown.

    Args:
        count: the trainings.
        epochs: of each round, the seconds that the epochs of all trainings of one command took.
    """
    plain = np.array(costs[LOOPS])
    lines = [
        "# One suite, or a plain loop a training",
        "",
        f"Made by `make bench-suite`. {len(METHODS)} methods ({', '.join(METHODS)}) under {len(SEEDS)} seeds,",
        "signal-only student, three teachers, basic-motions, quick preset, empty cache. The commands do all that a",
        "suite does: start, views, teachers' outputs, records, pictures, reference rows, latency, maps, MLflow.",
        f"The peer is a plain PyTorch loop for each of the {count} trainings, those of the teachers included, with the",
        "same weights, batches, losses, and all that it reads in memory; training and a test are timed. It gives the",
        "predictions of the records to the last bit on as many threads as the suite takes for each training; two",
        "processes give their scores on average, for sums are rounded otherwise. Both are asserted. A ratio is the",
        "median over the rounds (least to greatest); processor time tells more than the clock on a busy machine.",
        "",
        f"{os.cpu_count()} cores, {torch.get_num_threads()} threads in one process; rounds: {len(plain)}.",
        "",
        "| | seconds, median | times the loops | goal | processor time, s | times the loops' |",
        "|---|---|---|---|---|---|",
    ]
    for name, rounds in costs.items():
        wall, user = np.median(rounds, axis=0)
        shown = ["", ""]
        if name != LOOPS:
            ratios = np.array(rounds) / plain
            shown = [f"{np.median(each):.2f} ({each.min():.2f} to {each.max():.2f})" for each in ratios.T]
        lines.append(f"| {name} | {wall:.0f} | {shown[0]} | {GOALS.get(name, '')} | {user:.0f} | {shown[1]} |")
    wall, own, loops_alone = np.median(costs[ONE], axis=0)[0], np.median(epochs), np.median(plain, axis=0)[0]
    lines += [
        "",
        f"Of the {wall:.0f} s of one command its {count} trainings took {own:.0f} s by their records (from the first",
        f"epoch to the last), {own / loops_alone:.2f} times the loops; the rest is all else that a suite does.",
    ]
    return "\n".join(lines) + "\n"


def measure(args: Namespace) -> None:
    """Write the page after each round."""
    costs: dict[str, Costs] = {name: [] for name in (LOOPS, ALL_THREADS, ONE, TWO)}
    epochs: list[float] = []
    for round_ in range(args.rounds):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
            costs[ONE].append(cost(lambda folder=one: run(folder, jobs=1)))
            epochs.append(sum(record.seconds for record in trained(one)))
            trainings, again, records = prepare_loops(one), prepare_loops(one), Records(f"{one}/runs")
            costs[LOOPS].append(cost(partial(run_loops, trainings, records)))
            check_loops(trainings, one)
            costs[ALL_THREADS].append(cost(partial(run_loops, again)))
            costs[TWO].append(cost(lambda folder=two: run(folder, jobs=2)))
            found, others = scores(one), scores(two)
        assert others.keys() == found.keys()
        gap = abs(np.mean(list(others.values())) / np.mean(list(found.values())) - 1)
        assert gap < 0.1, f"--jobs 2 gives other scores: the mean loss differs by {gap:.0%}"
        taken = (f"{name} {own[-1][0]:.0f} s ({own[-1][1]:.0f} s of processors)" for name, own in costs.items())
        print(f"round {round_ + 1}: {', '.join(taken)}", flush=True)
        args.out.write_text(page(costs, len(trainings), epochs), encoding="utf-8")
    print(f"written: {args.out}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="speed/suite.py", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", metavar="N", type=int, default=2)
    parser.add_argument("--out", metavar="FILE", type=Path, default=RESULT)
    return run_script(parser, measure, argv)


if __name__ == "__main__":
    sys.exit(main())
