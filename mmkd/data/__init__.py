"""Data sets: cards, readers, windows, splits. Everything a data set sees is in this package."""

from .cards import Card, data_root, find_cards
from .load import load_dataset, load_file
from .splits import Split, split_prefixes, split_windows
from .windows import Dataset

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
