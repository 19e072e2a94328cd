"""mmkd: a benchmark suite for multimodal knowledge distillation on time series.

The public names load on first use, so that `import mmkd` and the command line's help stay quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mmkd.core.errors import MmkdError
from mmkd.core.options import Options, option
from mmkd.core.registry import METHODS, kind_of, only_of_kind

if TYPE_CHECKING:
    from mmkd.api import load_student, run
    from mmkd.methods.contract import (
        Batch,
        DistillConfig,
        Method,
        MethodConfig,
        Outputs,
        Setup,
        Step,
        TaughtConfig,
        check_temperature,
        matched_maps,
        matched_stages,
        paired_branch,
        soft_targets,
    )
    from mmkd.methods.outer import Outer, least_conflict

__version__ = "0.1.0"

_HOMES = {
    "run": "api",
    "load_student": "api",
    "Batch": "methods.contract",
    "DistillConfig": "methods.contract",
    "Method": "methods.contract",
    "MethodConfig": "methods.contract",
    "Outer": "methods.outer",
    "Outputs": "methods.contract",
    "Setup": "methods.contract",
    "Step": "methods.contract",
    "TaughtConfig": "methods.contract",
    "check_temperature": "methods.contract",
    "least_conflict": "methods.outer",
    "matched_maps": "methods.contract",
    "matched_stages": "methods.contract",
    "paired_branch": "methods.contract",
    "soft_targets": "methods.contract",
}

__all__ = [
    "METHODS",
    "Batch",
    "DistillConfig",
    "Method",
    "MethodConfig",
    "MmkdError",
    "Options",
    "Outer",
    "Outputs",
    "Setup",
    "Step",
    "TaughtConfig",
    "check_temperature",
    "kind_of",
    "least_conflict",
    "load_student",
    "matched_maps",
    "matched_stages",
    "only_of_kind",
    "option",
    "paired_branch",
    "run",
    "soft_targets",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module 'mmkd' has no attribute {name!r}")
