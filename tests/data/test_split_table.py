"""A fixed split in a table: which windows are in which part, what it changes, and tables that are wrong."""

import contextlib
import io
import json

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.bench import main as bench
from mmkd.data import load_file
from mmkd.data.load import load_split
from mmkd.data.split_table import read_parts
from mmkd.data.splits import split_windows
from mmkd.data.understood import describe_split

WHO = np.repeat(["ann", "ben", "eve", "joe"], 6)
X = np.random.default_rng(0).normal(size=(24, 2, 32)).astype(np.float32)


def save(folder, **more):
    np.savez(folder / "own.npz", **{"x": X, "y": np.arange(24) % 2, "subject": WHO} | more)
    return folder / "own.npz"


def table(folder, text):
    (folder / "parts.csv").write_text(text)
    return str(folder / "parts.csv")


BY_SUBJECT = "subject,part\njoe,train\nann,test\nben,validation\neve,train\n"
BY_WINDOW = "window,part\n" + "".join(f"{n},{('train', 'test', 'validation')[n // 8]}\n" for n in range(24))


def test_parts_of_subjects(tmp_path):
    data = load_file(save(tmp_path), parts=table(tmp_path, BY_SUBJECT))
    for seed in (0, 1):
        split = split_windows(data, seed)
        assert set(WHO[split.test]) == {"ann"}
        assert set(WHO[split.validation]) == {"ben"}
        assert set(WHO[split.train]) == {"eve", "joe"}
    assert set(WHO[split_windows(data, 0, validate=False).train]) == {"ben", "eve", "joe"}
    assert "the test part as in the file: 2 train (eve, joe), 1 validation (ben), 1 test (ann" in describe_split(
        data, [split_windows(data, 0)]
    )


def test_parts_of_windows(tmp_path):
    np.savez(tmp_path / "own.npz", x=X, y=np.arange(24) % 2)
    data = load_file(tmp_path / "own.npz", parts=table(tmp_path, BY_WINDOW))
    split = split_windows(data, 0)
    assert split.train.tolist() == list(range(8))
    assert split.test.tolist() == list(range(8, 16))
    assert split.validation.tolist() == list(range(16, 24))


def test_windows_are_counted_as_in_the_file_whatever_is_left_out(tmp_path):
    x = X.copy()
    x[3] = np.nan
    np.savez(tmp_path / "own.npz", x=x, y=np.arange(24) % 2)
    data = load_file(tmp_path / "own.npz", nan="drop", parts=table(tmp_path, BY_WINDOW))
    assert (len(data.x), int(data.test.sum()), int(data.validation.sum())) == (23, 8, 8)
    assert data.test.tolist() == [False] * 7 + [True] * 8 + [False] * 8


def test_the_key_follows_the_parts(tmp_path):
    path = save(tmp_path)
    other = BY_SUBJECT.replace("eve,train", "eve,validation")
    found = [load_file(path, parts=table(tmp_path, text)).sha256 for text in (BY_SUBJECT, other)]
    assert len({load_file(path).sha256, *found}) == 3
    reordered = "subject,part\n" + "".join(sorted(BY_SUBJECT.splitlines(keepends=True)[1:]))
    assert load_file(path, parts=table(tmp_path, reordered)).sha256 == found[0]


def test_a_data_set_of_a_card_takes_a_table(tmp_path):
    text = "window,part\n" + "".join(f"{n},{'test' if n % 4 == 0 else 'train'}\n" for n in range(80))
    data = load_split("basic-motions", None, "refuse", 0.0, table(tmp_path, text))
    assert np.flatnonzero(data.test).tolist() == list(range(0, 80, 4))
    assert data.sha256 != load_split("basic-motions", None, "refuse", 0.0, "").sha256


def test_the_command_trains_on_these_parts(tmp_path, shared_cache):
    flags = [
        "--method",
        "student",
        "--student",
        "sig",
        "--epochs",
        "1",
        "--epoch-rule",
        "val-best",
        "--json",
        "--quiet",
    ]
    where = ["--data", str(save(tmp_path)), "--runs", str(tmp_path / "runs"), "--cache", str(shared_cache)]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert bench([*flags, *where, "--split", table(tmp_path, BY_SUBJECT)]) == 0
    (unit,) = json.loads(said.getvalue())
    with np.load(tmp_path / "runs" / unit["key"] / "predictions.npz") as z:
        assert set(z["subject"]) == {"ann"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "its first line is ''; a table has a line"),
        ("who,part\nann,test\n", "its first line is 'who,part'"),
        (BY_SUBJECT.replace("joe,train", "joe,training"), "line 2 is 'joe,training'"),
        (BY_SUBJECT.replace("joe,train", "joe"), "line 2 is 'joe'"),
        (BY_SUBJECT + "joe,test\n", "subject 'joe' stands there twice, the second time in line 6"),
        (BY_SUBJECT + "zoe,test\n", "there is no subject 'zoe'; there are ann, ben, eve, joe"),
        (BY_SUBJECT.replace("joe,train\n", ""), "1 of 4 subjects are not in it, the first is joe"),
        (BY_SUBJECT.replace("ann,test", "ann,train"), "no subject is in part test"),
        (BY_SUBJECT.replace(",train", ",test"), "no subject is in part train"),
        (BY_WINDOW, "windows of subject ben are in several parts"),
        (BY_WINDOW + "24,test\n", "there is no window '24'; there are 24 windows, from 0"),
        (b"subject,part\n\xff\xfe,test\n", "not a table of texts"),
        (b"\0\0\0", "parts.csv"),
    ],
)
def test_tables_that_are_wrong(tmp_path, text, words):
    (tmp_path / "parts.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(MmkdError, match="parts.csv") as error:
        load_file(save(tmp_path), parts=str(tmp_path / "parts.csv"))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_what_does_not_go_with_a_table(tmp_path):
    np.savez(tmp_path / "own.npz", x=X, y=np.arange(24) % 2)
    with pytest.raises(MmkdError, match="the data has no subjects; write a table with columns window,part"):
        load_file(tmp_path / "own.npz", parts=table(tmp_path, BY_SUBJECT))
    with pytest.raises(MmkdError, match="No such file"):
        load_file(tmp_path / "own.npz", parts=str(tmp_path / "none.csv"))
    y = np.where(WHO == "ben", 1, 0)
    data = load_file(save(tmp_path, y=y), parts=table(tmp_path, BY_SUBJECT))
    with pytest.raises(MmkdError, match="class '1' has windows for validation alone; mend the table of --split"):
        split_windows(data, 0)
    np.savez(tmp_path / "series.npz", series=np.zeros(99), labels=np.arange(99) > 90)
    with pytest.raises(MmkdError, match="series are split in time"):
        load_file(tmp_path / "series.npz", parts="parts.csv")


def test_names_that_differ_in_blanks_alone(tmp_path):
    with pytest.raises(MmkdError, match="names of subjects differ only in the blanks around them; rename them"):
        read_parts(table(tmp_path, "subject,part\na,train\nb,test\n"), 3, np.array(["a", "b", " a"]))
