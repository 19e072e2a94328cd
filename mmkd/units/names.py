"""Titles of units, and names that show how units of one method differ."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mmkd.core.options import older_options
from mmkd.core.registry import METHODS
from mmkd.specs.data import DataSpec
from mmkd.specs.unit import UnitSpec

TUNED = " (tuned)"
"""Stands after the name of a method whose options equal tuning chose."""


def data_title(name: str, rate: float, data: Mapping[str, Any] | DataSpec | None = None) -> str:
    """A data set in words: its name, its rate where it was resampled (else 0), and which labels are used.

    Args:
        data: the spec of the data, or its values; None says nothing of the labels.

    >>> data_title("gestures", 25.0)
    'gestures at 25 Hz'
    >>> data_title("gestures", 0, {"labelled_subjects": 3})
    'gestures with labels of 3 subjects'
    """
    values = vars(data) if isinstance(data, DataSpec) else data or {}
    title = f"{name} at {rate:g} Hz" if rate else name
    labels = []
    if count := values.get("labelled_subjects"):
        labels.append(f"labels of {count} subject{'s' * (count > 1)}")
    if count := values.get("labelled_windows"):
        labels.append(f"labels of {count} window{'s' * (count > 1)} a class")
    if checksum := values.get("unlabelled_sha256"):
        labels.append(f"a file of unlabelled windows ({checksum[:8]})")
    return f"{title} with {' and '.join(labels)}" if labels else title


def option_names(specs: Sequence[Any]) -> list[str]:
    """The method of each unit, with the options in which the units of this method differ.

    If they differ in several options, options with their default value are left out. A unit whose options equal tuning
    chose has the name of its method followed by "(tuned)", whatever the options are.
    """
    units = [
        (tuned_name(spec), {"teachers": dict(spec.teachers), **tuned_settings(spec.tuned)})
        if spec.tuned
        else (spec.method, {**method_options(spec), "teachers": dict(spec.teachers)})
        for spec in specs
    ]
    return variant_names(units, lambda name: asdict(METHODS.get(name.removesuffix(TUNED)).Config()))


def tuned_name(spec: UnitSpec) -> str:
    """The method of a unit, with "(tuned)" where equal tuning chose its options."""
    return spec.method + TUNED if spec.tuned else spec.method


def tuned_settings(tuned: Mapping[str, Any]) -> dict[str, Any]:
    """What tells tuned units of one method apart: not the options, which may differ between data sets and folds.

    Args:
        tuned: `UnitSpec.tuned`.
    """
    on = tuned.get("on") or ()
    return {"table": tuned.get("table"), "budget": tuned.get("budget"), "tuned_on": "+".join(map(str, on))}


def method_options(spec: UnitSpec) -> dict[str, Any]:
    """All options of a unit's method, those too that its spec leaves out because older records lack them."""
    return older_options(METHODS.get(spec.method).Config, spec.options)


def variant_names(
    variants: Sequence[tuple[str, Mapping[str, Any]]], defaults: Callable[[str], Mapping[str, Any]]
) -> list[str]:
    """Each name, followed by those of its settings in which the variants of this name differ.

    If they differ in several settings, settings with their default value are left out. The setting `teachers`
    (modality -> network) is shown as its modalities, and the checksum of data by its first 8 digits.

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
        names.append(" ".join([name, *(_in_words(key, settings[key]) for key in keys)]))
    return names


def _in_words(name: str, value: Any) -> str:
    if name == "data.sha256":
        return f"data {value[:8]}"
    if name == "data.by_name":
        return "subjects by name" if value else "subjects counted from 0"
    if isinstance(value, list | tuple):  # such as the augmentations of a training
        value = "+".join(map(str, value)) or "none"
    return f"{name}={','.join(value) if name == 'teachers' else value}"


def options_note(spec: UnitSpec, name: str) -> list[str]:
    """The options of a unit that are not its method's defaults and that its name in a table does not show.

    Returns:
        One line, such as "kd: teacher_epoch=best"; none if there are no such options, or equal tuning chose them, which
        says so itself.
    """
    if spec.tuned:
        return []
    defaults = asdict(METHODS.get(spec.method).Config())
    options = method_options(spec)
    if not spec.chooses_epoch:
        options.pop("teacher_epoch", None)
    changed = [f"{key}={value}" for key, value in options.items() if value != defaults.get(key)]
    hidden = [text for text in changed if f" {text} " not in f"{name} "]
    return [f"{name}: {', '.join(hidden)}"] if hidden else []


def title(spec: UnitSpec) -> str:
    """A unit in words, with the options that differ from the defaults of its method."""
    defaults = asdict(METHODS.get(spec.method).Config())
    options = [f"{name}={value}" for name, value in method_options(spec).items() if value != defaults.get(name)]
    fold = f", {spec.data.fold}" if spec.data.fold else ""
    if spec.data.inner_fold:
        number, folds = spec.data.inner_fold
        fold += f", without part {number} of {folds} of the training part"
    if spec.tuning:
        fold += f", configuration {spec.tuning['number']}"
    data = data_title(spec.data.name, spec.data.rate, spec.data)
    seed = f"seed {spec.seed}" + ("" if spec.training_seed is None else f", training seed {spec.training_seed}")
    return f"{data}{fold}, {spec.student_title}, {' '.join([tuned_name(spec), *options])}, {seed}"
