"""A page for each data set, from its card."""

from mmkd.data.cards import find_cards
from mmkd.data.page import card_lines, cards_table


def page_of(name: str) -> str:
    """The path of a data set's page on the site."""
    return f"datasets/{name}.md"


def pages() -> dict[str, str]:
    """Path on the site -> text, of all data sets with a card."""
    cards, _ = find_cards()
    found = {}
    for card in cards.values():
        lines = ["# " + card.name, *card_lines(card)[1:]]
        if card.task == "classification" and card.reader != "archive":
            command = f"python -m mmkd.bench --dataset {card.name} --method student,kd"
            lines += ["To look at it and to train on it:", "", "```sh"]
            lines += [f"python -m mmkd.data check {card.name}", command, "```"]
        found[page_of(card.name)] = "\n".join(lines) + "\n"
    return found


def overview() -> str:
    """All cards as a table with links to their pages."""
    return "\n".join(cards_table(lambda name: page_of(name)))
