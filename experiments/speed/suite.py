"""What one suite saves over as many processes: python experiments/speed/suite.py (about 20 minutes)

Ten logit and feature methods under two seeds with a signal-only student on basic-motions, as one command; and each
method as a command of its own from an empty cache, as separate scripts would do it. The records are compared: both give
the same scores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

METHODS = ("kd", "aver", "dkd", "dist", "ls-kd", "fitnet", "at", "sp", "pkt", "feature-kd")
COMMAND = (sys.executable, "-m", "mmkd.bench", "--student", "sig", "--seeds", "0-1", "--quiet", "--json")
RESULT = Path(__file__).resolve().parents[1] / "results" / "speed-suite.md"


def run(methods: tuple[str, ...]) -> tuple[float, dict[str, float]]:
    """Seconds of one command from an empty cache, and the score of each of its units."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*COMMAND, "--method", ",".join(methods), "--runs", f"{folder}/runs", "--cache", f"{folder}/cache"]
        started = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds = time.perf_counter() - started
    return seconds, {unit["key"]: unit["metrics"]["test"]["nll"] for unit in json.loads(done.stdout)}


def page(together: list[float], apart: list[float]) -> str:
    """The table in Markdown."""
    ratios = [other / own for own, other in zip(together, apart, strict=True)]
    lines = [
        "# One suite, or a process a method",
        "",
        f"Made by `make bench-suite`. {len(METHODS)} methods ({', '.join(METHODS)}) under 2 seeds, signal-only",
        f"student, three teachers, basic-motions, quick preset; {os.cpu_count()} cores, rounds: {len(ratios)}.",
        "That both ways give the same scores is asserted.",
        "",
        "| | seconds, median |",
        "|---|---|",
        f"| one command for all methods | {np.median(together):.0f} |",
        f"| a command a method, each from an empty cache, in all | {np.median(apart):.0f} |",
        f"| ratio (least to greatest); goal 5 | {np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", metavar="N", type=int, default=3)
    parser.add_argument("--out", metavar="FILE", type=Path, default=RESULT)
    args = parser.parse_args()
    together, apart = [], []
    for round_ in range(args.rounds):
        own, scores = run(METHODS)
        each = [run((method,)) for method in METHODS]
        alone = {key: score for _, found in each for key, score in found.items()}
        assert alone == scores, "a method gives other scores on its own than in the suite"
        together.append(own)
        apart.append(sum(seconds for seconds, _ in each))
        print(f"round {round_ + 1}: {apart[-1]:.0f} s / {own:.0f} s = {apart[-1] / own:.2f}", flush=True)
        args.out.write_text(page(together, apart), encoding="utf-8")
    print(f"written: {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
