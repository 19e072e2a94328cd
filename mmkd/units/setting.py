"""How a field of a request is declared: its flag, its line of help and its range; and how options of views are read."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from mmkd.core.errors import MmkdError
from mmkd.core.options import shown

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
    alone: str = "",
    **bounds: float,
) -> Any:
    """A field of a request.

    Args:
        flag: its flag on the command line; empty if it has none.
        metavar: the name of its value in the help.
        group: the part of the help that shows the flag.
        whole: whether the value of the flag is one item, even if it contains commas.
        alone: the value of the flag without one; empty if it needs one.
        bounds: `ge`, `gt`, `le`, `lt`, as in `core.options.option`.
    """
    metadata = {"help": help, "flag": flag, "metavar": metavar, "group": group, "whole": whole, "alone": alone}
    metadata |= bounds
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


def by_modality(view: Any) -> Any:
    """Options of views as modality -> option -> value; they may also be given as {"gaf.range": "train"}.

    Raises:
        MmkdError: a name has no option, or an option is given twice.
    """
    if isinstance(view, str):
        raise MmkdError(f"view {shown(view)}: write a mapping, such as {{'gaf.range': 'train'}}")
    if not isinstance(view, Mapping):
        return view
    nested: dict[str, dict[str, Any]] = {}
    for name, value in view.items():
        modality, dot, option = str(name).rpartition(".")
        if isinstance(value, Mapping):
            modality, options = str(name), dict(value)
        elif dot and modality and option:
            options = {option: value}
        else:
            raise MmkdError(f"--view {shown(name)}: write a modality and its option, such as gaf.range=train")
        own = nested.setdefault(modality, {})
        for option in options:
            if option in own:
                raise MmkdError(f"--view: {modality}.{option} is given twice")
        own.update(options)
    return nested
