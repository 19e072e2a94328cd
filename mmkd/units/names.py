"""Units in words: their titles, and names that say in what units of one method differ."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mmkd.core.registry import METHODS
from mmkd.specs.unit import UnitSpec


def option_names(specs: Sequence[Any]) -> list[str]:
    """The method of each unit, with the options in which the units of one method differ.

    Where they differ in several options, those that have their default are left out.
    """
    given = [(spec.method, {**spec.options, "teachers": dict(spec.teachers)}) for spec in specs]
    return variant_names(given, lambda method: asdict(METHODS.get(method).Config()))


def variant_names(
    given: Sequence[tuple[str, Mapping[str, Any]]], usual: Callable[[str], Mapping[str, Any]]
) -> list[str]:
    """Each name with those of its settings in which the settings under one name differ.

    Where they differ in several, those that have their `usual(name)` value are left out. `teachers`, modality ->
    network, is written as its modalities.
    """
    differing: dict[str, set[str]] = {}
    first: dict[str, Mapping[str, Any]] = {}
    for name, settings in given:
        other = first.setdefault(name, settings)
        changed = {k for k in {*settings, *other} if settings.get(k) != other.get(k)}
        differing.setdefault(name, set()).update(changed)
    names = []
    for name, settings in given:
        keys = sorted(differing[name])
        if len(keys) > 1:
            common = usual(name)
            keys = [k for k in keys if k not in common or settings.get(k) != common[k]]
        values = [f"{k}={','.join(settings[k]) if k == 'teachers' else settings.get(k)}" for k in keys]
        names.append(" ".join([name, *values]))
    return names


def title(spec: UnitSpec) -> str:
    """A unit in words, with the options that are not the defaults of its method."""
    defaults = asdict(METHODS.get(spec.method).Config())
    own = [f"{name}={value}" for name, value in spec.options.items() if value != defaults.get(name)]
    fold = f", {spec.data.fold}" if spec.data.fold else ""
    rate = f" at {spec.data.rate:g} Hz" if spec.data.rate else ""
    return f"{spec.data.name}{rate}{fold}, {spec.student_title}, {' '.join([spec.method, *own])}, seed {spec.seed}"
