"""Where the runs that were sent are seen: the command that starts MLflow's page, and the address to open there."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from mmkd.report.mlflow.experiments import VIEW, page
from mmkd.report.mlflow.sent import SUITE, page_ids, read_sent
from mmkd.report.mlflow.store import default_uri, shown_uri, without_password
from mmkd.report.mlflow.suites import comparison_id, folder_id
from mmkd.store.record import Record

LOCAL = "http://127.0.0.1:5000"
"""Where `mlflow ui` listens unless it is told otherwise."""


def where_to_look(runs: Path, records: Sequence[Record], suite: str | None = None) -> list[str]:
    """Lines that say how to see the records in MLflow: the command, if one is needed, and the address of their page.

    Args:
        suite: whose comparison is opened, if it was sent; else the runs of the experiment.
    """
    uri = shown_uri(runs)
    served = uri.startswith(("http://", "https://"))
    line = f"MLflow: {uri if served else f'mlflow ui --backend-store-uri {shlex.quote(uri)}'}"
    sent = read_sent(runs)
    known = {name: number for name, number in page_ids(runs, records).items() if number is not None}
    if not known:
        return [line]
    listed = suite is not None and sent.get(SUITE + suite, "").startswith(without_password(default_uri(runs)) + " ")
    view = comparison_id(suite, folder_id(runs)) if suite is not None and listed else VIEW
    address = f"{uri.rstrip('/') if served else LOCAL}/#{page(next(iter(known.values())), view)}"
    more = f"   and {len(known) - 1} more experiments" if len(known) > 1 else ""
    return [f"MLflow: {address}{more}"] if served else [line, f"then open {address}{more}"]
