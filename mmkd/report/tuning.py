"""The tuning phase as lines and tables, the same in every format."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mmkd.comparison.tuning import Tuning, TuningPhase

MEANING = (
    "Tuning: scores of the inner fold, in which the choice is made; the best of many is too good there, and what a "
    "choice is worth say the rows 'tuned'. best of n: expected score of the best of n configurations, the published "
    "default among them, over all orders of the others; n is a budget in student trainings."
)


def duration(seconds: float) -> str:
    """`48 s`, `12 min`, `3.4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def option_words(options: Mapping[str, Any]) -> str:
    """`temperature=2.13, kd-weight=0.4`; numbers to three digits."""
    return ", ".join(f"{name.replace('_', '-')}={_word(value)}" for name, value in options.items())


def _word(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def phase_lead(phase: TuningPhase) -> str:
    """`12 methods, 120 trainings of students (34 min) in part 1 of 3 of the training part; ...`"""
    methods = len({tuning.method for tuning in phase.tunings})
    text = f"{methods} method{'s' * (methods > 1)}, {phase.trainings} trainings of students ({duration(phase.seconds)})"
    text += f", scored in part {phase.part} of the training part"
    if phase.teachers:
        many = "s" * (phase.teachers > 1)
        text += f"; {phase.teachers} teacher{many} without it ({duration(phase.teacher_seconds)}), shared by all"
    return text


def table_heads(phase: TuningPhase) -> list[str]:
    """The heads of the table of a phase, after the method's name."""
    budgets = ["default" if budget == 1 else f"best of {budget}" for budget in phase.budgets]
    return [*budgets, "better than default", "time", "chosen"]


def table_cells(tuning: Tuning, phase: TuningPhase) -> list[str]:
    """A method's cells, in the order of `table_heads`; empty for budgets beyond its own."""
    count = len(tuning.tried)
    scores = [f"{tuning.curve[budget - 1].score:.3f}" if budget <= count else "" for budget in phase.budgets]
    others = count - 1
    return [*scores, f"{tuning.better_than_default} of {others}", duration(tuning.seconds), chosen_words(tuning)]


def chosen_words(tuning: Tuning) -> str:
    """The configuration of the best score: `7: temperature=2.13`, or `0, the default`."""
    best = tuning.best
    if best.number == 0:
        return "0, the default"
    return f"{best.number}: {option_words(tuning.chosen)}"


def phase_notes(phase: TuningPhase) -> list[str]:
    """What is to be known of a phase: methods with fewer configurations than others, and what was left out."""
    most = phase.budgets[-1]
    fewer = [f"{t.name} {len(t.tried)}" for t in phase.tunings if len(t.tried) < most]
    lines = [f"fewer configurations than {most}: {', '.join(fewer)}"] if fewer else []
    return [*lines, *phase.notes]


# Files ----------------------------------------------------------------------------------------------------------------


def _identity(tuning: Tuning, phase: TuningPhase) -> dict[str, Any]:
    return {
        "task": phase.task,
        "dataset": phase.dataset,
        "student": phase.student,
        "method": tuning.method,
        "row": tuning.name,
        "table": tuning.table,
        "metric": tuning.metric,
    }


def configuration_lines(phases: Sequence[TuningPhase]) -> list[dict[str, Any]]:
    """One line a configuration: what `tuning.csv` holds."""
    return [
        {
            **_identity(tuning, phase),
            "number": tried.number,
            "score": tried.score,
            "seconds": tried.seconds,
            "chosen": tried is tuning.best,
            "options": " ".join(f"{name}={value}" for name, value in tried.options.items()),
        }
        for phase in phases
        for tuning in phase.tunings
        for tried in tuning.tried
    ]


def budget_lines(phases: Sequence[TuningPhase]) -> list[dict[str, Any]]:
    """One line a method and budget: what `budgets.csv` holds."""
    return [
        {**_identity(tuning, phase), **asdict(budget)}
        for phase in phases
        for tuning in phase.tunings
        for budget in tuning.curve
    ]


def phase_json(phase: TuningPhase) -> dict[str, Any]:
    """A phase as `--json` prints it."""
    return {
        "kind": "tuning",
        "task": phase.task,
        "dataset": phase.dataset,
        "student": phase.student,
        "part": phase.part,
        "teachers": phase.teachers,
        "teacher_seconds": phase.teacher_seconds,
        "methods": [
            {
                "method": tuning.method,
                "row": tuning.name,
                "table": tuning.table,
                "metric": tuning.metric,
                "tried": [asdict(tried) for tried in tuning.tried],
                "budgets": [asdict(budget) for budget in tuning.usual],
                "chosen": {"number": tuning.best.number, "options": tuning.chosen},
            }
            for tuning in phase.tunings
        ],
        "notes": phase_notes(phase),
    }
