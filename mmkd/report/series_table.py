"""The table of the anomaly task: methods and, always beside them, the simple detectors."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmkd.comparison.identity import student_spec
from mmkd.core.progress import duration
from mmkd.metrics.series import HEADS, METRICS, NOTES
from mmkd.report.table import mean_and_deviation
from mmkd.store.record import Record
from mmkd.units.names import option_names
from mmkd.units.result import UnitResult


def groups(results: Sequence[UnitResult], simple: Sequence[Record]) -> dict[str, dict[str, list[Record]]]:
    """Data set -> name of a row -> its records, a seed each; the best mean VUS-PR first."""
    found: dict[str, dict[str, list[Record]]] = {}
    names = option_names([done.spec for done in results])
    for done, name in zip(results, names, strict=True):
        if done.record is not None:
            title = f"{name} ({done.spec.student_name} {done.spec.student_net})"
            found.setdefault(done.spec.data.name, {}).setdefault(title, []).append(done.record)
    for record in simple:
        found.setdefault(record.spec.data.name, {}).setdefault(student_spec(record).method, []).append(record)
    for name, rows in found.items():
        found[name] = dict(sorted(rows.items(), key=lambda row: -float(np.mean(values(row[1], "vus_pr")))))
    return found


def values(records: Sequence[Record], metric: str) -> list[float]:
    """One value a seed."""
    return [record.metrics["test"][metric] for record in records]


def lines(rows: dict[str, list[Record]]) -> list[list[str]]:
    """The texts of a table, the first line its heads."""
    heads = ["", *(HEADS[metric] for metric in METRICS), "params", "time"]
    found = [heads]
    for name, records in rows.items():
        seconds = float(np.mean([record.result["seconds"] for record in records]))
        scores = [mean_and_deviation(values(records, metric)) for metric in METRICS]
        found.append([name, *scores, f"{records[0].result['parameters']:,}", duration(seconds)])
    return found


def print_series_tables(results: Sequence[UnitResult], simple: Sequence[Record], stream: Any) -> None:
    """Print one table a data set."""
    found = groups(results, simple)
    for dataset, rows in found.items():
        first = next(iter(rows.values()))
        series, seeds = first[0].result["series"], max(len(records) for records in rows.values())
        many = f"{series['scored']} series, {len(series['left_out'])} left out, {seeds} seed{'s' if seeds > 1 else ''}"
        print(f"{dataset}, {many}", file=stream)
        table = lines(rows)
        widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
        for line in table:
            cells = [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]
            print("  ".join(cells).rstrip(), file=stream)
    if found:
        print("\n".join(NOTES), file=stream)


def as_json(record: Record) -> dict[str, Any]:
    """A simple detector as `--json` prints it."""
    spec = student_spec(record)
    said = {"key": record.key, "method": spec.method, "dataset": spec.data.name, "seed": spec.seed}
    return {**said, "kind": record.kind, "metrics": record.result["metrics"], "paths": {"record": str(record.folder)}}
