"""Tables of what can be chosen: the same entries as of `python -m mmkd.bench --list KIND`."""

from html import escape

from mmkd.cli.listing import list_entries


def table(what: str) -> str:
    """The entries of a list as a table: name, what it is, and the flag that takes its options.

    Args:
        what: a list of the command, such as "fusions".
    """
    rows = ["| name | |", "|---|---|"]
    for name, text in list_entries(what, None)[0]:
        about, flag, how = text.partition(" --")
        options = f"<br>Options: <code>--{escape(how).replace('|', '&#124;')}</code>" if flag else ""
        rows.append(f"| `{name}` | {about.replace('|', '&#124;')}{options} |")
    return "\n".join(rows)
