"""What students have of their teachers, and whether each method is better than its controls, as lines and tables."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from mmkd.comparison.compare import Comparison
from mmkd.comparison.groups import Group
from mmkd.comparison.rows import STUDENT_ONLY, Row
from mmkd.comparison.verdicts import QUESTIONS, conclude
from mmkd.metrics.fidelity import ASYMMETRY, MEASURES, Estimate, Fidelity
from mmkd.report.phrases import POINTS, kinds_of_repeats, row_name

SHARES = ("agreement", "copied_errors", "kept_right", "same_mistake", ASYMMETRY)
"""Measures that are shown in points, as far as they are differences."""
HEADS: Sequence[tuple[str, str, str]] = (
    ("agree", "own", "agreement"),
    ("beyond alone", "excess", "agreement"),
    ("kappa", "own", "kappa"),
    ("copied errors", "excess", "copied_errors"),
    ("kept right", "excess", "kept_right"),
    ("asymmetry", "excess", ASYMMETRY),
    ("JS", "own", "jensen_shannon"),
)
"""Columns of the short table: head, which numbers, measure."""
MEANINGS = (
    "agree: share of samples with the teacher's class; beyond alone: that minus the same of the student alone, of the "
    "same seed. kappa: agreement beyond chance. copied errors, kept right: of the samples that the teacher has wrong, "
    "or right, the share with its answer, beyond that of the student alone. asymmetry: copied errors minus kept right; "
    "above 0, errors were passed on more than skill. JS: Jensen-Shannon divergence from the teacher, in nats. In "
    "points, with a 95 % bootstrap interval over the subjects of the test part, not over seeds."
)


def taught_rows(group: Group) -> list[Row]:
    """The rows as tables show them that have a fidelity."""
    return [row for row in group.shown_rows if row.fidelity]


def asked_rows(group: Group) -> list[Row]:
    """The methods as tables show them, which were asked whether they are better than controls."""
    return [row for row in group.shown_rows if len(row.verdicts) > 1]


def named_lines(
    rows: Sequence[Row], group: Group, cells: Callable[[Row], Sequence[str]]
) -> list[tuple[str, Sequence[str]]]:
    """The name and the cells of each row; a heading without cells stands above those of controls."""
    lines: list[tuple[str, Sequence[str]]] = []
    for row in rows:
        if row.kind == "control" and ("controls:", ()) not in lines:
            lines.append(("controls:", ()))
        lines.append((row_name(row, group), cells(row)))
    return lines


def value_text(estimate: Estimate | None) -> str:
    """`0.812`; empty where it is not known."""
    return "" if estimate is None or not np.isfinite(estimate.mean) else f"{estimate.mean:.3f}"


def excess_text(name: str, estimate: Estimate | None) -> str:
    """`+3.1 [-0.2, +6.0]` in points, of measures that are no shares `+0.118 [+0.104, +0.131]`; empty where unknown."""
    if estimate is None or not np.isfinite(estimate.mean):
        return ""
    text = difference_text(name, estimate.mean)
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} [{difference_text(name, estimate.low)}, {difference_text(name, estimate.high)}]"


def difference_text(name: str, value: float, sign: str = "+") -> str:
    """A difference of one measure: in points of shares, else as it is."""
    return f"{POINTS * value:{sign}z.1f}" if name in SHARES else f"{value:{sign}z.3f}"


def fidelity_cells(fidelity: Fidelity) -> list[str]:
    """The cells of the short table, in the order of `HEADS`."""
    cells = []
    for _, numbers, name in HEADS:
        if numbers == "own":
            cells.append(value_text(fidelity.own.get(name)))
        else:
            cells.append(excess_text(name, fidelity.excess.get(name)))
    return cells


def samples_text(fidelity: Fidelity, samples: str) -> str:
    """`wrong on 31 of 240 windows; 9 subjects`: how many a seed has, mean over seeds."""
    counts = fidelity.samples
    text = f"wrong on {counts['wrong']:.0f} of {counts['all']:.0f} {samples}"
    return text if fidelity.of == "window" else f"{text} of {fidelity.clusters} {fidelity.of}s"


def fidelity_notes(group: Group) -> list[str]:
    """What is to be known of the fidelities of a group: who is held against whom, and what has no interval."""
    rows = taught_rows(group)
    if not rows:
        return []
    lines = []
    by_teacher: dict[str, list[str]] = {}
    for row in rows:
        first = row.fidelity[0]
        text = f"{first.teacher}, {samples_text(first, group.task_object.samples)}"
        by_teacher.setdefault(text, []).append(row.name)
    for text, names in by_teacher.items():
        lines.append(f"fidelity to {text}" + (f" ({', '.join(names)})" if len(by_teacher) > 1 else ""))
    first = rows[0].fidelity[0]
    if first.of != "subject":
        lines.append(
            f"fidelity: the subjects of the test {group.task_object.samples} are not known, so the bootstrap draws "
            f"{first.of}s; where {group.task_object.samples} overlap, intervals are too narrow"
        )
    elif first.clusters < 5:
        lines.append(f"fidelity: intervals over {first.clusters} subjects are too narrow")
    reasons = dict.fromkeys(
        estimate.why for row in rows for estimate in row.fidelity[0].excess.values() if estimate.why
    )
    lines += [f"fidelity: no interval: {why}" for why in reasons]
    noise = [row.fidelity[0].noise for row in rows if row.fidelity[0].noise]
    if noise:
        floor = ", ".join(
            f"{MEASURES[name].label} {POINTS * noise[0][name]:.1f}"
            for name in ("agreement", "copied_errors", "kept_right")
            if np.isfinite(noise[0][name])
        )
        lines.append(f"fidelity: two students alone of different seeds differ by, in points: {floor}")
    return lines


# Files ----------------------------------------------------------------------------------------------------------------


def fidelity_lines(comparison: Comparison) -> list[dict[str, Any]]:
    """One line a row, teacher and measure: what `fidelity.csv` holds."""
    return [
        {
            "task": group.task,
            "dataset": group.dataset,
            "student": group.student,
            "group": group.title,
            "row": row.name,
            **line,
        }
        for group in comparison.groups
        for row in group.rows
        for fidelity in row.fidelity
        for line in measure_lines(fidelity)
    ]


def measure_lines(fidelity: Fidelity) -> Iterable[dict[str, Any]]:
    """One line a measure of one fidelity."""
    for name in (*MEASURES, ASYMMETRY):
        line: dict[str, Any] = {
            "teacher": fidelity.teacher,
            "samples": fidelity.samples["all"],
            "teacher_wrong": fidelity.samples["wrong"],
            "drawn": fidelity.of,
            "n_drawn": fidelity.clusters,
            "measure": name,
        }
        own = fidelity.own.get(name)
        line["n"] = (own or next(iter(fidelity.own.values()))).n
        for head, estimates in (("own", fidelity.own), ("alone", fidelity.alone), ("excess", fidelity.excess)):
            line |= _estimate_cells(head, estimates.get(name))
        line["excess_other_seed"] = _finite(fidelity.other_seed.get(name))
        line["noise"] = _finite(fidelity.noise.get(name))
        yield line


def _estimate_cells(head: str, estimate: Estimate | None) -> dict[str, Any]:
    known = estimate if estimate is not None and np.isfinite(estimate.mean) else None
    cells: dict[str, Any] = {f"{head}_mean": known and known.mean, f"{head}_sd": known and known.sd}
    cells |= {f"{head}_low": known and known.low, f"{head}_high": known and known.high}
    return cells | {f"{head}_why": (estimate.why or None) if estimate is not None else None}


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


def fidelity_row(row: Row) -> dict[str, Any]:
    """The short table's numbers of a row, and its verdicts, as plain cells."""
    if not row.fidelity and not row.verdicts:
        return {}
    cells: dict[str, Any] = {}
    fidelity = row.fidelity[0] if row.fidelity else None
    cells["fidelity_to"] = fidelity.teacher if fidelity else None
    for _, numbers, name in HEADS[1:]:
        estimate = getattr(fidelity, numbers).get(name) if fidelity else None
        known = estimate if estimate is not None and np.isfinite(estimate.mean) else None
        head = name if numbers == "own" or name == ASYMMETRY else f"{name}_excess"
        cells[head] = known.mean if known else None
        if numbers == "excess":
            cells |= {f"{head}_{end}": getattr(known, end) if known else None for end in ("low", "high")}
    for name in QUESTIONS:
        verdict = next((verdict for verdict in row.verdicts if verdict.control == name), None)
        head = f"better_than_{name.replace('-', '_')}"
        cells[head] = verdict.answer if verdict else None
        cells |= {f"{head}_{end}": getattr(verdict, end) if verdict else None for end in ("mean", "low", "high")}
    return cells


