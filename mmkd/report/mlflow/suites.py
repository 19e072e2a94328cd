"""The run of a suite, or of a command with several units: its comparison, and the runs of its records as children."""

import hashlib
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from mmkd.comparison.compare import Comparison, compare
from mmkd.comparison.groups import Group
from mmkd.comparison.ranking import rankings
from mmkd.core.errors import MmkdError
from mmkd.core.refusal import Refusal
from mmkd.core.text import shorten
from mmkd.report.markup import markdown_tables
from mmkd.report.mlflow.experiments import SHARED_VIEW, page
from mmkd.report.mlflow.leaderboard import MEMBERS, leaderboard_metrics, leaderboard_table, row_labels, view_state
from mmkd.report.mlflow.runs import delete_run, existing_runs
from mmkd.report.mlflow.sent import SUITE
from mmkd.report.mlflow.store import pages
from mmkd.report.reproducibility import failures, reproducibility
from mmkd.report.spreadsheet import leaderboard_csv
from mmkd.specs.unit import UnitSpec
from mmkd.store.record import Record

FOLDER = ".mlflow-folder"  # tells this folder's suites from those of the same name that others send to one store
BOARD = "leaderboard.json"
SHARED = ("report.html", "/change.svg", "/robustness.svg")  # of the page's files
MOST_NAMED = 4  # methods in the name of a command
MOST_COMPARISONS = 500  # that a run says it is part of
MAX_TAG = 5000  # characters; a SQL store takes 8000, others 5000


@dataclass(frozen=True)
class SuiteContent:
    """The comparison of a suite, and its files: name -> content."""

    comparison: Comparison
    files: Mapping[str, str]


def command_name(units: Sequence[UnitSpec]) -> str | None:
    """What the comparison of a command without a suite file is called; None of a single unit, which compares nothing.

    >>> command_name(units)  # doctest: +SKIP
    'student, kd, seeds 0-1 (1a2b3c4d)'

    Args:
        units: those that the command asks for; the same ones have the same name.
    """
    keys = sorted({unit.key for unit in units})
    if len(keys) < 2:
        return None
    methods = list(dict.fromkeys(unit.method for unit in units))
    seeds = sorted({unit.seed for unit in units})
    named = ", ".join(methods) if len(methods) <= MOST_NAMED else f"{len(methods)} methods"
    first, last = seeds[0], seeds[-1]
    said = f"seed {first}" if first == last else f"seeds {first}-{last}"
    if last - first >= len(seeds):
        said = f"{len(seeds)} seeds"
    return f"{named}, {said} ({hashlib.sha256(' '.join(keys).encode()).hexdigest()[:8]})"


def is_command(suite: str) -> bool:
    """Whether a name is that of a command without a suite file, as `command_name` gives it."""
    return re.search(r" \([0-9a-f]{8}\)$", suite) is not None


def title(suite: str) -> str:
    """The name of a suite's run, or of that of a command."""
    return f"comparison of {suite[:-11]}" if is_command(suite) else f"suite {suite}"


def comparison_id(suite: str, folder: str) -> str:
    """Eight letters that stand for a suite of a folder in the tags of its runs, and in the address of its page."""
    return hashlib.sha256(f"{folder} {suite}".encode()).hexdigest()[:8]


def folder_id(runs: Path) -> str:
    """Eight letters that stay with this folder."""
    path = runs / FOLDER
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        text = ""
    if not re.fullmatch("[0-9a-f]{8}", text):
        text = uuid4().hex[:8]
        temporary = runs / f"{FOLDER}-{text}"
        temporary.write_text(text + "\n", encoding="ascii")
        os.replace(temporary, path)
    return text


