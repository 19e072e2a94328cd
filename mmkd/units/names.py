"""Titles of units, and names that show how units of one method differ."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mmkd.core.options import older_options
from mmkd.core.registry import METHODS
from mmkd.specs.unit import UnitSpec


def option_names(specs: Sequence[Any]) -> list[str]:
    """The method of each unit, with the options in which the units of this method differ.

    If they differ in several options, options with their default value are left out.
    """
    units = [(spec.method, {**method_options(spec), "teachers": dict(spec.teachers)}) for spec in specs]
    return variant_names(units, lambda method: asdict(METHODS.get(method).Config()))


def method_options(spec: UnitSpec) -> dict[str, Any]:
    """All options of a unit's method, those too that its spec leaves out because older records lack them."""
    return older_options(METHODS.get(spec.method).Config, spec.options)


def variant_names(
    variants: Sequence[tuple[str, Mapping[str, Any]]], defaults: Callable[[str], Mapping[str, Any]]
) -> list[str]:
    """Each name, followed by those of its settings in which the variants of this name differ.

    If they differ in several settings, settings with their default value are left out. The setting `teachers`
    (modality -> network) is shown as its modalities.

    >>> variant_names([("kd", {"temperature": 4}), ("kd", {"temperature": 2})], lambda name: {"temperature": 4})
    ['kd temperature=4', 'kd temperature=2']

    Args:
        variants: name and settings of each.
        defaults: called with a name; returns the default settings.
    """
    differing: dict[str, set[str]] = {}
    first: dict[str, Mapping[str, Any]] = {}
    for name, settings in variants:
        other = first.setdefault(name, settings)
        changed = {k for k in {*settings, *other} if settings.get(k) != other.get(k)}
        differing.setdefault(name, set()).update(changed)
    names = []
    for name, settings in variants:
        keys = sorted(differing[name])
        if len(keys) > 1:
            default = defaults(name)
            keys = [k for k in keys if k not in default or settings.get(k) != default[k]]
        keys = [k for k in keys if settings.get(k) is not None]  # what is not set has no name
        values = [f"{k}={','.join(settings[k]) if k == 'teachers' else settings.get(k)}" for k in keys]
        names.append(" ".join([name, *values]))
    return names


def title(spec: UnitSpec) -> str:
    """A unit in words, with the options that differ from the defaults of its method."""
    defaults = asdict(METHODS.get(spec.method).Config())
    options = [f"{name}={value}" for name, value in method_options(spec).items() if value != defaults.get(name)]
    fold = f", {spec.data.fold}" if spec.data.fold else ""
    rate = f" at {spec.data.rate:g} Hz" if spec.data.rate else ""
    return f"{spec.data.name}{rate}{fold}, {spec.student_title}, {' '.join([spec.method, *options])}, seed {spec.seed}"
