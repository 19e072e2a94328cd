"""Subjects keep the names that they have in the file: in data, folds, split files, records."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.bench import main as bench
from mmkd.data import load_file
from mmkd.data.__main__ import main
from mmkd.data.dataset import Fold
from mmkd.data.folds import fold_document, leave_one_subject_out, read_folds
from mmkd.specs.data import DataSpec
from mmkd.units.expansion import expand
from mmkd.units.request import Request
from mmkd.units.splits import select_fold

N = 50
PERSON = np.arange(N) // 10
WORDS = np.array(["anna", "ben", "carl", "dora", "eve"])[PERSON]


@pytest.fixture
def save(tmp_path):
    """Saves windows of five persons, who have the given names."""

    def call(subject, name="mine.npz", **more):
        y = np.arange(N) % 2
        x = np.random.default_rng(0).normal(size=(N, 2, 40)) + y[:, None, None]
        np.savez(tmp_path / name, x=x, y=y, subject=subject, **more)
        return tmp_path / name

    return call


def units(path, **fields):
    return list(expand(Request(methods=("student",), data=str(path), students=("sig",), image_size=16, **fields)))


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (PERSON + 1, [1, 2, 3, 4, 5]),
        (PERSON * 10.0 - 7, [-7, 3, 13, 23, 33]),
        (WORDS, ["anna", "ben", "carl", "dora", "eve"]),
        (np.char.add(" ", WORDS), ["anna", "ben", "carl", "dora", "eve"]),
        (np.array(["01", "2", "03", "04", "5"])[PERSON], ["01", "03", "04", "2", "5"]),
    ],
)
def test_the_names_of_the_file_are_kept_everywhere(save, tmp_path, given, names):
    path = save(given)
    data = load_file(path)
    assert np.unique(data.subject).tolist() == names
    folds = leave_one_subject_out(data)
    assert [(fold.name, fold.test_subjects) for fold in folds] == [(f"subject {name}", (name,)) for name in names]
    (tmp_path / "s.json").write_text(json.dumps(fold_document("mine", [Fold("mine", (names[0],))])))
    ((spec, part),) = units(path, split=str(tmp_path / "s.json"))
    assert spec.data.test_subjects == (names[0],)
    assert spec == type(spec).parse(json.loads(json.dumps(asdict(spec))))
    held = np.char.strip(given) if given.dtype.kind == "U" else given
    assert set(held[part.test].tolist()) == {names[0]}
    np.testing.assert_array_equal(select_fold(data, spec.data).test, part.test)


def test_a_number_in_a_split_file_may_be_a_text(save, tmp_path):
    (tmp_path / "s.json").write_text(json.dumps(fold_document("mine", [Fold("one", ("3",))])))
    assert read_folds(tmp_path / "s.json", load_file(save(PERSON + 1)))[0].test_subjects == (3,)
    with pytest.raises(MmkdError, match="one: data 'mine' has no subject 3; it has anna, ben, carl, dora, eve"):
        units(save(WORDS), split=str(tmp_path / "s.json"))


def test_records_from_before_still_mean_the_persons_that_they_tested(save):
    """They counted 0, 1, 2, ...: such a key must not answer for today's, and its fold is still the same one."""
    path = save(PERSON + 1)
    new = next(spec.data for spec, _ in units(path, split="loso"))
    assert (new.test_subjects, new.by_name) == ((1,), True)
    old = DataSpec("mine", new.sha256, test_subjects=(0,), fold="subject 0")
    data = load_file(path)
    np.testing.assert_array_equal(select_fold(data, old).test, PERSON == 0)
    np.testing.assert_array_equal(select_fold(data, new).test, PERSON == 0)
    zero = next(spec.data for spec, _ in units(save(PERSON), split="loso"))
    assert (zero.test_subjects, zero.by_name) == ((0,), False), "where 0, 1, 2, ... are the names, keys stay"


def test_recordings_keep_their_names(save):
    y = np.tile(np.arange(40) % 2, (N, 1))
    start = 40 * (np.arange(N) % 10)
    x = np.zeros((N, 1, 40))
    path = save(PERSON + 7)
    np.savez(path, x=x, y=y, subject=PERSON + 7, recording=WORDS, start=start)
    data = load_file(path)
    assert data.recording.tolist() == WORDS.tolist()
    np.savez(path, x=x, y=y, recording=PERSON + 7, start=start)
    data = load_file(path)
    assert np.unique(data.subject).tolist() == [7, 8, 9, 10, 11], "without subjects the recordings are split"


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        (np.where(PERSON == 0, "", WORDS), "subject is '', a missing value, at 10 of 50 windows"),
        (np.where(PERSON == 0, np.nan, PERSON), "subject holds NaN at 10 of 50 windows, the first is window 0"),
        (PERSON + 0.5, "subject holds fractions such as 0.5; it must hold whole numbers or texts"),
        (PERSON.astype(np.uint64) + np.uint64(2**63), "subject holds numbers past 2"),
    ],
)
def test_refused(save, subject, message):
    with pytest.raises(MmkdError, match=message):
        load_file(save(subject))


def test_names_that_differ_in_case_are_said(save):
    mixed = np.where(np.arange(N) < 5, "Anna", WORDS)
    assert load_file(save(mixed)).warnings == (
        "names in 'subject' differ only in how they are written: 'Anna', 'anna'",
    )


def test_folds_of_a_file(save, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = save(WORDS)
    assert main(["folds", str(path)]) == 0
    assert "mine.split.json: 5 folds of 5 subjects" in capsys.readouterr().out
    document = json.loads((tmp_path / "mine.split.json").read_text())
    assert document["folds"][1] == {"name": "subject ben", "test_subjects": ["ben"]}
    assert len(units(path, split=str(tmp_path / "mine.split.json"))) == 5


def test_predictions_hold_the_names(save, tmp_path):
    runs = tmp_path / "runs"
    flags = ["--student", "sig", "--epochs", "1", "--folds", "2", "--fold", "1", "--quiet", "--runs", str(runs)]
    assert bench(["--method", "student", "--data", str(save(WORDS)), *flags]) == 0
    (path,) = runs.glob("*/predictions.npz")
    with np.load(path) as z:
        assert set(z["subject"].tolist()) == set(WORDS[z["window"]].tolist())
