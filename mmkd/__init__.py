"""mmkd: a benchmark suite for multimodal knowledge distillation on time series.

The public names load on first use, so that `import mmkd` and the command line's help stay quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import MmkdError
from .options import Options, option
from .registry import METHODS, kind_of, only_of_kind

if TYPE_CHECKING:
    from .api import load_student, run
    from .method import (
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
    from .outer import Outer, least_conflict

__version__ = "0.1.0"

_HOMES = {
    "run": "api",
    "load_student": "api",
    "Batch": "method",
    "DistillConfig": "method",
    "Method": "method",
    "MethodConfig": "method",
    "Outer": "outer",
    "Outputs": "method",
    "Setup": "method",
    "Step": "method",
    "TaughtConfig": "method",
    "check_temperature": "method",
    "least_conflict": "outer",
    "matched_maps": "method",
    "matched_stages": "method",
    "paired_branch": "method",
    "soft_targets": "method",
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
