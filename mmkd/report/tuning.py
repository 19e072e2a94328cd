"""The tuning phase as lines and tables, the same in every format."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mmkd.comparison.groups import Group
from mmkd.comparison.tuned import TunedChange, tuned_changes
from mmkd.comparison.tuning import Tuning, TuningPhase
from mmkd.core.refusal import Refusal
from mmkd.report.phrases import POINTS, mean_and_deviation

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
    """`temperature=2.13, kd-weight=0.4`; numbers to four digits."""
    return ", ".join(f"{name.replace('_', '-')}={_word(value)}" for name, value in options.items())


def _word(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def phase_lead(phase: TuningPhase) -> list[str]:
    """`12 methods, 120 trainings of students (34 min), scored in part 1 of 3 ...`, and a line on the teachers."""
    methods = len({tuning.method for tuning in phase.tunings})
    text = f"{methods} method{'s' * (methods > 1)}, {phase.trainings} trainings of students ({duration(phase.seconds)})"
    lines = [f"{text}, scored in part {phase.part} of the training part"]
    if phase.teachers:
        many = "s" * (phase.teachers > 1)
        lines.append(
            f"{phase.teachers} teacher{many} without that part ({duration(phase.teacher_seconds)}), shared by all"
        )
    return lines


def table_heads(phase: TuningPhase) -> list[str]:
    """The heads of the table of a phase, after the method's name."""
    budgets = ["default" if budget == 1 else f"best of {budget}" for budget in phase.budgets]
    return [*budgets, "better than default", "time"]


def table_cells(tuning: Tuning, phase: TuningPhase) -> list[str]:
    """A method's cells, in the order of `table_heads`; empty for budgets beyond its own."""
    count = len(tuning.tried)
    scores = [f"{tuning.curve[budget - 1].score:.3f}" if budget <= count else "" for budget in phase.budgets]
    others = count - 1
    return [*scores, f"{tuning.better_than_default} of {others}", duration(tuning.seconds)]


def choice_line(tuning: Tuning) -> str:
    """`kd: best is 7: temperature=2.13`."""
    return f"{tuning.name}: best is {configuration_words(tuning.best.number, tuning.chosen)}"


def configuration_words(number: int, options: Mapping[str, Any]) -> str:
    """A configuration by what it changes: `7: temperature=2.13`, or `0, the default`."""
    return f"{number}: {option_words(options)}" if number else "0, the default"


def phase_notes(phase: TuningPhase) -> list[str]:
    """What is to be known of a phase: methods with fewer configurations than others, and what was left out."""
    most = phase.budgets[-1]
    fewer = [f"{t.name} {len(t.tried)}" for t in phase.tunings if len(t.tried) < most]
    lines = [f"fewer configurations than {most}: {', '.join(fewer)}"] if fewer else []
    return [*lines, *phase.notes]


# Tuned rows -----------------------------------------------------------------------------------------------------------

TUNED_HEADS = ("default", "tuned", "change", "better", "configuration")
"""The heads of the table of tuned rows, after the row's name."""


def tuned_cells(found: TunedChange) -> list[str]:
    """A tuned row's cells, in the order of `TUNED_HEADS`; the change in points."""
    means = [mean_and_deviation(row.values(row.score)) for row in (found.default, found.tuned)]
    chosen = "; ".join(configuration_words(number, options) for number, options in sorted(found.chosen.items()))
    words = f"configuration {chosen} (of {found.budget}, tried on {', '.join(found.on)})"
    return [*means, change_words(found), found.answer, words]


def change_words(found: TunedChange) -> str:
    """`+1.2 [-0.3, +2.5]`, in points; of fewer pairs than the row has values with their number."""
    change = found.change
    if isinstance(change, Refusal):
        return ""
    text = f"{POINTS * change.mean:+z.1f}"
    if change.low is not None and change.high is not None:
        text += f" [{POINTS * change.low:+z.1f}, {POINTS * change.high:+z.1f}]"
    return text if change.n == len(found.tuned.units) else f"{text} n={change.n}"


def tuned_title(group: Group) -> str:
    """The title of the table of tuned rows."""
    label = group.score.label
    return f"Default and tuned, on the test windows: {label} and its change in points, paired by {group.by}"


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


def _plain_options(options: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items())


def configuration_lines(phases: Sequence[TuningPhase]) -> list[dict[str, Any]]:
    """One line a configuration: what `tuning.csv` holds."""
    return [
        {
            **_identity(tuning, phase),
            "number": tried.number,
            "score": tried.score,
            "seconds": tried.seconds,
            "chosen": tried is tuning.best,
            "options": _plain_options(tried.options),
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


def tuned_lines(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """One line a tuned row: what `tuned.csv` holds."""
    return [
        {"task": group.task, "dataset": group.dataset, "student": group.student, **tuned_json(found)}
        for group in groups
        for found in tuned_changes(group)
    ]


def tuned_json(found: TunedChange) -> dict[str, Any]:
    """A tuned row beside its default, as names and numbers."""
    change = None if isinstance(found.change, Refusal) else found.change
    return {
        "method": found.method,
        "row": found.tuned.name,
        "default": found.default.name,
        "numbers": " ".join(map(str, sorted(found.chosen))),
        "budget": found.budget,
        "on": " ".join(found.on),
        "options": "; ".join(
            " ".join(f"{name}={value}" for name, value in options.items())
            for _, options in sorted(found.chosen.items())
        ),
        "metric": found.tuned.score,
        **{f"change_{name}": getattr(change, name, None) for name in ("mean", "sd", "n", "low", "high")},
    }


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
