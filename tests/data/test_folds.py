"""Test parts by subject: one after the other, in folds, out of a file; and that no subject crosses any split."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.core.progress import Progress
from mmkd.data import Dataset, data_root, find_cards, load_dataset, load_file, split_windows
from mmkd.data.__main__ import main
from mmkd.data.cards import TASKS
from mmkd.data.dataset import Fold
from mmkd.data.folds import (
    apply_fold,
    fold_document,
    leave_one_subject_out,
    make_folds,
    read_folds,
    subject_folds,
    window_folds,
)
from mmkd.data.load import is_available, reader_folder, resolve_suffix
from mmkd.data.readers import READERS
from mmkd.data.understood import describe_split
from mmkd.specs.data import DataSpec, fold_count, fold_kind
from mmkd.store.cache import Cache
from mmkd.units.expansion import expand
from mmkd.units.request import Request
from mmkd.units.splits import select_fold, split_for
from mmkd.units.understood import understand_data
from mmkd.views.cached import get_view, view_configs

CARDS = {name: card for name, card in find_cards()[0].items() if card.reader in READERS and card.reader != "archive"}


def dataset(subjects=7, windows=12):
    """So many subjects with 12, 13, 14, ... windows of three classes."""
    subject = np.repeat(np.arange(subjects) + 10, np.arange(subjects) + windows)
    n = len(subject)
    x = np.random.default_rng(0).normal(size=(n, 1, 8)).astype(np.float32)
    names = ("a", "b", "c")
    return Dataset("own", x, np.arange(n) % 3, subject, subject == 10, names, ("c",), None, "0" * 64)


@pytest.mark.parametrize("folds", [2, 3, 7])
def test_each_subject_is_in_the_test_part_once(folds):
    data = dataset()
    found = subject_folds(data, folds)
    assert sorted(s for fold in found for s in fold.test_subjects) == list(range(10, 17))
    assert len(found) == folds == len({fold.name for fold in found})
    sizes = [np.isin(data.subject, fold.test_subjects).sum() for fold in found]
    assert max(sizes) <= min(sizes) + 18, "about as many windows each"
    for fold in found:
        part = apply_fold(data, fold)
        assert set(part.subject[part.test]) == set(fold.test_subjects)
        assert not set(part.subject[~part.test]) & set(fold.test_subjects)
        assert apply_fold(part, fold) is part


def test_leaving_one_out_is_as_many_folds_as_subjects():
    data = dataset()
    assert leave_one_subject_out(data) == subject_folds(data, 7) == [Fold(f"subject {s}", (s,)) for s in range(10, 17)]
    assert apply_fold(data, None) is data


@pytest.mark.parametrize("folds", [0, 1, 8])
def test_numbers_of_folds_that_cannot_be(folds):
    with pytest.raises(MmkdError, match=rf"--folds {folds}: data 'own' has 7 subjects; take 2 to 7"):
        subject_folds(dataset(), folds)


def test_folds_that_cannot_be():
    data = dataset()
    for refused in (lambda plain: subject_folds(plain, 2), leave_one_subject_out):
        with pytest.raises(MmkdError, match="has no subjects to split by; --folds K makes folds of its windows"):
            refused(replace(data, subject=None))
    with pytest.raises(MmkdError, match="has no subjects to split by"):
        apply_fold(replace(data, subject=None), Fold("f", (1,)))
    with pytest.raises(MmkdError, match="f: data 'own' has no subject 3, 4"):
        apply_fold(data, Fold("f", (3, 4, 10)))
    with pytest.raises(MmkdError, match="class 'c' has no training windows left; leave this fold out"):
        apply_fold(replace(data, y=np.where(data.subject == 12, 2, 0)), Fold("f", (12,)))
    with pytest.raises(MmkdError, match="there are no training windows left"):
        apply_fold(replace(data, y=data.y * 0 - 1), Fold("f", tuple(range(10, 17))))


# -- folds of windows, where there are no subjects


SIZES = (50, 23, 11)


def plain(sizes=SIZES):
    """Windows of classes of different sizes, without subjects."""
    y = np.repeat(np.arange(len(sizes)), sizes)
    x = np.random.default_rng(0).normal(size=(len(y), 2, 32)).astype(np.float32)
    names = tuple("abcd"[: len(sizes)])
    return Dataset("own", x, y, None, np.arange(len(y)) % 4 == 0, names, ("c", "d"), None, "0" * 64)


@pytest.mark.parametrize("folds", [2, 3, 11])
def test_each_window_is_tested_once_and_each_fold_has_a_share_of_every_class(folds):
    data = plain()
    parts = [apply_fold(data, fold) for fold in make_folds(data, folds)]
    assert (sum(part.test.astype(int) for part in parts) == 1).all()
    for k, size in enumerate(SIZES):
        assert all(abs((data.y[part.test] == k).sum() - size / folds) < 1 for part in parts)
    sizes = [int(part.test.sum()) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert any((part.test & ~data.test).any() and (~part.test & data.test).any() for part in parts)
    assert len({tuple(np.diff(np.flatnonzero(part.test))[:5]) for part in parts}) > 1, "windows are shuffled"
    again = [apply_fold(plain(), fold) for fold in make_folds(plain(), folds)]
    assert all((one.test == two.test).all() for one, two in zip(parts, again, strict=True))


@pytest.mark.parametrize("folds", [0, 1, 12])
def test_more_folds_than_windows_of_the_smallest_class_are_refused(folds):
    data = plain()
    line = f"--folds {folds}: class 'c' of data 'own' has 11 windows, and each fold tests every class; take 2 to 11"
    with pytest.raises(MmkdError) as error:
        window_folds(data, folds)
    assert str(error.value) == line
    with pytest.raises(MmkdError, match=f"--folds {folds}: class 'c'"):
        apply_fold(data, Fold("f", (), (1, folds)))


def test_folds_of_windows_that_cannot_be():
    with pytest.raises(MmkdError, match="class 'b' of data 'own' has 1 window, and .*; leave --folds out"):
        window_folds(plain((5, 1)), 2)
    with pytest.raises(MmkdError, match="has subjects: its folds are not of windows"):
        apply_fold(dataset(), Fold("f", (), (1, 2)))
    steps = replace(plain(), y=np.zeros((sum(SIZES), 32), np.int64))
    for refused in (leave_one_subject_out, lambda data: make_folds(data, 2)):
        with pytest.raises(MmkdError, match="has no subjects to split by; leave --split and --folds out"):
            refused(steps)
    with pytest.raises(MmkdError, match="has no label a window"):
        window_folds(steps, 2)


def test_a_class_without_windows_is_no_obstacle():
    data = replace(plain(), classes=("a", "b", "c", "nobody"))
    assert len(window_folds(data, 3)) == 3


# -- split files


@pytest.fixture
def split_file(tmp_path):
    path = tmp_path / "own.split.json"
    path.write_text(json.dumps(fold_document("own", subject_folds(dataset(), 3))))
    return path


def test_a_split_file_gives_its_folds_again(split_file):
    assert read_folds(split_file, dataset()) == subject_folds(dataset(), 3)


def change(path, **more):
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"data": "other"}, "it is for data 'other', not 'own'"),
        ({"sha256": "0" * 64}, "its folds are not those of its sha256"),
        ({"folds": [{"name": "f", "test_subjects": [1]}]}, "its folds are not those of its sha256"),
        ({"folds": 3}, '"folds" is 3; a split file is'),
        ({"folds": [3]}, "fold 1 is 3; a split file is"),
        ({"folds": [["ann"], ["ben"]]}, "fold 1 is a list; a split file is"),
        ({"folds": [{"name": "f", "subjects": [1]}]}, "fold 1 is an object with 'name', 'subjects'; a split file is"),
        ({"fold": 3}, "unknown 'fold'; a split file is"),
        ({"sha256": 3}, '"sha256" is 3, and should be a text'),
        ({"folds": [{"name": "f", "test_subjects": [1.5]}]}, "should be whole numbers or texts, each once"),
        ({"folds": [{"name": "f", "test_subjects": [1, 1]}]}, "should be whole numbers or texts, each once"),
        ({"folds": [{"name": "f", "test_subjects": [1, "1"]}]}, "should be whole numbers or texts, each once"),
        ({"folds": [{"name": "", "test_subjects": [1]}]}, "should be a text"),
    ],
)
def test_split_files_that_are_wrong(split_file, more, message):
    change(split_file, **more)
    with pytest.raises(MmkdError, match=message) as error:
        read_folds(split_file, dataset())
    assert str(split_file) in str(error.value)


def test_a_split_file_written_by_hand_needs_no_checksum(tmp_path):
    path = tmp_path / "hand.json"
    path.write_text('{"folds": [{"name": "a", "test_subjects": [11]}, {"name": "b", "test_subjects": [10, 12]}]}')
    data = dataset()
    folds = read_folds(path, data)
    assert folds == [Fold("a", (11,)), Fold("b", (10, 12))]
    line = "hand.json has no sha256, so whether its folds were changed is not checked"
    assert line in understand_data(apply_fold(data, folds[0])).text
    assert line not in understand_data(dataset()).text


def test_subjects_that_no_fold_tests_are_not_said_to_be_tested():
    data = dataset()
    splits = [
        split_for(apply_fold(data, fold), DataSpec("own", "0", test_subjects=fold.test_subjects), 0)
        for fold in subject_folds(data, 7)
    ]
    assert describe_split(data, splits).startswith("7 folds by subject, each tested once: ")
    assert describe_split(data, splits[:3]).startswith("3 folds by subject: ")


@pytest.mark.parametrize("text", ["[[10], [11]]", "[]", "3", "null", '"a"', "{}", '{"folds": []}', '{"folds": null}'])
def test_other_json_is_one_line(tmp_path, text):
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(MmkdError, match='it holds|no folds|it has no|"folds" is') as error:
        read_folds(tmp_path / "s.json", dataset())
    assert "indices" not in str(error.value)


def test_split_files_that_are_none(tmp_path):
    with pytest.raises(MmkdError, match="No such file or directory; or say card or loso"):
        read_folds(tmp_path / "gone.json", dataset())
    (tmp_path / "text").write_bytes(b"\xff{")
    with pytest.raises(MmkdError, match="not JSON"):
        read_folds(tmp_path / "text", dataset())


# -- as units


def units(path, **fields):
    request = Request(methods=("student",), data=str(path), students=("sig",), image_size=16, **fields)
    return list(expand(request))


def test_folds_are_units_of_their_own(sines):
    plain = units(sines)
    found = units(sines, folds=3, seeds=(0, 1))
    assert len(found) == 6
    assert len({spec.key for spec, _ in [*plain, *found]}) == 7
    for spec, data in found:
        split = split_for(load_file(sines), spec.data, spec.seed)
        assert set(data.subject[split.test]) == set(spec.data.test_subjects)
        assert spec == type(spec).parse(json.loads(json.dumps(asdict(spec))))
    tested = [s for spec, _ in found if spec.seed == 0 for s in spec.data.test_subjects]
    assert sorted(tested) == list(range(6))
    assert [spec.key for spec, _ in units(sines, split="loso")] == [spec.key for spec, _ in units(sines, folds=6)]
    assert [spec.key for spec, _ in units(sines, folds=3, fold=(2,))] == [found[2][0].key]


def test_the_same_subjects_are_the_same_unit_whatever_a_fold_is_called(sines, tmp_path):
    (one,) = units(sines, folds=3, fold=(1,))
    named = Fold("mine", one[0].data.test_subjects)
    (tmp_path / "mine.json").write_text(json.dumps(fold_document("sines", [named])))
    (two,) = units(sines, split=str(tmp_path / "mine.json"))
    assert (two[0].key, two[0].data.fold) == (one[0].key, "mine")


@pytest.fixture
def plain_file(tmp_path):
    path = tmp_path / "plain.npz"
    data = plain()
    np.savez(path, x=data.x, y=data.y)
    return path


def test_folds_of_windows_are_units_of_their_own(plain_file):
    own = units(plain_file)
    found = units(plain_file, folds=3, seeds=(0, 1))
    assert [spec.data.stratified_fold for spec, _ in found] == [(k, 3) for k in (1, 2, 3) for _ in range(2)]
    assert len({spec.key for spec, _ in [*own, *found]}) == 7
    for spec, _ in found:
        stored = type(spec).parse(json.loads(json.dumps(asdict(spec))))
        assert stored == spec
        fresh = load_file(plain_file)  # as another process reads it
        assert select_fold(fresh, stored.data).fold.name == spec.data.fold
        split = split_for(fresh, stored.data, spec.seed)
        assert sorted([*split.train, *split.validation, *split.test]) == list(range(sum(SIZES)))
    tests = [split_for(load_file(plain_file), spec.data, spec.seed).test.tolist() for spec, _ in found]
    assert tests[0::2] == tests[1::2], "the same for every seed"
    assert sorted(n for test in tests[0::2] for n in test) == list(range(sum(SIZES)))
    assert [spec.key for spec, _ in units(plain_file, folds=3, fold=(2,))] == [found[2][0].key]
    with pytest.raises(MmkdError, match="--fold 4: data 'plain' has 3 folds"):
        units(plain_file, folds=3, fold=(4,))
    with pytest.raises(MmkdError, match="--folds K makes folds of its windows, stratified by class"):
        units(plain_file, split="loso")


def test_folds_of_windows_have_inner_folds(plain_file):
    for spec, data in units(plain_file, folds=3, epoch_rule="last"):
        outer = split_for(data, spec.data, 0)
        inner = [split_for(data, replace(spec.data, inner_fold=(k, 2)), 0) for k in (1, 2)]
        assert sorted([*inner[0].test, *inner[1].test]) == outer.train.tolist()
        assert not set(outer.test.tolist()) & {n for split in inner for n in [*split.train, *split.test]}


def test_no_split_file_is_written_where_there_are_no_subjects(plain_file, tmp_path, capsys):
    out = tmp_path / "a.json"
    assert main(["folds", str(plain_file), "--folds", "3", "--out", str(out)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "a split file names subjects, and data 'plain' has none; a run with --folds K" in line
    assert not out.exists()


def test_the_name_of_a_fold_says_how_it_was_cut():
    for count, kind in ((3, "3 folds"), (7, "each subject")):
        assert {fold_kind(fold.name, fold.test_subjects) for fold in subject_folds(dataset(), count)} == {kind}
        assert fold_count(kind, 2, 7) == count
    assert fold_kind("fold 3", [3]) == fold_kind("subject x", [1]) == fold_kind("mine", ["a"]) == "a split file"
    assert fold_kind("subject x", ["x"]) == "each subject"
    assert {fold_kind(fold.name, fold.test_subjects) for fold in window_folds(plain(), 3)} == {"3 folds"}
    assert fold_count("a split file", 2, 7) == fold_count("each subject", 2, None) == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"split": "loso", "folds": 3}, "both make folds; give one of them"),
        ({"fold": (1,)}, "--fold selects some of the folds"),
        ({"folds": 3, "fold": (4,)}, r"--fold 4: data 'sines' has 3 folds"),
        ({"folds": 3, "fold": (0,)}, "folds are counted from 1"),
        ({"folds": 7}, "take 2 to 6"),
        ({"folds": 1}, "take 2 to 6"),
        ({"folds": 0}, "folds = 0 must be >= 1"),
        ({"split": ""}, "write card, loso, or the name of a split file"),
        ({"split": "losso"}, "--split losso: No such file"),
    ],
)
def test_requests_that_are_wrong(sines, fields, message):
    with pytest.raises(MmkdError, match=message):
        units(sines, **fields)


def test_the_command_writes_a_split_file(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mmkd.data.load.load_dataset", lambda *_: dataset())
    assert main(["folds", "own", "--folds", "3", "--out", str(tmp_path / "a.json")]) == 0
    assert read_folds(tmp_path / "a.json", dataset()) == subject_folds(dataset(), 3)
    assert "3 folds of 7 subjects" in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert main(["check", "own", "--folds", "3"]) == 2


# -- every set: no subject and no overlapping window on two sides, and nothing fitted on test


def load(name):
    if not is_available(CARDS[name], None):
        pytest.skip(f"no files of {name} on this machine")
    return load_dataset(name, data_root())


@pytest.mark.data
@pytest.mark.parametrize("name", [n for n in CARDS if CARDS[n].task in ("classification", "segmentation")])
def test_no_subject_and_no_sample_crosses_a_split(name):
    data = load(name)
    card = resolve_suffix(CARDS[name], reader_folder(CARDS[name], None))
    read = READERS.get(card.reader)(card, reader_folder(card, None))
    np.testing.assert_array_equal(read.test, data.test)
    recording, start = read.recording, read.start
    assert card.subjects is None or data.subject is not None
    cuts = [data] if data.subject is None else [data, apply_fold(data, subject_folds(data, 2)[0])]
    for part in cuts:
        split = split_windows(part, 0, validate=name != "pigcvp")
        each = [split.train, split.validation, split.test]
        assert sum(map(len, each)) == len(data.x)
        assert len(np.unique(np.concatenate(each))) == len(data.x)
        if data.subject is not None:
            subjects = [set(data.subject[rows].tolist()) for rows in each]
            assert len(set.union(*subjects)) == sum(map(len, subjects)), "a subject on two sides"
        if recording is not None:
            recordings = [set(np.asarray(recording)[rows].tolist()) for rows in each]
            assert len(set.union(*recordings)) == sum(map(len, recordings)), "a recording on two sides"
    if recording is not None:
        places = np.stack([recording, start], axis=1)
        assert len(np.unique(places, axis=0)) == len(places), "a window twice"
        same = np.asarray(read.subject)
        assert all(len(set(same[np.asarray(recording) == r])) == 1 for r in np.unique(recording)), "two in a recording"


@pytest.mark.data
@pytest.mark.parametrize("name", ["hapt6", "motionsense", "dsads", "mitbih12", "ludb", "basic-motions"])
@pytest.mark.parametrize("modality", ["sig", "pi"])
def test_what_is_fitted_never_sees_validation_or_test(name, modality, tmp_path):
    """Through the view that a run takes: noise in the place of other windows changes nothing, in that of one does."""
    whole, rng = load(name), np.random.default_rng(0)
    rows = np.sort(rng.permutation(len(whole.y))[:300])
    each = {f: getattr(whole, f) for f in ("x", "y", "subject", "test", "recording", "start")}
    data = replace(whole, **{f: None if array is None else array[rows] for f, array in each.items()})
    data = replace(data, x=data.x[:, :3])
    split = split_windows(data, 0)
    noise = (1e6 * rng.normal(size=data.x.shape)).astype(np.float32)
    unseen, seen = data.x.copy(), data.x.copy()
    for part in (split.test, split.validation):
        assert len(part)
        unseen[part] = noise[part]
    seen[split.train[0]] = noise[split.train[0]]
    states = []
    for n, x in enumerate((data.x, unseen, seen)):
        config = view_configs((modality,), 8)[modality]
        spec, cache = DataSpec(name, f"{n:064d}"), Cache(tmp_path)
        view = get_view(modality, config, replace(data, x=x), spec, split, cache=cache, progress=Progress())
        assert view.modality.fitted
        states.append(view.modality.state())
    assert states[0] == states[1] != states[2]


def test_every_task_of_a_card_is_proved_or_has_no_subjects():
    assert set(TASKS) <= {"classification", "segmentation", "anomaly"}, "prove the new task's split, too"
