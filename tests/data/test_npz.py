"""One's own windows as `.npz`: what is read, and what is refused and how."""

import io
import zipfile

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.data import load_file

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 2, 30))
Y = np.arange(24) % 3


@pytest.fixture
def save(tmp_path):
    """Writes arrays to `own.npz`; x and y are good ones unless given."""

    def write(compressed=False, **arrays):
        path = tmp_path / "own.npz"
        (np.savez_compressed if compressed else np.savez)(path, **{"x": X, "y": Y, **arrays})
        return path

    return write


def refused(path, message, **options):
    """It is refused in one line that names the file."""
    with pytest.raises(MmkdError, match=message) as error:
        load_file(path, **options)
    assert "own" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("compressed", [False, True])
def test_good(save, compressed):
    data = load_file(save(compressed))
    np.testing.assert_array_equal(data.x, X.astype(np.float32))
    assert data.x.dtype == np.float32
    np.testing.assert_array_equal(data.y, Y)
    assert data.name == "own"
    assert data.classes == ("0", "1", "2")
    assert data.channels == ("channel_0", "channel_1")
    assert data.rate_hz is None
    assert data.subject is None
    assert data.window == 30


def test_without_a_test_array_three_tenths_of_each_class_are_held_out_always_the_same(save):
    data = load_file(save())
    assert [(data.test & (data.y == k)).sum() for k in range(3)] == [2, 2, 2]
    np.testing.assert_array_equal(data.test, load_file(save(x=X + 1)).test)


def test_with_subjects_whole_subjects_are_held_out(save):
    subject = np.arange(24) // 3 + 100
    data = load_file(save(subject=subject))
    held = set(subject[data.test])
    assert len(held) == 2  # 0.3 of 8 subjects, rounded
    assert not held & set(subject[~data.test])
    assert [len(set(data.subject[subject == s])) for s in set(subject)] == [1] * 8
    assert len(set(data.subject)) == 8


def test_subjects_may_be_texts(save):
    names = np.array(["anna", "ben", "carl", "dora"])[np.arange(24) // 6]
    data = load_file(save(subject=names))
    assert data.subject.tolist() == names.tolist()


def test_own_test_windows_are_taken_as_they_are(save):
    test = np.arange(24) % 2 == 0
    data = load_file(save(test=test, subject=np.arange(24)))
    np.testing.assert_array_equal(data.test, test)


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (np.array(["walk", "sit", "lie"])[Y], ("lie", "sit", "walk")),
        (Y.astype(np.float64), ("0", "1", "2")),
        ((Y * 10 - 5).astype(np.int8), ("-5", "5", "15")),
        (Y.astype(np.uint16), ("0", "1", "2")),
        (Y > 0, ("False", "True")),
        (np.array([2, 10, 1])[Y], ("1", "2", "10")),
        (np.array(["2", "10", "1"])[Y], ("1", "2", "10")),  # in the order of numbers, as in .ts and .tsv
    ],
)
def test_labels(save, y, classes):
    data = load_file(save(y=y))
    assert data.classes == classes
    shown = y.astype(np.int64) if y.dtype.kind == "f" else y
    assert [data.classes[k] for k in data.y] == [str(label) for label in shown]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int16, np.uint8, bool])
def test_numbers_of_any_real_type(save, dtype):
    x = (X * 10).astype(dtype)
    np.testing.assert_array_equal(load_file(save(x=x)).x, x.astype(np.float32))


def test_checksum_is_that_of_the_content(save):
    first = load_file(save()).sha256
    assert load_file(save()).sha256 == first
    assert load_file(save(x=X + 1)).sha256 != first


