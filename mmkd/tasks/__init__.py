"""What a task is: classification of windows, segmentation of recordings, anomalies in series; a plugin may add one.

One object a task holds its data form, defaults, presets, metrics and what runs its units. Nobody else compares names of
tasks: code asks the object. How a unit is trained belongs in `training/`; what scores mean in `metrics/`.
"""

from mmkd.tasks import anomaly, classification, segmentation
from mmkd.tasks.base import DEFAULT_TASK, TASKS, Task
from mmkd.tasks.presets import Preset

__all__ = ["DEFAULT_TASK", "TASKS", "Preset", "Task", "anomaly", "classification", "segmentation"]
