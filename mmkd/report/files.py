"""Files beside the tables: predictions in tsml's format, and what a reader needs to make the numbers again."""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmkd.comparison.groups import Comparison, Group, Row, Unit
from mmkd.comparison.identity import flat
from mmkd.comparison.predictions import Predictions, read_predictions
from mmkd.core.errors import MmkdError
from mmkd.core.keys import digest
from mmkd.core.text import printable, slug
from mmkd.report.text import markdown
from mmkd.store.files import temporary_folder

FIGURES = "figures/index.json"  # path of each figure -> title, caption, checksum
FIGURE = r"figures/[^/\\]*[^/\\.][^/\\]*/[^/\\]+\.svg"
SEEDS = {
    "split": "which training subjects, or windows of each class, are the validation split",
    "teacher": "initial weights, batches and dropout of each teacher, by its modality",
    "student": "initial weights of the student; every method starts from the same",
    "batches": "order of the training windows; every method sees the same batches",
    "method": "initial weights of a method's own modules, and its draws",
}
RULES = {
    "val-best": "the epoch with the best macro-F1 on the validation split, which is cut from the training subjects",
    "last": "the last epoch; no validation split is cut",
}


# Predictions ----------------------------------------------------------------------------------------------------------


def tsml_files(comparison: Comparison, notes: list[str]) -> dict[str, str]:
    """Path -> content of each unit's predictions, in the format of tsml-eval 0.5's `write_classification_results`.

    Lines: data set, classifier, TEST, seed (of folds the number of seed and fold), unit of times, remark; parameters;
    accuracy, time to fit, and what we do not know as -1; then a line a test window: true class, predicted class,
    nothing, probabilities. Units where every step has a label have no such format and are left out, as are the means of
    teachers and their upper bound.
    """
    found: dict[str, str] = {}
    for group in comparison.groups:
        for row in group.rows:
            if row.kind in ("mean", "oracle") or group.task != "classification":
                continue
            for unit in row.members:
                said = read_predictions(unit.record) if unit.record else "no record"
                if isinstance(said, str) or said.probabilities is None:
                    notes.append(f"no tsml file of {unit.key}: {said if isinstance(said, str) else 'no probabilities'}")
                    continue
                name = slug(_classifier(row, group))
                path = f"tsml/{name}/Predictions/{slug(group.dataset)}/testResample{_resample(unit, group)}.csv"
                found[path] = _tsml(name, group, row, unit, said)
    if any(group.task != "classification" for group in comparison.groups):
        notes.append("no tsml files where every time step has a label or a score: the format has one label a case")
    return found


def _resample(unit: Unit, group: Group) -> int:
    """The number that the format has for a seed, or for a seed and a fold."""
    return group.seeds.index(unit.seed) * len(group.folds) + unit.fold - 1 if group.folds else unit.seed


def _classifier(row: Row, group: Group) -> str:
    """The same on every data set, for tsml's own comparisons; teachers are there once, whatever they taught."""
    if row.kind == "teacher":
        return f"teacher {row.name} {digest(flat(row.settings))[:8]}"
    return f"{row.name} {group.title.removeprefix(group.dataset).lstrip(', ')}"


def _tsml(classifier: str, group: Group, row: Row, unit: Unit, said: Predictions) -> str:
    assert said.probabilities is not None
    record = unit.record
    assert record is not None
    parameters = json.dumps({"method": row.base, **flat(record.result["spec"])}, sort_keys=True, default=str)
    milliseconds = round(1000 * unit.metrics["seconds"])
    classes = said.probabilities.shape[1]
    lines = [
        f"{_field(group.dataset)},{classifier},TEST,{_resample(unit, group)},MILLISECONDS,made by mmkd from record "
        f"{unit.key}",
        " ".join(parameters.split()),
        f"{unit.metrics['accuracy']},{milliseconds},-1,-1,-1,{classes},,-1,-1",
    ]
    for true, predicted, each in zip(said.true, said.predicted, said.probabilities.tolist(), strict=True):
        lines.append(f"{true},{predicted},," + ",".join(f"{p:.9g}" for p in each))
    return "\n".join(lines) + "\n"


def _field(text: str) -> str:
    """A name in the first line, which has no quotes: without commas and line ends."""
    return printable(text.replace(",", ";"))


