"""Anomaly detection: a score for each step of a series, from networks that are trained on its normal prefix."""

from mmkd.specs.unit import Training
from mmkd.tasks.base import TASKS, Task
from mmkd.tasks.presets import Preset

PRESETS = {
    "quick": Preset(
        image_size=32,
        teacher_nets={"": "WRN16-1"},
        student_net="small",
        training=Training(),
        steps=650,
        teacher_steps=750,
        epochs_range=(5, 60),
        options={"feature-kd": {"followed": "all"}},
    ),
    "full": Preset(
        image_size=32,
        teacher_nets={"": "WRN16-3"},
        student_net="WRN16-1",
        training=Training(),
        steps=0,
        teacher_steps=0,
        epochs_range=(50, 50),
        options={"feature-kd": {"followed": "all"}},
    ),
}

ANOMALY = Task(
    name="anomaly",
    text="anomalies in series",
    form="series",
    presets=PRESETS,
    datasets=("nab",),
    students=("sig",),
    teachers=("gaf",),
    headline="vus_pr",
    metrics=(
        "vus_pr",
        "vus_roc",
        "auc_pr",
        "auc_roc",
        "range_f1",
        "affiliation_f1",
        "event_f1",
        "point_adjusted_f1",
    ),
    notes=(
        "mean over series; VUS as TSB-AD 1.5 (opt, 250 thresholds); "
        "F1 at thresholds from the end of each normal prefix",
        "chance is not 0: random scores reach 0.4 to 0.6 in affil. F1 and 0.5 to 0.9 in VUS-ROC; see the row random",
        "(PA F1): point-adjusted, a warning: random scores can come near 1 there; never compare by it",
    ),
    charts=("vus_pr", "vus_roc", "event_f1"),
    runner="mmkd.training.series:run_series",
    references="mmkd.evaluation.detectors:reference_records",
    reference_names=("random", "constant", "moving-median", "pca", "kmeans"),
    samples="steps",
    has_predictions=False,
    teachers_share_metrics=False,
    groups_by_student=False,
    trained_start=False,
)
TASKS.register(ANOMALY.name)(ANOMALY)
