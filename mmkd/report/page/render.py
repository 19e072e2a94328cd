"""The page as a whole, from its template.

The page loads nothing: style, script and pictures are in it, and its content security policy names them by their
hashes. Every text goes through jinja2's escaping, every figure through ElementTree's.

What other tools may rely on: `section#group-N` with `table[data-table=N]`, `input[data-filter=N]`,
`output[data-shown=N]`, `button[data-open=N]` and, where teachers and the student alone are on record,
`ul[data-gaps=N]`; heads are `th[aria-sort]` with a button, cells have `data-value` ("" where nothing is known);
`details#method-N-NAME` and `details#teacher-N-NAME`, each with `data-group=N`; `figure` with `svg[role=img]`, which has
a `title`; `#tuning`, `#cost`, `#statistics`, `#left-out`, `#reproducibility`. A first click on a column
puts its best on top, which `th[data-better]` says, on names the first; of numbers of which neither end is best the
highest. A second click reverses the order. `.badge` behind a name: the best, and those not told apart from it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mmkd import __version__
from mmkd.comparison.compare import Comparison
from mmkd.comparison.ranking import Ranking
from mmkd.core.text import shorten
from mmkd.report.fidelity import meanings
from mmkd.report.output import FIGURES
from mmkd.report.page.album import Album
from mmkd.report.page.context import GroupContext
from mmkd.report.page.costs import cost_figures
from mmkd.report.page.reproducibility import reproducibility_section
from mmkd.report.page.section import group_section
from mmkd.report.page.statistics import statistics_section
from mmkd.report.page.tuning import tuning_sections
from mmkd.report.page.words import count
from mmkd.report.phrases import legend, name_seeds
from mmkd.report.template import WEB, fill_template
from mmkd.report.tuning import MEANING


def page_files(
    comparison: Comparison,
    rankings: Sequence[Ranking],
    facts: Mapping[str, Any],
    notes: Sequence[str],
    windows: bool = True,
) -> dict[str, str]:
    """`report.html`, and the figures below `figures/`.

    Args:
        facts: what `report.reproducibility.reproducibility` returns.
        notes: on files that could not be made.
        windows: whether the measured values of a window may be shown.
    """
    album = Album()
    groups = [
        GroupContext(n, group, comparison.control, album, windows) for n, group in enumerate(comparison.groups, 1)
    ]
    sections = [group_section(group) for group in groups]
    unread = dict.fromkeys([*notes, *(note for group in groups for note in group.notes)])
    costs = cost_figures(comparison, album)
    tunings = tuning_sections(comparison, album)
    context = {
        "title": _title(comparison),
        "lead": _lead(comparison),
        "sections": _contents(comparison, bool(costs), bool(tunings)),
        "tunings": tunings,
        "groups": sections,
        "costs": costs,
        "statistics": [statistics_section(n, ranking, album) for n, ranking in enumerate(rankings, 1)],
        "left_out": [
            *(f"failed: {key}: {why}" for key, why in facts["failed"].items()),
            *comparison.left_out,
            *unread,
        ],
        "reproducibility": reproducibility_section(facts),
        "legend": [legend(comparison), *meanings(comparison)],
        "tuning_meaning": MEANING,
        "version": __version__,
    }
    page = fill_template(WEB / "page.html", ["page.css"], ["tables.js", "page.js"], context)
    return {"report.html": page, **album.files, FIGURES: json.dumps(album.index, indent=1) + "\n"}


def _title(comparison: Comparison) -> str:
    names = list(dict.fromkeys(group.data for group in comparison.groups))
    return shorten(f"Comparison on {', '.join(names)}", 120)


def _lead(comparison: Comparison) -> str:
    students = [row for group in comparison.groups for row in group.rows if row.is_student]
    units = sum(len(row.members) for row in students)
    controls = len({row.base for row in students if row.kind == "control"})
    methods = count(len({row.base for row in students if row.kind == "student"}), "method")
    methods += f" and {count(controls, 'control')}" if controls else ""
    seeds = name_seeds(sorted({seed for group in comparison.groups for seed in group.seeds}))
    return (
        f"{count(units, 'student')} on record, trained by {methods} under {seeds}, in "
        f"{count(len(comparison.groups), 'group')} whose units may be compared. All scores are of test windows."
    )


def _contents(comparison: Comparison, costs: bool, tunings: bool) -> list[tuple[str, str]]:
    """The page's sections: id and title."""
    return [
        *((f"group-{n}", group.title) for n, group in enumerate(comparison.groups, 1)),
        *([("tuning", "Equal tuning")] if tunings else []),
        *([("cost", "Score and cost")] if costs else []),
        ("statistics", "Over data sets"),
        ("left-out", "Failed and left out"),
        ("reproducibility", "To make these numbers again"),
    ]