# Reproducibility ------------------------------------------------------------------------------------------------------


def reproducibility(comparison: Comparison, failed: Mapping[str, str]) -> dict[str, Any]:
    """What a reader needs to make the numbers again.

    Args:
        failed: key -> last line of the log, of units that broke off.
    """
    where = [record.result.get("environment") or {} for record in comparison.records]
    return {
        "code": _distinct([each.get("git") or {} for each in where]),
        "versions": _distinct([each.get("versions") or {} for each in where]),
        "machines": _distinct(
            [
                {k: each.get(k) for k in ("python", "platform", "processor", "device", "threads", "processes")}
                for each in where
            ]
        ),
        "commands": sorted({portable(str(each["command"])) for each in where if "command" in each}),
        "data": [_data(group) for group in _each_data(comparison)],
        "seeds": {"values": sorted({s for g in comparison.groups for s in g.seeds}), "control": SEEDS},
        "epoch_rules": {rule: RULES.get(rule, "") for rule in _rules(comparison)},
        "groups": [
            {
                "title": group.title,
                "settings": flat(group.settings),
                "rows": [
                    {
                        "name": row.name,
                        "settings": flat(row.settings),
                        "units": [u.key for u in row.members],
                    }
                    for row in group.rows
                ],
            }
            for group in comparison.groups
        ],
        "failed": dict(failed),
        "left_out": list(comparison.left_out),
    }


