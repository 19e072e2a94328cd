"""Each format of recordings gives the same table."""

import gzip
import sys
import warnings

import numpy as np
import pandas as pd
import pytest

from mmkd import MmkdError
from mmkd.data.recorded.formats import find_recordings, read_recording
from mmkd.data.recorded.medical import spans
from mmkd.data.recorded.tables import MissingColumns, Wanted, as_names

T = 64
RNG = np.random.default_rng(0)
A, B = RNG.normal(size=T).round(3), RNG.normal(size=T).round(3)
TIME = np.arange(T) / 50
LABELS = np.repeat(["walk", "sit"], T // 2)
WANTED = Wanted(("b", "a"), ("activity",), "t")
TABLE = pd.DataFrame({"t": TIME, "a": A, "b": B, "activity": LABELS, "more": 1})


def write(folder, kind):
    """The same recording in a format; returns its path."""
    path = folder / f"one{kind}"
    if kind == ".csv.gz":
        path.write_bytes(gzip.compress(TABLE.to_csv(index=False).encode()))
    elif kind == ".tsv":
        TABLE.to_csv(path, index=False, sep="\t")
    elif kind == ".txt":  # as a German spreadsheet writes it
        path.write_text(TABLE.to_csv(index=False, sep=";", decimal=",", lineterminator="\r\n"), encoding="utf-8-sig")
    elif kind == ".csv":
        TABLE.rename(columns=lambda name: f" {name}").to_csv(path, index=False)
    elif kind == ".parquet":
        TABLE.astype({"activity": "category"}).to_parquet(path)
    elif kind == ".npz":
        np.savez(path, t=TIME, x=np.stack([A, B], 1), channels=["a", "b"], activity=LABELS)
    elif kind == ".npy":
        rows = [tuple(row) for row in zip(TIME, A, B, LABELS, strict=True)]
        np.save(path, np.array(rows, [("t", "f8"), ("a", "f8"), ("b", "f8"), ("activity", "U9")]))
    elif kind == ".mat":
        from scipy.io import savemat

        savemat(path, {"t": TIME[:, None], "a": A[None], "b": B, "activity": LABELS.astype(object), "note": "x"})
    elif kind == ".h5":
        import h5py

        with h5py.File(path, "w") as file:
            file["signals/a"], file["signals/b"], file["t"] = A, B[:, None], TIME
            file["activity"] = [str(label) for label in LABELS]
    return path


@pytest.mark.parametrize("kind", [".csv", ".csv.gz", ".tsv", ".txt", ".parquet", ".npz", ".npy", ".mat", ".h5"])
def test_every_format_gives_the_same_table(tmp_path, kind):
    path = write(tmp_path, kind)
    assert find_recordings([str(tmp_path)]) == [path]
    table = read_recording(path, WANTED)
    assert table.signal.tolist() == [B.tolist(), A.tolist()]
    names = table.names["activity"]
    assert [names.names[code] for code in names.codes] == LABELS.tolist()
    np.testing.assert_allclose(table.time.astype(float), TIME)


def test_a_wfdb_record_with_its_rhythms(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import wfdb

        wfdb.wrsamp(
            "r1", fs=50, units=["mV", "mV"], sig_name=["a", "b"], p_signal=np.stack([A, B], 1), fmt=["16", "16"]
        )
        wfdb.wrann("r1", "atr", np.array([4, 20, 40]), ["+", "N", "V"], aux_note=["(AFIB", "", "(N"])
    (path,) = find_recordings(["r1.dat", "r1.hea"])
    table = read_recording(path, Wanted(("b", "a"), ("symbol", "rhythm")))
    np.testing.assert_allclose(table.signal, [B, A], atol=1e-3)
    assert table.rate_hz == 50
    rhythm = table.names["rhythm"]
    found = [rhythm.names[code] if code >= 0 else "" for code in rhythm.codes]
    assert found == [""] * 4 + ["AFIB"] * 36 + ["N"] * (T - 40)
    symbol = table.names["symbol"]
    assert [symbol.names[symbol.codes[n]] for n in (4, 19, 20, 39, 40, 63)] == ["+", "+", "N", "N", "V", "V"]


def test_an_edf_file_with_its_annotations(tmp_path):
    from edfio import Edf, EdfAnnotation, EdfSignal

    long = np.resize(A, 300), np.resize(B, 300)
    signals = [EdfSignal(values, 50, label=name) for values, name in zip(long, "ab", strict=True)]
    signals.append(EdfSignal(np.resize(A, 60), 10, label="slow"))
    marks = [EdfAnnotation(1, 2, "W"), EdfAnnotation(4, None, "N1")]
    Edf(signals, annotations=marks).write(tmp_path / "night.edf")
    table = read_recording(tmp_path / "night.edf", Wanted(("b", "a"), ("annotation",)))
    np.testing.assert_allclose(table.signal, [long[1], long[0]], atol=1e-3)
    assert table.rate_hz == 50
    names = table.names["annotation"]
    found = [names.names[code] if code >= 0 else "" for code in names.codes]
    assert found == [""] * 50 + ["W"] * 100 + [""] * 50 + ["N1"] * 100
    with pytest.raises(MmkdError, match="different rates \\(10 Hz, 50 Hz\\)"):
        read_recording(tmp_path / "night.edf", Wanted(("a", "slow")))


@pytest.mark.parametrize(("package", "suffix"), [("wfdb", ".hea"), ("edfio", ".edf"), ("h5py", ".h5")])
def test_a_package_that_is_not_there(tmp_path, monkeypatch, package, suffix):
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / f"a{suffix}").write_bytes(b"x")
    with pytest.raises(MmkdError, match=r"needs \w+, which is not installed: install the extra mmkd\[formats\]"):
        read_recording(tmp_path / f"a{suffix}", WANTED)


def test_missing_columns_and_values(tmp_path):
    path = write(tmp_path, ".csv")
    with pytest.raises(MissingColumns, match="no column 'activty'; did you mean 'activity'"):
        read_recording(path, Wanted(("a",), ("activty",)))
    (tmp_path / "two.csv").write_text("a,label\n1,\n,nan\n3,NA\nNaN,7.0\n")
    table = read_recording(tmp_path / "two.csv", Wanted(("a",), ("label",)))
    np.testing.assert_array_equal(table.signal, [[1, np.nan, 3, np.nan]])
    assert table.names["label"].codes.tolist() == [-1, -1, 0, 1]
    assert table.names["label"].names == ("NA", "7")


def test_names_of_every_type():
    assert as_names(np.array([1.0, 2.0, np.nan]), "y").names == ("1", "2")
    assert as_names(np.array([b"a", b"b "]), "y").names == ("a", "b")
    assert as_names(np.array(["01", "1"]), "y").names == ("01", "1")
    coded = as_names(np.array(["x", None, float("nan"), "x"], object), "y")
    assert (coded.codes.tolist(), coded.names) == ([0, -1, -1, 0], ("x",))


def test_a_later_mark_replaces_an_earlier_one():
    assert spans([(0, 9, "a"), (2, 4, "b"), (7, 9, "c")], 8).tolist() == ["a", "a", "b", "b", "a", "a", "a", "c"]


def test_files_are_found_once_and_copies_refused(tmp_path):
    path = write(tmp_path, ".csv")
    (tmp_path / ".hidden.csv").write_text("a\n1\n")
    assert find_recordings([str(tmp_path), str(path)]) == [path]
    (tmp_path / "copy.csv").write_bytes(path.read_bytes())
    with pytest.raises(MmkdError, match="has the same content as"):
        find_recordings([str(tmp_path)])


def test_a_title_with_a_comma_moves_no_column(tmp_path):
    path = tmp_path / "one.csv"
    path.write_text('"acc, m/s2",a,"b"\n1,2,3\n4,5,6\n', encoding="utf-8")
    assert read_recording(path, Wanted(("a", "b"))).signal.tolist() == [[2, 5], [3, 6]]
    with pytest.raises(MissingColumns, match="its columns are acc, m/s2, a, b"):
        read_recording(path, Wanted(("m/s2",)))


def test_titles_fit_one_array_alone(tmp_path):
    np.savez(tmp_path / "one.npz", acc=np.zeros((T, 3)), gyr=np.ones((T, 3)), channels=["x", "y", "z"])
    with pytest.raises(MmkdError, match="the array 'gyr' has a column 'x', and another array too; rename one"):
        read_recording(tmp_path / "one.npz", Wanted(("x",)))
    np.savez(tmp_path / "one.npz", acc=np.zeros((T, 3)), gyr=np.ones((T, 3)))
    assert read_recording(tmp_path / "one.npz", Wanted(("gyr_0", "acc_2"))).signal.mean(axis=1).tolist() == [1, 0]


def test_infinite_numbers_among_names():
    assert as_names(np.array([1.0, np.inf, np.nan]), "label").names == ("1", "inf")
    assert as_names(np.array([1.0, float("inf"), None], object), "label").names == ("1", "inf")
