"""The comparison as Markdown and LaTeX."""

from collections.abc import Sequence

from mmkd.comparison.compare import Comparison
from mmkd.comparison.gap import gap_lines
from mmkd.comparison.groups import Group
from mmkd.comparison.ranking import Ranking
from mmkd.comparison.repeats import FOLDS_SHARE
from mmkd.core.text import printable
from mmkd.report.columns import columns
from mmkd.report.fidelity import (
    HEADS,
    asked_rows,
    fidelity_cells,
    fidelity_notes,
    meanings,
    named_lines,
    taught_rows,
    verdict_words,
)
from mmkd.report.phrases import CONTROLS, first_control, group_notes, legend, name_repeats, row_name
from mmkd.report.statistics import ranking_lines


def markdown(text: str) -> str:
    """A text as Markdown shows it, on one line, in a table too."""
    line = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join("\\" + c if c in "\\`*_{}[]#|~$" else c for c in line)


def latex(text: str) -> str:
    """A text as LaTeX sets it, on one line."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}"}
    special |= {c: "\\" + c for c in "&%$#_{}"} | {"±": r"$\pm$", "[": "{[}", "]": "{]}", "-": "{-}"}
    return "".join(special.get(c, c) for c in printable(text))


def markdown_tables(comparison: Comparison, rankings: Sequence[Ranking]) -> str:
    """All tables with their notes, and the statistics over data sets."""
    parts = ["# Comparison", ""]
    for group in comparison.groups:
        alike = [other for other in comparison.groups if other.score == group.score]
        shown = columns(alike, comparison.control)
        parts += [f"## {markdown(group.title)}, {name_repeats(group)}", ""]
        if group.gaps:
            parts += [*(f"- {markdown(line)}" for line in gap_lines(group.gaps)), ""]
        parts.append("| | " + " | ".join(markdown(column.head) for column in shown) + " |")
        parts.append("|---|" + "---:|" * len(shown))
        for row in group.shown_rows:
            if row is first_control(group):
                parts.append(f"| *{markdown(CONTROLS)}* |" + " |" * len(shown))
            cells = [markdown(row_name(row, group)), *(markdown(column.text(row)) for column in shown)]
            parts.append("| " + " | ".join(cells) + " |")
        parts += ["", *(f"- {markdown(note)}" for note in group_notes(group)), ""]
        parts += _fidelity(group)
    parts += ["## Over data sets", ""]
    for ranking in rankings:
        first, *rest = ranking_lines(ranking)
        parts += [markdown(first), "", *(f"- {markdown(line)}" for line in rest), ""]
    legends = [line for text in (legend(comparison), *meanings(comparison)) for line in (markdown(text), "")]
    return "\n".join([*parts, *legends])


def _fidelity(group: Group) -> list[str]:
    """What students have of their teachers, and whether each method is better than the controls."""
    parts = []
    taught = taught_rows(group)
    if taught:
        lines = named_lines(taught, group, lambda row: fidelity_cells(row.fidelity[0]))
        body = [[name, *(cells or [""] * len(HEADS))] for name, cells in lines]
        parts += _table([head for head, _, _ in HEADS], body)
    asked = asked_rows(group)
    notes = [*fidelity_notes(group), *(f"{row.name}: {' '.join(verdict_words(row))}" for row in asked)]
    return [*parts, *(f"- {markdown(note)}" for note in notes), ""]


def _table(heads: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """A table of Markdown with a head for each column but the first."""
    lines = ["| | " + " | ".join(map(markdown, heads)) + " |", "|---|" + "---:|" * len(heads)]
    return [*lines, *("| " + " | ".join(map(markdown, cells)) + " |" for cells in body), ""]


def latex_tables(comparison: Comparison) -> str:
    """One `table` a group, for the package booktabs."""
    parts = ["% needs \\usepackage{booktabs} and \\usepackage[T1]{fontenc}"]
    for group in comparison.groups:
        shown = columns([group], comparison.control)
        parts += [f"% {printable(line)}" for line in gap_lines(group.gaps)]
        parts += ["\\begin{table}", "\\centering", f"\\caption{{{latex(_caption(group))}}}"]
        parts += [f"\\begin{{tabular}}{{l{'r' * len(shown)}}}", "\\toprule"]
        parts.append(" & ".join(["", *(latex(column.head) for column in shown)]) + r" \\")
        kind = ""
        for row in group.shown_rows:
            if row.kind != kind:
                parts.append("\\midrule")
            if row is first_control(group):
                parts.append(f"\\multicolumn{{{len(shown) + 1}}}{{l}}{{{latex(CONTROLS)}}} \\\\")
            kind = row.kind
            cells = [latex(column.text(row)).replace("{-}", "$-$") for column in shown]
            parts.append(" & ".join([latex(row_name(row, group)), *cells]) + r" \\")
        parts += ["\\bottomrule", "\\end{tabular}", "\\end{table}", ""]
    return "\n".join(parts)


def _caption(group: Group) -> str:
    return f"{group.title}, {name_repeats(group)}" + (f"; {FOLDS_SHARE}" if group.by == "fold" else "")
