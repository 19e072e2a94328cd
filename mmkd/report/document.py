"""The comparison as one JSON document."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from mmkd.comparison.compare import Comparison
from mmkd.comparison.groups import Group
from mmkd.comparison.identity import flat
from mmkd.comparison.ranking import Ranking
from mmkd.comparison.tuned import tuned_changes
from mmkd.report.fidelity import measure_lines, verdict_words
from mmkd.report.phrases import group_notes
from mmkd.report.spreadsheet import plain_row, seed_and_fold
from mmkd.report.tuning import phase_json, tuned_json


def document(comparison: Comparison, rankings: Sequence[Ranking]) -> dict[str, Any]:
    """Everything that was found, as JSON holds it."""
    return {
        "control": comparison.control,
        "groups": [_group(group) for group in comparison.groups],
        "over_data_sets": [_plain(asdict(ranking)) for ranking in rankings],
        **({"selections": [_plain(each.as_json()) for each in comparison.selections]} if comparison.selections else {}),
        **({"tunings": [_plain(phase_json(each)) for each in comparison.tunings]} if comparison.tunings else {}),
        "left_out": comparison.left_out,
    }


def _group(group: Group) -> dict[str, Any]:
    tuned = [_plain(tuned_json(found)) for found in tuned_changes(group)]
    return {
        "title": group.title,
        "task": group.task,
        "dataset": group.dataset,
        "student": group.student,
        "seeds": group.seeds,
        **({"folds": list(group.folds), "all_folds": group.all_folds, "by": group.by} if group.folds else {}),
        "settings": flat(group.settings),
        "gaps": [{**_plain(asdict(gap)), "has_room": gap.has_room} for gap in group.gaps],
        "rows": [
            {
                **plain_row(row, group),
                "settings": flat(row.settings),
                "fidelity": [line for fidelity in row.fidelity for line in measure_lines(fidelity)],
                "better_than": [_plain(asdict(verdict)) for verdict in row.verdicts],
                "in_words": " ".join(verdict_words(row)),
                "units": [{"key": u.key, **seed_and_fold(u, group), "metrics": dict(u.metrics)} for u in row.members],
            }
            for row in group.rows
        ],
        **({"tuned": tuned} if tuned else {}),
        "notes": group_notes(group),
    }


def _plain(value: Any) -> Any:
    """Tuples as lists, numbers as Python's own."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value.item() if isinstance(value, np.generic) else value
