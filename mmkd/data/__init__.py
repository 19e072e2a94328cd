"""Data sets: cards, readers, windows, splits. Everything a data set sees is in this package."""

from mmkd.data.cards import Card, data_root, find_cards
from mmkd.data.load import load_dataset, load_file
from mmkd.data.splits import Split, split_prefixes, split_windows
from mmkd.data.windows import Dataset

__all__ = [
    "Card",
    "Dataset",
    "Split",
    "data_root",
    "find_cards",
    "load_dataset",
    "load_file",
    "split_prefixes",
    "split_windows",
]