# Verdicts -------------------------------------------------------------------------------------------------------------


def verdict_heads(rows: Sequence[Row]) -> list[str]:
    """The questions that at least one of these rows was asked and that have an answer; none if no control was run."""
    run = {verdict.control for row in rows for verdict in row.verdicts if verdict.answer != "not run"}
    return [name for name in QUESTIONS if name in run] if run - {STUDENT_ONLY} else []


def verdict_cells(row: Row, heads: Sequence[str], brief: bool = False) -> list[str]:
    """A row's answers to these questions, without intervals if `brief`; empty where it was not asked."""
    by_control = {verdict.control: verdict.brief if brief else verdict.cell for verdict in row.verdicts}
    return [by_control.get(head, "") for head in heads]


def verdict_words(row: Row) -> list[str]:
    """The answers of a row in words, a sentence each, those that are not run in one, and what they say together."""
    conclusion = conclude(row.verdicts)
    return [*verdict_sentences(row), *([conclusion] if conclusion else [])]


def verdict_sentences(row: Row) -> list[str]:
    """The answers of a row in words, a sentence each; those that are not run in one."""
    told = [verdict for verdict in row.verdicts if verdict.answer != "not run" or verdict.control == STUDENT_ONLY]
    missing = [QUESTIONS[verdict.control].head for verdict in row.verdicts if verdict not in told]
    return [*(verdict.sentence for verdict in told), *([f"Not run: {', '.join(missing)}."] if missing else [])]


