"""Building blocks in the frequency domain: frequency attention, masks and bands, and lifts from 1-D features to maps.

Methods import them from here. They know nothing of networks, data or training.
"""

from mmkd.frequency.attention import FrequencyAttention, FrequencyAttention1d
from mmkd.frequency.bands import (
    BAND_MASKS,
    BAND_SHAPES,
    BAND_TRANSFORMS,
    BandFilter,
    band_mask,
    band_radius,
    random_band,
    shrink,
)
from mmkd.frequency.bases import TRANSFORMS
from mmkd.frequency.lifts import LIFTS, RESIZES, lift, meet, resample
from mmkd.frequency.local import LocalAttention
from mmkd.frequency.masks import MASKS, IdleMaskWarning, check_mask, high_pass, is_idle, warn_flat, warn_idle
from mmkd.frequency.meeting import meet_unaliased
from mmkd.frequency.path import DOMAINS, SCALES, FrequencyPath, hierarchical_context, map_distance, scaled
from mmkd.frequency.prompts import prompt_dice, prompt_masks, prompted_map
from mmkd.frequency.response import half_spectrum, in_fourier, kept_energy, mean_power, removed_share, response
from mmkd.frequency.review import ReviewBlock
from mmkd.frequency.wavelets import HAAR_ENDS, WAVELET_TAPS, haar_bands, haar_join, haar_levels, ring_bands

__all__ = [
    "BAND_MASKS",
    "BAND_SHAPES",
    "BAND_TRANSFORMS",
    "DOMAINS",
    "HAAR_ENDS",
    "LIFTS",
    "MASKS",
    "RESIZES",
    "SCALES",
    "TRANSFORMS",
    "WAVELET_TAPS",
    "BandFilter",
    "FrequencyAttention",
    "FrequencyAttention1d",
    "FrequencyPath",
    "IdleMaskWarning",
    "LocalAttention",
    "ReviewBlock",
    "band_mask",
    "band_radius",
    "check_mask",
    "haar_bands",
    "haar_join",
    "haar_levels",
    "half_spectrum",
    "hierarchical_context",
    "high_pass",
    "in_fourier",
    "is_idle",
    "kept_energy",
    "lift",
    "map_distance",
    "mean_power",
    "meet",
    "meet_unaliased",
    "prompt_dice",
    "prompt_masks",
    "prompted_map",
    "random_band",
    "removed_share",
    "resample",
    "response",
    "ring_bands",
    "scaled",
    "shrink",
    "warn_flat",
    "warn_idle",
]
