"""The line on classes that few labelled steps have, before a training."""

import json

import numpy as np
import pytest

from mmkd.bench import main
from mmkd.units.expansion import expand
from mmkd.units.rare_classes import notes_of_rare_classes
from mmkd.units.request import Request

LENGTH = 80
END = "; --class-weights balanced makes rare classes count as much"


@pytest.fixture
def own(tmp_path):
    """Saves 20 windows of 4 persons, of whom person 3 is tested; each training window has the given labels first."""

    def save(*first, name="mine", other=None):
        y = np.zeros((20, LENGTH), np.int64)
        y[:, : len(first)] = first
        person = np.repeat(np.arange(4), 5)
        if other is not None:
            y[person == 3] = other
        x = np.random.default_rng(0).normal(size=(20, 1, LENGTH)).astype(np.float32)
        path = tmp_path / f"{name}.npz"
        np.savez(path, x=x, y=y, subject=person, test=person == 3)
        return path

    return save


def expanded(path, methods=("student",), **settings):
    return list(expand(Request(methods=methods, task="segmentation", data=str(path), students=("sig",), **settings)))


def told(path, **settings):
    return notes_of_rare_classes(expanded(path, **settings))


def change(path, *places):
    """Set labels of a saved file: ((window, step), label)."""
    with np.load(path) as z:
        arrays = dict(z)
    for place, label in places:
        arrays["y"][place] = label
    np.savez(path, **arrays)


def test_shares_are_of_the_labelled_training_steps(own):
    path = own(1, *[-1] * 19, other=1)
    assert told(path) == [f'note: class "1" has 1.6 % of the labelled steps{END}']  # 1 of 61 of each training window
    train = expanded(path)[0][0].data
    assert train.validation > 0
    change(path, (np.s_[:10, 1:21], 0))  # of 2 persons of 3: of all training windows 1 of 74
    assert told(path, epoch_rule="last") == [f'note: class "1" has 1.4 % of the labelled steps{END}']


def test_three_classes_are_named(own):
    path = own(other=np.arange(LENGTH) % 6)
    few = [(np.s_[0, :10], 1), (np.s_[1, :6], 2), (np.s_[2, :4], 3), (np.s_[3, :2], 4), (np.s_[4:6, :20], 5)]
    change(path, *few)  # of 1,200 steps; 40 are no few
    what = "4 of 6 classes have each less than 2 % of the labelled steps: such as"
    line = f'note: {what} "4" (0.17 %), "3" (0.33 %), "2" (0.5 %){END}'
    assert told(path, epoch_rule="last") == [line]
    change(path, (np.s_[6:8, :20], 4))
    what = what.replace("4 of 6", "3 of 6").replace(": such as", ":")
    assert told(path, epoch_rule="last") == [f'note: {what} "3" (0.33 %), "2" (0.5 %), "1" (0.83 %){END}']


def test_nothing_is_said_where_steps_are_weighted_or_classes_are_frequent(own):
    path = own(1, other=1)
    assert told(path) == [f'note: class "1" has 1.2 % of the labelled steps{END}']
    assert told(path, class_weights="balanced") == told(path, focal_gamma=2.0) == []
    assert told(own(1, 1)) == []  # 2.5 %
    assert told(path, methods=("simkd",), teachers=("sig",)) == []  # no cross-entropy, so no weights of it
    units = expand(Request(methods=("student",), datasets=("basic-motions",), students=("sig",)))
    assert notes_of_rare_classes(units) == []


def test_the_data_set_is_named_where_there_are_several(own):
    units = [unit for name in ("one", "two") for unit in expanded(own(1, name=name))]
    assert [line.partition(" has ")[0] for line in notes_of_rare_classes(units)] == [
        'note: one: class "1"',
        'note: two: class "1"',
    ]


def test_the_command_says_it_once_before_it_trains(own, tmp_path, capsys):
    path = own(1)
    flags = ["--task", "segmentation", "--method", "student", "--data", str(path), "--student", "sig", "--steps", "1"]
    flags += ["--student-net", "unet-small", "--seeds", "0-1", "--runs", str(tmp_path / "runs")]
    line = f'note: class "1" has 1.2 % of the labelled steps{END}'
    assert main([*flags, "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines().count(line) == 1
    assert main([*flags, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == [line]
    assert main(flags) == 0
    assert capsys.readouterr().err.splitlines().count(line) == 1
    for more in (["--existing", "only"], ["--dry-run"]):  # nothing is left to train
        assert main([*flags, *more]) == 0
        assert "note: class" not in "".join(capsys.readouterr())
