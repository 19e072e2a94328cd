"""How a field of a request is declared: its flag, its line of help and its range."""

from dataclasses import field
from typing import Any, Literal

MOST = 1_000_000
"""The largest number of epochs, windows a batch, pixels, subjects or folds; a larger one is probably a mistake."""
Group = Literal["what", "networks", "data", "training", "where"]


def setting(
    default: Any,
    help: str = "",
    *,
    flag: str = "",
    metavar: str = "",
    group: Group = "training",
    whole: bool = False,
    **bounds: float,
) -> Any:
    """A field of a request.

    Args:
        flag: its flag on the command line; empty if it has none.
        metavar: the name of its value in the help.
        group: the part of the help that shows the flag.
        whole: whether the value of the flag is one item, even if it contains commas.
        bounds: `ge`, `gt`, `le`, `lt`, as in `core.options.option`.
    """
    metadata = {"help": help, "flag": flag, "metavar": metavar, "group": group, "whole": whole, **bounds}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)
