"""The augmentations of a request: by flag, card or preset; what does not fit is one line, and nothing is written."""

from dataclasses import replace

import numpy as np
import pytest

import mmkd
from mmkd import TASKS, MmkdError
from mmkd.augment import parse_augmentations
from mmkd.bench import main
from mmkd.data import load_file
from mmkd.data.cards import find_cards, read_card
from mmkd.units.expansion import expand
from mmkd.units.names import variant_names
from mmkd.units.request import Request
from mmkd.units.suites import read_suite

TRIADS = np.array(["wrist=a,b,c;d,e,f"])
NAMES = np.array(list("abcdefg"))


@pytest.fixture
def worn(tmp_path, windows_file):
    """Windows of two triads at a wrist, and one channel more; with augmentations."""
    path = windows_file(tmp_path / "worn.npz", channels=7)
    more = {"channels": NAMES, "triads": TRIADS, "augment": np.array(["rotate:20.0", "jitter:0.1"])}
    np.savez(path, **np.load(path), **more)
    return path


def specs(path, **settings):
    settings = {"methods": ("student", "kd"), "students": ("sig",), "teachers": ("sig",), **settings}
    return [spec for spec, _ in expand(Request(data=str(path), **settings))]


def test_a_file_says_which_channels_are_axes_and_how_it_is_augmented(worn):
    data = load_file(worn)
    assert data.triads == {"wrist": ((0, 1, 2), (3, 4, 5))}
    assert data.augment == ("rotate:20.0", "jitter:0.1")


@pytest.mark.parametrize(
    ("augment", "labels", "triads"),
    [
        ((), (), ()),
        (("none",), (), ()),
        (("card",), ("rotate:20", "jitter:0.1"), ("wrist=0,1,2;3,4,5",)),
        (("jitter:0.10", "shift:.25"), ("jitter:0.1", "shift:0.25"), ()),
        (("gain:0.1",), ("gain:0.1",), ("wrist=0,1,2;3,4,5",)),
    ],
)
def test_the_trainings_of_a_request(worn, augment, labels, triads):
    alone, taught = specs(worn, augment=augment)
    for training in (alone.training, taught.training, taught.teacher_training):
        assert training.augment == labels
        assert training.triads == triads
        assert training.augment_copies == 0
        assert training.augmentation_names == tuple(label.partition(":")[0] for label in labels)


def test_copies_are_the_students(worn):
    usual, copies = (specs(worn, augment=("jitter:0.1",), **more)[1] for more in ({}, {"augment_copies": 4}))
    assert copies.training.augment_copies == 4
    assert copies.teacher_training.augment_copies == 0
    assert copies.key != usual.key
    assert copies.teacher("sig").key == usual.teacher("sig").key
    plain = specs(worn)[1]
    assert len({plain.key, copies.key, usual.key}) == 3
    assert plain.teacher("sig").key != usual.teacher("sig").key
    assert "augment=jitter:0.1, augment-copies=4" in copies.student_title
    assert "augment" not in plain.student_title
    assert "(augment=jitter:0.1)" in copies.teacher("sig").title


def test_spelling_changes_no_key_and_triads_do(worn):
    assert specs(worn, augment=("jitter:0.1",))[0].key == specs(worn, augment=("jitter:1e-1",))[0].key
    (spec,) = specs(worn, methods=("student",), augment=("rotate:3",))
    turned = replace(spec, training=replace(spec.training, triads=("wrist=0,1,2",)))
    assert turned.key != spec.key


def test_a_preset_may_name_the_augmentations_of_the_card(worn, sines, monkeypatch):
    task = TASKS.get("classification")
    preset = replace(task.presets["quick"], augment=("card",), augment_copies=3)
    monkeypatch.setitem(TASKS._entries, "classification", replace(task, presets={"quick": preset}))
    spec = specs(worn)[1]
    assert spec.training.augment == spec.teacher_training.augment == ("rotate:20", "jitter:0.1")
    assert (spec.training.augment_copies, spec.teacher_training.augment_copies) == (3, 0)
    assert "augment" not in spec.student_title
    assert specs(sines)[1].training.augment == ()  # its file names none
    assert specs(worn, augment=("none",))[1].training.augment_copies == 0
    assert specs(worn, augment_copies=0)[1].training.augment_copies == 0


