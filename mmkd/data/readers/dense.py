"""Readers of segmentation sets: a label for each sample."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.data.cards import Card
from mmkd.data.readers.base import RawDataset, cut_dense, is_test_subject, load_arrays
from mmkd.data.recordings import Recording


def read_hapt_dense(card: Card, folder: Path) -> RawDataset:
    """The recordings of HAPT; class 0 is everything between two labelled activities."""
    with np.load(folder / card.reader_options["file"], allow_pickle=False) as z:
        stream, labels, experiment, subject = (z[name] for name in ("x", "y", "experiment", "subject"))
    borders = np.flatnonzero(np.diff(experiment)) + 1
    ranges = zip([0, *borders], [*borders, len(labels)], strict=True)
    recordings = (Recording(stream[start:stop].T, labels[start:stop], int(subject[start])) for start, stop in ranges)
    return cut_dense(card, recordings, np.unique(subject[is_test_subject(card, subject)]).tolist())


def read_ludb(card: Card, folder: Path) -> RawDataset:
    """One lead of LUDB with its own annotation; -1 before the first and after the last annotated beat."""
    with np.load(folder / card.reader_options["file"], allow_pickle=False) as z:
        lead = [str(name) for name in z["leads"]].index(card.reader_options["lead"])
        signal = z["xq"][:, lead] * z["scale"]
        labels = z["mask"][:, lead]
        patient = z["patient"]
    recordings = (Recording(signal[n][None], labels[n], int(patient[n])) for n in range(len(patient)))
    test = [int(number) for number in patient if number % card.reader_options["test_every"] == 0]
    return cut_dense(card, recordings, test)


def near_changes(length: int, changes: NDArray[Any], tolerance: int) -> NDArray[np.int64]:
    """Labels (length,): 1 for samples within `tolerance` of a change point, else 0.

    A change point is the first sample of a state.

    >>> near_changes(8, np.array([3]), tolerance=1)
    array([0, 0, 1, 1, 1, 0, 0, 0])
    """
    labels = np.zeros(length, np.int64)
    for change in changes:
        labels[max(0, change - tolerance) : change + tolerance + 1] = 1
    return labels


def read_tssb(card: Card, folder: Path) -> RawDataset:
    """Series NAME_x (T,), each z-normalised by itself, with change points NAME_cp; samples near one are class 1.

    Near is within `tolerance` times NAME_win, the series' own window. Series of the same recordings are one subject:
    each list in `families` on the card names such series. A family is tested if the first byte of the SHA-256 of its
    first name is below 256 times `test_share`.
    """
    arrays = load_arrays(card, folder)
    options = card.reader_options
    family = {name: names[0] for names in options["families"] for name in names}
    subjects: dict[str, int] = {}  # first name of a family -> its number
    recordings = []
    for name in map(str, arrays["names"]):
        x = arrays[f"{name}_x"].astype(np.float64)
        tolerance = round(options["tolerance"] * int(arrays[f"{name}_win"]))
        labels = near_changes(len(x), arrays[f"{name}_cp"], tolerance)
        subject = subjects.setdefault(family.get(name, name), len(subjects))
        recordings.append(Recording(((x - x.mean()) / x.std())[None], labels, subject))
    share = 256 * options["test_share"]
    test = [number for first, number in subjects.items() if sha256(first.encode()).digest()[0] < share]
    return cut_dense(card, recordings, test)
