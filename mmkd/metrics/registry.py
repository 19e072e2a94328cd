"""The metrics, one entry each. Tables, CSV, LaTeX, Markdown, the page and MLflow read names, labels and formats here.

A new column is one entry. Where it has `of_counts`, it is computed for every record that is made from then on, and for
older ones from the predictions on record. The order of the entries is the order of columns in files; `Task.metrics`
says which stand first in the tables of a task. A plugin may register more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from mmkd.core.errors import describe_error
from mmkd.core.registry import Registry
from mmkd.metrics.classes import Probabilities, log_loss, reliability
from mmkd.metrics.steps import Ints, balanced_accuracy, frame_accuracy, macro_f1, mean_iou


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: what records, CSV and JSON call it.
        label: its head in tables, and its name in sentences.
        meaning: one line for a reader of the head.
        source: what it is of: the test predictions, these beside those of the teachers, the training, the network
            that is deployed, the measurement of its deployment, or of a file that it was exported to.
        direction: which values are better; empty where neither is.
        forms: the data forms (`Task.form`) of the tasks that show it as a score, among the first columns; others show
            it behind the changes, or because they name it.
        short: its head in the table of a run, where that is not `label`.
        pattern: of a mean, for `str.format`; `scale` is what the mean is multiplied by before.
        brief: in a terminal its mean is shown without a standard deviation.
        wide: left out in a terminal.
        spare: left out in a terminal where names would have no room beside it.
        hidden: no column of its own in tables; only in files.
        leaderboard: MLflow's leaderboard has it.
        of_counts: computes it from a confusion matrix (K, K), rows the true classes.
        of_probabilities: computes it from true classes (n,) and probabilities (n, K).
    """

    name: str
    label: str
    meaning: str = ""
    source: Literal["predictions", "teachers", "training", "network", "deployment", "export"] = "predictions"
    direction: Literal["higher", "lower", ""] = "higher"
    forms: tuple[str, ...] = ()
    short: str = ""
    pattern: str = "{:.3f}"
    scale: float = 1.0
    brief: bool = False
    wide: bool = False
    spare: bool = False
    hidden: bool = False
    leaderboard: bool = False
    of_counts: Callable[[Ints], float] | None = None
    of_probabilities: Callable[[Ints, Probabilities], float] | None = None

    @property
    def head(self) -> str:
        """Its head in the table of a run."""
        return self.short or self.label

    @property
    def sign(self) -> int:
        """1 where higher values are better, -1 where lower ones are."""
        return -1 if self.direction == "lower" else 1

    def format(self, value: float) -> str:
        """A mean as text."""
        return self.pattern.format(self.scale * value)


class Shown(Protocol):
    """What a task says about its metrics; `mmkd.tasks.Task` does."""

    @property
    def form(self) -> str: ...
    @property
    def metrics(self) -> tuple[str, ...]: ...


def _not_a_metric(thing: Any) -> str | None:
    """What is wrong with a metric; its function is tried, because it would fail only after a training."""
    if not isinstance(thing, Metric):
        return f"is {type(thing).__name__}, which is no Metric"
    counts = np.array([[2, 1, 0], [0, 3, 0], [0, 0, 0]])  # the last class is in neither truth nor prediction
    true = np.array([0, 0, 1])
    try:
        values = [] if thing.of_counts is None else [thing.of_counts(counts)]
        if thing.of_probabilities is not None:
            values.append(thing.of_probabilities(true, np.array([[0.5, 0.3, 0.2], [0.1, 0.9, 0.0], [0.0, 1.0, 0.0]])))
    except Exception as error:  # somebody else's function may raise anything
        return f"fails on made-up classes of which one never occurs: {describe_error(error)}"
    for value in values:
        if not isinstance(value, int | float | np.number) or not np.isfinite(value):
            return f"gives {value!r} for made-up classes of which one never occurs; return a finite number"
    return None


METRICS: Registry[Metric] = Registry("metric", check=_not_a_metric, group="mmkd.metrics")
"""Every metric by name, in the order of columns."""

SELECTION = "macro_f1"
"""The validation score that says which epoch is kept, and what is scored on disturbed windows; of every task."""


def score_columns(task: Shown) -> list[Metric]:
    """The scores that stand first in a task's tables: those that it names, then others of its form."""
    named = [METRICS.get(name) for name in task.metrics]
    return [*named, *(m for m in METRICS.values() if task.form in m.forms and m not in named)]


def count_metrics(form: str) -> list[Metric]:
    """The metrics of this data form that are computed from confusion matrices."""
    return [metric for metric in METRICS.values() if metric.of_counts is not None and form in metric.forms]


def from_source(source: str) -> list[Metric]:
    """The metrics of one source."""
    return [metric for metric in METRICS.values() if metric.source == source]


