"""Training and test windows apart: as arrays of one `.npz`, or as two files, in any case of letters."""

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.data import load_file

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 2, 30))
Y = np.arange(40) % 2
TEST = np.arange(40) >= 26
PARTS = {"x_train": X[~TEST], "y_train": Y[~TEST], "x_test": X[TEST], "y_test": Y[TEST]}


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


def same(data):
    np.testing.assert_array_equal(data.x, X.astype(np.float32))
    np.testing.assert_array_equal(data.y, Y)
    np.testing.assert_array_equal(data.test, TEST)
    assert (data.test_from, data.warnings) == ("file", ())


@pytest.mark.parametrize(
    "spell",
    [
        str,
        str.upper,
        str.title,
        lambda name: name.replace("x", "X"),
        lambda name: name.replace("_", ""),
        lambda name: "_".join(reversed(name.split("_"))),
        lambda name: name.replace("train", "tr").replace("test", "te"),
    ],
)
def test_arrays_in_parts(tmp_path, spell):
    same(load_file(save(tmp_path / "own.npz", **{spell(name): array for name, array in PARTS.items()})))


def test_subjects_in_parts_and_facts_of_the_whole(tmp_path):
    person = np.arange(40) // 13
    subjects = {"subject_train": person[~TEST], "subject_test": person[TEST]}
    data = load_file(save(tmp_path / "own.npz", **PARTS, **subjects, rate_hz=50.0, channels=["a", "b"]))
    same(data)
    assert data.subject.tolist() == person.tolist()
    assert (data.rate_hz, data.channels) == (50.0, ("a", "b"))


def test_windows_for_validation_are_training_windows_and_it_is_said(tmp_path):
    arrays = {"x_val": X[:4], "y_val": Y[:4], "x_train": X[4:26], "y_train": Y[4:26]}
    arrays |= {"x_test": X[26:], "y_test": Y[26:]}
    data = load_file(save(tmp_path / "own.npz", **arrays))
    assert data.test.tolist() == [False] * 26 + [True] * 14
    assert "validation count as training windows" in data.warnings[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("x_test"), "array 'x_test' is missing; x_train, y_train, x_test and y_test go together"),
        (lambda a: a.pop("y_train"), "array 'y_train' is missing"),
        (lambda a: a.update(x=X), "it holds 'x' beside arrays of parts such as x_train"),
        (lambda a: a.update(test=TEST), "it holds 'test' beside arrays of parts"),
        (lambda a: a.update(xtest=X), "it holds two arrays 'x' of the test windows"),
        (lambda a: a.update(subject_train=Y[:26]), "subject is there for one of training and test"),
        (lambda a: a.update(x_test=X[26:, :1]), r"training cases have shape \(2, 30\) and test cases \(1, 30\)"),
        (lambda a: a.update(y_test=Y[:3]), r"arrays of test: y has shape \(3,\); with 14 windows"),
        (lambda a: a.update(y_test=Y[26:].astype(str)), "are numbers in one part and texts in the other"),
    ],
)
def test_parts_that_are_refused(tmp_path, change, message):
    arrays = dict(PARTS)
    change(arrays)
    with pytest.raises(MmkdError, match=message):
        load_file(save(tmp_path / "own.npz", **arrays))


@pytest.mark.parametrize("pair", ["Own_TRAIN Own_TEST", "Own_train Own_TEST", "Own-Train Own-test"])
def test_two_files(tmp_path, pair):
    one, two = pair.split()
    train = save(tmp_path / f"{one}.npz", x=X[~TEST], y=Y[~TEST])
    test = save(tmp_path / f"{two}.npz", x=X[TEST], y=Y[TEST])
    for path in (train, test):
        same(load_file(path))
        assert load_file(path).name == "Own"
    assert load_file(train).sha256 == load_file(test).sha256


def rows(x, y):
    cases = (":".join(",".join(map(str, c)) for c in window) for window in x)
    return "@data\n" + "\n".join(f"{case}:{label}" for case, label in zip(cases, y, strict=True))


def test_two_files_of_text(tmp_path):
    (tmp_path / "Own_train.ts").write_text(rows(X[~TEST], Y[~TEST]))
    (tmp_path / "Own_TEST.ts").write_text(rows(X[TEST], Y[TEST]))
    same(load_file(tmp_path / "Own_train.ts"))
    same(load_file(tmp_path / "Own_TEST.ts"))


def test_files_that_are_no_pair(tmp_path):
    """A file that happens to end in these letters, one that says itself what is tested, one without the other."""
    save(tmp_path / "test.npz", x=X, y=Y)
    assert load_file(save(tmp_path / "strain.npz", x=X, y=Y)).test_from == "drawn"
    assert load_file(save(tmp_path / "alone_train.npz", x=X, y=Y)).test_from == "drawn"
    (tmp_path / "Own_train.ts").write_text(rows(X, Y))
    with pytest.raises(MmkdError, match=r"Own_test\.ts is missing beside it"):
        load_file(tmp_path / "Own_train.ts")
    with pytest.raises(MmkdError, match="test.npz lies beside it, and one of them has an array 'test' too"):
        load_file(save(tmp_path / "train.npz", x=X, y=Y, test=TEST))
    save(tmp_path / "b_test.npz", x=X, y=Y)
    save(tmp_path / "b_TEST.npz", x=X, y=Y)
    with pytest.raises(MmkdError, match=r"b_TEST\.npz and b_test\.npz lie beside it; leave one of them out"):
        load_file(save(tmp_path / "b_train.npz", x=X, y=Y))
