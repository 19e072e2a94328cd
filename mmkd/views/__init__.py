"""Modalities: a window of a signal in the form that the networks see.

A window stays a signal (`sig`) or becomes a picture (`gaf`, `pi`). An image (`img`) is stored as a window whose samples
are its pixels, row by row. Each modality is a class with `fit(windows)` and `transform(windows)`; it takes arrays
(N, C, W), returns float32, and can be used on its own:

>>> import numpy as np
>>> from mmkd.views import GAF
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
