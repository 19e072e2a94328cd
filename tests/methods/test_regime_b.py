"""Regime B: the student reads fewer or slower sensors than its teachers. Every method that fits is defined there."""

import json

import numpy as np
import pytest
import torch
from scipy.signal import resample_poly

import mmkd
from mmkd import METHODS, Batch, MmkdError
from mmkd.bench import main
from mmkd.compare import main as compare_main
from mmkd.comparison.compare import compare
from mmkd.core.errors import Refused
from mmkd.data import load_own
from mmkd.store.records import Records
from mmkd.training.trial import Trial
from mmkd.units.expansion import expand
from mmkd.units.request import Request
from mmkd.views import MODALITIES, Signal, make_modality
from mmkd.views.rates import Resampled

SENSORS = {"channels": np.array(["ax", "ay", "gx", "gy"]), "groups": np.array(["acc=ax,ay", "gyro=gx,gy"])}
SCENES = {
    "one group": ("sig@acc", "sig", None),
    "one group of two teachers": ("sig@acc", "sig,gaf", None),
    "group by branch": ("sig@acc+gaf@acc+pi@acc", "sig,gaf,pi", None),
    "slower": ("sig", "sig", 25.0),
    "slower branches": ("sig+gaf+pi", "sig,gaf,pi", 25.0),
    "slower group": ("sig@gyro", "sig", 12.5),
}


