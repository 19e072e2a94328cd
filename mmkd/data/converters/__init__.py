"""Converters: from the files as their authors published them to the arrays that our readers take.

Each is a function of a folder that holds the unpacked files anywhere below it, and of the options under `[prepare]` on
the card. Text is read file by file or in chunks, so that only the result and one chunk are in memory (1 GiB).
"""

from collections.abc import Callable

from mmkd.data.converters.base import Arrays
from mmkd.data.converters.dsads import convert_dsads
from mmkd.data.converters.motionsense import convert_motionsense
from mmkd.data.converters.pamap2 import convert_pamap2
from mmkd.data.converters.uci_har import convert_hapt, convert_uci_har
from mmkd.data.converters.wisdm import convert_wisdm

CONVERTERS: dict[str, Callable[..., Arrays]] = {
    "uci_har": convert_uci_har,
    "hapt": convert_hapt,
    "pamap2": convert_pamap2,
    "wisdm": convert_wisdm,
    "motionsense": convert_motionsense,
    "dsads": convert_dsads,
}
