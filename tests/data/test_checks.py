"""What is suspicious in a data set: what is found, and what is no false alarm."""

import os

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.data import Dataset, load_dataset
from mmkd.data.checks import DataChecks, check_content, check_sizes
from mmkd.data.dataset import Fold

DATA_ROOT = os.environ.get("MMKD_DATA")


def dataset(x, *, y=None, subject=None, test=None, classes=("a", "b"), **others):
    """Two classes in turn, every third window a test window."""
    n, channels, _ = x.shape
    return Dataset(
        name="own",
        x=np.asarray(x, np.float32),
        y=np.arange(n) % 2 if y is None else y,
        subject=subject,
        test=np.arange(n) % 3 == 0 if test is None else test,
        classes=classes,
        channels=tuple(f"c{k}" for k in range(channels)),
        rate_hz=None,
        sha256="0",
        **others,
    )


def lines(data):
    checks = DataChecks(data)
    return [*checks.of_content, *checks.of_part(data)]


def noise(n=60, channels=3, width=40, seed=0):
    return np.random.default_rng(seed).standard_normal((n, channels, width)).astype(np.float32)


def waves(n=60, channels=3, width=40):
    """Smooth along time; each window and channel with a phase and frequency of its own."""
    rng = np.random.default_rng(0)
    frequency, phase = rng.uniform(1, 3, (2, n, channels, 1))
    return np.sin(frequency * np.linspace(0, 6, width) + 6 * phase)


def recording(length, channels=3):
    """A smooth signal (C, T) in which no two parts are alike."""
    return np.cumsum(np.random.default_rng(1).standard_normal((channels, length)), axis=1).astype(np.float32)


def windows(signal, width, step):
    return np.stack([signal[:, at : at + width] for at in range(0, signal.shape[1] - width + 1, step)])


@pytest.mark.parametrize("x", [noise(), waves(), noise(width=8), windows(recording(8000), 40, 100)])
def test_sound_windows_raise_no_alarm(x):
    assert lines(dataset(x)) == []


def test_more_channels_than_samples():
    assert lines(dataset(waves(width=9).transpose(0, 2, 1))) == [
        "9 channels of 3 samples: are the axes swapped? x is (N windows, C channels, W samples)"
    ]
    assert lines(dataset(noise(channels=9, width=9))) == []


def test_many_channels_that_are_smooth_in_time_are_channels():
    assert lines(dataset(waves(channels=48, width=40))) == []
    (line,) = lines(dataset(waves(channels=40, width=48).transpose(0, 2, 1)))
    assert line.startswith("48 channels of 40 samples: are the axes swapped?")


def test_channels_that_are_meant_to_be_constant_in_a_window():
    rng = np.random.default_rng(3)
    x = noise()
    x[:, 1] = rng.uniform(60, 90, (60, 1))  # one value a window, such as a heart rate
    x[:, 2] = rng.uniform(size=(60, 40)) < 0.01  # on and off
    assert lines(dataset(x)) == []
    x[:, 1] = 70.0
    assert lines(dataset(x)) == ["channels that are constant in whole windows: c1 in 60 of 60"]


def test_axes_that_are_swapped_though_there_are_more_of_the_other():
    (line,) = check_content(dataset(waves(channels=40, width=24).transpose(0, 2, 1)))
    assert line.startswith("x is smooth from channel to channel and not from sample to sample")
    assert check_content(dataset(waves(channels=24, width=40))) == []
    everywhere_smooth = np.add.outer(np.arange(12.0), np.arange(30.0))[None] + noise(60, 12, 30)
    assert check_content(dataset(everywhere_smooth)) == []


