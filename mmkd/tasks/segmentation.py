"""Segmentation: a class for each time step of a recording, or each pixel of an image."""

from mmkd.specs.unit import Training
from mmkd.tasks.base import TASKS, Task
from mmkd.tasks.presets import Preset

SCALES = {"timedistill": {"weight": 0.1, "logit_weight": 0.01}}
"""Where logits hardly change over a window, their spectra have gradients 65 to 310 times that of cross-entropy."""
PRESETS = {
    "quick": Preset(
        image_size=32,
        teacher_nets={"": "segformer"},
        student_net="fast-scnn-small",
        training=Training(batch_size=16),
        steps=1000,
        teacher_steps=1000,
        epochs_range=(8, 60),
        options={
            "fam": {"stages": "deep", "side_limit": 16},
            "fam-1d": {"stages": "deep"},
            "fam-review": {"stages": "deep", "side_limit": 16},
            **SCALES,
        },
    ),
    "full": Preset(
        image_size=64,
        teacher_nets={"": "segformer"},
        student_net="fast-scnn",
        training=Training(batch_size=16),
        steps=0,
        teacher_steps=0,
        epochs_range=(100, 100),
        options=SCALES,
    ),
}

SEGMENTATION = Task(
    name="segmentation",
    text="a class a sample",
    form="step",
    presets=PRESETS,
    datasets=("hapt-dense",),
    students=("sig",),
    teachers=("sig",),
    networks="dense",
    metrics=("accuracy", "macro_f1", "miou"),
    measurements=("deployment.json",),
    samples="labelled steps",
)
TASKS.register(SEGMENTATION.name)(SEGMENTATION)
