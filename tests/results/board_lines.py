"""Made-up lines of results with known answers."""

from dataclasses import dataclass, replace

import numpy as np

SETS = tuple(f"set{n:02d}" for n in range(12))
SEEDS = (0, 1, 2, 3, 4)
BETTER = 0.04
"""By which `good` is better than the student alone on every set."""


@dataclass(frozen=True)
class Made:
    """A line, as results have it."""

    regime: str
    dataset: str
    kind: str
    row: str
    seed: int
    value: float
    metric: str = "macro_f1"
    subject: str = ""
    student: str = "sig"
    method: str = ""
    tuned: bool = False
    extra_data: bool = False
    verified: bool = True
    machine: str = "here"
    commit: str = "0123456789ab"
    protocol: str = "v1-0123456789ab"


ROWS = (
    ("student", "student", 0.0),
    ("method", "good", BETTER),
    ("method", "equal", 0.0),
    ("method", "bad", -BETTER),
    ("method", "like-smoothing", 0.01),
    ("control", "label-smoothing", 0.01),
    ("teacher", "teacher sig", 0.08),
    ("peer", "random-forest", 0.05),
)
COSTS = {"good": 2.0, "teacher sig": 6.0}


def made_lines(regime="A", sets=SETS, rows=ROWS, seeds=SEEDS, noise=0.004, costs=True):
    """Scores around a level of each set; the noise of a row and seed does not depend on what other rows there are."""
    lines = []
    for number, name in enumerate(sets):
        level = 0.6 + 0.02 * number
        for place, (kind, row, change) in enumerate(rows):
            rng = np.random.default_rng([number, place])
            for seed in seeds:
                value = level + 0.01 * np.sin(seed + number) + change + float(rng.normal(0, noise))
                own = Made(regime, name, kind, row, seed, value, method=row.partition(" (")[0], tuned="tuned" in row)
                lines.append(own)
                if costs:
                    lines.append(replace(own, metric="seconds", value=10.0 * COSTS.get(row, 1.0)))
                    lines.append(replace(own, metric="macs", value=1e6 * (9 if kind == "teacher" else 1)))
    return lines
