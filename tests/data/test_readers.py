"""Readers that join or label what lies in their files: TSSB, HAPT with UCI HAR; on small files and on the real ones."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from mmkd.data import data_root, load_dataset, split_windows
from mmkd.data.cards import find_card
from mmkd.data.checksums import files_exist
from mmkd.data.dataset import validate_dataset
from mmkd.data.readers import READERS
from mmkd.data.readers.dense import near_changes


def small(tmp_path, name, **options):
    """A set's card with other options, for files in `tmp_path`."""
    card = find_card(name)
    return replace(card, reader_options={**card.reader_options, **options})


def real(name):
    if not files_exist(find_card(name), data_root()):
        pytest.skip(f"no {name} in the data folder")
    return load_dataset(name, data_root())


def real_file(name):
    with np.load(data_root() / name, allow_pickle=False) as z:
        return {key: z[key] for key in z.files}


# -- TSSB

LENGTHS = {"One": 700, "TwoA": 512, "TwoB": 600, "Three": 1030, "Short": 300, "Calm": 550, "Last": 512}
CHANGES = {"One": [350], "TwoA": [100, 300], "TwoB": [3], "Three": [600, 610], "Short": [9], "Calm": [], "Last": [511]}


@pytest.fixture
def series(tmp_path):
    """A file like TSSB's, and its series with the labels that slow words give them."""
    rng, arrays, labels = np.random.default_rng(0), {"names": np.array(list(LENGTHS))}, {}
    for k, (name, length) in enumerate(LENGTHS.items()):
        win = (10, 20)[k % 2]
        arrays[f"{name}_x"] = (k + (k + 1) * rng.normal(size=length)).astype(np.float32)
        arrays[f"{name}_cp"] = np.array(CHANGES[name], np.int32)
        arrays[f"{name}_win"] = np.int32(win)
        labels[name] = [int(any(abs(t - c) <= 1.5 * win for c in CHANGES[name])) for t in range(length)]
    np.savez(tmp_path / "small.npz", **arrays)
    return arrays, labels


def test_tssb_labels_samples_near_a_change(tmp_path, series):
    arrays, labels = series
    card = small(tmp_path, "tssb", file="small.npz", tolerance=1.5, families=[["TwoB", "TwoA"]])
    read = READERS.get("tssb")(card, tmp_path)
    assert read.x.shape[1:] == (1, card.signal["window"])
    names, width = list(LENGTHS), card.signal["window"]
    for x, y, recording, start in zip(read.x, read.y, read.recording, read.start, strict=True):
        own = arrays[f"{names[recording]}_x"].astype(float)
        np.testing.assert_allclose(x[0], ((own - own.mean()) / own.std())[start : start + width], atol=1e-5)
        assert y.tolist() == labels[names[recording]][start : start + width]
    long = [n for n, length in LENGTHS.items() if length >= width]
    assert {names[r] for r in read.recording} == set(long), "shorter ones are left out, all others are there"
    for name in long:
        starts = read.start[read.recording == names.index(name)]
        assert {t for s in starts for t in range(s, s + width)} == set(range(LENGTHS[name]))


def test_tssb_keeps_a_family_together_and_tests_a_share_by_hash(tmp_path, series):
    heads = ["TwoB" if name == "TwoA" else name for name in LENGTHS]
    first = np.array([int(hashlib.sha256(head.encode()).hexdigest()[:2], 16) for head in heads])
    for border in sorted({*first, *(first + 1)}):
        card = small(tmp_path, "tssb", file="small.npz", families=[["TwoB", "TwoA"]], test_share=border / 256)
        read = READERS.get("tssb")(card, tmp_path)
        np.testing.assert_array_equal(read.test, first[read.recording] < border)
    of = dict(zip(read.recording.tolist(), read.subject.tolist(), strict=True))
    assert of[1] == of[2], "TwoA and TwoB"
    assert len(set(of.values())) == len(of) - 1


def test_near_a_change_ends_with_the_series():
    assert near_changes(8, np.array([1]), 2).tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert near_changes(8, np.array([7]), 1).tolist() == [0, 0, 0, 0, 0, 0, 1, 1]
    assert near_changes(4, np.array([], int), 1).tolist() == [0] * 4


@pytest.mark.data
def test_real_tssb():
    data, arrays, card = real("tssb"), real_file("tssb/tssb.npz"), find_card("tssb")
    names = [str(name) for name in arrays["names"]]
    assert len(names) == 75
    assert sum(len(arrays[f"{name}_cp"]) for name in names) == 190
    members = [name for family in card.reader_options["families"] for name in family]
    assert len(set(members)) == len(members)
    assert set(members) <= set(names)
    lengths = np.array([len(arrays[f"{name}_x"]) for name in names])
    assert set(data.recording) == set(np.flatnonzero(lengths >= data.window))
    for number in np.unique(data.recording):
        name, labels = names[number], np.full(lengths[number], -1)
        for y, start in zip(*(array[data.recording == number] for array in (data.y, data.start)), strict=True):
            seen = labels[start : start + data.window]
            assert ((seen == -1) | (seen == y)).all(), "windows that overlap say the same"
            labels[start : start + data.window] = y
        rises = np.flatnonzero(np.diff(labels) == 1) + 1
        reach = round(card.reader_options["tolerance"] * int(arrays[f"{name}_win"]))
        changes = arrays[f"{name}_cp"]
        assert labels.min() == 0, "every sample has a label"
        assert rises.tolist() == [c - reach for c in changes], name
        assert labels.sum() == len(changes) * (2 * reach + 1), name
    split = split_windows(data, 0)
    families = [set(data.subject[part]) for part in (split.train, split.validation, split.test)]
    assert sum(map(len, families)) == len(set.union(*families))
    for family in card.reader_options["families"]:
        assert len({bool(t) for n in family for t in data.test[data.recording == names.index(n)]}) <= 1


