"""A private data set: its card lies anywhere, needs no checksum, and names a file of the form that `--data` takes."""

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.bench import main as bench
from mmkd.data import load_dataset, load_file, load_own
from mmkd.data.__main__ import main
from mmkd.units.expansion import expand
from mmkd.units.request import Request
from mmkd.units.suites import read_suite

N = 48
X = np.random.default_rng(0).normal(size=(N, 2, 40)) + (np.arange(N) % 2)[:, None, None]
Y = np.arange(N) % 2
PERSON = np.array(["anna", "ben", "carl", "dora", "eve", "fritz"])[np.arange(N) // 8]
CARD = """
task = "classification"
reader = "windows"
classes = ["sit", "walk"]
[reader_options]
file = "w.npz"
test_subjects = ["ben", "eve"]
[signal]
channels = ["acc", "hr"]
rate_hz = 20
"""


@pytest.fixture
def card(tmp_path):
    """Writes `ward/card.toml` and `ward/w.npz`; arrays and the card may be changed."""

    def call(text=CARD, **arrays):
        folder = tmp_path / "ward"
        folder.mkdir(exist_ok=True)
        given = {"x": X, "y": np.array(["sit", "walk"])[Y], "subject": PERSON, **arrays}
        np.savez(folder / "w.npz", **{name: array for name, array in given.items() if array is not None})
        (folder / "card.toml").write_text(text)
        return folder / "card.toml"

    return call


def test_a_card_that_lies_anywhere(card):
    data = load_own(card())
    np.testing.assert_array_equal(data.x, X.astype(np.float32))
    np.testing.assert_array_equal(data.y, Y)
    assert (data.name, data.channels, data.rate_hz) == ("ward", ("acc", "hr"), 20)
    assert set(data.subject[data.test]) == {"ben", "eve"}
    assert data.test_from == "card"


def test_the_content_is_the_checksum(card):
    first = load_own(card()).sha256
    assert load_own(card()).sha256 == first
    assert load_own(card(x=X + 1)).sha256 != first
    assert load_own(card(CARD.replace("eve", "dora"))).sha256 != first


def test_its_files_may_be_in_the_data_folder(card, tmp_path):
    path = card()
    (tmp_path / "elsewhere").mkdir()
    (path.parent / "w.npz").rename(tmp_path / "elsewhere" / "w.npz")
    assert load_own(path, tmp_path / "elsewhere").name == "ward"
    with pytest.raises(MmkdError, match=r"data set 'ward': .*w\.npz is missing"):
        load_own(path, tmp_path)


@pytest.mark.parametrize(
    "arrays",
    [
        {"y": Y, "classes": ["sit", "walk"]},
        {"y": 1 - Y, "classes": ["walk", "sit"]},
        {"y": Y, "class_names": ["sit", "walk"]},
        {"channels": ["acc", "hr"], "rate_hz": 20.0},
    ],
)
def test_the_form_of_own_windows(card, arrays):
    np.testing.assert_array_equal(load_own(card(**arrays)).y, Y)


def test_classes_that_are_not_on_the_card_are_left_out(card):
    y = np.where(np.arange(N) % 8 == 7, "run", np.array(["sit", "walk"])[Y])
    assert len(load_own(card(y=y)).x) == N - 6


def test_labels_of_samples(card):
    text = CARD.replace("classification", "segmentation").replace(
        "rate_hz = 20", "rate_hz = 20\nwindow = 40\nstep = 40"
    )
    y = np.tile(np.arange(40) // 20, (N, 1))
    data = load_own(card(text, y=y, recording=np.arange(N) // 2, start=40 * (np.arange(N) % 2)))
    np.testing.assert_array_equal(data.y, y)
    assert data.recording.tolist() == (np.arange(N) // 2).tolist()


@pytest.mark.parametrize(
    ("change", "arrays", "message"),
    [
        (("hr", "heart"), {"channels": ["acc", "hr"]}, r"its card.toml says channels \('acc', 'heart'\), its files"),
        (("= 20", "= 25"), {"rate_hz": 20.0}, "its card.toml says rate_hz 25, its files 20.0"),
        (("walk", "run"), {}, "have no class run"),
        (
            ('test_subjects = ["ben", "eve"]', ""),
            {},
            "nothing names its test windows; add an array 'test', or subjects",
        ),
        (("", ""), {"subject": PERSON[:3]}, r"subject has shape \(3,\); with 48 windows in x it must be \(48,\)"),
        (("", ""), {"y": np.where(Y == 0, "nan", "walk")}, "y is 'nan', a missing value, at 24 of 48 windows"),
        (("[signal]", "[signals]"), {}, "unknown key 'signals'; did you mean 'signal'"),
        (('"ben"', '"ben", "zoe"'), {}, "test_subjects: no subject 'zoe'; the subjects are anna, ben, carl, dora"),
        (('["ben", "eve"]', '["Ben"]'), {}, "test_subjects: no subject 'Ben'; the subjects are anna, ben, carl, dora"),
        (('["ben", "eve"]', "[]"), {}, "test_subjects: nobody is named; the subjects are anna"),
        (("test_subjects", "test_subject"), {}, "has no 'test_subject'; did you mean 'test_subjects'"),
        (("", ""), {"subject": None}, "test_subjects needs an array 'subject' in its file"),
        (
            ("", ""),
            {"test": PERSON == "dora"},
            "the array 'test' in its file and test_subjects on its card name differ",
        ),
        (("[signal]", "[groups]\nb = ['acc']\n[signal]"), {"groups": ["b=hr"]}, "says group b .*its files"),
        (("[signal]", "[groups]\nb = ['eda']\n[signal]"), {}, "groups.b"),
    ],
)
def test_refused(card, change, arrays, message):
    with pytest.raises(MmkdError, match=message):
        load_own(card(CARD.replace(*change) if change[0] else CARD, **arrays))


BARE = (
    'task = "classification"\nreader = "windows"\nreader_options = {file = "w.npz", test_subjects = ["ben", "eve"]}\n'
)


def test_classes_signal_and_groups_out_of_the_file(card):
    said = {"classes": ["sit", "walk"], "channels": ["acc", "hr"], "rate_hz": 20.0, "groups": ["heart=hr"]}
    data = load_own(card(BARE, **said))
    of_card = load_own(card())
    for field in ("x", "y", "test"):
        np.testing.assert_array_equal(getattr(data, field), getattr(of_card, field))
    assert (data.classes, data.channels, data.rate_hz) == (of_card.classes, of_card.channels, of_card.rate_hz)
    assert (data.groups, of_card.groups) == ({"heart": (1,)}, {})
    assert load_own(card(**said)).groups == {"heart": (1,)}, "the card has the channels, the file the groups"
    assert load_own(card(BARE + "[groups]\nmotion = ['acc']\n", **said)).groups == {"heart": (1,), "motion": (0,)}
    named = load_own(card(BARE))
    assert (named.classes, named.channels, named.rate_hz) == (("sit", "walk"), ("channel_0", "channel_1"), None)


def test_in_requests(card, tmp_path):
    path = str(card())
    units = list(expand(Request(("student",), card=path, students=("sig@hr",), rate=10.0)))
    assert [spec.data.name for spec, _ in units] == ["ward"]
    assert units[0][1].window == 20
    (tmp_path / "s.toml").write_text(f'methods = ["student"]\ncard = "{path}"\nstudents = ["sig"]\nsplit = "loso"\n')
    loso = list(expand(read_suite(tmp_path / "s.toml")))
    assert [spec.data.test_subjects for spec, _ in loso] == [(name,) for name in sorted(set(PERSON))]
    assert not loso[0][0].data.by_name, "subjects of a card always had their names"
    for names in ({"data": "a.npz", "card": path}, {"datasets": (path,)}):
        with pytest.raises(MmkdError, match="give one of them|name the file of a card with --card"):
            Request(("student",), **names)


def test_commands(card, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = str(card())
    assert main(["check", path]) == 0
    assert "test: 16 windows, subjects ben, eve" in capsys.readouterr().out
    assert main(["folds", path]) == 0
    assert (tmp_path / "ward.split.json").is_file()
    flags = ["--student", "sig", "--epochs", "1", "--quiet", "--runs", "runs", "--jobs", "2"]
    assert bench(["--method", "student,kd", "--teachers", "sig", "--card", path, *flags]) == 0
    assert "ward, student sig" in capsys.readouterr().out
    assert bench(["--method", "student", "--card", path, "--data", "x.npz"]) == 2


def test_what_prepare_writes_is_read_as_own_data(tmp_path, uci_har_folder):
    assert main(["prepare", "uci-har", "--originals", str(uci_har_folder), "--data-root", str(tmp_path / "d")]) == 0
    own = load_file(tmp_path / "d" / "uci_har" / "uci_har.npz", form="window")
    of_card = load_dataset("uci-har", tmp_path / "d")
    for field in ("x", "y", "subject", "test"):
        np.testing.assert_array_equal(getattr(own, field), getattr(of_card, field))
    for field in ("classes", "channels", "rate_hz", "groups"):
        assert getattr(own, field) == getattr(of_card, field)


@pytest.fixture
def uci_har_folder(tmp_path):
    """Two windows of each activity and part, as the authors publish them."""
    for part, people in (("train", (1, 3)), ("test", (2, 4))):
        folder = tmp_path / "src" / part
        (folder / "Inertial Signals").mkdir(parents=True)
        rows = np.random.default_rng(0).normal(size=(12, 128))
        for signal in ("body_acc", "body_gyro", "total_acc"):
            for axis in "xyz":
                np.savetxt(folder / "Inertial Signals" / f"{signal}_{axis}_{part}.txt", rows)
        np.savetxt(folder / f"y_{part}.txt", np.arange(12) % 6 + 1, fmt="%d")
        np.savetxt(folder / f"subject_{part}.txt", np.repeat(people, 6), fmt="%d")
    return tmp_path / "src"