def test_bytes_are_texts_and_0_and_1_name_test_windows(save):
    texts = np.array(["häuslich", "b", "c"])[Y]
    test = np.arange(24) % 4 == 0
    data = load_file(save(y=np.char.encode(texts, "utf-8"), test=test.astype(int)))
    assert data.classes == ("b", "c", "häuslich")
    np.testing.assert_array_equal(data.test, test)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X[0]}, r"x has shape \(2, 30\); it must be \(N windows, C channels, W samples\)"),
        ({"x": X[:, :, None, None]}, r"x has shape \(24, 2, 1, 1, 30\)"),
        ({"x": np.float64(3)}, r"x has shape \(\)"),
        ({"x": X[:0], "y": Y[:0]}, r"x has shape \(0, 2, 30\)"),
        ({"x": X[:, :, :0]}, r"x has shape \(24, 2, 0\)"),
        ({"x": X + 1j}, "x holds complex128; it must hold real numbers"),
        ({"x": X.astype("U8")}, "x holds <U8; it must hold real numbers"),
        ({"x": np.zeros((24, 2, 30), "M8[s]")}, "x holds datetime64"),
        ({"y": Y[:-1]}, r"y has shape \(23,\); with 24 windows in x it must be \(24,\)"),
        ({"y": np.eye(3)[Y] / 2}, r"y has shape \(24, 3\); it must be \(24,\), .* or one-hot rows with a single 1"),
        ({"y": Y + 0.5}, r"y holds fractions such as 0.5; it must hold whole numbers or texts; a regression target\?"),
        ({"y": Y * 2.0**60}, r"y holds values past 2\^53; it must hold whole numbers or texts"),
        ({"y": np.where(Y == 0, np.nan, Y)}, "y holds NaN at 8 of 24 windows, the first is window 0; leave these"),
        ({"y": Y + 1j}, "y holds complex128"),
        ({"y": Y.astype("M8[s]")}, "y holds datetime64"),
        ({"subject": np.arange(23)}, r"subject has shape \(23,\)"),
        ({"subject": np.where(Y == 0, np.nan, Y)}, "subject holds NaN at 8 of 24 windows"),
        ({"subject": np.zeros(24)}, "one subject only: name the test windows in an array 'test'"),
        ({"subject": Y}, "no choice of test subjects leaves every class training windows"),
        ({"test": np.arange(24) % 3}, "test holds other numbers than 0 and 1; it must hold True or False"),
        ({"y": np.array([b"\xe9", b"e"] * 12)}, r"y holds bytes \(\|S1\) that are not UTF-8 text"),
        ({"test": np.zeros(23, bool)}, r"test has shape \(23,\)"),
        ({"test": np.zeros(24, bool)}, "no windows are test windows"),
        ({"test": np.ones(24, bool)}, "8 test windows and none for training"),
        ({"test": Y == 1}, "class '1' has 8 test windows and none for training"),
        ({"y": np.zeros(24, int)}, r"one class only \('0'\)"),
        ({"label": Y}, "unknown array 'label'; did you mean 'y'"),
        ({"units": Y}, "unknown array 'units'; it may hold x, y, subject, test"),
        ({"subjects": Y}, "unknown array 'subjects'; did you mean 'subject'"),
        ({"X": X}, "it holds both 'x' and 'X'; leave one of them out"),
        ({"x": np.array([{}] * 24)}, "holds pickled objects, which are never loaded"),
        ({"y": np.array(["a", None] * 12, object)}, "holds pickled objects, which are never loaded"),
    ],
)
def test_arrays_that_are_wrong(save, arrays, message):
    refused(save(**arrays), message)


@pytest.mark.parametrize("name", ["x", "y"])
def test_arrays_that_are_missing(tmp_path, name):
    np.savez(tmp_path / "own.npz", **{n: a for n, a in (("x", X), ("y", Y)) if n != name})
    refused(tmp_path / "own.npz", rf"array '{name}' is missing; it needs x \(N, C, W\) and y \(N,\)")


def test_a_pickle_is_never_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    array = np.empty(24, object)
    array[:] = [Bomb()] * 24
    np.savez(tmp_path / "own.npz", x=X, y=array)
    refused(tmp_path / "own.npz", "pickled")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9, 0.999])
def test_truncated(save, compressed, share):
    path = save(compressed)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(path, "not an .npz file but something else, or cut off")


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_anywhere_is_refused_or_harmless(save, compressed):
    """A byte turned over in any place: the same data, or one line; never other numbers or a traceback."""
    path = save(compressed)
    content = path.read_bytes()
    good = load_file(path)
    kinds = set()
    for place in np.random.default_rng(0).integers(0, len(content), 150).tolist() + list(range(0, 200, 3)):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            found = load_file(path)
        except MmkdError as error:
            kinds.add(str(error).split(": ", 1)[1][:12])
        else:
            np.testing.assert_array_equal(found.x, good.x)
            np.testing.assert_array_equal(found.y, good.y)
    assert "not an intac" in kinds


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"x,y\n1,2\n", "not an .npz file but something else"),
        (b"\x80\x04\x95", "not an .npz file but something else"),  # a pickle
    ],
)
def test_other_formats(tmp_path, content, message):
    (tmp_path / "own.npz").write_bytes(content)
    refused(tmp_path / "own.npz", message)


def test_bare_array(tmp_path):
    with (tmp_path / "own.npz").open("wb") as stream:
        np.save(stream, X)
    refused(tmp_path / "own.npz", "not an .npz file but a bare array; save it with np.savez")


