"""The comparison as text: for the terminal, as CSV, Markdown and LaTeX, and as one JSON document."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from mmkd.comparison.groups import FOLDS_SHARE, SCORE, SCORES, STUDENT_ONLY, WORDS, Comparison, Group, Row, Unit
from mmkd.comparison.identity import flat
from mmkd.comparison.ranking import Ranking
from mmkd.core.text import printable, shorten
from mmkd.metrics import pairs as st
from mmkd.metrics.series import HEADS, METRICS
from mmkd.report.table import mean_and_deviation

WIDTH = 118  # columns of the terminal's table
POINTS = 100


# Cells ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """A column of the tables; `brief` is what stands in a terminal where that is less.

    `value` is what rows are sorted by, None where there is none; `meaning` is what a reader of the head may ask.
    """

    head: str
    text: Callable[[Row], str]
    value: Callable[[Row], float | None]
    brief: Callable[[Row], str] | None = None
    wide: bool = False  # left out in a terminal
    meaning: str = ""


def _mean(metric: str, pattern: str) -> Callable[[Row], str]:
    def text(row: Row) -> str:
        values = row.values(metric)
        return pattern.format(float(np.mean(values))) if values else ""

    return text


def _average(metric: str) -> Callable[[Row], float | None]:
    return lambda row: float(np.mean(values)) if (values := row.values(metric)) else None


def _spread(metric: str) -> Callable[[Row], str]:
    return lambda row: mean_and_deviation(row.values(metric))


def _change(row: Row) -> str:
    """`+1.2 [-0.3, +2.5]`, in points; of fewer pairs than the row has seeds with their number."""
    if not isinstance(row.change, st.Paired):
        return ""
    found = row.change
    text = f"{POINTS * found.mean:+.1f}"
    if found.low is not None and found.high is not None:
        text += f" [{POINTS * found.low:+.1f}, {POINTS * found.high:+.1f}]"
    return text if found.n == len(row.units) else f"{text} n={found.n}"


def _share(row: Row) -> str:
    return f"{round(100 * row.gap)} %" if isinstance(row.gap, float) else ""


def _ratio(row: Row) -> str:
    return f"x{row.time:.2f}" if isinstance(row.time, float) else ""


def _bytes(row: Row) -> str:
    values = row.values("bytes")
    return f"{np.mean(values) / 1e6:.2f} MB" if values else ""


def columns(groups: Iterable[Group], control: str) -> list[Column]:
    """The columns for which at least one row has a value."""
    groups = list(groups)
    rows = [row for group in groups for row in group.rows]
    over, pairs = values_of(groups), " or ".join(by.removesuffix("s") for by in values_of(groups).split(" or "))
    spreads = f"mean over {over} ± standard deviation"
    every = [
        _scored("accuracy", "accuracy", spreads, _mean("accuracy", "{:.3f}")),
        _scored("macro-F1", SCORE, spreads),
        _scored("mIoU", "miou", spreads, _mean("miou", "{:.3f}")),
        *(_of_series(metric, head, spreads) for metric, head in HEADS.items()),
        Column("n", lambda row: str(len(row.units)), lambda row: float(len(row.units)), meaning=f"{over} on record"),
        Column(
            f"vs {_shown(control)}",
            _change,
            lambda row: row.change.mean if isinstance(row.change, st.Paired) else None,
            meaning=f"{_scores_said(groups)} in points, paired by {pairs}, with a 95 % bootstrap interval",
        ),
        Column("gap", _share, lambda row: _known(row.gap), meaning="share closed of the gap to the best teacher"),
        _averaged("NLL", "nll", "{:.2f}", "negative log-likelihood, lower is better"),
        _averaged("ECE", "ece", "{:.3f}", "expected calibration error of 15 bins, lower is better"),
        _averaged("agree", "agreement", "{:.3f}", "share of test windows on which teachers and student agree"),
        Column("time", _ratio, lambda row: _known(row.time), meaning="of training, against the student alone"),
        _averaged("params", "parameters", "{:,.0f}", "parameters of the network that is deployed"),
        _averaged("MACs", "macs", "{:,.0f}", "multiply-accumulates of one window", wide=True),
        _averaged("latency ms", "latency_ms", "{:.2f}", "one window, median, its views included", wide=True),
        _averaged("p95 ms", "latency_p95_ms", "{:.2f}", "one window, 95th percentile", wide=True),
        Column("size", _bytes, _average("bytes"), wide=True, meaning="of the weights on disk"),
    ]
    return [column for column in every if any(column.text(row) for row in rows)]


def values_of(groups: Iterable[Group]) -> str:
    """What the values of these groups are of: seeds, or folds."""
    return " or ".join(f"{by}s" for by in dict.fromkeys(group.by for group in groups)) or "seeds"


def _known(value: object) -> float | None:
    return value if isinstance(value, float) else None


def _scored(head: str, metric: str, meaning: str, brief: Callable[[Row], str] | None = None) -> Column:
    return Column(head, _spread(metric), _average(metric), brief, meaning=meaning)


def _of_series(metric: str, head: str, meaning: str) -> Column:
    """A score of detectors; of most a terminal shows the mean, and not those that VUS stands for."""
    warning = "; a warning: random scores can come near 1 here" if head.startswith("(") else ""
    brief = None if metric == SCORES["anomaly"] else _mean(metric, "{:.3f}")
    wide = metric.startswith("auc_")
    return Column(head, _spread(metric), _average(metric), brief, wide, f"mean over series; {meaning}{warning}")


def _averaged(head: str, metric: str, pattern: str, meaning: str, wide: bool = False) -> Column:
    return Column(head, _mean(metric, pattern), _average(metric), wide=wide, meaning=meaning)


def row_name(row: Row, group: Group) -> str:
    """The name of a row; of one that has not all seeds, or folds, of its group with how many."""
    name = f"teacher {row.name}" if row.kind == "teacher" else row.name
    there, every = len(row.units), len(group.places)
    return name if there == every else f"{name} ({there} of {every} {group.by}s)"


def notes(group: Group) -> list[str]:
    """Why something is not said, and what else is to be known of a group."""
    why: dict[str, list[str]] = {}
    for row in group.rows:
        for what, found in (("change", row.change), ("gap", row.gap), ("time", row.time)):
            if isinstance(found, st.Refusal):
                why.setdefault(f"{what}: {found.why}", []).append(row.name)
    every = sum(row.kind in ("student", "simple") for row in group.rows) - 1
    said = [f"{text} ({'all methods' if len(rows) == every > 1 else ', '.join(rows)})" for text, rows in why.items()]
    return [*group.notes, *said]


LEGEND = (
    "vs {control}: {score} in points, paired by seed (a single seed in folds by fold), with a 95 % bootstrap interval "
    "over the pairs; of few it is too narrow. gap: share closed of the way from the student alone to its best "
    "teacher. agree: share of test windows on which a student says what its teachers say together. time: of training "
    "the student, against training it alone."
)


def legend(comparison: Comparison) -> str:
    return LEGEND.format(control=_shown(comparison.control), score=_scores_said(comparison.groups))


def _scores_said(groups: Iterable[Group]) -> str:
    """What is compared in these groups."""
    return " or ".join(dict.fromkeys(WORDS[group.score] for group in groups))


def _shown(control: str) -> str:
    return "alone" if control == STUDENT_ONLY else shorten(control, 24)


# Terminal -------------------------------------------------------------------------------------------------------------


def print_comparison(comparison: Comparison, found: Sequence[Ranking], stream: Any) -> None:
    """Print the tables; a name that is too long goes on in the next line, no figure is cut."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=stream, width=WIDTH, highlight=False, markup=False, emoji=False)
    for group in comparison.groups:
        console.print(f"{group.title}, {values_said(group)}", style="bold")
        shown = [column for column in columns([group], comparison.control) if not column.wide]
        lines = [[(column.brief or column.text)(row) for column in shown] for row in group.rows]
        names = [row_name(row, group) for row in group.rows]
        sizes = [max(len(text) for text in each) for each in zip([c.head for c in shown], *lines, strict=True)]
        room = max(12, min(max(map(len, names)), WIDTH - sum(size + 1 for size in sizes)))
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("", width=room, overflow="fold")
        for column, size in zip(shown, sizes, strict=True):
            side: Literal["left", "right"] = "right"
            table.add_column(column.head, justify=side, no_wrap=True, width=size)
        for row, name, line, after in zip(
            group.rows, names, lines, [*[r.kind for r in group.rows[1:]], None], strict=True
        ):
            table.add_row(name, *line, end_section=row.kind != after)
        console.print(table)
        for note in notes(group):
            console.print(f"  {note}")
        console.print()
    for each in found:
        for text in ranking_lines(each):
            console.print(text)
    console.print(legend(comparison))


