"""The files that `python -m mmkd.compare` writes, one entry each: a new one is one function and one entry."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mmkd.comparison.compare import Comparison
from mmkd.comparison.ranking import Ranking
from mmkd.comparison.travelling import compact_records
from mmkd.report.document import document
from mmkd.report.markup import latex_tables, markdown_tables
from mmkd.report.page import page_files
from mmkd.report.reproducibility import reproducibility_markdown
from mmkd.report.spreadsheet import fidelity_csv, leaderboard_csv, results_csv, spectra_files, tuning_files
from mmkd.report.tsml import tsml_files


@dataclass(frozen=True)
class Export:
    """A comparison on its way into files.

    Attributes:
        facts: what a reader needs to reproduce the numbers, from `report.reproducibility`.
        windows: whether measured values of a window may be shown.
        notes: gets a line for each file that could not be made.
    """

    comparison: Comparison
    rankings: Sequence[Ranking]
    facts: Mapping[str, Any]
    windows: bool = True
    notes: list[str] = field(default_factory=list)

    @cached_property
    def json_text(self) -> str:
        """The whole comparison as one JSON document; made after all files whose notes it holds."""
        content = document(self.comparison, self.rankings)
        return json.dumps(
            {**content, "reproducibility": self.facts, "notes": list(dict.fromkeys(self.notes))},
            indent=1,
            allow_nan=False,
        )


def _tables(export: Export) -> str:
    return markdown_tables(export.comparison, export.rankings) + "\n" + reproducibility_markdown(export.facts)


FOLDERS: Sequence[Callable[[Export], Mapping[str, str]]] = (
    lambda export: tsml_files(export.comparison, export.notes),
    lambda export: tuning_files(export.comparison),
    lambda export: spectra_files(export.comparison, export.notes),
    lambda export: page_files(export.comparison, export.rankings, export.facts, export.notes, export.windows),
)
"""What makes several files: path -> content."""

FILES: Mapping[str, Callable[[Export], str]] = {
    "leaderboard.csv": lambda export: leaderboard_csv(export.comparison),
    "results.csv": lambda export: results_csv(export.comparison),
    "fidelity.csv": lambda export: fidelity_csv(export.comparison),
    "tables.md": _tables,
    "tables.tex": lambda export: latex_tables(export.comparison),
    "reproducibility.json": lambda export: json.dumps(export.facts, indent=1, allow_nan=False) + "\n",
    "reproducibility.md": lambda export: reproducibility_markdown(export.facts),
    "comparison.json": lambda export: export.json_text + "\n",
    "records.jsonl": lambda export: compact_records(export.comparison),
}
"""Name of a file -> its content."""


def export_files(export: Export) -> dict[str, str]:
    """Every file of a comparison: path below its folder -> content."""
    files: dict[str, str] = {}
    for make in FOLDERS:
        files |= make(export)
    return files | {name: make_text(export) for name, make_text in FILES.items()}
