"""Enter the keys that a change on purpose has changed: `python tests/frozen/update.py "the reason"`.

It needs every data set of the suites (`MMKD_DATA` names their folder). A key that is again what it was is taken out.
With `--new METHOD[,METHOD]`, it enters the key of each of these methods, which no suite of the list has, with its
default options; those that are entered already stay.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from mmkd.specs.unit import UnitSpec
from mmkd.units.expansion import expand
from mmkd.units.request import Request
from mmkd.units.suites import read_suite

FOLDER = Path(__file__).parent
SUITES = FOLDER.parents[1] / "experiments"
LINES = ("timedistill",)
"""Methods for lines alone, which refuse the usual teachers."""


def present_keys() -> dict[str, str]:
    """Key in `keys.jsonl` -> the key that this unit or teacher has today."""
    rows = [json.loads(line) for line in (FOLDER / "keys.jsonl").read_text(encoding="utf-8").splitlines()]
    present = {}
    for suite, dataset in sorted({(row["suite"], row["dataset"]) for row in rows}):
        request = read_suite(SUITES / suite, datasets=(dataset,), data_root=os.environ.get("MMKD_DATA"))
        units = [spec for spec, _ in expand(request)]
        old = [row for row in rows if (row["suite"], row["dataset"]) == (suite, dataset)]
        keys = [row["key"] for row in old if row["kind"] == "unit"]
        by_old_key = dict(zip(keys, units, strict=True))
        present.update({key: spec.key for key, spec in by_old_key.items()})
        for row in old:
            if row["kind"] == "teacher":
                present[row["key"]] = by_old_key[row["of"]].teacher(row["modality"]).key
    return present


def key_of(method: str) -> tuple[str, UnitSpec]:
    """The key of a method with its default options, on the bundled data, and its spec."""
    names = ["sig"] if method in LINES else ["sig", "gaf", "pi"]
    nets = {"students": ("+".join(names),), "teachers": (",".join(names),)}
    ((spec, _),) = expand(Request((method,), datasets=("basic-motions",), **nets))
    return spec.key, spec


def add(methods: list[str]) -> None:
    """Enter the keys of methods that are not in `methods.jsonl`."""
    path = FOLDER / "methods.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    known = {json.loads(line)["method"] for line in lines}
    for method in methods:
        if method not in known:
            key, spec = key_of(method)
            lines.append(json.dumps({"method": method, "key": key, "spec": asdict(spec)}, separators=(",", ":")))
    path.write_text("".join(f"{line}\n" for line in sorted(lines)), encoding="utf-8")


def main(reason: str) -> None:
    """Write `changed.json` again; `reason` goes to the keys that changed since it was written."""
    path = FOLDER / "changed.json"
    before = json.loads(path.read_text(encoding="utf-8"))
    changed = {}
    for old, key in present_keys().items():
        if key == old:
            continue
        entry = before.get(old, {"key": old, "reason": ""})
        reasons = [entry["reason"]] if entry["reason"] else []
        if entry["key"] != key and reason not in reasons:
            reasons.append(reason)
        changed[old] = {"key": key, "reason": "; ".join(reasons)}
    lines = [f"{json.dumps(old)}: {json.dumps(entry)}" for old, entry in sorted(changed.items())]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n" if lines else "{}\n", encoding="utf-8")
    print(f"{len(changed)} keys differ from the list, {sum(before.get(k) != v for k, v in changed.items())} newly")


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--new":
        add(sys.argv[2].split(","))
    elif len(sys.argv) != 2 or not sys.argv[1].strip():
        sys.exit('say why: python tests/frozen/update.py "the reason"; or --new METHOD[,METHOD]')
    else:
        main(sys.argv[1].strip())
