"""What a reader needs to make the numbers again, on the page."""

from collections.abc import Mapping
from typing import Any

from mmkd.comparison.identity import flat
from mmkd.core.text import printable
from mmkd.report.page.words import count, setting
from mmkd.report.phrases import seed_list

Facts = list[tuple[str, list[tuple[str, str]]]]


def reproducibility_section(facts: Mapping[str, Any]) -> Facts:
    """Heads, each with its pairs of name and value.

    Args:
        facts: what `report.reproducibility.reproducibility` returns.
    """
    code = []
    for state in facts["code"]:
        changed = ", with changes not committed" if state.get("dirty") else ""
        code.append((count(state["records"], "record"), f"commit {state.get('commit', 'unknown')}{changed}"))
    section: Facts = [("Code", code)]
    for head, name in (("Versions", "versions"), ("Machine", "machines")):
        for fact in facts[name]:
            rest = {key: value for key, value in fact.items() if key != "records"}
            section.append((f"{head}, {count(fact['records'], 'record')}", _pairs(rest)))
    section += [(f"Data: {data['name']}", _pairs(flat(data))) for data in facts["data"]]
    section.append(("Kept epoch", _pairs(facts["epoch_rules"])))
    seeds = seed_list(facts["seeds"]["values"])
    section.append(("What each seed controls", [("seeds", seeds), *_pairs(facts["seeds"]["control"])]))
    commands = [(str(number), printable(command)) for number, command in enumerate(facts["commands"], 1)]
    section.append(("Commands", commands))
    section += [(f"Settings of {group['title']}", _pairs(group["settings"])) for group in facts["groups"]]
    return [(printable(head), pairs) for head, pairs in section if pairs]


def _pairs(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(printable(str(name)), setting(value)) for name, value in facts.items() if value not in (None, "")]
