"""How fast mmkd's own work is, side by side with its peers: python experiments/speed [--only views,training]

Every row is measured in pairs, ours and the peer's in turns, in one process with the same threads, or as whole
processes; the table has the median of the ratios, and the least and the greatest. That both give the same numbers is
asserted on the way. The peers (pyts, gudhi, ripser, persim) are development dependencies.
"""

import importlib
import os
import platform
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from pairs import Row

from mmkd.cli.flags import Parser
from mmkd.cli.script import run_script
from mmkd.core.errors import MmkdError
from mmkd.store.environment import processor

PARTS = ("views", "frequency", "training", "unit", "startup", "deployed", "process", "whole", "waiting")
PACKAGES = ("mmkd", "torch", "numpy", "numba", "pyts", "gudhi", "ripser", "persim")
RESULT = Path(__file__).resolve().parents[1] / "results" / "speed.md"


def instructions() -> str:
    """Behind the processor's name, what of its instructions matters here; empty where the system does not tell it."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return ""
    known = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    return f" ({', '.join(known)})"


def page(rows: list[Row], minutes: float) -> str:
    """The table in Markdown, with what it was measured on."""
    import torch

    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    lines = [
        "# Speed",
        "",
        "Made by `make bench-speed`. Ours and the peer take turns in one run; a ratio is the median over the pairs,",
        "with the least and the greatest in brackets. `faster`: how many times faster ours is, at least the goal;",
        "`cost`: how many times the peer's time ours takes, at most the goal. That both give the same numbers is",
        "asserted in the same run.",
        "",
        f"{processor()}{instructions()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads each;",
        f"Python {platform.python_version()}, {versions}; {minutes:.0f} minutes.",
        "",
        "| work | peer | ratio | goal | met | pairs | note |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        goal = "" if row.goal is None else f"{row.goal:g}"
        kind = "cost" if row.cost else "faster"
        lines.append(
            f"| {row.work} | {row.peer} | {kind} {row.shown} | {goal} | {row.met} | {len(row.ratios)} | {row.note} |"
        )
    return "\n".join(lines) + "\n"


def measure(args: Namespace) -> None:
    """Print a line a row, and write the page if all parts were measured.

    Raises:
        MmkdError: there is no such part, or nothing to measure.
    """
    parts = args.only.split(",")
    wrong = [part for part in parts if part not in PARTS]
    if wrong or args.rounds < 1:
        raise MmkdError(f"--only takes {', '.join(PARTS)}, --rounds 1 or more")
    started = last = time.perf_counter()
    rows = []
    for part in parts:
        for row in importlib.import_module(part).rows(args.rounds):
            rows.append(row)
            taken, last = time.perf_counter() - last, time.perf_counter()
            found = f"{'cost' if row.cost else 'faster'} {row.shown} of {row.peer} {row.met}"
            print(f"{row.work}: {found} [{taken:.0f} s]", flush=True)
    if tuple(parts) == PARTS:
        args.out.write_text(page(rows, (time.perf_counter() - started) / 60), encoding="utf-8")
        print(f"written: {args.out}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="speed", description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="PART[,PART]", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--rounds", metavar="N", type=int, default=3, help="pairs of a row (default 3)")
    parser.add_argument("--out", metavar="FILE", type=Path, default=RESULT)
    return run_script(parser, measure, argv)


if __name__ == "__main__":
    sys.exit(main())
