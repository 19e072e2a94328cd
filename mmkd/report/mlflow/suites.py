"""The parent run of a suite: its comparison, and the runs of its records as children."""

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
from mmkd.report.mlflow.leaderboard import leaderboard_metrics, leaderboard_table, row_labels, view_state
from mmkd.report.mlflow.runs import delete_run, existing_runs
from mmkd.report.mlflow.sent import SUITE
from mmkd.report.reproducibility import failures, reproducibility
from mmkd.report.spreadsheet import leaderboard_csv
from mmkd.store.record import Record

FOLDER = ".mlflow-folder"  # tells this folder's suites from those of the same name that others send to one store
BOARD = "leaderboard.json"
SHARED = ("report.html", "/change.svg", "/robustness.svg")  # of the page's files
MAX_TAG = 5000  # characters; a SQL store takes 8000, others 5000


@dataclass(frozen=True)
class SuiteContent:
    """The comparison of a suite, and its files: name -> content."""

    comparison: Comparison
    files: Mapping[str, str]


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
        client.create_run(experiment, tags={**tags, "mmkd.dataset": data, "mmkd.task": task}, run_name=f"suite {suite}")
    run, *doubled = suite_runs(client, experiment, key, folder)  # two where the answer to the first try was lost
    for other in doubled:
        delete_run(client, other)
    parent = run.info.run_id
    rows = row_labels(groups)
    for record in records:
        for child in existing_runs(client, experiment, record.key):
            row = {"mmkd.row": rows[record.key][:MAX_TAG]} if record.key in rows else {}
            _log(client, child.info.run_id, {"mlflow.parentRunId": parent, **row}, {})
        client.add_time()
    for name, text in files.items():
        client.log_text(parent, text, name)
        client.add_time()
    client.set_experiment_tag(experiment, f"mlflow.sharedViewState.{parent}", json.dumps(view_state(parent, task)))
    query = f"viewStateShareKey={parent}&compareRunsMode=CHART&workflowType=machine_learning"
    note = f"[Charts of these runs, by row](#/experiments/{experiment}/runs?{query})\n\n{note}"
    cut = "\n\n... (tables.md has all)"
    tags = {"mlflow.note.content": note if len(note) <= MAX_TAG else note[: MAX_TAG - len(cut)] + cut}
    tags["mlflow.loggedArtifacts"] = json.dumps([{"path": BOARD, "type": "table"}] if files else [])
    _log(client, parent, tags, metrics)
    client.set_terminated(parent)


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