def seed_list(seeds: Sequence[int]) -> str:
    """`0-2, 5`."""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def seeds_said(seeds: Sequence[int]) -> str:
    """`seed 0`, `seeds 0-2, 5`."""
    return f"seed{'s' * (len(seeds) > 1)} {seed_list(seeds)}"


def values_said(group: Group) -> str:
    """`seeds 0-2`; of folds `seeds 0-2, each the mean of its 5 folds`, or of one seed `seed 0, by fold`."""
    if not group.folds:
        return seeds_said(group.seeds)
    return f"{seeds_said(group.seeds)}, " + (
        "by fold" if group.by == "fold" else f"each the mean of its {len(group.folds)} folds"
    )


def ranking_lines(found: Ranking) -> list[str]:
    """The statistics over data sets, a line each."""
    n = len(found.datasets)
    if n < 2:
        needed = (
            f"{st.LEAST_DATA_SETS}, {_pairs_need(found)} and {st.LEAST_FOR_DIAGRAM} data sets; here is {n or 'none'}"
        )
        return [f"Over data sets, {found.title}: tests, matrix and ranks need {needed}", *_indented(found.notes)]
    lines = [f"Over {n} data set{'s' if n != 1 else ''}, {found.title}: smallest attainable p {found.smallest:.3g}"]
    if found.tests and n >= st.LEAST_DATA_SETS and n < found.least:
        lines.append(
            f"  {len(found.tests)} methods: after Holm's correction none can be significant below {found.least}"
        )
    refused = {each.test.why for each in found.tests if isinstance(each.test, st.Refusal)}
    for each in found.tests:
        if isinstance(each.test, st.SignedRank):
            lines.append(f"  {against_line(each)}")
    lines += [f"  not tested: {why}" for why in sorted(refused)]
    if isinstance(found.pairs, st.Refusal):
        lines.append(f"  no matrix of all pairs: {found.pairs.why}")
    else:
        lines.append("  all pairs:")
        lines += [f"    {against_line(each)}" for each in found.pairs]
    if isinstance(found.diagram, st.Refusal):
        lines.append(f"  no critical-difference diagram: {found.diagram.why}")
    else:
        ranks = ", ".join(f"{name} {rank:.2f}" for name, rank in found.diagram.ranks.items())
        lines.append(f"  mean ranks: {ranks}; critical difference {found.diagram.difference:.2f}, ")
        lines[-1] += f"Friedman p {found.diagram.p:.3g}"
    return [*lines, *_indented(found.notes)]