def verdict_lead(row: Row) -> str:
    """`Better than, in points with a 95 % interval over 5 seeds:`, above the answers of a row."""
    known = [verdict for verdict in row.verdicts if verdict.n]
    if not known:
        return ""
    most = max(verdict.n for verdict in known)
    if most == 1:
        return f"Better than, in points, of one {known[0].of}:"
    return f"Better than, in points with a 95 % interval over {most} {known[0].of}s:"


def verdict_pairs(row: Row) -> list[tuple[str, str]]:
    """Whom a row was held against, and the answer; those that are not run in one."""
    most = max((verdict.n for verdict in row.verdicts), default=0)
    pairs = []
    for verdict in row.verdicts:
        if verdict.answer != "not run":
            fewer = f", {verdict.n} {verdict.of}{'s' * (verdict.n != 1)}" if verdict.n < most else ""
            pairs.append((verdict.whom, f"{verdict.cell}{verdict.against}{fewer}"))
    missing = [QUESTIONS[verdict.control].head for verdict in row.verdicts if verdict.answer == "not run"]
    return [*pairs, *([("not run", ", ".join(missing))] if missing else [])]


def verdict_notes(group: Group) -> list[str]:
    """What was not asked of the methods of a group, because no row of that control is on record."""
    rows = asked_rows(group)
    run = {verdict.control for row in rows for verdict in row.verdicts if verdict.answer != "not run"}
    asked = {verdict.control for row in rows for verdict in row.verdicts}
    missing = [question.head for name, question in QUESTIONS.items() if name in asked - run]
    if not rows or not missing:
        return []
    return [f"not run, so it is not told whether a method is better: {', '.join(missing)}"]


def meanings(comparison: Comparison) -> list[str]:
    """What the tables of fidelity and of answers mean, as far as there are such tables."""
    fidelities = any(taught_rows(group) for group in comparison.groups)
    answers = any(verdict_heads(asked_rows(group)) for group in comparison.groups)
    verdicts = VERDICT_MEANING.format(of=kinds_of_repeats(comparison.groups))
    return [*([MEANINGS] if fidelities else []), *([verdicts] if answers else [])]


VERDICT_MEANING = (
    "Better than: yes or no where the 95 % interval of the paired difference, by Student's t over {of}, leaves out 0, "
    "not shown where it holds 0 or there is one pair; the number is the mean difference in points. "
    "Not corrected for the number of methods."
)
