"""Modalities: a window in the form that the networks see, as it is (`sig`, `img`) or as a picture (`gaf`, `pi`).

Each is a class with `fit(windows)` and `transform(windows)`, from arrays (N, C, W) to float32 arrays.

>>> import numpy as np
>>> GAF(size=4).transform(np.arange(24.0).reshape(1, 2, 12)).shape
(1, 2, 4, 4)
"""

from mmkd.views.base import MODALITIES, Modality
from mmkd.views.channels import ChannelSubset, make_modality
from mmkd.views.diagrams import sublevel_diagrams
from mmkd.views.gaf import GAF
from mmkd.views.image import Image
from mmkd.views.persistence import PersistenceImage
from mmkd.views.signal import Signal

__all__ = [
    "GAF",
    "MODALITIES",
    "ChannelSubset",
    "Image",
    "Modality",
    "PersistenceImage",
    "Signal",
    "make_modality",
    "sublevel_diagrams",
]
