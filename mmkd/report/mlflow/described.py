"""What a run says of its record: its name, its tags, and its data set."""

import json
from collections.abc import Mapping
from typing import Any

from mmkd.core.text import shorten
from mmkd.store.record import Record
from mmkd.units.methods import kind_of_row, status_of

LONGEST_TAG = 5000
"""Characters of the value of a tag that every version of MLflow takes."""
DIGEST = 16
"""Characters of the checksum that are a data set's digest, of which MLflow takes 36 at most."""
PROGRAM = {"bench.py": "mmkd.bench", "__main__.py": "mmkd"}
"""Names of commands of the house, by their files."""


def run_name(spec: Mapping[str, Any]) -> str:
    """`fam | sig+gaf+pi -> sig | seed 0`, or `teacher gaf WRN16-1 | seed 0`, or `peer minirocket | sig | seed 0`."""
    if "method" not in spec:
        return f"teacher {spec['modality']} {spec['net']} | seed {spec['seed']}"
    student = "+".join(spec["student"])
    taught = f"{'+'.join(spec['teachers'])} -> {student}" if spec["teachers"] else student
    peer = "peer " if "student_net" in spec and "views" not in spec and spec["student"] else ""
    tuned = " (tuned)" * bool(spec.get("tuned"))
    tried = f", configuration {spec['tuning']['number']}" if spec.get("tuning") else ""
    return f"{peer}{spec['method']}{tuned}{tried} | {taught} | seed {spec['seed']}"


def tags_of(record: Record, mark: str, measured: str) -> dict[str, str]:
    """The tags of a record's run.

    Args:
        mark: the hash of what is sent.
        measured: names and hashes of what was measured of the unit, or "".
    """
    spec = record.result["spec"]
    method = str(spec.get("method", ""))
    kind = kind_of_row(record.kind, method, status_of(method, record.result))
    tags = {
        "mmkd.key": record.key,
        "mmkd.kind": "tried" if spec.get("tuning") else kind,
        "mmkd.record": mark,
        "mmkd.task": spec["task"],
        "mmkd.dataset": spec["data"]["name"],
        "mmkd.data_sha256": spec["data"]["sha256"],
        "mmkd.seed": str(spec["seed"]),
        "mmkd.method": str(spec.get("method", "teacher")),
        "mmkd.student": "+".join(spec.get("student", ())) or "none",
        "mmkd.net": str(spec.get("student_net") or spec.get("net")),
        "mmkd.teachers": "+".join(spec.get("teachers", ())) or spec.get("modality") or "none",
        "mmkd.measured": measured or "none",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": "mmkd",
    }
    if record.data.get("understood"):
        tags["mmkd.understood"] = shorten(str(record.data["understood"]), LONGEST_TAG)
        tags["mmkd.warnings"] = shorten("; ".join(record.data.get("warnings") or ["none"]), LONGEST_TAG)
    git = record.environment.get("git")
    if git:
        tags |= {"mlflow.source.git.commit": git["commit"], "mmkd.dirty": str(git["dirty"]).lower()}
    command = str(record.environment.get("command") or "").strip()
    if command:
        program = command.split(maxsplit=1)[0]
        tags["mlflow.source.name"] = shorten(PROGRAM.get(program, program), LONGEST_TAG)
        tags["mmkd.command"] = shorten(command, LONGEST_TAG)
    return tags


def dataset_of(record: Record) -> dict[str, str | None]:
    """The data set of a record, as the fields of an MLflow `Dataset`: name, checksum and shape, and no windows."""
    data = record.result["spec"]["data"]
    fields: dict[str, str | None] = {
        "name": data["name"],
        "digest": data["sha256"][:DIGEST],
        "source_type": "mmkd",
        "source": json.dumps({"name": data["name"], "sha256": data["sha256"]}),
    }
    windows = sum((record.data.get("windows") or {}).values())
    channels, length = len(record.data.get("channels") or ()), record.data.get("window")
    if windows and channels and length:
        of_windows = {"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, channels, length]}}
        fields["schema"] = json.dumps({"mlflow_tensorspec": {"features": json.dumps([of_windows]), "targets": None}})
        fields["profile"] = json.dumps({"num_rows": windows, "num_elements": windows * channels * length})
    return fields