def checksum_field() -> dict[str, dict[str, str]]:
    """The field `metric_sha256` of a record: of plugins' and packages' scores of classes, name -> checksum of code.

    Empty where there are none. By it `comparison.predictions.with_current_scores` sees that a metric was edited.
    """
    scores = [metric for metric in METRICS.values() if metric.of_counts or metric.of_probabilities]
    checksums = {metric.name: METRICS.source_sha256(metric.name) for metric in scores}
    checksums = {name: checksum for name, checksum in checksums.items() if checksum}
    return {"metric_sha256": checksums} if checksums else {}


def file_scores(task: Shown) -> list[Metric]:
    """The metrics that files have with mean and deviation: all but the costs, and of scores of series only a task's."""
    shown = score_columns(task)
    scores = [metric for metric in METRICS.values() if metric.source in ("predictions", "teachers", "training")]
    return [metric for metric in scores if metric in shown or metric.forms != ("series",)]


def _calibration_error(true: Ints, probabilities: Probabilities) -> float:
    return reliability(true, probabilities).error


_LABELLED = ("window", "step")
_WARNING = "mean over series; a warning: random scores can come near 1 here"

for _metric in (
    Metric(
        "accuracy",
        "accuracy",
        forms=_LABELLED,
        short="test acc",
        brief=True,
        leaderboard=True,
        of_counts=frame_accuracy,
    ),
    Metric("macro_f1", "macro-F1", forms=_LABELLED, leaderboard=True, of_counts=macro_f1),
    Metric(
        "balanced_accuracy",
        "bal. acc",
        "mean recall over the classes in truth",
        forms=_LABELLED,
        brief=True,
        leaderboard=True,
        of_counts=balanced_accuracy,
    ),
    Metric("miou", "mIoU", forms=("step",), brief=True, leaderboard=True, of_counts=mean_iou),
    Metric("vus_pr", "VUS-PR", "mean over series", forms=("series",), leaderboard=True),
    Metric("vus_roc", "VUS-ROC", "mean over series", forms=("series",), brief=True),
    Metric("auc_pr", "AUC-PR", "mean over series", forms=("series",), brief=True, wide=True),
    Metric("auc_roc", "AUC-ROC", "mean over series", forms=("series",), brief=True, wide=True),
    Metric("range_f1", "range F1", "mean over series", forms=("series",), brief=True),
    Metric("affiliation_f1", "affil. F1", "mean over series", forms=("series",), brief=True),
    Metric("event_f1", "event F1", "mean over series", forms=("series",), brief=True),
    Metric("point_adjusted_f1", "(PA F1)", _WARNING, forms=("series",), brief=True),
    Metric(
        "nll",
        "NLL",
        "negative log-likelihood, lower is better",
        direction="lower",
        pattern="{:.2f}",
        spare=True,
        of_probabilities=log_loss,
    ),
    Metric(
        "ece",
        "ECE",
        "expected calibration error of 15 bins, lower is better",
        direction="lower",
        spare=True,
        of_probabilities=_calibration_error,
    ),
    Metric("agreement", "agree", "share of test windows on which teachers and student agree", "teachers", ""),
    Metric("seconds", "time", "of training, in seconds", "training", "lower", hidden=True),
    Metric("parameters", "params", "parameters of the network that is deployed", "network", "lower", pattern="{:,.0f}"),
    Metric("macs", "MACs", "multiply-accumulates of one window", "deployment", "lower", pattern="{:,.0f}", wide=True),
    Metric(
        "latency_ms",
        "latency ms",
        "one window, median, its views included",
        "deployment",
        "lower",
        pattern="{:.2f}",
        wide=True,
    ),
    Metric(
        "latency_p95_ms", "p95 ms", "one window, 95th percentile", "deployment", "lower", pattern="{:.2f}", wide=True
    ),
    Metric("bytes", "size", "of the weights on disk", "network", "lower", pattern="{:.2f} MB", scale=1e-6, wide=True),
    Metric("int8_accuracy", "int8 acc", "accuracy of the exported int8 file, test windows", "export", wide=True),
    Metric(
        "int8_points_lost",
        "int8 lost",
        "points of accuracy that the int8 file is below the float32 file",
        "export",
        "lower",
        pattern="{:+.2f}",
        wide=True,
    ),
    Metric("int8_bytes", "int8 size", "of the int8 file, in bytes", "export", "lower", pattern="{:,.0f}", wide=True),
    Metric("c_macro_f1", "C F1", "macro-F1 of the exported C source, test windows", "export", wide=True),
    Metric(
        "c_points_lost",
        "C lost",
        "points of macro-F1 that the C source is below the student in float32",
        "export",
        "lower",
        pattern="{:+.2f}",
        wide=True,
    ),
    *(
        Metric(f"c_{name}", f"C {label}", text, "export", "lower", pattern="{:,.0f}", wide=True)
        for name, label, text in (
            ("weight_bytes", "weights", "constants of the C source, in bytes"),
            ("arena_bytes", "arena", "memory for the maps of the C source, in bytes"),
            ("flash_bytes", "flash", "of a program with the C source on a Cortex-M4, in bytes"),
            ("instructions", "instr.", "of the C source for one window on a Cortex-M4; not cycles"),
        )
    ),
):
    METRICS.register(_metric.name)(_metric)
