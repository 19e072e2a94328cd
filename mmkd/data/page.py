"""`datasets/README.md`: all cards on one page, generated from the cards."""

from collections.abc import Callable
from pathlib import Path

from mmkd.core.errors import MmkdError
from mmkd.data.cards import Card, cards_folder, find_cards
from mmkd.tasks import TASKS

HEAD = """# Data sets

Generated from the cards by `python -m mmkd.data page`; do not edit it.

This repository contains no data of others. Sets "inside the wheel" come with a dependency; others are read from the
data folder (`--data-root DIR`, else the variable `MMKD_DATA`, else `mmkd/data` in the user's cache folder).
`python -m mmkd.data fetch NAME` downloads the original files or says which file to put where, `prepare NAME` makes the
file for the reader, `check NAME` prints what is in it. `python -m mmkd.bench --list datasets` shows which sets are on
this machine.

A modality may name a channel group of a set: `--student sig@acc+sig@gyro --teachers sig@acc,gaf@gyro`.
"""


def write_page() -> Path:
    """Write the page into the folder of the cards; returns its path.

    Raises:
        MmkdError: a card is invalid, or the folder cannot be written.
    """
    path = cards_folder() / "README.md"
    text = page_text()
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise MmkdError(f"{path}: {error.strerror or error}") from None
    return path


def page_text() -> str:
    """The page in Markdown.

    Raises:
        MmkdError: a card is invalid.
    """
    cards, invalid = find_cards()
    if invalid:
        raise MmkdError(next(iter(invalid.values())))
    rows = cards_table(lambda name: f"#{name}")
    return "\n".join([HEAD, *rows, "", *("\n".join(card_lines(card)) for card in cards.values())])


def cards_table(link: Callable[[str], str]) -> list[str]:
    """The lines of a table of all cards; `link` says where a data set's own lines are."""
    rows = ["| set | task | classes | subjects | channels | rate | window, step |", "|---|---|---|---|---|---|---|"]
    for card in find_cards()[0].values():
        signal = card.signal
        window = ", ".join(str(signal[key]) for key in ("window", "step") if key in signal)
        cells = [
            f"[{card.name}]({link(card.name)})",
            TASKS.get(card.task).text,
            str(len(card.classes) or ""),
            str(card.subjects or ""),
            str(len(card.channels)) if card.reader != "archive" else "",
            f"{card.rate_hz:g} Hz" if card.rate_hz else "",
            window,
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def card_lines(card: Card) -> list[str]:
    """The lines of one card: a heading, and all that the card says."""
    source = card.source
    lines = [f"## {card.name}", "", card.title + ".", ""]
    lines.append(f"- task: {card.task}" + (f"; classes: {_few(card.classes)}" if card.classes else ""))
    units = dict(zip(card.channels, card.signal.get("units", ()), strict=False))
    lines.append(f"- channels: {_few([f'{name} ({units.get(name)})' if name in units else name for name in units])}")
    if card.groups:
        groups = [f"`{name}` ({len(members)})" for name, members in card.groups.items()]
        lines.append(f"- channel groups: {', '.join(groups)}")
    if card.triads:
        sites = [f"`{site}` ({len(triads)})" for site, triads in card.triads.items()]
        lines.append(f"- triads of axes, by body site: {', '.join(sites)}")
    if card.augment:
        lines.append(f"- `--augment card`: {', '.join(card.augment)}")
    lines.append(f"- split: {card.split}")
    lines.append(f"- home: <{source['home']}>" if "SET" not in source["home"] else f"- home: `{source['home']}`")
    lines.append(f"- where: {source['where']}")
    lines += [f"- original: `{raw['file']}`" + (f", from <{raw['url']}>" if "url" in raw else "") for raw in card.raw]
    for name, checksum in card.sha256.items():
        lines.append(f"- file `{name}`: " + (f"sha256 `{checksum}`" if checksum else "checksum not known to us"))
    if card.prepare:
        options = {name: value for name, value in card.prepare.items() if name != "converter"}
        settings = ", ".join(f"{name} {value}" for name, value in options.items())
        converter = f"`{card.prepare['converter']}` of `mmkd/data/converters/`"
        lines.append(f"- prepared by {converter}{': ' + settings if settings else ''}")
    lines.append(f"- licence: {source['licence']}")
    lines.append(f"- citation: {source['citation']}")
    lines += [f"- known flaw: {flaw}" for flaw in card.notes.get("flaws", ())]
    if "baseline" in card.notes:
        lines.append(f"- baseline: {card.notes['baseline']}")
    return [*lines, ""]


def _few(names: list[str] | tuple[str, ...], most: int = 24) -> str:
    """Names with commas; if there are more than `most`, the first ones and their number."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, ... ({len(names)} in all)"
