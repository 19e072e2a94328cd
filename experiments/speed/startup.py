"""Commands that train nothing, beside `import torch`: how much processor time they take to answer."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pairs import Row, pairs, user_seconds

from mmkd.store.record import Record
from mmkd.store.records import Records

HEAVY = ("mlflow", "pandas", "tsai")
SLOW = (*HEAVY, "sklearn", "numba", "matplotlib")
RECORDS = 500
SEEDS = RECORDS // 5
"""A seed has records of two units and of three teachers."""
REQUEST = ("--method", "student,kd", "--dataset", "basic-motions", "--student", "sig", "--epochs", "1", "--quiet")


def python(*arguments: str) -> str:
    """What a fresh interpreter prints; its modules are compiled once, as they are where they are installed."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=variables).stdout


def copy_under_seeds(source: Records, target: Records, count: int) -> None:
    """The records of one seed as `count` records of many, each with the key that a run under its seed would have."""
    own = [record for record in source if record.kind in ("student", "teacher")]

    def fill(folder: Path, record: Record, seed: int, key: str) -> Mapping[str, Any]:
        for path in record.folder.iterdir():
            if path.name != "result.json":
                shutil.copy(path, folder)
        content = {name: value for name, value in record.result.items() if name != "sha256"}
        changed = {"key": key, "spec": {**content["spec"], "seed": seed}}
        if record.kind == "student":
            taught_by = replace(record.unit, seed=seed)
            changed["teachers"] = {name: taught_by.teacher(name).key for name in content["teachers"]}
        return content | changed

    for seed in range(count // len(own)):
        for record in own:
            key = replace(record.spec, seed=seed).key
            target.write(key, partial(fill, record=record, seed=seed, key=key))


def rows(rounds: int) -> Iterator[Row]:
    """Of the help, the list of methods, the plan of a request and its records, few and many, and a comparison."""
    with tempfile.TemporaryDirectory() as folder:
        places = ("--runs", f"{folder}/runs", "--cache", f"{folder}/cache")
        request = (*REQUEST, "--seeds", "0", *places)
        python("-m", "mmkd.bench", *request)
        copy_under_seeds(Records(f"{folder}/runs"), Records(f"{folder}/many"), RECORDS)
        many = ("--runs", f"{folder}/many")
        large = (*REQUEST, "--seeds", f"0-{SEEDS - 1}", *many, "--cache", f"{folder}/cache")
        units = f"{2 * SEEDS} units of {RECORDS} records"
        for name, door, arguments, goal, absent in (
            ("bench --help", "bench", ("--help",), 0.2, ("torch", *HEAVY)),
            ("bench --list methods", "bench", ("--list", "methods"), 1.3, SLOW),
            ("bench --dry-run", "bench", (*request, "--dry-run"), 1.5, SLOW),
            ("bench --existing only", "bench", (*request, "--existing", "only"), 1.5, SLOW),
            (f"bench --dry-run, {units}", "bench", (*large, "--dry-run"), 1.5, (*SLOW, "scipy")),
            (f"bench --existing only, {units}", "bench", (*large, "--existing", "only"), 1.5, SLOW),
            (f"compare, {RECORDS} records", "compare", (*many, "--out", f"{folder}/comparison"), 2.0, ("torch", *SLOW)),
        ):
            code = (
                f"import sys\nfrom mmkd.{door} import main\nassert main({list(arguments)!r}) == 0\n"
                f"loaded = set({absent!r}) & set(sys.modules)\nassert not loaded, loaded"
            )
            python("-c", code)
            times = pairs(
                partial(python, "-m", f"mmkd.{door}", *arguments),
                partial(python, "-c", "import torch"),
                rounds,
                warm=False,
                clock=user_seconds,
            )
            note = f"processor time; imports no {', '.join(absent)}"
            yield Row(f"python -m mmkd.{name}", 'python -c "import torch"', times.cost, goal, cost=True, note=note)
