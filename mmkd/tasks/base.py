"""The task object and the registry of tasks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

from mmkd.core.errors import MmkdError, unknown_name
from mmkd.core.registry import Registry
from mmkd.tasks.presets import Preset


@dataclass(frozen=True)
class Task:
    """One task: everything in which it differs from other tasks.

    To add a task, register an object in a plugin file (`--plugin`): `TASKS.register(task.name)(task)`.

    Attributes:
        name: its name, in `--task` and in data cards.
        text: a few words about its labels.
        form: what has a label: each window, each time step (or pixel), or the steps of whole series.
        presets: name of a preset -> its networks, sizes and trainings.
        datasets, students, teachers: the defaults of these fields of a request.
        networks: the registry of its networks: `backbones` (a label a window) or `dense` (a label a step).
        headline: the metric by which methods are compared.
        metrics: the columns of its tables, in order; entries of `mmkd.metrics`.
        charts: the metrics that MLflow draws, at most three.
        measurements: made of each student after its training; files of `store.record.MEASUREMENTS`.
        optional_measurements: made if a flag asks for them.
        runner: `module:function` of `run_unit(spec, data, workspace) -> Record`, imported when a unit is run.
        references: `module:function` of what makes the rows of every table that are no network of ours, such as simple
            detectors: called with a unit, its data, the workspace, names, and whether those not on record are made, it
            returns their records and a line for each that failed; or empty.
        reference_names: the names of these rows, which `--peers` chooses from.
        samples: the word for the samples of test predictions, such as "windows".
        has_predictions: whether records have a predicted class for each sample.
        teachers_share_metrics: whether teachers are scored by the metrics of this task, and so are rows of its tables.
        groups_by_student: whether only units with the same student and training are compared; else all units on the
            same data.
        trained_start: whether a student may start from the weights of the same student trained alone.
        notes: lines below each of its tables.
    """

    name: str
    text: str
    form: Literal["window", "step", "series"]
    presets: Mapping[str, Preset]
    datasets: tuple[str, ...]
    students: tuple[str, ...]
    teachers: tuple[str, ...]
    networks: Literal["backbones", "dense"] = "backbones"
    headline: str = "macro_f1"
    metrics: tuple[str, ...] = ("accuracy", "macro_f1")
    charts: tuple[str, ...] = ("macro_f1", "accuracy", "ece")
    measurements: tuple[str, ...] = ()
    optional_measurements: tuple[str, ...] = ()
    runner: str = "mmkd.training.student:run_unit"
    references: str = ""
    reference_names: tuple[str, ...] = ()
    samples: str = "windows"
    has_predictions: bool = True
    teachers_share_metrics: bool = True
    groups_by_student: bool = True
    trained_start: bool = True
    notes: tuple[str, ...] = field(default_factory=tuple)

    @property
    def per_window(self) -> bool:
        """Whether each window has one label."""
        return self.form == "window"

    @property
    def per_step(self) -> bool:
        """Whether every time step, or pixel, has a label; networks are then dense, and windows joined to recordings."""
        return self.form == "step"

    @property
    def of_series(self) -> bool:
        """Whether whole series are scored, step by step."""
        return self.form == "series"

    def preset(self, name: str) -> Preset:
        """The preset of this name."""
        return self.presets[name]

    def chosen_references(self, names: Sequence[str], preset: str) -> tuple[str, ...]:
        """The reference rows of a request.

        Args:
            names: the value of `--peers`: names, "all" or "none"; empty: those of the preset, or all where it names
                none.

        Raises:
            MmkdError: there is no such name, or "all" or "none" stands beside others.
        """
        names = tuple(names) or self.preset(preset).peers or ("all",)
        if names in (("all",), ("none",)):
            return self.reference_names if names == ("all",) else ()
        for name in names:
            if name in ("all", "none"):
                raise MmkdError(f"--peers {','.join(names)}: {name} must be the only value")
            if not self.reference_names:
                raise MmkdError(f"--peers {','.join(names)}: tables of --task {self.name} have none; leave it out")
            if name not in self.reference_names:
                raise unknown_name("peer", name, ("all", "none", *self.reference_names))
        return tuple(dict.fromkeys(names))

    def accept(self, data: Any) -> Any:
        """The data set for the units of this task; other tasks may override this to convert a data set.

        Raises:
            MmkdError: the data set is for another task.
        """
        if data.task != self.name:
            raise MmkdError(f"data {data.name!r} is for {data.task}; use --task {data.task}, or another --dataset")
        return data

    def run_unit(self, spec: Any, data: Any, workspace: Any) -> Any:
        """Run one unit and write its record.

        Raises:
            MmkdError: the unit cannot be run.
            UnitFailed: the training failed.
        """
        return import_function(self.runner)(spec, data, workspace)


def import_function(path: str) -> Callable[..., Any]:
    """Import a function.

    Args:
        path: `module:function`.
    """
    module, _, name = path.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


def _check_task(task: Any) -> str | None:
    return None if isinstance(task, Task) else f"is {type(task).__name__}, which is no mmkd.tasks.Task"


TASKS: Registry[Task] = Registry("task", check=_check_task, group="mmkd.tasks")
"""The tasks by name."""

DEFAULT_TASK = "classification"
"""The task of requests, and of older records, that do not name one."""


def task_of_form(form: str) -> str:
    """The name of the built-in task of a data form: "window", "step" or "series"."""
    return {"window": "classification", "step": "segmentation", "series": "anomaly"}[form]
