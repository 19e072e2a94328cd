"""Augmentations: random changes of training windows, such as `rotate:30`, drawn anew each time a window is read.

An augmentation changes raw windows (N, C, W), before their views are made. All numbers come from `Draws`, which gives
a window the same ones whatever its batch. No torch; what is read and stored of them is decided in `training/`.

>>> parse_augmentation("rotate:30.0").label
'rotate:30'
"""

from mmkd.augment.base import AUGMENTATIONS, Augmentation, Channels, parse_augmentation, parse_augmentations
from mmkd.augment.draws import Draws, Streams
from mmkd.augment.pipeline import Pipeline

__all__ = [
    "AUGMENTATIONS",
    "Augmentation",
    "Channels",
    "Draws",
    "Pipeline",
    "Streams",
    "parse_augmentation",
    "parse_augmentations",
]
