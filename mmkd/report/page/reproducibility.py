"""What a reader needs to make the numbers again, on the page."""

from collections.abc import Mapping
from typing import Any

from mmkd.comparison.identity import flat
from mmkd.core.text import printable
from mmkd.report.page.words import count, told_settings
from mmkd.report.phrases import seed_list
from mmkd.units.names import data_title

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
            section.append((f"{head}, {count(fact['records'], 'record')}", told_settings(rest)))
    section += [
        (f"Data: {data_title(data['name'], data['rate'], data)}", told_settings(flat(data))) for data in facts["data"]
    ]
    section.append(("Kept epoch", told_settings(facts["epoch_rules"])))
    seeds = seed_list(facts["seeds"]["values"])
    section.append(("What each seed controls", [("seeds", seeds), *told_settings(facts["seeds"]["control"])]))
    commands = [(str(number), printable(command)) for number, command in enumerate(facts["commands"], 1)]
    section.append(("Commands", commands))
    section += [(f"Settings of {group['title']}", told_settings(group["settings"])) for group in facts["groups"]]
    return [(printable(head), pairs) for head, pairs in section if pairs]
