"""What a reader needs to make the numbers of a comparison again."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmkd.comparison.compare import Comparison
from mmkd.comparison.groups import Group
from mmkd.comparison.identity import data_warnings, flat
from mmkd.core.errors import MmkdError
from mmkd.core.text import portable
from mmkd.report.markup import markdown
from mmkd.units.names import data_title

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
MACHINE = ("python", "platform", "processor", "device", "threads", "processes")


def reproducibility(comparison: Comparison, failed: Mapping[str, str]) -> dict[str, Any]:
    """Code, versions, machines, commands, data, seeds and settings, as JSON.

    Args:
        failed: key -> last line of the log, of units that broke off.
    """
    environments = [record.environment for record in comparison.records]
    commands = {portable(str(e["command"])) for e in environments if "command" in e}
    return {
        "code": _distinct([e.get("git") or {} for e in environments]),
        "versions": _distinct([e.get("versions") or {} for e in environments]),
        "machines": _distinct([{name: e.get(name) for name in MACHINE} for e in environments]),
        "commands": sorted(commands),
        "data": [_data(group) for group in _one_group_a_data_set(comparison)],
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
                        "units": [unit.key for unit in row.members],
                    }
                    for row in group.rows
                ],
            }
            for group in comparison.groups
        ],
        "failed": dict(failed),
        "left_out": list(comparison.left_out),
    }


def _distinct(facts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each different one, with the number of records that have it."""
    texts = [json.dumps(fact, sort_keys=True, default=str) for fact in facts]
    return [{**json.loads(text), "records": texts.count(text)} for text in dict.fromkeys(texts)]


def _rules(comparison: Comparison) -> list[str]:
    return sorted({str(group.settings["data"].get("epoch_rule")) for group in comparison.groups})


def _one_group_a_data_set(comparison: Comparison) -> list[Group]:
    """One group for each data set and way to cut it."""
    return list({json.dumps(g.settings["data"], sort_keys=True, default=str): g for g in comparison.groups}.values())


def _data(group: Group) -> dict[str, Any]:
    """The data of a group: content, licence, windows and splits."""
    # references do not describe their data, and teachers may have validation windows that students have not
    rows = [row for row in group.rows if row.is_student]
    units = [unit for row in rows for unit in row.members if unit.record is not None]
    described = [(unit, unit.record.data) for unit in units if unit.record is not None]
    first: Mapping[str, Any] = next((data for _, data in described if data), {})
    splits = {(unit.seed, unit.fold): (data.get("split") or {}) for unit, data in described}
    labels = {(unit.seed, unit.fold): group.label(unit).removeprefix("seed ") for unit in units}
    return {
        **group.settings["data"],
        **_card(group.dataset),
        "understood": first.get("understood"),
        "warnings": data_warnings(unit.record for unit in units if unit.record is not None),
        "window": first.get("window"),
        "rate_hz": first.get("rate_hz"),
        "channels": first.get("channels"),
        "classes": first.get("classes"),
        "windows": first.get("windows"),
        "split_unit": next((split["unit"] for split in splits.values() if "unit" in split), None),
        "split_sha256": {labels[repeat]: split.get("sha256") for repeat, split in sorted(splits.items())},
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


def reproducibility_markdown(facts: Mapping[str, Any]) -> str:
    """The same as a section of Markdown; rows and their settings are in `reproducibility.json`."""
    lines = ["## Reproducibility", ""]
    for code in facts["code"]:
        state = "" if not code.get("commit") else ", with changes not committed" if code.get("dirty") else ", clean"
        lines.append(f"- commit {code.get('commit', 'unknown')}{state} ({code['records']} records)")
    for head, name in (("versions", "versions"), ("machine", "machines")):
        for fact in facts[name]:
            values = ", ".join(f"{name} {value}" for name, value in fact.items() if name != "records")
            lines.append(f"- {head}: {values} ({fact['records']} records)")
    for data in facts["data"]:
        title = data_title(data["name"], data["rate"], data)
        lines.append(f"- data {title}: sha256 {data['sha256']}; licence: {data['licence']}")
        if data["understood"]:
            lines.append(f"- understood as: {data['understood']}")
        lines += [f"- warning: {line}" for line in data["warnings"]]
        lines.append(
            f"- its windows: {data['window']} steps at {data['rate_hz']} Hz, step {data.get('step')}; {data['windows']}"
        )
        hashes = ", ".join(f"seed {seed} {str(sha)[:12]}" for seed, sha in data["split_sha256"].items())
        lines.append(f"- its split: by {data['split_unit']}, sha256 of {hashes}; {data.get('split', '')}")
    lines += [f"- kept epoch, {rule}: {text}" for rule, text in facts["epoch_rules"].items()]
    lines += [f"- seed of {role}: {text}" for role, text in facts["seeds"]["control"].items()]
    lines += [f"- command: {command}" for command in facts["commands"]]
    lines += [f"- failed: {key}: {why}" for key, why in facts["failed"].items()] or ["- failed: none on record"]
    lines += [f"- left out: {why}" for why in facts["left_out"]] or ["- left out: nothing"]
    return "\n".join(["- " + markdown(line[2:]) if line[:2] == "- " else line for line in lines]) + "\n"


def failures(runs: Path) -> dict[str, str]:
    """Key -> last line of the log, of the units that broke off in a runs folder."""
    reasons = {}
    for path in sorted((runs / "failed").glob("*.log")):
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError as error:
            lines = [str(error.strerror)]
        reasons[path.stem] = " ".join((lines[-1] if lines else "an empty log").split())[:300]
    return reasons
