"""The details of one network: learning curves, confusion, reliability, spectra, options, units and costs."""

from typing import Any

from mmkd.comparison.deployment import deployment_facts
from mmkd.comparison.history import read_history
from mmkd.comparison.identity import flat
from mmkd.comparison.rows import Row
from mmkd.comparison.tested import ClassCounts, class_scores, count_classes
from mmkd.comparison.units import Unit
from mmkd.comparison.verdicts import conclude
from mmkd.drawing.confusion import confusion_chart, reliability_chart
from mmkd.drawing.lines import Line, Plot, line_chart, thin_epochs
from mmkd.metrics.registry import METRICS, SELECTION
from mmkd.report.fidelity import verdict_lead, verdict_pairs
from mmkd.report.page.album import Figure, Table
from mmkd.report.page.context import GroupContext
from mmkd.report.page.fidelity import row_tables
from mmkd.report.page.robustness import RobustnessCurves
from mmkd.report.page.spectra import spectra_figures
from mmkd.report.page.words import count, told_settings
from mmkd.report.phrases import mean_and_deviation, row_name

CURVES_SHOWN = 8  # learning curves of one network in one figure


def network_details(context: GroupContext, row: Row, robustness: RobustnessCurves) -> dict[str, Any]:
    """One network, for the template."""
    group = context.group
    tested = count_classes(row, context.notes) if group.task_object.has_predictions else None
    figures = _learning_figures(context, row)
    if tested is not None:
        figures += _tested_figures(context, row, tested)
    figures += spectra_figures(context, row)
    figures += robustness.row_figures(row)
    facts = [
        ("Options", told_settings(flat(row.settings))),
        ("Units", [(group.label(unit), f"{unit.key}, {unit.metrics[row.score]:.4f}") for unit in row.members]),
        ("Deployed", _deployment(row)),
    ]
    return {
        "id": context.id(row),
        "name": row_name(row, group),
        "score": f"{METRICS.get(row.score).label} {mean_and_deviation(row.values(row.score))}",
        "verdict": {"together": conclude(row.verdicts), "lead": verdict_lead(row), "each": verdict_pairs(row)},
        "figures": figures,
        "tables": [
            *row_tables(row, group.task_object.samples),
            *([_class_table(tested, "seeds and folds" if group.folds else "seeds")] if tested is not None else []),
        ],
        "facts": [(head, pairs) for head, pairs in facts if pairs],
    }


def _deployment(row: Row) -> list[tuple[str, str]]:
    """The costs of the first unit whose costs were measured."""
    records = [unit.record for unit in row.members if unit.record is not None]
    return list(next((facts for record in records if (facts := deployment_facts(record))), {}).items())


def _legend(context: GroupContext, unit: Unit) -> str:
    """A unit as a legend names it."""
    label = context.group.label(unit)
    return label.partition(", ")[2] if context.group.by == "fold" else label


def _learning_figures(context: GroupContext, row: Row) -> list[Figure]:
    losses: list[Line] = []
    scores: list[Line] = []
    shown = row.members[:CURVES_SHOWN]
    for number, unit in enumerate(shown):
        epochs = read_history(unit.record, context.notes) if unit.record is not None else []
        if not epochs or unit.record is None:
            continue
        best = unit.record.result.get("best_epoch")
        drawn = thin_epochs(epochs, best)
        x = [epoch["epoch"] for epoch in drawn]
        marks = [i for i, epoch in enumerate(x) if epoch == best] if len(x) > 2 else None
        for name, lines in (("loss", losses), (f"val_{SELECTION}", scores)):
            if all(name in epoch for epoch in drawn):
                lines.append(Line(_legend(context, unit), number, x, [epoch[name] for epoch in drawn], marks=marks))
    label = METRICS.get(SELECTION).label
    plots = [
        *([Plot("training loss", "epoch", "loss", losses, integer=True)] if losses else []),
        *([Plot("validation", "epoch", label, scores, integer=True)] if scores else []),
    ]
    if not plots:
        return []
    caption = f"Loss summed over its terms, and {label} on the validation part. A marker stands at the kept epoch."
    if len(shown) < len(row.members):
        caption += f" The first {len(shown)} of {len(row.members)} units."
    chart = line_chart("Learning curves", f"{row.name}: {caption}", plots)
    return [context.figure(f"{context.file_name(row)}-learning", "Learning curves", caption, chart)]


def _tested_figures(context: GroupContext, row: Row, tested: ClassCounts) -> list[Figure]:
    units = count(len(tested.counts), "unit" if context.group.folds else "seed")
    several = len(tested.counts) > 1
    samples = context.group.task_object.samples
    caption = f"Test {samples} of {units}{', added up' * several}; shade is the share of the true class."
    chart = confusion_chart("Confusion", f"{row.name}: {caption}", tested.counts.sum(0), tested.classes)
    figures = [context.figure(f"{context.file_name(row)}-confusion", "Confusion", caption, chart)]
    reliability = tested.reliability
    if reliability is not None:
        error = f"{reliability.error:.3f}"
        if several:
            over = f"{mean_and_deviation(row.values('ece'))} over {context.group.by}s"
            error = f"{over}, {error} of their windows together"
        caption = (
            f"ECE {error}. Bars: accuracy in 15 bins of confidence; line in each bar: mean confidence; below: share of "
            "windows."
        )
        chart = reliability_chart(
            "Reliability",
            f"{row.name}: {caption}",
            share=reliability.share,
            confidence=reliability.confidence,
            accuracy=reliability.accuracy,
        )
        figures.append(context.figure(f"{context.file_name(row)}-reliability", "Reliability", caption, chart))
    return figures


def _class_table(tested: ClassCounts, over: str) -> Table:
    rows = []
    for scores in class_scores(tested):
        values = [scores.precision, scores.recall, scores.f1]
        texts = ["none" if value is None else f"{value:.3f}" for value in values]
        rows.append([scores.name, *texts, f"{scores.support:,.0f}"])
    return Table(f"Class by class, means over {over}", ["class", "precision", "recall", "F1", "windows"], rows)
