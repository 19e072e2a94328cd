"""Readers of anomaly sets: series with labelled events."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmkd.data.cards import Card
from mmkd.data.pretext import PRETEXT_CLASSES, make_pretext
from mmkd.data.readers.base import RawDataset, load_arrays
from mmkd.data.series import RawSeries


def read_nab(card: Card, folder: Path) -> RawDataset:
    """Series with labelled anomalies: `names`, and for series number I `sI_x` (n,) and `sI_y` (n,), 1 in an event."""
    arrays = load_arrays(card, folder)
    series = {
        str(name): RawSeries(arrays[f"s{i}_x"][None], arrays[f"s{i}_y"]) for i, name in enumerate(arrays["names"])
    }
    return _from_series(card, series)


def read_telemetry(card: Card, folder: Path) -> RawDataset:
    """The channels of one spacecraft: NAME_train (m, C), which is normal, NAME_test (n, C) and NAME_label (n,).

    Values are left as they are: they are published scaled, and a command that is rare in training would become a huge
    number.
    """
    series = {}
    spacecraft = card.reader_options["spacecraft"]
    with np.load(folder / card.reader_options["file"], allow_pickle=False) as z:
        for name, owner in zip(z["channels"].tolist(), z["spacecraft"].tolist(), strict=True):
            if owner == spacecraft:
                train, test, label = (z[f"{name}_{part}"] for part in ("train", "test", "label"))
                labels = np.concatenate([np.zeros(len(train), label.dtype), label])
                values = np.concatenate([train, test]).T
                series[name] = RawSeries(values, labels, len(train), scaled=True, has_gap=True)
    if not series:
        raise ValueError(f"no channel is of {spacecraft}")
    return _from_series(card, series)


def read_series_csv(card: Card, folder: Path) -> RawDataset:
    """One series as a CSV file with a header: a column for each channel, and `is_anomaly`, 0 or 1.

    The columns have the names of the card's channels, or those in its `columns`. The first `prefix` steps on the card
    are the publisher's training part, if there is one.
    """
    options = card.reader_options
    path = folder / options["file"]
    with path.open(encoding="utf-8") as stream:
        header = stream.readline().strip().split(",")
        columns = [header.index(name) for name in (*options.get("columns", card.channels), "is_anomaly")]
        table = np.loadtxt(stream, delimiter=",", usecols=columns, ndmin=2)
    return _from_series(card, {path.stem: RawSeries(table[:, :-1].T, table[:, -1], options.get("prefix"))})


def _from_series(card: Card, series: Mapping[str, RawSeries]) -> RawDataset:
    x, y, test, series_set = make_pretext(card.name, series, card.signal["window"], card.signal["step"])
    return RawDataset(x, y, None, test, classes=PRETEXT_CLASSES, series=series_set)
