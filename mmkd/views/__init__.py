"""Modalities: a window of a signal as the networks see it, itself (`sig`) or as a picture (`gaf`, `pi`); or an image
(`img`), whose pixels, row by row, stand in the place of a window's samples.

Each is a class with `fit(windows)` and `transform(windows)`, arrays (N, C, W) in, float32 out, usable on its own:

>>> import numpy as np
>>> from mmkd.views import GAF
>>> GAF(size=4).transform(np.arange(24.0).reshape(1, 2, 12)).shape
(1, 2, 4, 4)
"""

from mmkd.views.base import MODALITIES, Modality
from mmkd.views.channels import OfChannels, make
from mmkd.views.diagrams import sublevel_diagrams
from mmkd.views.gaf import GAF
from mmkd.views.image import Image
from mmkd.views.persistence import PersistenceImage
from mmkd.views.signal import Signal

__all__ = [
    "GAF",
    "MODALITIES",
    "Image",
    "Modality",
    "OfChannels",
    "PersistenceImage",
    "Signal",
    "make",
    "sublevel_diagrams",
]
