"""One example window and what networks make of it, from `maps.npz` beside a record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from mmkd.core.text import printable, shorten
from mmkd.store.record import Record

LARGEST = 4 << 20  # bytes of an array of maps.npz; a whole file should have 300 KB


@dataclass(frozen=True)
class Maps:
    """One example window, how networks see it, and how alike they find a batch.

    Attributes:
        window: modality -> (C, W), (C, S, S) or (P, S, S).
        index: the window's number among all of the data set; part: "validation", or without one "train".
        similarity: network -> (B, B); cam: network -> (W,) or (S, S).
    """

    window: Mapping[str, NDArray[Any]]
    label: int
    index: int
    similarity: Mapping[str, NDArray[Any]]
    labels: NDArray[Any]
    cam: Mapping[str, NDArray[Any]]
    part: str = "validation"

    def same_window(self, other: "Maps") -> bool:
        return (self.index, self.label) == (other.index, other.label)

    def same_batch(self, other: "Maps") -> bool:
        return np.array_equal(self.labels, other.labels)


def read_maps(record: Record, notes: list[str]) -> Maps | None:
    """The maps of a record, where it has them."""
    path = record.measurements.get("maps.npz")
    if path is None:
        return None
    try:
        with np.load(path, allow_pickle=False) as z:
            arrays = {name: z[name] for name in z.files}
        return _sort_arrays(arrays)
    except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile) as error:
        notes.append(f"maps.npz of {record.key} cannot be read: {' '.join(str(error).split())[:120]}")
        return None


def _sort_arrays(arrays: Mapping[str, NDArray[Any]]) -> Maps:
    kinds: dict[str, dict[str, NDArray[Any]]] = {"window": {}, "similarity": {}, "cam": {}}
    sizes = {"window": (2, 3), "similarity": (2,), "cam": (1, 2)}
    for name, array in arrays.items():
        kind, _, network = name.partition("/")
        if not network or kind not in kinds:
            continue
        if array.ndim not in sizes[kind] or not array.size or array.dtype.kind not in "fiu" or array.nbytes > LARGEST:
            raise ValueError(f"{printable(name)[:60]} is of shape {array.shape} and type {array.dtype}")
        kinds[kind][shorten(network, 60)] = array.astype(np.float64)
    if not kinds["window"]:
        raise ValueError("it holds no window")
    labels = np.asarray(arrays.get("similarity_labels", np.zeros(0, int)))
    label, index = (int(arrays[name]) for name in ("window_label", "window_index"))
    part = shorten(str(arrays.get("window_part", "validation")), 20)
    return Maps(kinds["window"], label, index, kinds["similarity"], labels, kinds["cam"], part)


def of_networks(arrays: Mapping[str, NDArray[Any]], prefix: str) -> Sequence[tuple[str, NDArray[Any]]]:
    """The arrays of networks whose name begins so, with the rest of the name."""
    return [(name.removeprefix(prefix).removeprefix("-"), a) for name, a in arrays.items() if name.startswith(prefix)]