def _indented(texts: Iterable[str]) -> list[str]:
    return [f"  {text}" for text in texts]


def _pairs_need(found: Ranking) -> int:
    methods = len(found.tests) + 1
    return st.least_data_sets(methods * (methods - 1) // 2)


def against_line(each: st.Against) -> str:
    text = f"{each.first} - {each.second}: {POINTS * each.mean:+.1f} points, "
    text += f"{each.wins} won, {each.ties} tied, {each.losses} lost"
    if isinstance(each.test, st.SignedRank):
        text += f", p {each.test.p:.3g} ({each.test.how}), after Holm {each.p_holm:.3g}"
    return text


# CSV ------------------------------------------------------------------------------------------------------------------


def leaderboard_csv(comparison: Comparison) -> str:
    """One line a row of a group, in plain numbers."""
    return _csv([_plain(row, group) for group in comparison.groups for row in group.rows])


def results_csv(comparison: Comparison) -> str:
    """Tidy: one line a unit and metric."""
    return _csv(
        [
            {**_where(row, group), **_part(unit, group), "key": unit.key, "metric": name, "value": value}
            for group in comparison.groups
            for row in group.rows
            for unit in row.members
            for name, value in unit.metrics.items()
        ]
    )


def _where(row: Row, group: Group) -> dict[str, Any]:
    return {
        "task": group.task,
        "dataset": group.dataset,
        "student": group.student,
        "group": group.title,
        "kind": row.kind,
        "row": row.name,
    }


def _part(unit: Unit, group: Group) -> dict[str, Any]:
    """The seed of a unit, and its fold where its group has some."""
    return {"seed": unit.seed, **({"fold": group.folds[unit.fold - 1]} if group.folds else {})}


def _plain(row: Row, group: Group) -> dict[str, Any]:
    """A row as names and numbers; what is not known is None."""
    seeds = sorted({unit.seed for unit in row.units.values()})
    found = _where(row, group) | {"n": len(row.units), "seeds": " ".join(map(str, seeds))}
    if group.folds:
        found |= {"n_of": f"{group.by}s", "folds": f"{len(group.folds)} of {group.all_folds}"}
        found["incomplete"] = "; ".join(row.lacks)
    of_series = METRICS if group.task == "anomaly" else ()
    for metric in ("accuracy", SCORE, "miou", *of_series, "nll", "ece", "agreement", "seconds"):
        values = row.values(metric)
        found[f"{metric}_mean"] = float(np.mean(values)) if values else None
        found[f"{metric}_sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    paired = row.change if isinstance(row.change, st.Paired) else None
    for name in ("mean", "sd", "n", "low", "high"):
        found[f"change_{name}"] = getattr(paired, name, None)
    found["control"] = row.control
    for name, value in (("change", row.change), ("gap_closed", row.gap), ("time_ratio", row.time)):
        if name != "change":
            found[name] = value if isinstance(value, float) else None
        found[f"{name}_why"] = value.why if isinstance(value, st.Refusal) else None
    for metric in ("parameters", "macs", "latency_ms", "latency_p95_ms", "bytes"):
        values = row.values(metric)
        found[metric] = float(np.mean(values)) if values else None
    return found


def _csv(lines: Sequence[Mapping[str, Any]]) -> str:
    stream = io.StringIO(newline="")
    names = list(dict.fromkeys(name for line in lines for name in line))
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in line.items()} for line in lines)
    return stream.getvalue()


