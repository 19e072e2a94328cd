"""The file `spectra.npz` of a record: what the spectral filters of its method did to maps."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmkd.core.text import shorten
from mmkd.drawing.spectra import FilterSpectra

NAME = "spectra.npz"
ARRAYS = ("before", "after", "response", "kept")
LARGEST = 1 << 12
"""The longest axis that is read."""
MOST_FILTERS = 200


def write_spectra(path: Path, filters: Sequence[FilterSpectra]) -> None:
    """Write the file: arrays `N/before` and so on of filter N, in float32, and `filters`, JSON of the rest."""
    arrays: dict[str, Any] = {}
    facts = []
    for number, one in enumerate(filters):
        found = {name: getattr(one, name) for name in ARRAYS}
        arrays |= {f"{number}/{name}": np.float32(array) for name, array in found.items() if array is not None}
        facts.append(
            {
                "name": one.name,
                "size": one.size,
                "removed": one.removed,
                "rate_hz": one.rate_hz,
                "facts": dict(one.facts),
                "windows": one.windows,
            }
        )
    np.savez_compressed(path, filters=np.array(json.dumps(facts, allow_nan=False)), **arrays)


def read_spectra(path: Path) -> list[FilterSpectra]:
    """Read the file.

    Raises:
        OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile: it is not such a file.
    """
    with np.load(path, allow_pickle=False) as z:
        facts = json.loads(str(z["filters"]))
        arrays = {name: z[name] for name in z.files if name != "filters"}
    if not isinstance(facts, list) or len(facts) > MOST_FILTERS:
        raise ValueError("it holds no list of filters")
    return [_read(number, fact, arrays) for number, fact in enumerate(facts)]


def _read(number: int, fact: dict[str, Any], arrays: dict[str, Any]) -> FilterSpectra:
    """One filter, after a check of its sizes and values."""
    size = tuple(int(n) for n in fact["size"])
    if len(size) not in (1, 2) or not all(1 <= n <= LARGEST for n in size):
        raise ValueError(f"filter {number} is of size {size}")
    found: dict[str, Any] = {name: arrays.get(f"{number}/{name}") for name in ARRAYS}
    for name, array in found.items():
        if array is None:
            if name != "kept":
                raise KeyError(f"{number}/{name}")
            continue
        if array.shape != (*size[:-1], size[-1] // 2 + 1) or array.dtype.kind != "f" or not np.isfinite(array).all():
            raise ValueError(f"{number}/{name} is of shape {array.shape} and type {array.dtype}, or not finite")
        found[name] = array.astype(np.float64)
    rate = fact["rate_hz"]
    return FilterSpectra(
        name=shorten(str(fact["name"]), 80),
        size=size,
        **found,
        removed=float(fact["removed"]),
        rate_hz=None if rate is None else float(rate),
        facts={shorten(str(name), 40): float(value) for name, value in fact["facts"].items()},
        windows=int(fact["windows"]),
    )