@pytest.mark.parametrize("classes", [("walk", "walk "), ("Sit", "sit"), ("stand up", "standup")])
def test_class_names_that_are_hardly_different(classes):
    assert lines(dataset(noise(), classes=classes, y=np.arange(60) // 2 % 2)) == [
        f"classes differ only in how they are written: {classes[0]!r}, {classes[1]!r}"
    ]


def test_dead_windows_and_stuck_channels():
    x = noise()
    x[4:7, 1] = 3.0
    x[10] = 0
    assert lines(dataset(x)) == [
        "1 of 60 windows is zero",
        "channels that are constant in whole windows: c1 in 3 of 60",
    ]
    x[11] = 5.0
    assert lines(dataset(x))[0] == "2 of 60 windows are constant in every channel, 1 of them zero"
    x = noise()
    x[:, 2] = 7.0
    assert lines(dataset(x)) == ["channels that are constant in whole windows: c2 in 60 of 60"]


def test_whose_channel_is_stuck():
    subject = np.array(["ann", "ben", "eve", "zoe"])[np.arange(60) // 15]
    x = noise()
    x[45:, 1] = 3.0
    data = dataset(x, subject=subject, test=subject == "zoe")
    assert check_content(data) == ["channels that are constant in whole windows: c1 in 15 of 60 (test subject zoe)"]
    x[0, 1] = 1.0
    x[2, 2] = x[20, 2] = 1.0
    x[21] = 0
    assert check_content(data) == [
        "1 of 60 windows is zero (subject ben)",
        "channels that are constant in whole windows: c1 in 16 of 60 (subject ann and test subject zoe), "
        "c2 in 2 of 60 (subjects ann, ben)",
    ]
    x[::15, 1] = 1.0  # of all
    assert "c1 in 18 of 60, c2" in check_content(data)[1]


def test_windows_that_were_drawn_one_by_one():
    both = "windows of one person or recording may be on both sides of the split, and scores are then too high"
    assert lines(dataset(noise(), test_from="drawn")) == [f"no array 'subject': {both}"]
    assert lines(dataset(noise(), test_from="file")) == []
    drawn_by_subject = {"subject": np.arange(60) // 6, "test": np.arange(60) // 6 % 3 == 0}
    assert lines(dataset(noise(), test_from="drawn", **drawn_by_subject)) == []
    image = dataset(noise(width=36), test_from="drawn", grid=(6, 6))
    assert lines(image) == []


def test_subjects_that_number_the_windows():
    both = "windows of one person or recording may be on both sides of the split, and scores are then too high"
    index = np.arange(60)
    data = dataset(noise(), subject=index, test_from="drawn")
    assert lines(data) == [f"each subject has one window; if the array 'subject' numbers them, {both}"]
    assert lines(dataset(noise(), subject=index)) == []
    assert lines(dataset(noise(), subject=np.maximum(index, 1), test_from="drawn")) == []
    dense = dataset(noise(), y=np.tile(np.arange(40) % 2, (60, 1)), subject=index, test_from="drawn")
    (line,) = lines(dense)
    assert line.startswith("each window is a recording of its own; without an array 'recording' or 'subject' windows")


def test_a_channel_that_is_there_twice():
    x = noise(channels=4)
    x[:, 3] = x[:, 1]
    assert lines(dataset(x)) == ["channels that are identical: c1 = c3"]
    x[59, 3, 7] += 1
    assert lines(dataset(x)) == []


def test_sizes_of_parts_and_classes():
    test = np.arange(60) % 2 == 0
    persons = {"subject": np.arange(60) % 4, "y": np.arange(60) // 2 % 2, "test": test}
    share = ["the test part is 50 % of the windows"]
    assert lines(dataset(noise(), test_from="drawn", **persons)) == share
    assert lines(dataset(noise(), test_from="file", fold=Fold("fold 1 of 2", (0, 2)), **persons)) == share
    assert lines(dataset(noise(), test_from="file", **persons)) == []  # its author's own part
    assert lines(dataset(noise(), **persons)) == []  # a card's own part
    few = np.where(np.arange(60) < 4, 1, 0)
    data = dataset(noise(), y=few, test=np.arange(60) % 3 == 2)
    assert check_sizes(data) == ["few training windows of a class: 'b' 3"]
    data = dataset(noise(), y=few, test=np.arange(60) >= 40)
    assert "no test windows of a class: 'b'" in check_sizes(data)


def drawn(n, seed=0):
    return np.random.default_rng(seed).random(n) < 0.3


@pytest.mark.parametrize(("step", "share"), [(20, 1 - 0.3**2), (30, 1 - 0.3**2), (10, 1 - 0.3**6)])
def test_overlapping_neighbours_are_counted(step, share):
    x = windows(recording(6000), 40, step)
    data = dataset(x, test=drawn(len(x)))
    count = np.zeros(len(x), bool)
    for distance in range(1, -(-40 // step)):
        count[distance:] |= ~data.test[:-distance]
        count[:-distance] |= ~data.test[distance:]
    expected = int((count & data.test).sum())
    assert abs(expected / data.test.sum() - share) < 0.1
    assert lines(data) == [
        f"{expected} of {data.test.sum()} test windows share samples with a training window; an array 'subject' would "
        f"keep them on one side"
    ]


def test_shared_samples_are_found_wherever_they_lie():
    """A recording that is there twice, under two subjects and in another order."""
    x = noise(80)
    x[70, :, 3:30] = x[5, :, 11:38]
    subject = np.arange(80) // 20
    data = dataset(x, subject=subject, test=subject == 3)
    assert lines(data) == ["1 of 20 test windows share samples with a training window"]
    x[71] = x[6]
    x[72] = x[71]
    assert lines(dataset(x, subject=subject, test=subject == 3)) == [
        "2 of 20 test windows are identical to a training window",
        "3 of 20 test windows share samples with a training window",
    ]
    assert lines(dataset(x, subject=subject, test=subject == 1)) == []


def test_copies_but_for_scale_and_rounding():
    x = noise(80)
    test = np.arange(80) >= 60
    x[70] = x[5].astype(np.float16) * 3 + np.array([[1], [2], [3]])
    assert lines(dataset(x, test=test)) == ["1 of 20 test windows is a training window but for scale and rounding"]
    x[70] += 0.05 * noise(1, seed=2)[0]
    assert lines(dataset(x, test=test)) == []


def test_overlapping_windows_that_were_scaled_one_by_one():
    x = windows(recording(4000).astype(np.float64), 40, 20)
    x = (x - x.mean(axis=2, keepdims=True)) / x.std(axis=2, keepdims=True)
    data = dataset(x, test=drawn(len(x)))
    (line,) = lines(data)
    assert line.endswith(
        "test windows overlap a training window but for scale; an array 'subject' would keep them on one side"
    )
    count, total = int(line.split()[0]), int(data.test.sum())
    assert 0.85 * total < count < total


@pytest.mark.parametrize("order", ["file", "shuffled"])
@pytest.mark.parametrize("scale", ["z", "range"])
def test_overlapping_windows_that_were_scaled_one_by_one_in_any_order(order, scale):
    """75 % overlap."""
    x = windows(recording(4000), 40, 10)
    if order == "shuffled":
        x = x[np.random.default_rng(0).permutation(len(x))]
    low, high = x.min(axis=2, keepdims=True), x.max(axis=2, keepdims=True)
    x = (x - x.mean(axis=2, keepdims=True)) / x.std(axis=2, keepdims=True) if scale == "z" else (x - low) / (high - low)
    total = int(drawn(len(x)).sum())
    assert lines(dataset(x, test=drawn(len(x)))) == [
        f"{total} of {total} test windows overlap a training window but for scale; an array 'subject' would keep them "
        f"on one side"
    ]


def test_windows_that_go_on_where_another_ends():
    signal = np.stack([np.convolve(row, np.ones(20) / 20, "same") for row in noise(1, 3, 4000)[0]])
    x = windows(signal, 40, 40)
    (line,) = lines(dataset(x, test=drawn(len(x))))
    assert "test windows go on where a training window ends" in line
    assert lines(dataset(x, test=np.arange(len(x)) >= 70)) == []  # two of thirty lie beside training windows
    shuffled = x[np.random.default_rng(0).permutation(len(x))]
    assert lines(dataset(shuffled, test=drawn(len(x)))) == []


def test_padding_is_no_copy_and_minus_zero_is_zero():
    x = np.zeros((200, 1, 64), np.float32)
    x[:, :, 20:44] = noise(200, 1, 24)
    assert lines(dataset(x)) == []
    x[6] = np.where(x[7] == 0, np.float32(-0.0), x[7])  # one for the test, one for training
    assert lines(dataset(x)) == ["1 of 67 test windows is identical to a training window"]


def test_a_resting_sensor_and_coarse_values_are_no_copies():
    rng = np.random.default_rng(0)
    resting = np.repeat(noise(200, 1, 1), 64, axis=2)
    resting[:, :, 30:34] += noise(200, 1, 4)
    assert not any("share" in line for line in lines(dataset(resting)))
    for levels in (2, 4, 20):
        assert lines(dataset(rng.integers(0, levels, (2000, 1, 64)))) == []
    steps = np.cumsum(rng.integers(-1, 2, (2000, 1, 64)), axis=2)
    assert lines(dataset(steps)) == []


@pytest.mark.parametrize("shape", [(2, 1, 1), (3, 2, 2), (4, 1, 9)])
@pytest.mark.parametrize("value", [0, 1])
def test_tiny_data_sets_are_no_trouble(shape, value):
    lines(dataset(value * np.random.default_rng(0).standard_normal(shape)))


EXPECTED = {
    "pigcvp": ["few training windows of a class: '1' 2, '2' 2, '3' 2, '4' 2 and 48 more"],
    "dsads": ["120 of 2,280 test windows share samples with a training window"],
    "ucr-uea.Adiac": ["few training windows of a class: '5' 4"],
    "ucr-uea.FacesUCR": ["few training windows of a class: '11' 4"],
    "ucr-uea.FaceAll": ["1 of 1,690 test windows is identical to a training window"],
    "ucr-uea.MedicalImages": ["1 of 760 test windows is identical to a training window"],
    "ucr-uea.PowerCons": ["67 of 180 test windows are identical to a training window"],
    "ucr-uea.Strawberry": ["1 of 370 test windows is identical to a training window"],
    "ucr-uea.SwedishLeaf": ["2 of 625 test windows are identical to a training window"],
}
"""What is suspicious in published data sets, as compared by hand: PowerCons has 67 windows in both of its parts, and in
DSADS person 8 has, of two activities, samples of person 4."""
SOUND = (
    *("basic-motions", "coffee", "gunpoint", "italy-power-demand", "arrowhead", "japanese-vowels", "hapt", "hapt6"),
    *("hapt-dense", "uci-har-check", "natops", "racketsports", "mitbih12", "motionsense", "ludb", "tssb", "nab", "msl"),
    *("smap", "ucr-uea.CricketX", "ucr-uea.ECG200", "ucr-uea.GunPointAgeSpan", "ucr-uea.Lightning7"),
    *("ucr-uea.OSULeaf", "ucr-uea.Plane", "ucr-uea.PowerCons", "ucr-uea.SyntheticControl", "ucr-uea.Trace"),
)


@pytest.mark.data
@pytest.mark.parametrize("name", sorted({*EXPECTED, *SOUND}))
def test_published_data_sets(name):
    """A new false alarm fails here."""
    try:
        data = load_dataset(name, DATA_ROOT, "impute")
    except MmkdError as error:
        pytest.skip(str(error))
    assert lines(data) == EXPECTED.get(name, [])
