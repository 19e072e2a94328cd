"""The line of what was understood, the warnings, `--strict`, and where they are kept."""

import json

import numpy as np
import pytest

import mmkd
from mmkd import MmkdError
from mmkd.cli.data import main as data_main
from mmkd.core.errors import DataWarning, SuspiciousData
from mmkd.core.text import LONGEST_MESSAGE
from mmkd.data import load_dataset, load_file
from mmkd.units.expansion import expand
from mmkd.units.request import Request
from mmkd.units.understood import Understood, refuse_warnings, understand, understand_data

SHARING = "test windows share samples with a training window; an array 'subject' would keep them on one side"


@pytest.fixture
def own(tmp_path):
    """Saves noise of two classes in `mine.npz`: so many windows of each person, of 2 channels x 24 samples."""

    def save(*sizes, overlap=False, **arrays):
        n = sum(sizes)
        stream = np.random.default_rng(0).standard_normal((2, 24 * n)).astype(np.float32)
        step = 12 if overlap else 24
        x = np.stack([stream[:, at * step : at * step + 24] for at in range(n)])
        subject = {} if len(sizes) == 1 else {"subject": np.repeat(np.arange(len(sizes)), sizes)}
        path = tmp_path / "mine.npz"
        np.savez(path, x=x, y=np.arange(n) % 2, **subject, **arrays)
        return path

    return save


def told(path, **settings):
    units = list(expand(Request(**{"methods": ("student",), "data": str(path), "epoch_rule": "val-best", **settings})))
    (data,) = understand(units, str(path))
    return data.text.partition("2 classes; ")[2], data.warnings


def test_persons(own):
    path = own(*[40] * 14, 220)
    assert understand_data(load_file(path)) == Understood(
        "mine",
        "780 windows of 2 channels x 24 samples; 2 classes; split by subject: 9 train, 6 test (31 % of the windows)",
        (),
    )


def test_few_persons_are_named(own):
    text, warnings = told(own(10, 10, 10, 10))
    assert warnings == ()
    assert text == "split by subject: 2 train (1, 3), 1 validation (0), 1 test (2; 25 % of the windows)"
    text, warnings = told(own(10, 10, 10))
    assert text.endswith(" 1 train (0), 1 validation (1), 1 test (2; 33 % of the windows)")
    assert warnings == ("one subject only is left for training",)
    assert told(own(10, 10), epoch_rule="last")[0] == "split by subject: 1 train (1), 1 test (0; 50 % of the windows)"


def test_windows_at_random(own):
    text, warnings = told(own(100))
    assert text == (
        "split by window, at random in each class (no subjects): 56 train, 14 validation, 30 test (30 % of the windows)"
    )
    (line,) = warnings
    assert line.startswith("no array 'subject': windows of one person or recording may be on both sides of the split")


def test_a_test_part_of_the_file(own):
    text, _ = told(own(10, 10, 10, 10, 10, 10, 10, test=np.arange(70) >= 50))
    assert text.startswith("split by subject, the test part as in the file: 4 train, 1 validation, 2 test (29 %")
    text, warnings = told(own(50, test=np.arange(50) >= 25))
    assert text.startswith("test part as in the file, validation by window: 20 train, 5 validation, 25 test (50 %")
    assert warnings == ()
    _, warnings = told(own(10, 10), epoch_rule="last")
    assert warnings == ("the test part is 50 % of the windows", "one subject only is left for training")


def test_folds_are_one_line(own):
    text, warnings = told(own(*[10] * 6, 40), split="loso")
    assert text == "7 folds by subject, each tested once: 5 train, 1 validation, 1 test (10 to 40 % of the windows)"
    assert warnings == ()
    text, _ = told(own(*[10] * 7), folds=3, fold=(2,))
    assert text.startswith("split by subject, fold 2 of 3: 4 train, 1 validation, 2 test")


def test_folds_of_windows_are_one_line(own):
    text, warnings = told(own(99), folds=3, epoch_rule="last")
    assert text == (
        "3 folds of the windows, stratified by class, each tested once (no subjects: recordings may be on both sides): "
        "66 train, 33 test (33 % of the windows)"
    )
    assert [line.partition(":")[0] for line in warnings] == ["fold 1 of 3"]
    assert "no array 'subject'" in warnings[0]
    text, _ = told(own(99), folds=3, fold=(1,), epoch_rule="last")
    assert text.startswith("test part is fold 1 of 3 of the windows, stratified by class (no subjects: recordings may ")
    _, warnings = told(own(90, overlap=True), folds=3)
    assert "test windows share samples with a training window" in " ".join(warnings)


def test_folds_tell_the_first_warning_and_how_many_have_some(own):
    path = own(*[10] * 4)
    with np.load(path) as z:
        arrays = dict(z)
    arrays["x"][35] = arrays["x"][5]  # persons 4 and 1
    np.savez(path, **arrays)
    _, warnings = told(path, split="loso")
    assert warnings == (
        "subject 0: 1 of 10 test windows is identical to a training window (and another fold has warnings)".replace(
            "subject 0",
            str(next(iter(expand(Request(methods=("student",), data=str(path), split="loso"))))[1].fold.name),
        ),
    )


def test_a_set_with_a_card():
    data = understand_data(load_dataset("basic-motions"))
    assert data.text == (
        "80 windows of 6 channels x 100 samples (10 s at 10 Hz); 4 classes; test part of its card: 40 train, "
        "40 test (50 % of the windows)"
    )
    assert data.warnings == ()


