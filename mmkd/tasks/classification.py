"""Classification: a class for each window."""

from mmkd.specs.unit import Training
from mmkd.tasks.base import TASKS, Task
from mmkd.tasks.presets import Preset

DEEP_STAGES = {name: {"stages": "deep"} for name in ("fam", "fam-1d", "fam-review")}
PRESETS = {
    "quick": Preset(
        image_size=32,
        teacher_nets={"": "WRN16-1"},
        student_net="small",
        training=Training(),
        steps=650,
        teacher_steps=750,
        epochs_range=(8, 60),
        options=DEEP_STAGES,
        epoch_rule="last",
        peers=("random-forest",),
    ),
    "standard": Preset(
        image_size=32,
        teacher_nets={"": "WRN16-1-window"},
        student_net="tiny",
        training=Training(),
        steps=0,
        teacher_steps=0,
        epochs_range=(0, 0),
        options=DEEP_STAGES,
        epoch_rule="last",
        passes=40,
        steps_range=(1200, 3000),
        views={"gaf": {"range": "train"}},
        augment=("card",),
        augment_copies=4,
    ),
    "full": Preset(
        image_size=64,
        teacher_nets={"": "WRN16-3"},
        student_net="WRN16-1",
        training=Training(optimizer="sgd", lr=0.05, schedule="steps"),
        steps=0,
        teacher_steps=0,
        epochs_range=(200, 200),
    ),
}

CLASSIFICATION = Task(
    name="classification",
    text="a class a window",
    form="window",
    presets=PRESETS,
    datasets=("basic-motions",),
    students=("sig+gaf+pi",),
    teachers=("sig,gaf,pi",),
    measurements=("deployment.json", "maps.npz"),
    optional_measurements=("robustness.json",),
    references="mmkd.evaluation.references:reference_records",
    reference_names=("random-forest", "minirocket"),
)
TASKS.register(CLASSIFICATION.name)(CLASSIFICATION)