def test_archive_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "own.npz", "w") as archive:
        archive.writestr("x", b"no array")
        buffer = io.BytesIO()
        np.save(buffer, Y)
        archive.writestr("y.npy", buffer.getvalue())
    refused(tmp_path / "own.npz", "not an intact .npz file")
    with zipfile.ZipFile(tmp_path / "own.npz", "w") as archive:
        archive.writestr("../x.npy", b"elsewhere")
    refused(tmp_path / "own.npz", "unknown array '../x'")


@pytest.mark.parametrize("name", ["own.csv", "own", "own.NPZ"])
def test_other_suffixes(tmp_path, name):
    (tmp_path / name).touch()
    refused(tmp_path / name, "suffix; what can be read is .npz and .ts")


def test_absent(tmp_path):
    refused(tmp_path / "own.npz", "own.npz: no such file")
    (tmp_path / "own.npz").mkdir()
    refused(tmp_path / "own.npz", "not a file; name the file itself")


# -- missing values


def holes():
    x = X.copy()
    x[3, 0, 4:6] = np.nan
    x[7, 1, 0] = np.inf
    x[7, 1, 29] = -np.inf
    x[9, 1, :] = np.nan
    return x


def test_missing_values_are_refused_with_count_and_first(save):
    refused(
        save(x=holes()),
        r"data 'own': 3 of 24 windows hold NaN or inf \(34 values\), the first is window 3; --nan impute .*--nan drop",
    )


def test_a_number_past_float32_is_infinite(save):
    x = X.copy()
    x[5, 0, 0] = 1e300
    refused(save(x=x), "1 of 24 windows hold NaN or inf .*the first is window 5")


def test_impute_fills_along_time(save):
    x = holes()
    x[3, 0] = np.arange(30)
    x[3, 0, 4:6] = np.nan
    found = load_file(save(x=x), nan="impute").x
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[3, 0], np.arange(30))  # linear between its neighbours
    assert found[7, 1, 0] == np.float32(X[7, 1, 1])  # the nearest at the ends
    assert found[7, 1, 29] == np.float32(X[7, 1, 28])
    assert np.isfinite(found[9, 1]).all()  # no value at all; see below
    whole = np.isfinite(x)
    np.testing.assert_array_equal(found[whole], x.astype(np.float32)[whole])


def test_a_channel_without_any_value_has_its_median_in_training_windows(save):
    """Not 0, which is a value like any other in raw units; and it is counted and said."""
    x = X + 100
    x[9:12, 1] = np.nan
    test = np.arange(24) >= 12
    x[test, 1] += 50  # what is tested counts for nothing
    data = load_file(save(x=x, test=test), nan="impute")
    expected = np.median(x[:9, 1].astype(np.float32))
    assert (data.x[9:12, 1] == expected).all()
    (line,) = data.warnings
    assert line == (
        "channels without any value have their median in the training windows: channel_1 in 3 of 24 windows "
        f"({expected:.4g})"
    )
    plain = load_file(save(x=x, test=test), nan="drop").sha256
    assert data.sha256 != plain, "older records had 0 there"
    again = x.copy()
    again[9:12, 1, 0] = 100
    assert load_file(save(x=again, test=test), nan="impute").warnings == ()


def test_a_channel_without_any_training_value_cannot_be_filled(save):
    x = X.copy()
    x[:20, 1] = np.nan
    refused(
        save(x=x, test=np.arange(24) >= 20), "channel 'channel_1' has no value in any training window", nan="impute"
    )


def test_drop_leaves_those_windows_out_of_every_array(save):
    test, subject = np.arange(24) >= 15, np.arange(24) * 2
    data = load_file(save(x=holes(), test=test, subject=subject), nan="drop")
    keep = ~np.isin(np.arange(24), [3, 7, 9])
    np.testing.assert_array_equal(data.x, X[keep].astype(np.float32))
    np.testing.assert_array_equal(data.y, Y[keep])
    np.testing.assert_array_equal(data.test, test[keep])
    np.testing.assert_array_equal(data.subject, 2 * np.arange(24)[keep])


def test_drop_of_too_much(save):
    refused(save(x=np.full_like(X, np.nan)), "no window is left", nan="drop")
    x = X.copy()
    x[Y != 1] = np.nan
    refused(save(x=x), r"one class only \('1'\)", nan="drop")


@pytest.mark.parametrize("nan", ["refuse", "impute", "drop"])
def test_without_holes_every_policy_gives_the_same(save, nan):
    np.testing.assert_array_equal(load_file(save(), nan=nan).x, X.astype(np.float32))