# -- HAPT for training, UCI HAR's own windows for the test


def test_training_from_one_file_and_test_from_another(tmp_path):
    rng = np.random.default_rng(0)
    names = ["none", *find_card("uci-har-check").classes, "TURN"]
    stream = rng.normal(size=(14 * 128, 6)).astype(np.float32)
    np.savez(
        tmp_path / "stream.npz",
        x=stream,
        class_names=np.array(names),
        win_start=np.arange(14) * 128,
        win_label=np.array([1, 2, 3, 4, 5, 6, 7] * 2),
        win_subject=np.repeat([1, 2], 7),
        win_test=np.repeat([False, True], 7),
    )
    axes = [f"{kind}_{axis}" for kind in ("body_gyro", "total_acc", "body_acc") for axis in "xyz"]
    official = rng.normal(size=(6, 128, 9)).astype(np.float16)
    label, who = np.array([6, 5, 4, 3, 2, 1], np.int8), np.array([2] * 6, np.int8)
    np.savez(tmp_path / "test.npz", x=official, y=label, subject=who, channels=np.array(axes))
    card = small(tmp_path, "uci-har-check", file="stream.npz", test_file="test.npz")
    read = READERS.get(card.reader)(card, tmp_path)
    assert read.x.shape == (12, 6, 128)
    assert read.test.tolist() == [False] * 6 + [True] * 6
    np.testing.assert_array_equal(read.x[:6], stream.reshape(14, 128, 6)[:6].transpose(0, 2, 1))
    np.testing.assert_array_equal(read.x[6:, :3], official[:, :, 3:6].transpose(0, 2, 1))
    np.testing.assert_array_equal(read.x[6:, 3:], official[:, :, :3].transpose(0, 2, 1))
    assert [card.classes[k] for k in read.y] == names[1:7] + names[6:0:-1]
    assert read.subject.tolist() == [1] * 6 + [2] * 6


@pytest.mark.data
def test_windows_of_uci_har_lie_in_the_recordings_of_hapt():
    """Each official window is looked up in the whole stream of its subject; it is found where HAPT has one, too."""
    data, hapt = real("uci-har-check"), real_file("hapt/hapt_stream.npz")
    assert (np.bincount(data.test).tolist(), data.x.shape[1:]) == ([7415, 2947], (6, 128))
    assert np.bincount(data.y[data.test]).tolist() == [496, 471, 420, 491, 532, 537]
    assert validate_dataset(data) is data
    rows = np.flatnonzero(data.test)[::37]
    moving, alike, scales, apart, same = data.y[rows] < 3, [], [], [], []
    for row in rows:
        who = data.subject[row]
        first = np.flatnonzero(hapt["subject"] == who)[0]
        stream, window = hapt["x"][hapt["subject"] == who].T.astype(float), data.x[row].astype(float)
        at = nearest(stream, window)
        own = stream[:, at : at + 128]
        grid = hapt["win_start"][hapt["win_subject"] == who] - first
        apart.append(at - grid[np.abs(grid - at).argmin()])
        same.append(np.bincount(hapt["y"][first + at : first + at + 128]).argmax() == data.y[row] + 1)
        alike.append([np.corrcoef(a, b)[0, 1] for a, b in zip(own, window, strict=True)])
        scales.append(window.std(axis=1) / own.std(axis=1))
    assert np.mean(same) >= 0.97
    alike, scales, apart = np.array(alike)[moving], np.array(scales)[moving], np.array(apart)[moving]
    assert moving.sum() > 30
    assert (np.median(alike, axis=0) > 0.95).all(), "official windows are filtered, so they are alike and not equal"
    assert (np.median(scales, axis=0) > 0.9).all(), "g and rad/s on both sides"
    assert (np.median(scales, axis=0) < 1.05).all()
    assert (apart == -1).mean() > 0.95, "one sample before HAPT's"


def nearest(stream, window):
    """Where in a stream (C, T) a window (C, W) has the least squared distance, by one product of spectra."""
    width, total = window.shape[1], 1 << (stream.shape[1] + window.shape[1]).bit_length()
    both = np.fft.rfft(stream, total) * np.conj(np.fft.rfft(window, total))
    cross = np.fft.irfft(both, total).sum(axis=0)[: stream.shape[1] - width + 1]
    energy = np.concatenate([[0], np.cumsum((stream**2).sum(axis=0))])
    return int((energy[width:] - energy[:-width] - 2 * cross).argmin())