def _cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value


# Markdown and LaTeX ---------------------------------------------------------------------------------------------------


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


def markdown_tables(comparison: Comparison, found: Sequence[Ranking]) -> str:
    """All tables with their notes, and the statistics over data sets."""
    parts = ["# Comparison", ""]
    for group in comparison.groups:
        shown = columns([each for each in comparison.groups if each.score == group.score], comparison.control)
        parts += [f"## {markdown(group.title)}, {values_said(group)}", ""]
        parts.append("| | " + " | ".join(markdown(column.head) for column in shown) + " |")
        parts.append("|---|" + "---:|" * len(shown))
        for row in group.rows:
            cells = [markdown(row_name(row, group)), *(markdown(column.text(row)) for column in shown)]
            parts.append("| " + " | ".join(cells) + " |")
        parts += ["", *(f"- {markdown(note)}" for note in notes(group)), ""]
    parts += ["## Over data sets", ""]
    for each in found:
        first, *rest = ranking_lines(each)
        parts += [markdown(first), "", *(f"- {markdown(line)}" for line in rest), ""]
    return "\n".join([*parts, markdown(legend(comparison)), ""])


def _caption(group: Group) -> str:
    return f"{group.title}, {values_said(group)}" + (f"; {FOLDS_SHARE}" if group.by == "fold" else "")


def latex_tables(comparison: Comparison) -> str:
    """One `table` a group, for the package booktabs."""
    parts = ["% needs \\usepackage{booktabs} and \\usepackage[T1]{fontenc}"]
    for group in comparison.groups:
        shown = columns([group], comparison.control)
        parts += ["\\begin{table}", "\\centering", f"\\caption{{{latex(_caption(group))}}}"]
        parts += [f"\\begin{{tabular}}{{l{'r' * len(shown)}}}", "\\toprule"]
        parts.append(" & ".join(["", *(latex(column.head) for column in shown)]) + r" \\")
        before = ""
        for row in group.rows:
            if row.kind != before:
                parts.append("\\midrule")
            before = row.kind
            cells = [latex(c.text(row)).replace("{-}", "$-$") for c in shown]
            parts.append(" & ".join([latex(row_name(row, group)), *cells]) + r" \\")
        parts += ["\\bottomrule", "\\end{tabular}", "\\end{table}", ""]
    return "\n".join(parts)


# JSON -----------------------------------------------------------------------------------------------------------------


def document(comparison: Comparison, found: Sequence[Ranking]) -> dict[str, Any]:
    """Everything that was found, as JSON holds it."""
    return {
        "control": comparison.control,
        "groups": [_group(group) for group in comparison.groups],
        "over_data_sets": [_plainly(asdict(each)) for each in found],
        "left_out": comparison.left_out,
    }


def _group(group: Group) -> dict[str, Any]:
    return {
        "title": group.title,
        "task": group.task,
        "dataset": group.dataset,
        "student": group.student,
        "seeds": group.seeds,
        **({"folds": list(group.folds), "all_folds": group.all_folds, "by": group.by} if group.folds else {}),
        "settings": flat(group.settings),
        "rows": [
            {
                **_plain(row, group),
                "settings": flat(row.settings),
                "units": [{"key": u.key, **_part(u, group), "metrics": dict(u.metrics)} for u in row.members],
            }
            for row in group.rows
        ],
        "notes": notes(group),
    }


def _plainly(value: Any) -> Any:
    """Tuples as lists, numbers as Python's own."""
    if isinstance(value, Mapping):
        return {str(name): _plainly(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plainly(inner) for inner in value]
    return value.item() if isinstance(value, np.generic) else value
