"""The options of each unit of a method: what preset, request and variants say, and of a control what its method has."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from mmkd.core.errors import MmkdError
from mmkd.core.options import recorded
from mmkd.core.registry import METHODS
from mmkd.tasks import TASKS
from mmkd.units.request import Request
from mmkd.units.training_settings import OF_METHODS


def choices(request: Request, method: str) -> list[dict[str, Any]]:
    """The options of each unit of a method: every combination of the lists in `options`, then those of the variants.

    Of a control with `options_like` they start from those of that method, as far as it has them; variants are of the
    named method alone. Where the request asks for all controls, one that names `control_options` has all their values.

    Raises:
        MmkdError: an option does not exist, or its value is invalid.
    """
    entry = METHODS.get(method)
    preset = TASKS.get(request.task).preset(request.preset)
    known = {f.name for f in fields(entry.Config)}

    def like(options: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in options.items() if name in known}

    base = {
        **({name: list(values) for name, values in entry.control_options.items()} if request.asks_for_controls else {}),
        **like(preset.options.get(entry.options_like, {})),
        **preset.options.get(method, {}),
        **{name: getattr(request, name) for name in OF_METHODS if getattr(request, name) is not None},
        **like(_field_names(request.options.get(entry.options_like, {}))),
        **_field_names(request.options.get(method, {})),
    }
    sets = list(_option_sets(method, base))
    for variant in request.variants:
        if variant["method"] == method:
            options = _field_names({name: value for name, value in variant.items() if name != "method"})
            sets += _option_sets(method, {**base, **options})
    return sets


def _field_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options by the names of their fields, with underscores in place of dashes.

    Raises:
        MmkdError: an option is given in both spellings.
    """
    if len({name.replace("-", "_") for name in options}) < len(options):
        raise MmkdError(f"an option is given twice among {', '.join(options)}")
    return {name.replace("-", "_"): value for name, value in options.items()}


def _option_sets(method: str, options: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every combination of the values of options that are lists, with the method's defaults filled in."""
    config = METHODS.get(method).Config
    lists = [value if isinstance(value, list) else [value] for value in options.values()]
    for name, values in zip(options, lists, strict=True):
        if not values:
            raise MmkdError(f"method {method!r}: the list of values for {name!r} is empty")
    for combination in itertools.product(*lists):
        yield recorded(config.parse(dict(zip(options, combination, strict=True)), f"method {method!r}"))