def send_suite(
    client: Any,
    experiment: str,
    *,
    suite: str,
    folder: str,
    records: Sequence[Record],
    content: SuiteContent | Refusal,
) -> None:
    """Make the suite's run, or update it, with the comparison; its records become its children.

    Args:
        records: of the suite, those of this experiment.
        content: the comparison of all records of the suite, or why they cannot be compared.
    """
    key = SUITE + suite.replace("'", "_")
    data = records[0].spec.data.name
    task = records[0].spec.task
    groups: list[Group] = []
    files: dict[str, str] = {}
    if isinstance(content, Refusal):
        note = f"No comparison: {content.why}"
    else:
        groups = [g for g in content.comparison.groups if (g.dataset, g.task) == (shorten(data), task)]
        files = {**content.files, BOARD: leaderboard_table(content.comparison, groups)}
        note = files["tables.md"]
    metrics = leaderboard_metrics(groups)
    for other in suite_runs(client, experiment, key, folder):
        if not other.data.metrics.keys() <= metrics.keys():  # rows that are gone; metrics cannot be deleted
            delete_run(client, other)
    if not suite_runs(client, experiment, key, folder):
        tags = {"mmkd.key": key, "mmkd.kind": "summary", "mmkd.suite": suite[:MAX_TAG], "mmkd.folder": folder}
        tags |= {"mlflow.source.type": "LOCAL", "mlflow.source.name": "mmkd"}
        client.create_run(experiment, tags={**tags, "mmkd.dataset": data, "mmkd.task": task}, run_name=title(suite))
    run, *doubled = suite_runs(client, experiment, key, folder)  # two where the answer to the first try was lost
    for other in doubled:
        delete_run(client, other)
    parent = run.info.run_id
    id = comparison_id(suite, folder)
    orphans_only = is_command(suite)
    _name_members(client, experiment, id, parent, records, row_labels(groups), orphans_only)
    for name, text in files.items():
        client.log_text(parent, text, name)
        client.add_time()
    client.set_experiment_tag(experiment, f"{SHARED_VIEW}{id}", json.dumps(view_state(id, task)))
    note = f"[Charts of these runs, by row](#{page(experiment, id)}&compareRunsMode=CHART)\n\n{note}"
    cut = "\n\n... (tables.md has all)"
    tags = {"mlflow.note.content": note if len(note) <= MAX_TAG else note[: MAX_TAG - len(cut)] + cut}
    tags["mlflow.loggedArtifacts"] = json.dumps([{"path": BOARD, "type": "table"}] if files else [])
    _log(client, parent, tags, metrics)
    client.set_terminated(parent)


def _name_members(
    client: Any,
    experiment: str,
    id: str,
    parent: str,
    records: Sequence[Record],
    rows: Mapping[str, str],
    orphans_only: bool,
) -> None:
    """Write into the runs of the records which comparison they are part of, and their rows; others are part no more.

    Args:
        orphans_only: whether runs that lie below the run of another comparison stay there.
    """
    keys = {record.key for record in records}
    for run in pages(client.search_runs, experiment_ids=[experiment], filter_string=f"tags.`{MEMBERS}` LIKE '%{id}%'"):
        if run.data.tags.get("mmkd.key") not in keys:
            rest = " ".join(word for word in run.data.tags[MEMBERS].split() if word != id)
            client.set_tag(run.info.run_id, MEMBERS, rest or "none")
    summaries = pages(client.search_runs, experiment_ids=[experiment], filter_string="tags.`mmkd.kind` = 'summary'")
    homes = {run.info.run_id for run in summaries} if orphans_only else {parent}
    for record in records:
        for run in existing_runs(client, experiment, record.key):
            had = run.data.tags
            ids = [word for word in had.get(MEMBERS, "").split() if word not in (id, "none")]
            tags = {MEMBERS: " ".join([*ids, id][-MOST_COMPARISONS:])}
            if had.get("mlflow.parentRunId") not in homes:
                tags["mlflow.parentRunId"] = parent
            if record.key in rows:
                tags["mmkd.row"] = rows[record.key][:MAX_TAG]
            if any(had.get(name) != text for name, text in tags.items()):
                _log(client, run.info.run_id, tags, {})
        client.add_time()


def suite_runs(client: Any, experiment: str, key: str, folder: str) -> list[Any]:
    """The parent runs of a suite that this folder sent."""
    return [run for run in existing_runs(client, experiment, key) if run.data.tags.get("mmkd.folder") == folder]


def _log(client: Any, run: str, tags: Mapping[str, str], metrics: Mapping[str, float]) -> None:
    from mlflow.entities import Metric, RunTag

    now = int(time.time() * 1000)
    entities = [Metric(name, value, now, 0) for name, value in metrics.items()]
    client.log_batch(run, tags=[RunTag(name, text) for name, text in tags.items()])
    for start in range(0, len(entities), 900):
        client.log_batch(run, metrics=entities[start : start + 900])


def compare_suite(runs: Path, records: Sequence[Record]) -> SuiteContent | Refusal:
    """The comparison of a suite's records and its files; or why there is none.

    Of the page's figures only those of several rows are files of their own; the page has all.
    """
    from mmkd.report.page import page_files

    try:
        comparison = compare(records)
    except MmkdError as error:
        return Refusal(str(error))
    ranked = rankings(comparison)
    page = page_files(comparison, ranked, reproducibility(comparison, failures(runs)), [])
    shown = {path: text for path, text in page.items() if path.endswith(SHARED) or path.startswith("figures/cost")}
    tables = {"leaderboard.csv": leaderboard_csv(comparison), "tables.md": markdown_tables(comparison, ranked)}
    return SuiteContent(comparison, {**tables, **shown})
