"""Views of a data set's windows: one memory-mapped array for each modality, cached by content."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.keys import digest
from mmkd.core.progress import Progress
from mmkd.core.registry import group_of, kind_of, rate_of, without_rate
from mmkd.data import Dataset, Split
from mmkd.data.resampling import resampled_length
from mmkd.specs.data import DataSpec
from mmkd.store.cache import Cache
from mmkd.store.files import create_array
from mmkd.views import MODALITIES, Modality, make_modality

CHUNK = 512
"""Windows that are transformed between two updates of the progress bar."""
IN_MEMORY_BYTES = 64 << 20
"""Training windows up to this size are copied into memory to fit a modality."""


@dataclass(frozen=True)
class View:
    """One modality of all N windows, and then of M of a file of unlabelled windows, if there is one.

    Attributes:
        modality: fitted on the training windows.
        array: (N + M, ...), read-only.
    """

    modality: Modality
    array: NDArray[np.float32]


def view_configs(
    names: tuple[str, ...],
    image_size: int,
    height: int | None = None,
    data: Dataset | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    shrinks: bool = False,
) -> dict[str, dict[str, Any]]:
    """Modality name -> all options of the modality.

    Args:
        names: the modalities, such as `gaf`, `gaf@gyro` or `gaf@gyro@25Hz`.
        image_size: the `size` of the modalities that have this option.
        height: the `height` of the modalities that have this option, those of images.
        data: the data set in which channel groups and its rate are looked up; without it `channels` and the rates are
            left out.
        options: modality -> options that replace its defaults. Those of `gaf` are also for each group, such as
            `gaf@gyro`, and each rate, unless they are given for the group or rate itself.
        shrinks: whether the `size` of a modality at a rate of its own is at most the number of samples there.

    Raises:
        MmkdError: a modality has no such option, or it cannot have this value.
    """
    shared = {"size": image_size, "height": height}
    given = options or {}
    configs = {}
    for name in names:
        cls = MODALITIES.get(kind_of(name))
        group = group_of(name)
        values = {f.name: shared[f.name] for f in fields(cls.Config) if shared.get(f.name) is not None}
        rate = rate_of(name)
        if rate and data is not None and data.rate_hz and shrinks and "size" in values:
            values["size"] = min(image_size, resampled_length(data.window, data.rate_hz, rate))
        for own in dict.fromkeys((kind_of(name), without_rate(name), name)):
            values |= {option.replace("-", "_"): value for option, value in given.get(own, {}).items()}
        configs[name] = cls.parse(values).config()
        if group and data is not None:
            configs[name]["channels"] = list(data.channel_group(group))
        if rate and data is not None and data.rate_hz:
            configs[name] |= {"rate_hz": rate, "from_hz": data.rate_hz}
    return configs


def view_key(
    name: str, config: Mapping[str, Any], data: DataSpec, split: Split, sources: Mapping[str, str] | None = None
) -> str:
    """The cache key of a view: a hash of the modality, the data, and, if it is fitted, the training windows.

    Args:
        sources: checksums of the plugins' code that it is made with, as `UnitSpec.view_sources` returns them.
    """
    modality = make_modality(name, config)
    fitted_on = split.train_digest if modality.fitted else None
    return digest(
        {
            "modality": name,
            "config": dict(config),
            "version": modality.version,
            "data": [data.sha256, data.nan],
            "fitted": fitted_on,
            **({"unlabelled": data.unlabelled_sha256} if data.unlabelled_sha256 else {}),
            **({"sources": dict(sources)} if sources else {}),
        }
    )


@contextmanager
def _training_windows(x: NDArray[np.float32], train: NDArray[np.int64], folder: Path) -> Iterator[NDArray[np.float32]]:
    """The windows x[train]: in memory if they are small, else in a file of the folder that is removed at the end."""
    if x[:1].nbytes * len(train) <= IN_MEMORY_BYTES:
        yield x[train]
        return
    path = folder / "training.npy"
    windows = create_array(path, (len(train), *x.shape[1:]))
    for start in range(0, len(train), CHUNK):
        windows[start : start + CHUNK] = x[train[start : start + CHUNK]]
    yield windows
    path.unlink()


def get_view(
    name: str,
    config: Mapping[str, Any],
    data: Dataset,
    spec: DataSpec,
    split: Split,
    *,
    cache: Cache,
    progress: Progress,
    sources: Mapping[str, str] | None = None,
) -> View:
    """The view from the cache. If it is not there it is made: fitted on training windows, applied to all windows.

    Args:
        name: the modality, such as `gaf` or `gaf@gyro`.
        config: its options, as `view_configs` returns them.
        spec: which data it is, for the cache key.
        sources: as in `view_key`.
    """

    def create(folder: Path) -> None:
        modality = make_modality(name, config)
        if modality.fitted:
            with _training_windows(data.x, split.train, folder) as windows:
                modality.fit(windows)
        extra = data.unlabelled if spec.unlabelled_sha256 and data.unlabelled is not None else data.x[:0]
        count = len(data.x) + len(extra)
        out = create_array(folder / "view.npy", (count, *modality.shape(*data.x.shape[1:])))
        with progress.bar(f"view {name}", count) as bar:
            for first, windows in ((0, data.x), (len(data.x), extra)):
                for start in range(0, len(windows), CHUNK):
                    rows = windows[start : start + CHUNK]
                    modality.transform(rows, out=out[first + start : first + start + len(rows)])
                    bar.advance(len(rows))
        out.flush()
        (folder / "state.json").write_text(json.dumps(modality.state()))

    def load(folder: Path) -> View:
        modality = make_modality(name, config)
        modality.load_state(json.loads((folder / "state.json").read_text()))
        return View(modality, np.lib.format.open_memmap(folder / "view.npy", "r"))

    return cache.load_or_create("views", view_key(name, config, spec, split, sources), create, load)
