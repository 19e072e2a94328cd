"""Methods in the frequency domain: frequency attention, its masks, and lifts from 1-D features to maps."""

from .attention import FrequencyAttention, FrequencyAttention1d
from .lifts import LIFTS, RESIZES, lift, meet, resample
from .local import LocalAttention
from .masks import MASKS, IdleMaskWarning, high_pass, is_idle, warn_idle
from .path import DOMAINS, SCALES, FrequencyPath, map_distance, scaled

__all__ = [
    "DOMAINS",
    "LIFTS",
    "MASKS",
    "RESIZES",
    "SCALES",
    "FrequencyAttention",
    "FrequencyAttention1d",
    "FrequencyPath",
    "IdleMaskWarning",
    "LocalAttention",
    "high_pass",
    "is_idle",
    "lift",
    "map_distance",
    "meet",
    "resample",
    "scaled",
    "warn_idle",
]