def test_a_suite_names_them(worn, tmp_path):
    suite = tmp_path / "suite.toml"
    suite.write_text(f'methods = ["student"]\ndata = "{worn}"\naugment = ["gain:0.1", "shift:0.1"]\naugment-copies = 2')
    ((spec, _),) = expand(read_suite(suite))
    assert spec.training.augment == ("gain:0.1", "shift:0.1")
    assert spec.training.augment_copies == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--augment rotate:30", "--augment rotate:30: data 'sines' does not say which channels are the axes x, y, z"),
        ("--augment rotat:30", "unknown augmentation 'rotat'; did you mean 'rotate'?"),
        ("--augment jitter", "--augment jitter: jitter:SD takes a number above 0 and at most 10, such as jitter:0.05"),
        ("--augment jitter:0", "'0' is not one"),
        ("--augment gain:1,gain:2", "gain"),
        ("--augment none,jitter:0.1", "none and card stand alone"),
        ("--augment shift:0.01", "windows of 32 samples shift:0.01 is less than one sample"),
        ("--augment-copies 2", "--augment-copies 2: nothing is augmented here"),
        ("--augment none --augment-copies 2", "--augment-copies 2: nothing is augmented here"),
        ("--augment card --augment-copies 2", "--augment-copies 2: nothing is augmented here"),
        ("--augment card", "names none; name some"),
        ("--augment jitter:0.1 --augment-copies -1", "augment-copies = -1 must be >= 0"),
        ("--augment jitter:0.1 --augment-copies x", "--augment-copies 'x' is not a whole number"),
        ("--augment mixup:0.2,", "an empty name"),
    ],
)
def test_what_does_not_fit_is_one_line(flags, message, sines, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["--method", "student", "--student", "sig", "--data", str(sines), *flags.split()]
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_images_and_labels_of_samples_are_refused(tmp_path, windows_file):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "images.npz", x=rng.normal(size=(24, 1, 8, 8)), y=np.arange(24) % 2)
    with pytest.raises(MmkdError, match="--augment jitter:0.1: data 'images' has images"):
        specs(tmp_path / "images.npz", augment=("jitter:0.1",), students=("img",), teachers=("img",))
    steps = windows_file(tmp_path / "steps.npz", n=24, y=np.tile(np.arange(32) // 8 % 3, (24, 1)))
    with pytest.raises(MmkdError, match="--augment jitter:0.1: data 'steps' has labels of samples"):
        specs(steps, augment=("jitter:0.1",), task="segmentation")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"triads": np.array(["wrist=a,b"])}, "triads: write texts such as"),
        ({"triads": np.array(["a,b,c"])}, "triads: write texts such as"),
        ({"triads": np.array(["wrist=a,b,z"])}, "triads has no channel 'z'"),
        ({"triads": np.array(["wrist=a,b,c;c,d,e"])}, "triads has a channel twice"),
        ({"triads": np.array(["w=a,b,c", "w=d,e,f"])}, "triads: write texts such as"),
        ({"triads": np.arange(3)}, "triads is int64"),
        ({"augment": np.array([1.0])}, "augment is float64"),
    ],
)
def test_bad_arrays_of_a_file(arrays, message, tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "bad.npz"
    np.savez(path, x=rng.normal(size=(24, 7, 16)), y=np.arange(24) % 2, **{"channels": NAMES, **arrays})
    with pytest.raises(MmkdError, match="bad.npz") as error:
        load_file(path)
    assert message in str(error.value)


CARD = """
task = "classification"
reader = "windows"
augment = ["rotate:30"]

[reader_options]
file = "worn.npz"
test_subjects = [4, 5]

[signal]
channels = ["a", "b", "c", "d", "e", "f", "g"]

[triads]
ankle = [["a", "b", "c"]]
"""


def test_a_private_card_goes_before_its_file(worn, tmp_path):
    (tmp_path / "card.toml").write_text(CARD)
    ((spec, data),) = expand(Request(methods=("student",), card=str(tmp_path / "card.toml"), augment=("card",)))
    assert data.triads == {"ankle": ((0, 1, 2),)}
    assert spec.training.augment == ("rotate:30",)
    assert spec.training.triads == ("ankle=0,1,2",)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('[["a", "b", "c"]]', '["a", "b", "c"]', "triads.ankle"),
        ('[["a", "b", "c"]]', '[["a", "b"]]', "triads.ankle"),
        ('[["a", "b", "c"]]', '[["a", "b", "z"]]', "triads.ankle"),
        ('[["a", "b", "c"]]', '[["a", "b", "c"], ["c", "d", "e"]]', "each channel is named once"),
        ('[triads]\nankle = [["a", "b", "c"]]', "", "without rotate where there are no"),
        ('augment = ["rotate:30"]', 'augment = "rotate:30"', "must be a list of augmentations"),
        ("[triads]", "[triad]", "unknown key 'triad'"),
    ],
)
def test_bad_cards(old, new, message, tmp_path):
    (tmp_path / "card.toml").write_text(CARD.replace(old, new))
    with pytest.raises(MmkdError) as error:
        read_card(tmp_path / "card.toml", private=True)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_cards_of_mmkd_name_augmentations_that_there_are():
    cards, broken = find_cards()
    assert broken == {}
    augmented = {name: card for name, card in cards.items() if card.augment}
    assert {"hapt6", "motionsense", "dsads", "uci-har", "wisdm", "pamap2", "natops", "racketsports"} <= set(augmented)
    for card in augmented.values():
        parse_augmentations(card.augment)
        assert TASKS.get(card.task).per_window
    assert len([triad for site in cards["dsads"].triads.values() for triad in site]) == 15
    for card in cards.values():  # the axes of a triad stand side by side, and have one name but for their end
        for triad in (triad for site in card.triads.values() for triad in site):
            first = card.channels.index(triad[0])
            assert triad == card.channels[first : first + 3]
            assert len({name[:-1] for name in triad}) == 1


