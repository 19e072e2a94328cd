"""Windows in memory: what `Dataset.from_arrays` reads, refuses and hashes, beside the same arrays in a file."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

import mmkd
from mmkd import Dataset, MmkdError
from mmkd.data import load_file
from mmkd.data.arrays import content_sha256
from mmkd.engines.execution import execute
from mmkd.training.workspace import Workspace
from mmkd.units.request import Request

N = 36


def arrays(**changes):
    rng = np.random.default_rng(0)
    y = np.arange(N) % 3
    x = np.sin(np.arange(20) * (y[:, None, None] + 1) / 3) + 0.3 * rng.normal(size=(N, 2, 20))
    return {"x": x.astype(np.float32), "y": y, "subject": np.arange(N) // 6, **changes}


def test_the_data_set_is_that_of_the_file(tmp_path):
    facts = {"channels": ["a", "b"], "groups": ["both=a,b"], "rate_hz": 10, "classes": ["low", "mid", "high"]}
    test = np.arange(N) // 6 < 2
    np.savez(tmp_path / "mine.npz", **arrays(test=test, **facts))
    file = load_file(tmp_path / "mine.npz")
    data = Dataset.from_arrays(**arrays(test=test, **facts))
    assert (data.name, data.test_from) == (file.name, "file") == ("mine", "file")
    for name in ("x", "y", "subject", "test"):
        np.testing.assert_array_equal(getattr(data, name), getattr(file, name))
    for name in ("classes", "channels", "groups", "rate_hz", "triads", "warnings", "notes"):
        assert getattr(data, name) == getattr(file, name)
    assert data.sha256 != file.sha256  # that of a file is of its bytes


def test_without_test_windows_the_same_subjects_are_drawn_as_of_a_file(tmp_path):
    for more in ({}, {"subject": None}):
        given = {name: value for name, value in arrays(**more).items() if value is not None}
        np.savez(tmp_path / "mine.npz", **given)
        data = Dataset.from_arrays(**given)
        np.testing.assert_array_equal(data.test, load_file(tmp_path / "mine.npz").test)
        assert data.test_from == "drawn"
        assert 0.2 < data.test.mean() < 0.4


def test_equal_content_has_an_equal_checksum_whatever_holds_it():
    usual = arrays()
    sha256 = Dataset.from_arrays(**usual).sha256
    forms = [
        {"x": usual["x"].astype(np.float64)},
        {"x": np.asfortranarray(usual["x"])},
        {"x": usual["x"].tolist()},
        {"x": torch.from_numpy(usual["x"])},
        {"x": usual["x"].astype(object)},
        {"y": pd.Series(usual["y"]).astype("Int64")},
        {"y": usual["y"].astype(float)},
        {"y": usual["y"].astype(str)},
        {"subject": usual["subject"].tolist()},
        {"name": "theirs"},  # has a place of its own in the key
    ]
    assert [Dataset.from_arrays(**{**usual, **form}).sha256 == sha256 for form in forms] == [True] * len(forms)


@pytest.mark.parametrize(
    "change",
    [
        {"x": arrays()["x"] + np.float32(1e-3)},
        {"y": np.roll(np.arange(N) % 3, 1)},
        {"subject": np.arange(N) % 6},
        {"subject": None},
        {"test": np.arange(N) >= 12},
        {"channels": ["a", "b"]},
        {"rate_hz": 50},
        {"groups": {"all": ["channel_0", "channel_1"]}},
        {"classes": ["a", "b", "c"]},
    ],
    ids=lambda change: "".join(change),
)
def test_other_content_has_another_checksum(change):
    assert Dataset.from_arrays(**arrays(**change)).sha256 != Dataset.from_arrays(**arrays()).sha256


def test_the_key_follows_the_values_that_are_there_when_a_unit_runs(tmp_path):
    data = Dataset.from_arrays(**arrays())
    settings = {"student": "sig", "epochs": 1, "peers": ("none",), "cache": tmp_path / "cache", "runs": tmp_path}
    first = mmkd.run("student", data=data, **settings)
    assert first.spec.data.sha256 == data.sha256 == content_sha256(data)
    assert mmkd.run("student", data=Dataset.from_arrays(**arrays()), existing="only", **settings).key == first.key
    data.x[0, 0, 0] += 1
    second = mmkd.run("student", data=data, **settings)
    assert second.key != first.key
    assert second.spec.data.sha256 != first.spec.data.sha256


def test_a_unit_in_memory_is_that_of_the_file_under_another_key(tmp_path, windows_file):
    path = windows_file(tmp_path / "mine.npz")
    with np.load(path) as z:
        data = Dataset.from_arrays(**{name: z[name] for name in z.files})
    settings = {"student": "sig", "teachers": "sig", "epochs": 2, "image_size": 16}
    own = {"runs": tmp_path / "runs", "cache": tmp_path / "cache"}
    in_memory = mmkd.run("kd", data=data, **settings, **own)
    of_file = mmkd.run("kd", data=path, **settings, **own)
    assert in_memory.key != of_file.key
    assert dict(in_memory.metrics.test) == dict(of_file.metrics.test)
    assert in_memory.data["understood"] == of_file.data["understood"]
    assert in_memory.data["warnings"] == of_file.data["warnings"]


@pytest.mark.parametrize(
    ("y", "labels"),
    [
        (np.array([3, 7, 11]), (3, 7, 11)),
        (np.array([0.5, 1.5, 3]) * 2, (1.0, 3.0, 6.0)),
        (np.array(["sit", "run", "walk"]), None),
        (np.array([True, False, True]), (False, True)),
        (["10", "9", "8"], None),
        (np.array([b"a", b"b", b"c"]), None),
        (pd.Categorical(["u", "v", "w"]), None),
        (np.eye(3, dtype=int), (0, 1, 2)),
    ],
)
def test_labels_of_any_type_keep_their_names(y, labels):
    names = np.asarray(y)[np.arange(N) % 3]
    data = Dataset.from_arrays(**arrays(y=names if isinstance(y, np.ndarray) else names.tolist()))
    assert data.labels == labels
    if labels is not None:
        assert [type(label) for label in data.labels] == [type(label) for label in labels]
    if np.ndim(y) == 1:
        given = np.char.decode(names, "utf-8") if names.dtype.kind == "S" else names
        back = np.array(data.labels or data.classes)[data.y]
        assert back.tolist() == given.tolist()


def test_missing_values_wait_for_the_word_of_the_run(tmp_path):
    x = arrays()["x"]
    x[3, 1, 4:7] = np.nan
    data = Dataset.from_arrays(**arrays(x=x))
    settings = {"student": "sig", "epochs": 1, "runs": tmp_path / "runs"}
    with pytest.raises(MmkdError, match="1 of 36 windows hold NaN or inf .3 values., the first is window 3; --nan"):
        mmkd.run("student", data=data, **settings)
    assert not (tmp_path / "runs").exists()
    assert mmkd.run("student", data=data, nan="impute", **settings).data["understood"].count("missing values filled")


def ragged():
    return [np.zeros((2, 18 + n % 4)) for n in range(N)]


BAD = [
    ({"x": None}, "array 'x' is missing"),
    ({"y": None}, "array 'y' is missing"),
    ({"x": np.zeros(N)}, r"x has shape \(36,\); it must be \(N windows"),
    ({"x": np.zeros((N, 20))}, r"x has shape \(36, 20\); .* of one channel save x\[:, None\]"),
    ({"x": np.zeros((N, 0, 20))}, "none of them 0"),
    ({"x": np.zeros((2, 2, N, 1, 3))}, "x has shape"),
    ({"x": 5}, r"x has shape \(\)"),
    ({"x": np.zeros((N, 2, 20), complex)}, "x holds complex128; it must hold real numbers"),
    ({"x": np.full((N, 2, 20), "a")}, "x holds <U1; it must hold real numbers"),
    ({"x": np.full((N, 2, 20), "a", object)}, "x holds str; it must hold numbers"),
    ({"x": np.full((N, 2, 20), {}, object)}, "x holds dict; it must hold numbers"),
    ({"x": np.zeros((N, 2, 20), "datetime64[s]")}, "x holds datetime64"),
    ({"x": ragged()}, "x holds parts of different lengths, of 18 to 21 values; all windows need as many"),
    ({"x": np.array([*ragged(), None], object)[:-1]}, "x holds parts of different lengths"),
    ({"x": scipy.sparse.csr_matrix(np.zeros((N, 20)))}, "x is a sparse matrix .csr_matrix.; give x.toarray"),
    ({"x": np.ma.masked_less(arrays()["x"], 0)}, "x is an array with masked values; give x.filled"),
    ({"x": torch.zeros(N, 2, 20, requires_grad=True)}, "x cannot be read as an array .RuntimeError"),
    ({"x": arrays()["x"] * 3e37}, "values go up to"),
    ({"y": np.arange(N - 1)}, r"y has shape \(35,\); with 36 windows in x it must be \(36,\)"),
    ({"y": np.zeros(N, int)}, "one class only .'0'."),
    ({"y": np.arange(N)}, "y holds 36 classes, one window each: a regression target"),
    ({"y": np.linspace(0, 1, N)}, "y holds fractions such as"),
    ({"y": np.full(N, np.nan)}, "y holds NaN at 36 of 36 windows, the first is window 0"),
    ({"y": [None, *"ab" * 17, "a"]}, "y is 'nan', a missing value, at 1 of 36 windows"),
    ({"y": pd.array(["a", pd.NA] * 18)}, "y is 'nan', a missing value, at 18 of 36 windows"),
    ({"y": np.array(["", "a", "b"] * 12)}, "y is '', a missing value"),
    ({"y": np.array([1, "a", "b"] * 12, object)}, "y holds int, str; it must hold numbers alone or texts alone"),
    ({"y": np.array([1, True, 0] * 12, object)}, "y holds bool, int"),
    ({"y": [(1, 2)] * N}, r"y \(36, 2\), a label for each step of x's second axis"),
    ({"y": [(1, 2, 3)] * N}, r"y has shape \(36, 3\)"),
    ({"y": np.array([-1, 0, 1] * 12)}, "the label of 12 of 36 windows is -1, beside larger labels: not known"),
    ({"y": np.array([b"\xff", b"a", b"b"] * 12)}, "y holds bytes .* that are not UTF-8"),
    ({"y": np.full((N, 3), 0.3)}, "several labels a window, or shares of classes"),
    ({"subject": np.arange(N - 1)}, r"subject has shape \(35,\)"),
    ({"subject": np.linspace(0, 1, N)}, "subject holds fractions"),
    ({"subject": ["ann"] * N}, "one subject only"),
    ({"subject": [*["ann"] * 35, " "]}, "subject is '', a missing value"),
    ({"test": np.arange(N)}, "test holds other numbers than 0 and 1"),
    ({"test": np.zeros(N, bool)}, "no windows are test windows"),
    ({"test": np.ones(N, bool), "subject": None}, "class '0' has 12 test windows and none for training"),
    ({"test": np.arange(N) % 2 == 0}, "6 of 6 subjects have windows on both sides of 'test'"),
    ({"test": np.arange(5)}, r"test has shape \(5,\)"),
    ({"channels": ["a"]}, "channels has 1 names, and x 2 channels"),
    ({"channels": ["a", "a"]}, "channels holds 2 names, 1 of them different"),
    ({"channels": [1, 2]}, "channels is int64 of shape .2,.; it must hold texts"),
    ({"rate_hz": 0}, "rate_hz is 0; it must be one number above 0"),
    ({"rate_hz": "50"}, "rate_hz is '50'"),
    ({"rate_hz": [1, 2]}, "rate_hz is of shape"),
    ({"groups": {"acc": ["x"]}}, "groups: 'acc' has no channel 'x'"),
    ({"groups": {"a b": ["channel_0"]}}, "groups: 'a b' must be a name"),
    ({"groups": np.arange(N) % 3}, "groups is int64 .* persons belong in 'subject'"),
    ({"classes": ["a", "b"]}, "y goes from 0 to 2, and classes has 2 names"),
    ({"classes": ["a", "a", "b"]}, "classes holds 3 names, 2 of them different"),
    ({"name": ""}, "name '' must be a text of one line"),
    ({"name": "a\nb"}, "must be a text of one line"),
    ({"name": 5}, "name 5 must be a text"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[f"{n}-{''.join(bad)}" for n, (bad, _) in enumerate(BAD)])
def test_bad_arrays_are_refused_in_one_line(change, message):
    with pytest.raises(MmkdError, match=message) as caught:
        Dataset.from_arrays(**{**arrays(), **change})
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 350


def test_a_file_refuses_the_same_in_the_same_words(tmp_path):
    compared = 0
    for change, _ in BAD:
        given = {name: value for name, value in {**arrays(), **change}.items() if value is not None}
        is_plain = all(type(value) is np.ndarray and value.dtype.kind != "O" for value in given.values())
        if "name" in change or not is_plain or not {"x", "y"} <= set(given):
            continue
        np.savez(tmp_path / "mine.npz", **given)
        with pytest.raises(MmkdError) as of_file:
            load_file(tmp_path / "mine.npz")
        with pytest.raises(MmkdError) as of_arrays:
            Dataset.from_arrays(**given)
        said = str(of_file.value).removeprefix(f"--data {tmp_path / 'mine.npz'}: ")
        assert str(of_arrays.value).removeprefix("from_arrays: ") == said
        compared += 1
    assert compared > 20


def test_windows_in_memory_are_for_this_process(tmp_path):
    data = Dataset.from_arrays(**arrays())
    request = Request(methods=("student",), students=("sig",))
    with pytest.raises(MmkdError, match="data 'mine' is in the memory of this process; save a file for others"):
        execute(request, Workspace(runs=tmp_path / "runs", jobs=2), given=data)
    assert not (tmp_path / "runs").exists()


def test_data_beside_another_name_of_windows_is_refused(tmp_path):
    data = Dataset.from_arrays(**arrays())
    for other in ({"dataset": "gunpoint"}, {"card": "card.toml"}):
        with pytest.raises(MmkdError, match=f"data and {next(iter(other))} both name windows"):
            mmkd.run("student", data=data, runs=tmp_path / "runs", **other)
    assert not (tmp_path / "runs").exists()
