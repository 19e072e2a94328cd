"""The task object and the registry of tasks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

from mmkd.core.errors import MmkdError
from mmkd.core.registry import Registry
from mmkd.tasks.presets import Preset


@dataclass(frozen=True)
class Task:
    """One kind of problem: everything in which it differs from the others.

    A task of your own is one object, registered in a file that `--plugin` names: `TASKS.register(task.name)(task)`.

    Attributes:
        name: as `--task` and data cards have it.
        text: what has a label, in a few words.
        form: what has a label: a window, every time step (or pixel), or the steps of whole series.
        presets: name of a preset -> its networks, sizes and trainings.
        datasets, students, teachers: what is taken where the user names none.
        networks: the list that networks come from, `backbones` (a label a window) or `dense` (a label a step).
        headline: the metric that rows are compared by.
        metrics: the columns of its tables, in order; entries of `mmkd.metrics`.
        charts: the metrics that MLflow draws, at most three.
        measurements: what is measured of each student after its training, files of `store.record.MEASUREMENTS`.
        optional_measurements: what else can be measured where a flag asks for it.
        runner: `module:function` of `run_unit(spec, data, workspace) -> Record`, imported when a unit is run.
        references: `module:function` of detectors or classifiers without a network that stand in every table, or empty.
        samples: the word for what test predictions count, such as "windows".
        has_predictions: whether records hold a predicted class for each of those.
        teachers_share_metrics: whether a teacher's test scores are of this task, so that it has a row in the table.
        groups_by_student: whether only units of one student and training are compared; else all on the same data.
        trained_start: whether a student may start from one that was trained alone.
        notes: lines under each of its tables.
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
    samples: str = "windows"
    has_predictions: bool = True
    teachers_share_metrics: bool = True
    groups_by_student: bool = True
    trained_start: bool = True
    notes: tuple[str, ...] = field(default_factory=tuple)

    @property
    def per_window(self) -> bool:
        """Whether a window has one label."""
        return self.form == "window"

    @property
    def per_step(self) -> bool:
        """Whether every time step, or pixel, has a label: networks are dense, windows are joined to recordings."""
        return self.form == "step"

    @property
    def of_series(self) -> bool:
        """Whether whole series are scored, step by step."""
        return self.form == "series"

    def preset(self, name: str) -> Preset:
        """The preset of this name."""
        return self.presets[name]

    def accept(self, data: Any) -> Any:
        """The data set as units of this task read it; a task of your own may convert it here.

        Raises:
            MmkdError: it is of another task.
        """
        if data.task != self.name:
            raise MmkdError(f"data {data.name!r} is for {data.task}; use --task {data.task}, or another --dataset")
        return data

    def run_unit(self, spec: Any, data: Any, workspace: Any) -> Any:
        """Do one unit and write its record.

        Raises:
            MmkdError: the unit is refused. UnitFailed: it broke off.
        """
        return import_function(self.runner)(spec, data, workspace)


def import_function(path: str) -> Callable[..., Any]:
    """The function that `module:function` names."""
    module, _, name = path.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


def _not_a_task(thing: Any) -> str | None:
    return None if isinstance(thing, Task) else f"is {type(thing).__name__}, which is no mmkd.tasks.Task"


TASKS: Registry[Task] = Registry("task", check=_not_a_task)
"""Every task by name."""

DEFAULT_TASK = "classification"
"""The task of a request, and of an older record, that names none."""


def task_of_form(form: str) -> str:
    """The name of our own task of a data form: "window", "step" or "series"."""
    return {"window": "classification", "step": "segmentation", "series": "anomaly"}[form]
