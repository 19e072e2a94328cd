"""Options that change nothing in a unit: its loss terms are computed with and without them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mmkd.core.errors import MmkdError
from mmkd.core.registry import METHODS
from mmkd.methods.configs import MethodConfig
from mmkd.methods.contract import Method
from mmkd.methods.outputs import Batch, Outputs, Setup
from mmkd.specs.unit import UnitSpec
from mmkd.training.setup import build_method

SHARED = (
    "branch_weight",
    "label_smoothing",
    "focal_gamma",
    "weight_schedule",
    "temperature_schedule",
    "teacher_weights",
)
"""Options of the contract that can only act through the loss terms, so that one step shows whether they do."""
OWN = ("temperature", "pairs", "mixed", "wavelet", "tokens", "prompt_steps")
"""Options of methods that act through the loss terms, unless a method has a hook that may read them."""
STAND_INS = {"prompt_steps": "tokens"}
"""An option that acts on training windows alone, which are not read here -> a number that acts wherever it does."""


def idle_options(
    spec: UnitSpec, method: Method, setup: Setup, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch
) -> dict[str, bool]:
    """Whether each of `SHARED` and `OWN` that is not at its default leaves every loss term as it is without it.

    Args:
        method: the method of the unit.
        setup: that it was built with.
        student, teachers, batch: of one step.

    Returns:
        Name of an option -> True if it changes no term, in the first, the middle and the last epoch.
    """
    config = method.config
    others: dict[str, dict[str, Any]] = {}
    hooks = method.steps_itself or type(method).deploy is not Method.deploy or hasattr(method, "step_scores")
    for name in SHARED if hooks else SHARED + OWN:
        default = getattr(METHODS.get(spec.method).Config(), name, None)
        if getattr(config, name, default) != default:
            own = STAND_INS.get(name, name)
            others[name] = {own: default if own == name else getattr(config, own) + 1}
    if spec.searches_shares:  # shares that are not searched yet; others must count for something
        others["teacher_weights"] = {
            "teacher_weights": ",".join(f"{name}={1 + number}" for number, name in enumerate(teachers))
        }
    if not others:
        return {}
    inputs = (setup, student, teachers, batch)
    found = _terms(spec, config, *inputs)
    return {name: _equal(found, _terms(spec, replace(config, **other), *inputs)) for name, other in others.items()}


def _terms(
    spec: UnitSpec,
    config: MethodConfig,
    setup: Setup,
    student: Outputs,
    teachers: Mapping[str, Outputs],
    batch: Batch,
) -> list[Mapping[str, Tensor]] | None:
    """The terms of three epochs under these options; None if the method refuses them."""
    method: Method = METHODS.get(spec.method)(config)
    try:
        build_method(method, setup, spec.own_seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            epochs = sorted({0, batch.epochs // 2, batch.epochs - 1})
            return [method.terms(student, teachers, replace(batch, epoch=epoch)) for epoch in epochs]
    except MmkdError:
        return None


def _equal(some: list[Mapping[str, Tensor]] | None, others: list[Mapping[str, Tensor]] | None) -> bool:
    if some is None or others is None:
        return False
    pairs = zip(some, others, strict=True)
    return all(a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) for a, b in pairs)