def test_each_data_set_is_told_once(own):
    path = own(10, 10, 10, 10)
    units = list(expand(Request(methods=("student", "kd"), seeds=(0, 1), data=str(path), students=("sig",))))
    assert len(units) == 4
    assert [data.name for data in understand(units, str(path))] == ["mine.npz"]


def test_strict_names_all_warnings():
    sound, one, two = (Understood(f"d{k}", "text", ("first", "second")[:k]) for k in range(3))
    refuse_warnings([sound])
    with pytest.raises(SuspiciousData, match="--strict: d1: first; d2: first; second"):
        refuse_warnings([one, sound, two])


ONE = {"student": "sig", "epochs": 1, "image_size": 16}


def test_python_warns_and_the_record_keeps_it(own, tmp_path):
    path = own(40, overlap=True)
    with pytest.warns(DataWarning, match=f"mine.npz: 12 of 12 {SHARING}"):
        record = mmkd.run("student", data=path, runs=tmp_path / "runs", **ONE)
    assert record.data["understood"].startswith("40 windows of 2 channels x 24 samples; 2 classes; split by window, at")
    assert record.data["warnings"] == [f"12 of 12 {SHARING}"]
    with pytest.raises(MmkdError, match=f"--strict: mine.npz: 12 of 12 {SHARING}"):
        mmkd.run("student", data=path, runs=tmp_path / "others", strict=True, **ONE)
    assert not (tmp_path / "others").exists()


@pytest.mark.filterwarnings("default::mmkd.core.errors.DataWarning")
def test_the_command(own, tmp_path, capsys):
    path = own(40, overlap=True)
    runs = tmp_path / "runs"
    flags = ["--method", "student", "--data", str(path), "--student", "sig", "--epochs", "1", "--runs", str(runs)]
    line = (
        "mine.npz: 40 windows of 2 channels x 24 samples; 2 classes; split by window, at random in each class (no "
        "subjects): 28 train, 12 test (30 % of the windows)\n"
    )
    warning = f"mmkd.bench: warning: mine.npz: 12 of 12 {SHARING}\n"

    from mmkd.bench import main

    assert main([*flags, "--strict"]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"mmkd.bench: --strict: mine.npz: 12 of 12 {SHARING}\n")
    assert not runs.exists()
    assert main([*flags, "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert (out[: len(line)], err) == (line, warning)
    assert main([*flags, "--dry-run", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["data"][0]["warnings"] == [f"12 of 12 {SHARING}"]
    assert main(flags) == 0
    out, err = capsys.readouterr()
    assert err.startswith(line + warning)
    assert "test windows drawn at random in each class, as there are no subjects" in out
    assert f"\nwarning: mine.npz: 12 of 12 {SHARING}\n" in out.partition("macro-F1")[2]  # below the table
    assert main([*flags, "--json", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert err == warning
    assert json.loads(out)[0]["data"]["understood"] == line.removeprefix("mine.npz: ").strip()


def test_a_comparison_and_its_page_tell_it(own, tmp_path, capsys):
    from mmkd.compare import main as compare_main

    mmkd.run("student", data=own(40, overlap=True), runs=tmp_path / "runs", **ONE)
    assert compare_main(["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "test windows drawn at random in each class, as there are no subjects" in out
    assert "warning: 12 of 12 test windows share samples" in out
    page = (tmp_path / "out" / "report.html").read_text()
    facts = (tmp_path / "out" / "reproducibility.md").read_text()
    for text in ("12 of 12 test windows share samples", "40 windows of 2 channels x 24 samples; 2 classes; split by"):
        assert text in page
        assert text in facts


def test_long_refusals_are_not_cut(own, capsys):
    path = own(40, overlap=True)
    with np.load(path) as z:
        arrays = dict(z)
    arrays["y"] = np.array([["a class with a long name", "A class with a long name"][k % 2] for k in range(40)])
    arrays["x"] = arrays["x"].transpose(0, 2, 1).copy()
    arrays["x"][3] = 0
    arrays["x"][:, 4] = arrays["x"][:, 6]
    arrays["x"][20:, 9] = 1.0
    arrays["test"] = np.arange(40) < 36
    np.savez(path, **arrays)
    from mmkd.bench import main

    flags = ["--method", "student", "--data", str(path), "--student", "sig", "--epoch-rule", "last"]
    assert main([*flags, "--strict", "--quiet"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) > LONGEST_MESSAGE
    for part in ("differ only in how they are written", "24 channels of 2 samples", "identical", " ... "):
        assert (part in line) == (part != " ... ")


def test_data_check_tells_the_same_of_a_file(own, capsys):
    path = own(40, overlap=True)
    assert data_main(["check", str(path)]) == 0
    out = capsys.readouterr().out
    assert "  40 windows of 2 channels x 24 samples; 2 classes; split by window, at random in each class" in out
    assert f"  warning: 12 of 12 {SHARING}\n" in out


def test_strict_takes_one_hot_labels(own):
    path = own(10, 10, 10, 10)
    with np.load(path) as z:
        np.savez(path, **{**z, "y": np.eye(2)[z["y"]]})
    text, warnings = told(path)
    assert warnings == ()
    assert text.startswith("y (40, 2) is one-hot: the column of the 1 is the class; split by subject")