@pytest.fixture(scope="module")
def sensors(tmp_path_factory):
    """Windows of 64 samples at 50 Hz from two sensors of two channels each: sines whose frequency is the class."""
    rng = np.random.default_rng(0)
    y = np.arange(72) % 3
    time = np.arange(64) / 64
    phase = rng.uniform(0, 2 * np.pi, (72, 4, 1))
    x = np.sin(2 * np.pi * (y[:, None, None] + 1) * time + phase) + 0.3 * rng.normal(size=(72, 4, 64))
    path = tmp_path_factory.mktemp("sensors") / "sensors.npz"
    np.savez(path, x=x.astype(np.float32), y=y, subject=np.arange(72) // 3 % 6, rate_hz=50.0, **SENSORS)
    return path


def request(path, method, scene):
    student, teachers, rate = SCENES[scene]
    fusion = ("attention",) if "+" in student else ()
    more = {"students": (student,), "teachers": (teachers,), "student_rate": rate, "fusion": fusion}
    return Request(methods=(method,), data=str(path), image_size=16, **more)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("name", list(METHODS))
def test_terms_are_finite_and_move_the_student(name, scene, sensors):
    if "classification" not in METHODS.get(name).tasks:
        pytest.skip("it is not made for windows")
    ((spec, data),) = expand(request(sensors, name, scene))
    targets = torch.arange(40) % len(data.classes)
    try:
        trial = Trial.make(spec, shape=data.x.shape[1:], classes=len(data.classes), targets=targets, validated=True)
    except Refused as error:
        if "--" not in str(error):
            pytest.fail(f"{name} refuses without naming a flag that helps: {error}")
        pytest.skip(str(error))
    student = trial.student.train()
    batch = Batch(targets[:4], torch.arange(4), epoch=3, epochs=4)
    terms = trial.method.terms(student(trial.views), trial.teacher_outputs, batch)
    assert all(torch.isfinite(value) for value in terms.values())
    taught = [value for term, value in terms.items() if not term.startswith("ce") and value.requires_grad]
    if METHODS.get(name).distils and METHODS.get(name).needs:
        assert taught, f"no term but cross-entropy has a gradient: {list(terms)}"
    total = torch.stack([value for value in terms.values() if value.requires_grad]).sum()
    total.backward()
    grads = [p.grad for p in student.parameters() if p.grad is not None]
    assert grads
    assert all(torch.isfinite(grad).all() for grad in grads)
    assert any(grad.abs().max() > 0 for grad in grads)


@pytest.mark.parametrize("name", ["camkd", "progressive", "ebkd"])
def test_methods_of_branches_pair_them_whatever_their_rate(name, sensors):
    ((spec, data),) = expand(request(sensors, name, "slower branches"))
    targets = torch.arange(40) % len(data.classes)
    trial = Trial.make(spec, shape=data.x.shape[1:], classes=len(data.classes), targets=targets, validated=True)
    assert set(trial.student(trial.views).branches) == {"sig@25Hz", "gaf@25Hz", "pi@25Hz"}


def test_a_branch_is_paired_at_whichever_rate():
    branches = {name: mmkd.Outputs(torch.zeros(1), torch.zeros(1)) for name in ("gaf@25Hz", "sig@25Hz", "pi")}
    student = mmkd.Outputs(torch.zeros(1), torch.zeros(1), branches=branches)
    assert mmkd.paired_branch(student, "gaf") is branches["gaf@25Hz"]
    assert mmkd.paired_branch(student, "pi") is branches["pi"]
    assert mmkd.paired_branch(student, "img") is branches["sig@25Hz"], "the signal branch"
    assert mmkd.paired_branch(student, "gaf", "all") is branches["sig@25Hz"]
    assert mmkd.paired_branch(student, "gaf", "fused") is student


# The slower sensor, from the view to the student ----------------------------------------------------------------------

X = np.random.default_rng(0).normal(size=(30, 4, 64))


@pytest.mark.parametrize("kind", ["sig", "gaf", "pi"])
def test_a_slow_view_is_the_view_of_resampled_windows(kind):
    cls = MODALITIES.get(kind)
    options = {} if kind == "sig" else {"size": 16}
    slow = np.stack([resample_poly(window, 1, 2, axis=-1, padtype="line") for window in X[:, [2, 3]]])
    inner = cls(**options)
    inner.fit(slow[:20])
    config = {**inner.config(), "channels": [2, 3], "rate_hz": 25.0, "from_hz": 50.0}
    found = make_modality(f"{kind}@gyro@25Hz", config)
    found.fit(X[:20])
    np.testing.assert_allclose(found.transform(X), inner.transform(slow.astype(np.float32)), atol=2e-5)
    assert found.shape(4, 64) == inner.shape(2, 32)
    assert found.config() == config
    assert found.version == inner.version
    again = make_modality(f"{kind}@gyro@25Hz", json.loads(json.dumps(config))).load_state(found.state())
    out = np.empty((30, *again.shape(4, 64)), np.float32)
    assert again.transform(X, out=out) is out
    np.testing.assert_array_equal(out, found.transform(X))


def test_what_the_slow_sensor_cannot_see_is_filtered_out():
    time = np.arange(200) / 50
    high = np.sin(2 * np.pi * 20 * time)  # above half of 25 Hz
    low = np.sin(2 * np.pi * 2 * time)
    slow = Resampled(Signal(), 25.0, 50.0)._resample(np.stack([high, low])[None])
    middle = slow[0, :, 20:-20]
    assert np.abs(middle[0]).max() < 0.02
    np.testing.assert_allclose(middle[1], low[::2][20:-20], atol=0.01)


def test_many_windows_are_resampled_in_parts_and_each_by_itself():
    many = np.random.default_rng(1).normal(size=(1100, 2, 40))
    modality = make_modality("sig@5Hz", {"rate_hz": 5.0, "from_hz": 10.0}).fit(many)
    whole = modality.transform(many)
    assert whole.shape == (1100, 2, 20)
    for n in (0, 511, 512, 1099):
        np.testing.assert_array_equal(modality.transform(many[n : n + 1])[0], whole[n])


def units(path, **more):
    return [spec for spec, _ in expand(Request(**{"methods": ("kd",), "data": str(path), **more}))]


def test_the_rate_is_in_the_names_of_the_students_views_alone(sensors):
    (spec,) = units(sensors, students=("sig@acc+gaf",), teachers=("sig,gaf",), student_rate=12.5, image_size=None)
    assert spec.student == ("sig@acc@12.5Hz", "gaf@12.5Hz")
    assert set(spec.views) == {"sig@acc@12.5Hz", "gaf@12.5Hz", "sig", "gaf"}
    assert spec.views["sig@acc@12.5Hz"] == {"channels": [0, 1], "rate_hz": 12.5, "from_hz": 50.0}
    assert spec.views["gaf@12.5Hz"]["size"] == 16, "no more pixels than samples"
    assert spec.views["gaf"]["size"] == 32
    (other,) = units(sensors, students=("sig@acc@12.5Hz+gaf@12.5Hz",), teachers=("sig,gaf",), image_size=None)
    assert other.key == spec.key
    (full,) = units(sensors, students=("sig@acc+gaf",), teachers=("sig,gaf",))
    assert full.key != spec.key
    assert [full.teacher(m).key for m in ("sig", "gaf")] == [spec.teacher(m).key for m in ("sig", "gaf")]
    changed = {"gaf.range": "train"}
    (viewed,) = units(sensors, students=("gaf",), teachers=("sig,gaf",), student_rate=25.0, view=changed)
    assert viewed.views["gaf@25Hz"]["range"] == viewed.views["gaf"]["range"] == "train"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--student-rate", "50"), "--student-rate 50: data 'sensors' has 50 Hz; a slower sensor has less"),
        (("--student-rate", "60"), "--student-rate 60: data 'sensors' has 50 Hz; a slower sensor has less"),
        (("--student-rate", "5"), "windows of 64 samples would have 7, and 16 are the least; take 12 Hz or more"),
        (("--student-rate", "24.98777"), "from 50 Hz to 24.9878 Hz: no ratio of whole numbers up to 1000"),
        (("--student-rate", "0"), "student-rate = 0.0 must be > 0"),
        (("--student-rate", "25", "--student", "sig@20Hz"), "--student sig@20Hz names a rate of its own"),
        (("--student", "sig@99Hz"), "--student sig@99Hz: data 'sensors' has 50 Hz"),
        (("--student", "sig@25Hz", "--view", "gaf.size=8"), "no view gaf is used here"),
    ],
)
def test_rates_that_cannot_be_are_one_line(more, words, sensors, tmp_path, capsys):
    flags = ["--method", "kd", "--data", str(sensors), "--teachers", "sig", "--runs", str(tmp_path / "runs")]
    flags += [] if "--student" in more else ["--student", "sig"]
    assert main([*flags, *more, "--cache", str(tmp_path / "cache")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err
    assert not (tmp_path / "runs").exists()


def test_data_without_a_rate_images_and_labels_of_steps_are_refused(tmp_path):
    y = np.arange(48) % 3
    np.savez(tmp_path / "plain.npz", x=np.zeros((48, 2, 32)) + y[:, None, None], y=y)
    with pytest.raises(MmkdError, match="--student-rate 25: data 'plain' has no known sampling rate; add an array"):
        units(tmp_path / "plain.npz", student_rate=25.0)
    np.savez(tmp_path / "images.npz", x=np.zeros((48, 1, 16, 16)) + y[:, None, None, None], y=y)
    with pytest.raises(MmkdError, match="--student-rate 25: data 'images' has images, which have no sampling rate"):
        units(tmp_path / "images.npz", student_rate=25.0)
    steps = np.repeat(y[:, None], 32, 1)
    np.savez(tmp_path / "steps.npz", x=np.zeros((48, 2, 32)) + y[:, None, None], y=steps, rate_hz=50.0)
    with pytest.raises(MmkdError, match="for students that label windows, not for --task segmentation"):
        units(tmp_path / "steps.npz", student_rate=25.0, task="segmentation")
    named = {"channels": np.array(["25Hz", "b"]), "rate_hz": 50.0}
    np.savez(tmp_path / "named.npz", x=np.random.default_rng(0).normal(size=(48, 2, 64)), y=y, **named)
    with pytest.raises(MmkdError, match="calls channels '25Hz', which reads like a sampling rate; rename them"):
        units(tmp_path / "named.npz", students=("sig@25Hz",), teachers=("sig",))


def test_a_slow_student_is_trained_measured_loaded_and_compared(sensors, tmp_path, capsys):
    flags = ["--data", str(sensors), "--epochs", "2", "--image-size", "16", "--student", "sig@acc", "--teachers", "sig"]
    flags += ["--student-rate", "25", "--runs", str(tmp_path / "runs"), "--cache", str(tmp_path / "cache"), "--quiet"]
    assert main(["--method", "student,kd,fam-1d,feature-kd,sp", "--robustness", *flags]) == 0
    assert "student sig@acc@25Hz" in capsys.readouterr().out
    records = list(Records(tmp_path / "runs"))
    data = load_own(sensors, None)
    (done,) = [record for record in records if record.kind == "student" and record.unit.method == "kd"]
    student = mmkd.load_student(done.folder)
    with np.load(done.file("predictions.npz")) as z:
        found = student.predict_proba(np.asarray(data.x[z["window"]]))
        np.testing.assert_allclose(found, z["probabilities"], atol=1e-5)
    other = np.array(data.x[:5])
    other[:, 2:] = 0
    np.testing.assert_array_equal(student.predict_proba(other), student.predict_proba(data.x[:5]))
    with pytest.raises(MmkdError, match=r"this student takes \(N, 4, 64\)"):
        student.predict(data.x[:5, :, ::2])
    assert set(done.measurements) >= {"deployment.json", "robustness.json"}
    (group,) = compare(records).groups
    assert group.student == "student sig@acc@25Hz (small)"
    assert compare_main(["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    assert list((tmp_path / "out").rglob("*.csv"))
    assert "sig@acc@25Hz" in (tmp_path / "out" / "report.html").read_text()
