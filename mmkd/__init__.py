"""mmkd: a benchmark suite for multimodal knowledge distillation on time series.

The public names are imported on first use, so that `import mmkd` and the help of the commands are quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mmkd.core.errors import MmkdError
from mmkd.core.options import Options, option
from mmkd.core.ranges import Range
from mmkd.core.registry import METHODS, kind_of, only_of_kind
from mmkd.core.threads import wait_passively

if TYPE_CHECKING:
    from mmkd.api import load_student, run
    from mmkd.augment import AUGMENTATIONS, Augmentation
    from mmkd.comparison.reproduction import recompute_scores
    from mmkd.core.plugins import load_plugin
    from mmkd.data.dataset import Dataset
    from mmkd.data.readers import READERS
    from mmkd.data.readers.base import RawDataset
    from mmkd.deploy.export import export_student
    from mmkd.estimators.classifier import DistilledClassifier
    from mmkd.methods.configs import DistillConfig, GuidedConfig, LogitConfig, MethodConfig, TaughtConfig
    from mmkd.methods.contract import Method
    from mmkd.methods.costs import Costs
    from mmkd.methods.entropy import entropy_factor, mean_entropy
    from mmkd.methods.losses import batch_scale, check_temperature, distinct_scale, soft_targets
    from mmkd.methods.outer import Outer, least_conflict
    from mmkd.methods.outputs import Batch, Outputs, Setup, Step
    from mmkd.methods.pairing import matched_maps, matched_stages, paired_branch, same_branch
    from mmkd.methods.ranges import SHARE_RANGE, TEMPERATURE_RANGE, WARMUP_RANGE
    from mmkd.methods.retargeting import Replacement, Teaching
    from mmkd.methods.spectra import Filtering
    from mmkd.methods.variants import ReadsVariants
    from mmkd.metrics.registry import METRICS, Metric
    from mmkd.nets.base import BACKBONES, DENSE, FUSIONS, STAGE_FUSIONS
    from mmkd.nets.ensemble import Ensemble
    from mmkd.report.frames import compare_records
    from mmkd.results.tables import load_results
    from mmkd.tasks.base import TASKS, Task
    from mmkd.views.base import MODALITIES, Modality

__version__ = "0.2.0"

wait_passively()  # every command and worker imports this package first, and PyTorch later

_MODULES = {
    "run": "api",
    "compare_records": "report.frames",
    "export_student": "deploy.export",
    "load_student": "api",
    "recompute_scores": "comparison.reproduction",
    "load_plugin": "core.plugins",
    "load_results": "results.tables",
    "AUGMENTATIONS": "augment",
    "Augmentation": "augment",
    "BACKBONES": "nets",
    "DENSE": "nets",
    "FUSIONS": "nets",
    "METRICS": "metrics.registry",
    "MODALITIES": "views",
    "READERS": "data.readers",
    "ReadsVariants": "methods.variants",
    "SHARE_RANGE": "methods.ranges",
    "STAGE_FUSIONS": "nets",
    "TASKS": "tasks",
    "TEMPERATURE_RANGE": "methods.ranges",
    "WARMUP_RANGE": "methods.ranges",
    "Batch": "methods.outputs",
    "Costs": "methods.costs",
    "Dataset": "data.dataset",
    "DistilledClassifier": "estimators.classifier",
    "DistillConfig": "methods.configs",
    "Ensemble": "nets.ensemble",
    "Filtering": "methods.spectra",
    "GuidedConfig": "methods.configs",
    "LogitConfig": "methods.configs",
    "Method": "methods.contract",
    "MethodConfig": "methods.configs",
    "Metric": "metrics.registry",
    "Modality": "views",
    "Outer": "methods.outer",
    "Outputs": "methods.outputs",
    "RawDataset": "data.readers.base",
    "Setup": "methods.outputs",
    "Step": "methods.outputs",
    "Task": "tasks",
    "TaughtConfig": "methods.configs",
    "Replacement": "methods.retargeting",
    "Teaching": "methods.retargeting",
    "batch_scale": "methods.losses",
    "entropy_factor": "methods.entropy",
    "mean_entropy": "methods.entropy",
    "check_temperature": "methods.losses",
    "distinct_scale": "methods.losses",
    "least_conflict": "methods.outer",
    "matched_maps": "methods.pairing",
    "matched_stages": "methods.pairing",
    "paired_branch": "methods.pairing",
    "same_branch": "methods.pairing",
    "soft_targets": "methods.losses",
}

__all__ = [
    "AUGMENTATIONS",
    "BACKBONES",
    "DENSE",
    "FUSIONS",
    "METHODS",
    "METRICS",
    "MODALITIES",
    "READERS",
    "SHARE_RANGE",
    "STAGE_FUSIONS",
    "TASKS",
    "TEMPERATURE_RANGE",
    "WARMUP_RANGE",
    "Augmentation",
    "Batch",
    "Costs",
    "Dataset",
    "DistillConfig",
    "DistilledClassifier",
    "Ensemble",
    "Filtering",
    "GuidedConfig",
    "LogitConfig",
    "Method",
    "MethodConfig",
    "Metric",
    "MmkdError",
    "Modality",
    "Options",
    "Outer",
    "Outputs",
    "Range",
    "RawDataset",
    "ReadsVariants",
    "Replacement",
    "Setup",
    "Step",
    "Task",
    "TaughtConfig",
    "Teaching",
    "batch_scale",
    "check_temperature",
    "compare_records",
    "distinct_scale",
    "entropy_factor",
    "export_student",
    "kind_of",
    "least_conflict",
    "load_plugin",
    "load_results",
    "load_student",
    "matched_maps",
    "matched_stages",
    "mean_entropy",
    "only_of_kind",
    "option",
    "paired_branch",
    "recompute_scores",
    "run",
    "same_branch",
    "soft_targets",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module 'mmkd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