def _distinct(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each different one, with the number of records that say so."""
    texts = [json.dumps(each, sort_keys=True, default=str) for each in found]
    return [{**json.loads(text), "records": texts.count(text)} for text in dict.fromkeys(texts)]


def _rules(comparison: Comparison) -> list[str]:
    return sorted({str(group.settings["data"].get("epoch_rule")) for group in comparison.groups})


def _each_data(comparison: Comparison) -> list[Group]:
    """One group for each data set and way to cut it."""
    return list({json.dumps(g.settings["data"], sort_keys=True, default=str): g for g in comparison.groups}.values())


def _data(group: Group) -> dict[str, Any]:
    """The data of a group: content, licence, windows and splits."""
    known = [row for row in group.rows if row.kind != "simple"]  # records of those say no data
    units = [u for row in known for u in row.members if u.record is not None]
    records = [u.record for u in units if u.record is not None]
    said = [record.result.get("data") or {} for record in records]
    first: Mapping[str, Any] = next((each for each in said if each), {})
    places = [(u.seed, u.fold) for u in units]
    splits = {place: (each.get("split") or {}) for place, each in zip(places, said, strict=True)}
    named = {(u.seed, u.fold): group.label(u).removeprefix("seed ") for u in units}
    return {
        **group.settings["data"],
        **_card(group.dataset),
        "window": first.get("window"),
        "rate_hz": first.get("rate_hz"),
        "channels": first.get("channels"),
        "classes": first.get("classes"),
        "windows": first.get("windows"),
        "split_unit": next((s["unit"] for s in splits.values() if "unit" in s), None),
        "split_sha256": {named[place]: split.get("sha256") for place, split in sorted(splits.items())},
    }


def _card(name: str) -> dict[str, Any]:
    """Licence and origin of a data set that has a card."""
    from mmkd.data.cards import cards_folder, find_card

    if not (re.fullmatch(r"[\w.-]+", name) and (cards_folder() / name.partition(".")[0] / "card.toml").is_file()):
        return {"licence": "unknown: an own file, no card names it"}
    try:
        card = find_card(name)
    except MmkdError as error:
        return {"licence": f"unknown: {error}"}
    return {
        "title": card.title,
        "licence": card.source.get("licence"),
        "home": card.source.get("home"),
        "citation": card.source.get("citation"),
        "files_sha256": dict(card.sha256),
        "split": card.split,
        "step": card.signal.get("step"),
    }


def portable(command: str) -> str:
    """A command without the folders of the machine it ran on: of an absolute path its last part."""
    return re.sub(r"(?<![^\s=,])/(?:[^\s/,]+/)*([^\s/,]*)", r"\1", command)


def compact_records(comparison: Comparison) -> str:
    """The compared records without predictions, weights and pictures: one line of JSON each, by key.

    A line has the `result` of the record and, where they were measured, its `deployment` and `robustness`.
    """
    lines = []
    for record in sorted(comparison.records, key=lambda record: record.key):
        result = {name: value for name, value in record.result.items() if name not in ("files", "sha256")}
        where = dict(result.get("environment", {}))
        said: dict[str, Any] = {"result": result | {"environment": where}}
        if "command" in where:
            where["command"] = portable(str(where["command"]))
        for name in ("deployment", "robustness"):
            if found := record.measurement(f"{name}.json"):
                said[name] = dict(found)
        lines.append(json.dumps(said, sort_keys=True, separators=(",", ":")) + "\n")
    return "".join(lines)


def reproducibility_markdown(found: Mapping[str, Any]) -> str:
    """The same as a section of Markdown; rows and their settings are in `reproducibility.json`."""
    lines = ["## Reproducibility", ""]
    for each in found["code"]:
        state = "" if not each.get("commit") else ", with changes not committed" if each.get("dirty") else ", clean"
        lines.append(f"- commit {each.get('commit', 'unknown')}{state} ({each['records']} records)")
    for each in found["versions"]:
        named = ", ".join(f"{name} {value}" for name, value in each.items() if name != "records")
        lines.append(f"- versions: {named} ({each['records']} records)")
    for each in found["machines"]:
        named = ", ".join(f"{name} {value}" for name, value in each.items() if name != "records")
        lines.append(f"- machine: {named} ({each['records']} records)")
    for each in found["data"]:
        lines.append(f"- data {each['name']}: sha256 {each['sha256']}; licence: {each['licence']}")
        lines.append(
            f"- its windows: {each['window']} steps at {each['rate_hz']} Hz, step {each.get('step')}; {each['windows']}"
        )
        hashes = ", ".join(f"seed {seed} {str(sha)[:12]}" for seed, sha in each["split_sha256"].items())
        lines.append(f"- its split: by {each['split_unit']}, sha256 of {hashes}; {each.get('split', '')}")
    lines += [f"- kept epoch, {rule}: {text}" for rule, text in found["epoch_rules"].items()]
    lines += [f"- seed of {role}: {text}" for role, text in found["seeds"]["control"].items()]
    lines += [f"- command: {command}" for command in found["commands"]]
    lines += [f"- failed: {key}: {why}" for key, why in found["failed"].items()] or ["- failed: none on record"]
    lines += [f"- left out: {why}" for why in found["left_out"]] or ["- left out: nothing"]
    return "\n".join(["- " + markdown(line[2:]) if line[:2] == "- " else line for line in lines]) + "\n"


def failures(runs: Path) -> dict[str, str]:
    """Key -> last line of the log, of the units that broke off in a runs folder."""
    found = {}
    for path in sorted((runs / "failed").glob("*.log")):
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError as error:
            lines = [str(error.strerror)]
        found[path.stem] = " ".join((lines[-1] if lines else "an empty log").split())[:300]
    return found


# Files ----------------------------------------------------------------------------------------------------------------


def write_files(out: Path, files: Mapping[str, str]) -> None:
    """Write all files into a folder, each whole, by a rename; tsml files and figures of before are removed.

    Raises:
        MmkdError: the folder cannot be written; what was there before is as it was.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        before = figures_of_before(out)
        with temporary_folder(out) as new:
            for name, text in files.items():
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                (new / name).write_text(text, encoding="utf-8", newline="")
            for name in files:
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(new / name, out / name)
        for old in out.glob("tsml/*/Predictions/*/testResample*.csv"):
            if str(old.relative_to(out)) not in files:
                old.unlink()
        for name in before - set(files):
            (out / name).unlink()
    except OSError as error:
        raise MmkdError(f"--out {out}: {error.strerror or error}; name another folder") from error


def figures_of_before(out: Path) -> set[str]:
    """The figures in a folder that its index names and that nobody has changed."""
    try:
        said = json.loads((out / FIGURES).read_text(encoding="utf-8"))
        hashes = {str(name): each["sha256"] for name, each in said.items() if re.fullmatch(FIGURE, str(name))}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return set()
    there = {name: out / name for name in hashes if (out / name).is_file()}
    return {name for name, path in there.items() if hashlib.sha256(path.read_bytes()).hexdigest() == hashes[name]}
