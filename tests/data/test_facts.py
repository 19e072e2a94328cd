"""What an `.npz` file says about its windows: channels, rate, groups, classes; and that it is believed or refused."""

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.data import load_file
from mmkd.units.expansion import expand
from mmkd.units.request import Request

X = np.random.default_rng(0).normal(size=(40, 3, 64))
Y = np.arange(40) % 2
CHANNELS = ["acc_x", "acc_y", "hr"]
CLASSES = ["sit", "walk"]


@pytest.fixture
def save(tmp_path):
    def call(**arrays):
        np.savez(tmp_path / "own.npz", **{"x": X, "y": Y, **arrays})
        return tmp_path / "own.npz"

    return call


def test_all_of_them(save):
    groups = ["acc=acc_x, acc_y", "heart=hr"]
    data = load_file(save(channels=CHANNELS, classes=CLASSES, rate_hz=25, window_s=2.56, groups=groups))
    assert data.channels == tuple(CHANNELS)
    assert data.classes == tuple(CLASSES)
    assert data.rate_hz == 25
    assert data.window_s == 2.56
    assert data.groups == {"acc": (0, 1), "heart": (2,)}
    np.testing.assert_array_equal(data.y, Y)
    assert data.warnings == ()


@pytest.mark.parametrize(
    ("facts", "field", "value"),
    [
        ({"window_s": 1.28}, "rate_hz", 50.0),
        ({"rate_hz": np.array([50])}, "rate_hz", 50.0),
        ({"groups": ["acc", "acc", ""]}, "groups", {"acc": (0, 1)}),
        ({"groups": "a=channel_0,channel_2"}, "groups", {"a": (0, 2)}),
        ({"Channels": [" a", "b", "c"]}, "channels", ("a", "b", "c")),
        ({"class_names": CLASSES}, "classes", ("sit", "walk")),
        ({"classes": CLASSES, "y": np.array(["walk", "sit"])[Y]}, "classes", ("sit", "walk")),
        ({"classes": [7, 9]}, "classes", ("7", "9")),
        ({"classes": ["none", "a"], "y": np.tile(np.arange(64) % 2, (40, 1))}, "classes", ("none", "a")),
    ],
)
def test_each(save, facts, field, value):
    data = load_file(save(**facts))
    assert getattr(data, field) == value
    if facts.get("y", Y).dtype.kind == "U":
        assert [data.classes[k] for k in data.y] == facts["y"].tolist()


def test_a_class_without_a_window_is_said(save):
    data = load_file(save(classes=["sit", "walk", "run"]))
    assert data.classes == ("sit", "walk", "run")
    assert data.warnings == ("no window is of class 'run'",)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"channels": CHANNELS[:2]}, "channels has 2 names, and x 3 channels; they must be as many"),
        ({"channels": ["a", "a", "b"]}, "channels holds 3 names, 2 of them different and not empty"),
        ({"channels": [1, 2, 3]}, r"channels is int64 of shape \(3,\); it must hold texts"),
        ({"rate_hz": 0}, "rate_hz is 0; it must be one number above 0"),
        ({"rate_hz": [1.0, 2.0]}, r"rate_hz is of shape \(2,\); it must be one number above 0"),
        ({"rate_hz": "fast"}, "rate_hz is 'fast'; it must be one number above 0"),
        (
            {"rate_hz": 50, "window_s": 2.0},
            "a window of 2 s at rate_hz 50 has 100 samples, and x has 64; mend rate_hz or",
        ),
        ({"groups": ["acc=acc_x"]}, "groups: 'acc' has no channel 'acc_x'; the channels are channel_0, channel_1"),
        ({"groups": ["a b=channel_0"]}, "groups: 'a b' must be a name of letters, digits, _ and -"),
        ({"groups": ["a=channel_0", "a=channel_1"]}, "groups names 'a' twice"),
        ({"groups": ["a=channel_0,channel_0"]}, "groups: 'a' has a channel twice"),
        ({"groups": ["channel_0=channel_1"]}, "groups: 'channel_0' is the name of a channel too"),
        ({"groups": Y}, r"groups is int64 of shape \(40,\); it must hold texts; persons belong in 'subject'"),
        (
            {"groups": Y.astype(str)},
            r"groups has 40 entries; .* each of the 3 channels \(persons belong in 'subject'\)",
        ),
        ({"classes": ["sit"]}, "classes holds 1 names"),
        ({"classes": CLASSES, "y": Y + 1}, "y goes from 1 to 2, and classes has 2 names, counted from 0"),
        ({"classes": CLASSES, "y": np.array(["walk", "lie"])[Y]}, "y holds 'lie', which is not among classes"),
        ({"classes": CLASSES, "y": np.full((40, 64), 2)}, "y goes up to 2, and classes has 2 names, counted from 0"),
        ({"x": X[:, :, :, None][..., :1].repeat(64, 3), "rate_hz": 5}, "rate_hz goes with windows of a signal"),
        ({"fs": 50}, "unknown array 'fs'; did you mean 'rate_hz'"),
        ({"person": Y}, "unknown array 'person'; did you mean 'subject'"),
        ({"class_names": CLASSES, "classes": CLASSES}, "it holds both 'class_names' and 'classes'"),
    ],
)
def test_refused(save, facts, message):
    with pytest.raises(MmkdError, match=message):
        load_file(save(**facts))


def test_whole_recordings_are_no_windows(tmp_path):
    """The form that `prepare` makes of recordings."""
    np.savez(tmp_path / "s.npz", x=X[0].T, y=Y, start=np.zeros(1, int), subject=np.zeros(1, int), class_names=CLASSES)
    with pytest.raises(MmkdError, match="it holds whole recordings, not windows; load it by the name of its data set"):
        load_file(tmp_path / "s.npz")


def test_with_a_rate_and_groups_own_data_are_like_those_of_a_card(save):
    path = save(channels=CHANNELS, rate_hz=50.0, groups=["acc=acc_x,acc_y"])
    request = Request(("kd",), data=str(path), rate=25.0, students=("sig@acc+gaf@hr",), teachers=("sig@acc,gaf@hr",))
    ((spec, data),) = expand(request)
    assert (data.x.shape, data.rate_hz, data.window_s) == ((40, 3, 32), 25.0, 1.28)
    assert spec.data.rate == 25.0
    assert spec.views["sig@acc"]["channels"] == [0, 1]
    assert spec.views["gaf@hr"]["channels"] == [2]
