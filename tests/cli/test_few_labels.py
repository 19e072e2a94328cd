"""Few labels on the command line: what is said, and what cannot be is one line with exit code 2 and nothing written."""

import numpy as np
import pytest

from mmkd.bench import main


@pytest.fixture
def run(windows_file, tmp_path, capsys, monkeypatch):
    """The command in an empty folder with three files: code, output, errors, and the names of what was written."""
    monkeypatch.chdir(tmp_path)
    windows_file(tmp_path / "subjects.npz")
    windows_file(tmp_path / "plain.npz", subjects=0)
    np.savez(tmp_path / "short.npz", x=np.zeros((4, 2, 30)))
    before = {path.name for path in tmp_path.iterdir()}

    def call(*args):
        common = ("--method", "student,kd", "--student", "sig", "--teachers", "sig", "--epochs", "1")
        code = main([*common, *args])
        captured = capsys.readouterr()
        return code, captured.out, captured.err, {path.name for path in tmp_path.iterdir()} - before

    return call


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("--data subjects.npz --labelled-subjects 4", "has 4 training subjects, and some must stay unlabelled"),
        ("--data subjects.npz --labelled-subjects 0", "must be >= 1"),
        ("--data subjects.npz --labelled-subjects two", "is not a whole number"),
        ("--data subjects.npz --labelled-windows 3", "use --labelled-subjects"),
        ("--data plain.npz --labelled-subjects 2", "has no subjects; use --labelled-windows"),
        ("--data plain.npz --labelled-windows 1000", "take at most as many"),
        ("--data plain.npz --labelled-windows 2 --epoch-rule val-best", "too few to cut off a validation split"),
        ("--data subjects.npz --labelled-subjects 1 --epoch-rule val-best", "use --epoch-rule last"),
        ("--data plain.npz --labelled-windows 2 --labelled-subjects 2", "both choose the labels"),
        ("--data plain.npz --unlabelled none.npz", "there is no such file"),
        ("--data plain.npz --unlabelled=", "name an .npz file"),
        ("--data plain.npz --select 50", "50 folds of the training part"),
        ("--data plain.npz --unlabelled short.npz", "have 30 samples, and those of data 'plain' 32"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(args, words, run):
    code, _, errors, written = run(*args.split())
    assert code == 2
    assert words in errors
    assert len(errors.strip().splitlines()) == 1
    assert not written


def test_the_line_of_the_data_and_the_table_say_how_many_labels(run):
    code, out, errors, _ = run("--data", "plain.npz", "--labelled-windows", "4", "--epoch-rule", "last")
    assert code == 0
    said = out + errors
    assert "labels of 12 of" in said
    assert "plain with labels of 4 windows a class, student sig" in said
