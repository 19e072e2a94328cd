"""The arguments of the estimators: checked when they fit, and translated to those of `mmkd.run`."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from mmkd.core.errors import MmkdError, did_you_mean
from mmkd.core.registry import METHODS
from mmkd.core.text import shown
from mmkd.tasks import DEFAULT_TASK, TASKS
from mmkd.units.methods import WORDS
from mmkd.units.request import Request

OWN = frozenset({"methods", "datasets", "seeds", "students", "teachers", "preset", "epochs", "steps", "image_size"})
OWN |= {"student_net", "epoch_rule", "options"}
"""Fields of a request that are arguments of their own."""
WITHOUT_MEANING = frozenset({"data", "card", "task", "split", "folds", "fold", "variants", "plugins", "name", "peers"})
WITHOUT_MEANING |= {"data_root", "with_controls", "freeze"}
"""Fields that say which windows are read or tested, or make several units: `fit` has its windows, and one unit."""
MOST_SEEDS = 2**31


class BadInput(MmkdError, ValueError):
    """An argument of an estimator, or what it is fitted to, is wrong. scikit-learn's rules ask for a ValueError."""


def run_arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `mmkd.run` from those of an estimator.

    Args:
        values: as `get_params` returns them.

    Raises:
        MmkdError: one is of a wrong type, or unknown.
    """
    if not isinstance(values["method"], str) or values["method"] in WORDS:
        raise MmkdError(f"method = {shown(values['method'])}: name one method, such as 'kd'")
    config = METHODS.get(values["method"]).Config
    options = _mapping("method_options", values["method_options"])
    known = [field.name for field in fields(config)]
    for name in options:
        if name not in known:
            raise MmkdError(
                f"method_options: {values['method']} has no option {shown(name)}{did_you_mean(str(name), known)} "
                f"(it has {', '.join(known)})"
            )
    settings = _mapping("settings", values["settings"])
    allowed = [field.name for field in fields(Request) if field.name not in OWN | WITHOUT_MEANING]
    for name in settings:
        if name in OWN | {"method", "student", "seed"}:
            raise MmkdError(f"settings: {shown(name)} is an argument of its own, or goes into method_options")
        if name not in allowed:
            raise MmkdError(f"settings: {shown(name)} is no setting of a fit{did_you_mean(str(name), allowed)}")
    _check_preset(values["preset"])
    arguments = {
        name: values[name] for name in ("epochs", "steps", "image_size", "epoch_rule") if values[name] is not None
    }
    for name, value in arguments.items():
        if name != "epoch_rule" and (isinstance(value, bool) or not isinstance(value, int | np.integer)):
            raise MmkdError(f"{name} = {shown(value)} is not a whole number")
        arguments[name] = value if name == "epoch_rule" else int(value)
    if values["student_net"] is not None:
        arguments["student_net"] = (_text("student_net", values["student_net"]),)
    return {
        "method": values["method"],
        "student": _joined("student", values["student"], "+"),
        "teachers": _joined("teachers", values["teachers"], ","),
        "preset": values["preset"],
        "device": _text("device", values["device"]),
        "peers": ("none",),
        **arguments,
        **settings,
        **options,
    }


def seed_of(random_state: Any) -> int:
    """The seed of the runner: a whole number itself, or one that is drawn.

    Raises:
        MmkdError: it is neither a number, None, nor NumPy's generator.
    """
    if random_state is None:
        return int(np.random.default_rng().integers(MOST_SEEDS))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(MOST_SEEDS))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(MOST_SEEDS))
    if isinstance(random_state, bool | np.bool_) or not isinstance(random_state, int | np.integer) or random_state < 0:
        raise MmkdError(f"random_state = {shown(random_state)}: give a whole number of at least 0, or None")
    return int(random_state)


def _check_preset(preset: Any) -> None:
    presets = TASKS.get(DEFAULT_TASK).presets
    if not isinstance(preset, str) or preset not in presets:
        hint = did_you_mean(preset, presets) if isinstance(preset, str) else ""
        raise MmkdError(f"preset = {shown(preset)}{hint}: it is one of {', '.join(presets)}")


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise MmkdError(f"{name} = {shown(value)} is no dictionary")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise MmkdError(f"{name} = {shown(value)} is no text")
    return value


def _joined(name: str, value: Any, joint: str) -> str:
    """Modalities as the flag has them: a text, or a list of texts."""
    if isinstance(value, str) and value:
        return value
    if not isinstance(value, Sequence) or not value or not all(isinstance(item, str) and item for item in value):
        example = "'sig'" if joint == "+" else "('sig', 'gaf')"
        raise MmkdError(f"{name} = {shown(value)}: give modalities, such as {example}")
    return joint.join(value)
