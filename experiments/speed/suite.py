"""What one suite saves over as many processes: python experiments/speed/suite.py (about 20 minutes)

Ten logit and feature methods under two seeds with a signal-only student on basic-motions, as one command, with one
process and with `--jobs 2`; and each method as a command of its own from an empty cache, as separate scripts would do
it. The records are compared: one process gives the scores of the separate commands to the last bit, two give them
on average, for a worker has fewer threads and rounds otherwise.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmkd.cli.flags import Parser
from mmkd.cli.script import run_script

METHODS = ("kd", "aver", "dkd", "dist", "ls-kd", "fitnet", "at", "sp", "pkt", "feature-kd")
COMMAND = (sys.executable, "-m", "mmkd.bench", "--student", "sig", "--seeds", "0-1", "--quiet", "--json")
ONE, TWO, APART = (
    "one command for all methods",
    "the same with `--jobs 2`",
    "a command a method, each from an empty cache, in all",
)
RESULT = Path(__file__).resolve().parents[1] / "results" / "speed-suite.md"


def run(methods: tuple[str, ...], jobs: int = 1) -> tuple[float, dict[str, float]]:
    """Seconds of one command from an empty cache, and the score of each of its units."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*COMMAND, "--method", ",".join(methods), "--runs", f"{folder}/runs", "--cache", f"{folder}/cache"]
        command += ["--jobs", str(jobs)]
        started = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds = time.perf_counter() - started
    return seconds, {unit["key"]: unit["metrics"]["test"]["nll"] for unit in json.loads(done.stdout)}


def page(times: dict[str, list[float]]) -> str:
    """The table in Markdown."""
    apart = times[APART]
    lines = [
        "# One suite, or a process a method",
        "",
        f"Made by `make bench-suite`. {len(METHODS)} methods ({', '.join(METHODS)}) under 2 seeds, signal-only",
        f"student, three teachers, basic-motions, quick preset; {os.cpu_count()} cores, rounds: {len(apart)}.",
        "The same scores are asserted (of `--jobs 2` on average: it rounds otherwise).",
        "The ratio is the median over the rounds (least to greatest).",
        "",
        "| | seconds, median | ratio, goal 5 |",
        "|---|---|---|",
    ]
    for name, own in times.items():
        ratios = [other / mine for mine, other in zip(own, apart, strict=True)]
        shown = "" if name == APART else f"{np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(f"| {name} | {np.median(own):.0f} | {shown} |")
    return "\n".join(lines) + "\n"


def measure(args: Namespace) -> None:
    """Write the page after each round."""
    times: dict[str, list[float]] = {name: [] for name in (ONE, TWO, APART)}
    for round_ in range(args.rounds):
        (own, scores), (two, others) = run(METHODS), run(METHODS, jobs=2)
        each = [run((method,)) for method in METHODS]
        alone = {key: score for _, found in each for key, score in found.items()}
        assert alone == scores, "a method gives other scores on its own than in the suite"
        assert others.keys() == scores.keys()
        gap = abs(np.mean(list(others.values())) / np.mean(list(scores.values())) - 1)
        assert gap < 0.1, f"--jobs 2 gives other scores: the mean loss differs by {gap:.0%}"
        for name, seconds in ((ONE, own), (TWO, two), (APART, sum(seconds for seconds, _ in each))):
            times[name].append(seconds)
        print(
            f"round {round_ + 1}: " + ", ".join(f"{name} {found[-1]:.0f} s" for name, found in times.items()),
            flush=True,
        )
        args.out.write_text(page(times), encoding="utf-8")
    print(f"written: {args.out}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="speed/suite.py", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", metavar="N", type=int, default=3)
    parser.add_argument("--out", metavar="FILE", type=Path, default=RESULT)
    return run_script(parser, measure, argv)


if __name__ == "__main__":
    sys.exit(main())
