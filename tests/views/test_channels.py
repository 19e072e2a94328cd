"""A modality of a channel group is that modality of those channels alone, from the view to the student."""

import json

import numpy as np
import pytest

import mmkd
from mmkd import MmkdError
from mmkd.data import load_dataset
from mmkd.nets.fusion import has_time
from mmkd.units.expansion import expand
from mmkd.units.request import Request
from mmkd.views import GAF, ChannelSubset, PersistenceImage, Signal, make_modality

X = np.random.default_rng(0).normal(size=(20, 6, 40)) * np.arange(1, 7)[:, None]
CONFIGS = {"sig": (Signal, {}), "gaf": (GAF, {"size": 8}), "pi": (PersistenceImage, {"size": 8})}


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("channels", [[3, 4, 5], [5, 0], [2]])
def test_it_is_the_modality_of_those_channels(kind, channels):
    cls, options = CONFIGS[kind]
    inner = cls(**options).fit(X[:12, channels])
    config = {**inner.config(), "channels": channels}
    found = make_modality(f"{kind}@some", config).fit(X[:12])
    np.testing.assert_array_equal(found.transform(X), inner.transform(X[:, channels]))
    assert found.shape(6, 40) == inner.shape(len(channels), 40)
    assert found.state() == inner.state()
    assert (found.fitted, found.version, found.config()) == (inner.fitted, inner.version, config)
    again = make_modality(f"{kind}@some", json.loads(json.dumps(config))).load_state(found.state())
    out = np.empty((20, *again.shape(6, 40)), np.float32)
    assert again.transform(X, out=out) is out
    np.testing.assert_array_equal(out, found.transform(X))


def test_groups_that_do_not_fit():
    with pytest.raises(MmkdError, match="channel number 6 of a group, and windows have 6 channels"):
        ChannelSubset(Signal(), [0, 6]).fit(X)
    for channels in ([], [1, 1], [-1]):
        with pytest.raises(MmkdError, match="must be one or more numbers from 0, each once"):
            ChannelSubset(Signal(), channels)


def test_the_axes_of_a_groups_view():
    assert has_time("sig@acc")
    assert has_time("gaf@pi")
    assert not has_time("pi@acc")


def units(student, teachers, dataset="basic-motions"):
    request = Request(methods=("kd",), datasets=(dataset,), students=(student,), teachers=(teachers,), image_size=16)
    return [spec for spec, _ in expand(request)]


def test_groups_come_from_the_card_and_are_part_of_the_key():
    (spec,) = units("sig@acc+gaf@gyro", "sig@acc,gaf@gyro,pi")
    assert spec.views["sig@acc"]["channels"] == [0, 1, 2]
    assert spec.views["gaf@gyro"]["channels"] == [3, 4, 5]
    assert "channels" not in spec.views["pi"]
    keys = {units(f"sig@{group}", "sig")[0].key for group in ("acc", "gyro", "acc_x")} | {units("sig", "sig")[0].key}
    assert len(keys) == 4
    assert spec.teacher("gaf@gyro").view["channels"] == [3, 4, 5]
    data = load_dataset("basic-motions")
    assert (data.channel_group("gyro"), data.channel_group("acc_y")) == ((3, 4, 5), (1,))


@pytest.mark.parametrize(
    ("student", "teachers", "message"),
    [
        (
            "sig@gyru",
            "sig",
            r"--student sig@gyru: unknown channel group 'gyru'; did you mean 'gyro'\? \(data 'basic-mot",
        ),
        ("sig", "sig,gaf@", r"--teachers sig,gaf@: unknown channel group ''"),
        ("sgi@acc", "sig", "--student sgi@acc: unknown modality 'sgi'; did you mean 'sig'"),
        ("sig@acc+sig@acc", "sig", "a modality is named twice"),
    ],
)
def test_names_that_are_none(student, teachers, message):
    with pytest.raises(MmkdError, match=message):
        units(student, teachers)


def test_a_student_of_groups_with_teachers_of_their_own(tmp_path, shared_cache):
    settings = {"dataset": "basic-motions", "student": "sig@acc+gaf@gyro", "teachers": "sig@acc,gaf@gyro"}
    done = mmkd.run("kd", **settings, epochs=1, image_size=16, runs=tmp_path, cache=shared_cache)
    assert set(done.result["teachers"]) == {"sig@acc", "gaf@gyro"}
    student = mmkd.load_student(done)
    x = load_dataset("basic-motions").x
    found = student.predict_proba(x)
    other = x.copy()
    other[:, [0, 1, 2]] += np.random.default_rng(0).normal(size=other[:, :3].shape)
    assert found.shape == (80, 4)
    assert not np.allclose(student.predict_proba(other), found)
    settings |= {"student": "sig@acc", "teachers": "sig"}
    alone = mmkd.run("student", **settings, epochs=1, runs=tmp_path, cache=shared_cache)
    gyro = x.copy()
    gyro[:, 3:] = 0
    of_acc = mmkd.load_student(alone)
    np.testing.assert_array_equal(of_acc.predict_proba(gyro), of_acc.predict_proba(x))
