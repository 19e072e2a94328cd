"""Views: a window as the networks see it, a signal (`sig`), a picture of one (`gaf`, `pi`, ...) or an image (`img`).

Each modality is a class with `fit(windows)` and `transform(windows)`, from arrays (N, C, W) to float32, that also
works on its own; `cached` keeps its arrays on disk. What reads and cuts windows belongs in `data/`.

>>> from mmkd.views import GAF
>>> GAF(size=4).transform([[range(12), range(12)]]).shape
(1, 2, 4, 4)
"""

from mmkd.views.base import MODALITIES, Modality
from mmkd.views.channels import ChannelSubset, make_modality
from mmkd.views.cwt import CWT
from mmkd.views.diagrams import sublevel_diagrams
from mmkd.views.gaf import GAF
from mmkd.views.image import Image
from mmkd.views.mtf import MTF
from mmkd.views.persistence import PersistenceImage
from mmkd.views.rp import RP
from mmkd.views.signal import Signal
from mmkd.views.stft import STFT
from mmkd.views.tensor_fields import gramian_field
from mmkd.views.tensor_images import persistence_image, sublevel_pairs
from mmkd.views.tensor_views import tensor_view

__all__ = [
    "CWT",
    "GAF",
    "MODALITIES",
    "MTF",
    "RP",
    "STFT",
    "ChannelSubset",
    "Image",
    "Modality",
    "PersistenceImage",
    "Signal",
    "gramian_field",
    "make_modality",
    "persistence_image",
    "sublevel_diagrams",
    "sublevel_pairs",
    "tensor_view",
]
