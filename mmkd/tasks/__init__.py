"""Tasks: classification of windows, segmentation of recordings, anomalies in series; a plugin may add others.

The object of a task has its data form, defaults, presets and metrics, and the function that runs its units. Other code
never compares names of tasks, but reads the properties of the object. How a unit is trained belongs in `training/`;
what scores mean belongs in `metrics/`.
"""

from mmkd.tasks import anomaly, classification, segmentation
from mmkd.tasks.base import DEFAULT_TASK, TASKS, Task
from mmkd.tasks.presets import Preset

__all__ = ["DEFAULT_TASK", "TASKS", "Preset", "Task", "anomaly", "classification", "segmentation"]
