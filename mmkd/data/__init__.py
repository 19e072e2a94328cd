"""Data sets: cards, readers, recordings, windows, splits and folds; everything that happens before a network sees data.

Networks, methods and records do not belong here. The public names load on first use, so that `import mmkd.data` is
quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmkd.data.cards import Card, data_root, find_cards
    from mmkd.data.dataset import Dataset
    from mmkd.data.load import load_dataset, load_file, load_own
    from mmkd.data.splits import Split, split_prefixes, split_windows

_HOMES = {
    "Card": "cards",
    "Dataset": "dataset",
    "Split": "splits",
    "data_root": "cards",
    "find_cards": "cards",
    "load_dataset": "load",
    "load_file": "load",
    "load_own": "load",
    "split_prefixes": "splits",
    "split_windows": "splits",
}

__all__ = [
    "Card",
    "Dataset",
    "Split",
    "data_root",
    "find_cards",
    "load_dataset",
    "load_file",
    "load_own",
    "split_prefixes",
    "split_windows",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"mmkd.data.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'mmkd.data' has no attribute {name!r}")
