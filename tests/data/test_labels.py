"""Labels of a user's file: what is a class, what is said, and what is refused in one line."""

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.data import load_file
from mmkd.data.understood import describe_windows

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 2, 30))
Y = np.arange(40) % 2
WORDS = np.array(["walk", "run"])[Y]
SOME = np.arange(40) < 9


@pytest.fixture
def load(tmp_path):
    """Saves arrays as `own.npz` and loads them."""

    def call(**arrays):
        np.savez(tmp_path / "own.npz", **{"x": X, "y": Y, **arrays})
        return load_file(tmp_path / "own.npz")

    return call


@pytest.mark.parametrize("missing", ["", "nan", "NaN", "<NA>", "NaT", "?", "  "])
def test_missing_labels_are_no_class(load, missing):
    with pytest.raises(
        MmkdError, match=r"y is '.*', a missing value, at 9 of 40 windows, the first is window 0; leave"
    ):
        load(y=np.where(SOME, missing, WORDS))


def test_minus_one_is_no_class_beside_others(load):
    for y in (np.where(SOME, -1, Y), np.where(SOME, -1.0, Y), np.where(SOME, "-1", Y.astype(str)), -Y):
        with pytest.raises(
            MmkdError, match=r"the label of (9|20) of 40 windows is -1, .*not known\? Leave these windows"
        ):
            load(y=y)
    with pytest.raises(MmkdError, match="the label of 9 of 40 windows is -999, beside larger labels"):
        load(y=np.where(SOME, -999, Y))
    assert load(y=2 * Y - 1).classes == ("-1", "1")
    assert load(y=5 * Y - 5).classes == ("-5", "0")


def test_blanks_are_left_out_and_case_is_said(load):
    data = load(y=np.array(["walk", "run", "walk ", " Run"])[np.arange(40) % 4])
    assert data.classes == ("Run", "run", "walk")
    assert (data.y == 2).sum() == 20
    blanks, case = data.warnings
    assert blanks == "blanks around 20 of 40 labels were left out"
    assert case == "classes differ only in how they are written: 'Run', 'run'"
    assert load(y=WORDS).warnings == ()


@pytest.mark.parametrize("names", [("1", "1.0", "2"), ("01", "1", "2"), ("caf\u00e9", "cafe\u0301", "tea")])
def test_one_class_that_is_written_in_two_ways_is_said(load, names):
    data = load(y=np.array(names)[np.arange(40) % 3])
    assert len(data.classes) == 3
    (line,) = data.warnings
    assert line.startswith("classes differ only in how they are written: ")
    assert line.count(", ") == 1


def test_a_file_that_is_read_otherwise_than_before_has_another_checksum(load, tmp_path):
    """Older records hold 'walk ' as a class of its own: they must not answer for what is read today."""
    import hashlib

    def plain():
        digest = hashlib.sha256((tmp_path / "own.npz").read_bytes()).hexdigest()
        return hashlib.sha256(digest.encode()).hexdigest()

    assert load(y=WORDS).sha256 == plain()
    assert load(subject=np.arange(40) // 4 + 1).sha256 == plain()
    assert load(y=np.where(SOME, "walk ", WORDS)).sha256 != plain()
    assert load(y=np.array(["2", "10"])[Y]).sha256 != plain()
    assert load(subject=np.where(np.arange(40) < 2, "a ", (np.arange(40) // 4).astype(str))).sha256 == plain()
    people = np.array(["a", "a ", "b", "c"])[np.arange(40) // 10]
    assert load(subject=people).sha256 != plain()


def test_a_word_for_nothing_may_be_a_class(load):
    assert load(y=np.where(SOME, "None", WORDS)).warnings == ("the label 'None' of 9 windows is a class",)
    assert load(y=np.where(SOME, "none", WORDS)).warnings == ()


@pytest.mark.parametrize("kind", [np.int64, np.float64, bool])
def test_one_hot_rows(load, kind):
    data = load(y=np.eye(3)[np.arange(40) % 3].astype(kind))
    assert data.y.tolist() == (np.arange(40) % 3).tolist()
    assert data.classes == ("0", "1", "2")
    assert data.warnings == ()  # docs/own-data.md says that it is understood
    assert describe_windows(data).endswith("3 classes; y (40, 3) is one-hot: the column of the 1 is the class")
    assert load(y=np.eye(3)[np.arange(40) % 3], classes=np.array(["a", "b", "c"])).classes == ("a", "b", "c")


def test_rows_that_are_no_one_hot(load):
    for rows in (np.ones((40, 3)), np.zeros((40, 3), int), np.full((40, 4), 0.25)):
        with pytest.raises(MmkdError, match=r"y has shape \(40, .\); it must be \(40,\), a label a window, or one-hot"):
            load(y=rows)
    with pytest.raises(MmkdError, match="y has 3 one-hot columns and classes 2 names"):
        load(y=np.eye(3)[np.arange(40) % 3], classes=np.array(["a", "b"]))


def test_an_index_or_a_regression_target_is_no_class(load):
    for y in (np.arange(40), np.arange(40) * 7.0, np.arange(40).astype(str), [f"w{k}" for k in range(40)]):
        with pytest.raises(MmkdError, match="y holds 40 classes, one window each: a regression target, or an index"):
            load(y=np.array(y))


def test_a_column_is_a_list(load):
    np.testing.assert_array_equal(load(y=Y[:, None]).y, Y)


def test_fractions_are_a_regression_target(load):
    with pytest.raises(MmkdError, match=r"y holds fractions such as 0\.5; .*a regression target\? mmkd trains classes"):
        load(y=Y / 2)
    with pytest.raises(MmkdError, match=r"labels are fractions such as 0\.5: a regression target\?"):
        load(y=np.array(["0.5", "1.25"])[Y])


@pytest.mark.parametrize(
    ("texts", "order"),
    [
        (["10", "9", "1"], ("1", "9", "10")),
        (["1.0", "-2.0", "10.0"], ("-2.0", "1.0", "10.0")),
        (["1e1", "2", "3"], ("2", "3", "1e1")),
        (["10", "9", "one"], ("10", "9", "one")),
    ],
)
def test_the_order_of_classes_is_the_same_in_every_format(load, tmp_path, texts, order):
    y = np.array(texts)[np.arange(40) % 3]
    assert load(y=y).classes == order
    rows = [",".join(map(str, x[0])) for x in X]
    (tmp_path / "own.ts").write_text("@data\n" + "\n".join(f"{r}:{k}" for r, k in zip(rows, y, strict=True)))
    table = [f"{k}\t" + r.replace(",", "\t") for r, k in zip(rows, y, strict=True)]
    (tmp_path / "own.tsv").write_text("\n".join(table))
    found = [load_file(tmp_path / f"own{suffix}") for suffix in (".npz", ".ts", ".tsv")]
    assert {data.classes for data in found} == {order}
    for data in found:
        assert [data.classes[k] for k in data.y] == y.tolist()
