"""What was done about missing values is said."""

import json

import numpy as np
import pytest

from mmkd.cli.data import main
from mmkd.data import load_file
from mmkd.units.understood import understand_data


@pytest.mark.parametrize(
    ("windows", "nan", "words"),
    [
        ([3], "drop", "; 1 window with missing values left out; "),
        ([3, 4, 9], "drop", "; 3 windows with missing values left out; "),
        ([3, 4], "impute", "; missing values filled in 2 windows; "),
        ([], "impute", "2 classes; split by subject"),
    ],
)
def test_how_many_windows_had_missing_values_is_said(tmp_path, windows, nan, words):
    x = np.random.default_rng(0).standard_normal((40, 2, 64)).astype(np.float32)
    x[windows, 1, 5:9] = np.nan
    np.savez(tmp_path / "hr.npz", x=x, y=np.arange(40) % 2, subject=np.arange(40) // 4)
    data = understand_data(load_file(tmp_path / "hr.npz", nan))
    assert words in data.text
    assert data.warnings == ()


@pytest.fixture
def check(capsys):
    """Runs `check`; returns its exit code, the document and what is on stderr."""

    def call(path, *flags):
        code = main(["check", str(path), "--json", *flags])
        found = capsys.readouterr()
        return code, json.loads(found.out)[0] if code == 0 else None, found.err

    return call


REFUSED = "2 windows hold NaN or inf: a run is refused unless --nan"


def test_check_says_that_a_run_would_be_refused(tmp_path, check):
    x = np.random.default_rng(0).standard_normal((40, 2, 64)).astype(np.float32)
    x[3, 1, 5:9], x[4, 0, 0] = np.nan, np.inf
    path = tmp_path / "hr.npz"
    np.savez(path, x=x, y=np.arange(40) % 2, subject=np.arange(40) // 8)
    assert check(path)[1]["warnings"][0] == f"{REFUSED} impute or drop is given"
    for nan, windows in {"drop": 38, "impute": 40}.items():
        code, found, _ = check(path, "--nan", nan)
        assert (code, found["windows"][0]) == (0, windows)
        assert not any("refused" in line for line in found["warnings"])
    code, _, error = check(path, "--nan", "refuse")
    assert code == 2
    assert "2 of 40 windows hold NaN or inf" in error
    assert main(["fetch", "hapt6", "--nan", "drop"]) == 2


def test_check_of_images(tmp_path, check):
    x = np.random.default_rng(0).standard_normal((40, 1, 20, 20)).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(40) % 2)
    assert check(tmp_path / "a.npz")[1]["warnings"] == []
    x[3:5, 0, 2, 2] = np.nan
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(40) % 2)
    assert check(tmp_path / "a.npz")[1]["warnings"] == [f"{REFUSED} drop is given"]


def test_check_names_the_parts(tmp_path, check):
    x = np.random.default_rng(0).standard_normal((60, 1, 32))
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(60) % 3, subject=np.array(list("abcdef"))[np.arange(60) // 10])
    parts = check(tmp_path / "a.npz")[1]["parts"]
    assert list(parts) == ["training", "test"]
    assert sorted(name for part in parts.values() for name in part["subjects"]) == list("abcdef")
    assert sum(part["windows"] for part in parts.values()) == 60
    assert all(sum(part["of_classes"].values()) == part["windows"] for part in parts.values())