def test_rows_that_differ_in_their_augmentations_say_so():
    variants = [("kd", {"training.augment": value}) for value in (["rotate:30", "gain:0.1"], [])]
    names = variant_names(variants, lambda name: {})
    assert names == ["kd training.augment=rotate:30+gain:0.1", "kd training.augment=none"]


def test_the_list(capsys):
    assert main(["--list", "augmentations"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines if line[0] != " "]
    assert names == ["gain", "jitter", "mixup", "rotate", "scale", "shift"]
    assert "        --augment rotate:DEG, such as rotate:30, at most 180" in lines


def test_python_and_flags_are_one(worn, tmp_path):
    record = mmkd.run("student", data=worn, student="sig", runs=tmp_path, epochs=1, augment=("card",), augment_copies=1)
    assert record.unit.training.augment == ("rotate:20", "jitter:0.1")
    command = ["--method", "student", "--data", str(worn), "--student", "sig", "--epochs", "1", "--quiet"]
    command += ["--augment", "rotate:20,jitter:0.1", "--augment-copies", "1", "--runs", str(tmp_path)]
    assert main([*command, "--existing", "only"]) == 0


def test_training_times_are_told_in_times_of_the_student_alone(tiny, tmp_path, capsys):
    command = ["--method", "student,kd", "--data", str(tiny["data"]), "--student", "sig", "--teachers", "sig"]
    command += ["--epochs", "1", "--runs", str(tmp_path), "--cache", str(tiny["cache"]), "--quiet"]
    line = "training time in times of the student alone, augmented alike: kd "
    assert main([*command, "--augment", "jitter:0.1"]) == 0
    (found,) = [text for text in capsys.readouterr().out.splitlines() if text.startswith(line)]
    assert float(found.removeprefix(line)) > 0
    assert main(command) == 0
    assert line not in capsys.readouterr().out
