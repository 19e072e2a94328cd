"""Options that go with any method, through whole units: trained start, searched shares, schedules, other teachers."""

import csv
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import mmkd
from mmkd import METHODS, MmkdError, Outputs
from mmkd.metrics.classes import mixture_shares
from mmkd.store.records import Records
from mmkd.training import preparation
from mmkd.training import shares as search
from mmkd.training import student as unit
from mmkd.training.data import TrainingData
from mmkd.training.teachers import Teacher

pytestmark = pytest.mark.filterwarnings("ignore:.*mask.*:UserWarning")


@pytest.fixture
def starts(monkeypatch):
    """The student's weights as each unit's training begins."""
    found = []
    real = unit.train

    def spy(network, *args, **kwargs):
        found.append({name: value.clone() for name, value in network.state_dict().items()})
        return real(network, *args, **kwargs)

    monkeypatch.setattr(unit, "train", spy)
    return found


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_trained_start_is_the_student_trained_alone(tiny, tmp_path, starts):
    """Epoch 0 of the unit is the best epoch of the student alone, which is done first and kept on record."""
    record = mmkd.run("kd", **tiny, runs=tmp_path, init_student="trained")
    alone = mmkd.run("student", **tiny, runs=tmp_path, existing="only")
    assert len(starts) == 2
    assert equal(starts[1], load_file(alone.folder / "student.safetensors"))
    assert not equal(starts[0], starts[1])
    assert alone.key in (record.folder / "events.log").read_text()
    random = mmkd.run("kd", **tiny, runs=tmp_path)
    assert equal(starts[2], starts[0]), "without it every method starts from the same random student"
    assert random.key != record.key


def test_a_trained_start_of_the_same_shape_and_branch_weight(tiny, tmp_path, starts):
    mmkd.run("aver", **tiny, runs=tmp_path, init_student="trained", branch_weight=0.25, student="sig+gaf")
    specs = {r.spec.method: r.spec for r in Records(tmp_path) if r.kind == "student"}
    assert specs["student"].options == {"branch_weight": 0.25}
    assert specs["student"].student == ("sig", "gaf")


def test_full_kd_takes_the_last_epoch_of_the_same_teachers(tiny, tmp_path, monkeypatch):
    taken = {}
    real = preparation.make_teacher_source

    def spy(teachers, *args, **kwargs):
        taken[len(taken)] = {m: (t.folder, t.network.state_dict()) for m, t in teachers.items()}
        return real(teachers, *args, **kwargs)

    monkeypatch.setattr(preparation, "make_teacher_source", spy)
    for name in ("eskd", "full-kd"):
        record = mmkd.run(name, **tiny, runs=tmp_path)
        assert record.result["teacher_checkpoint"] == ("last" if name == "full-kd" else "best")
    for modality, (folder, state) in taken[0].items():
        other, last = taken[1][modality]
        assert folder == other
        for epoch, weights in (("best", state), ("last", last)):
            assert equal(load_file(folder / f"{epoch}.safetensors"), weights)


def test_outputs_of_last_and_best_teachers_are_kept_apart(tiny, tmp_path):
    """A method on last-epoch teachers after one on best-epoch teachers equals one from an empty cache."""
    settings = {**tiny, "cache": tmp_path / "cache"}
    mmkd.run("eskd", **settings, runs=tmp_path / "a")
    after = mmkd.run("full-kd", **settings, runs=tmp_path / "a")
    fresh = mmkd.run("full-kd", **{**tiny, "cache": tmp_path / "other"}, runs=tmp_path / "b")
    assert after.metrics == fresh.metrics


def test_shares_by_search_are_the_best_mixture_on_validation(tiny, tmp_path, monkeypatch):
    seen = []
    real = search.mixture_shares
    monkeypatch.setattr(search, "mixture_shares", lambda y, each: seen.append((y, each)) or real(y, each))
    record = mmkd.run("kd", **tiny, runs=tmp_path, teacher_weights="search")
    shares = {n: float(s) for n, s in re.findall(r"(\w+)=([\d.]+)", record.result["teacher_weights"])}
    assert list(shares) == ["sig", "gaf", "pi"]
    assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
    ((y, _),) = seen
    assert len(y) == record.result["data"]["windows"]["validation"]
    fixed = mmkd.run("kd", **tiny, runs=tmp_path, teacher_weights=record.result["teacher_weights"])
    assert fixed.metrics == record.metrics


def test_shares_are_searched_with_predictions_of_the_validation_windows(monkeypatch):
    """Each teacher's own predictions of these windows, beside their labels, in the order of the teachers."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3, 4)).astype(np.float32)
    windows = TrainingData({"sig": x}, np.arange(40) % 3, np.arange(24), np.arange(24, 40), "abc", torch.device("cpu"))

    class Says(torch.nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor

        def forward(self, views):
            logits = self.factor * views["sig"].mean(2)
            return Outputs(logits, logits)

    teachers = {name: Teacher(None, Says(factor), None) for name, factor in (("gaf", 1.0), ("sig", 5.0))}
    seen = []
    monkeypatch.setattr(search, "mixture_shares", lambda y, each: seen.append((y, each)) or np.array([0.25, 0.75]))
    assert search.search_shares(teachers, windows) == "gaf=0.2500,sig=0.7500"
    ((y, each),) = seen
    assert y.tolist() == windows.y[24:].tolist()
    for factor, found in zip((1.0, 5.0), each, strict=True):
        logits = torch.from_numpy(factor * x[24:].mean(2)).double()
        np.testing.assert_allclose(found, logits.softmax(1), rtol=1e-5)


def test_shares_of_step_labels_are_searched_on_labelled_steps(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(10, 3, 16)).astype(np.float32)
    y = rng.integers(-1, 3, (10, 16))
    parts = np.arange(6), np.arange(6, 10)
    windows = TrainingData({"sig": x}, y, *parts, "abc", torch.device("cpu"), task_name="segmentation")

    class Says(torch.nn.Module):
        def forward(self, views):
            return Outputs(views["sig"], views["sig"].mean(2))

    seen = []
    monkeypatch.setattr(search, "mixture_shares", lambda y, each: seen.append((y, each)) or np.array([0.25, 0.75]))
    teachers = {name: Teacher(None, Says(), None) for name in ("sig@acc", "sig@gyro")}
    assert search.search_shares(teachers, windows) == "sig@acc=0.2500,sig@gyro=0.7500"
    ((found_y, (found, _)),) = seen
    labelled = [(n, t) for n in range(6, 10) for t in range(16) if y[n, t] >= 0]
    assert found_y.tolist() == [y[place] for place in labelled]
    expected = torch.from_numpy(np.stack([x[n, :, t] for n, t in labelled])).double().softmax(1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_search_without_validation_windows_is_refused(tiny, tmp_path):
    with pytest.raises(MmkdError, match="--epoch-rule val-best"):
        mmkd.run("kd", **{**tiny, "epoch_rule": "last"}, runs=tmp_path, teacher_weights="search")
    assert not tmp_path.joinpath("records").exists()
    with pytest.raises(MmkdError, match="have not been searched"):
        METHODS.get("kd")(teacher_weights="search").weights({"sig": None})


def test_mixture_shares_against_a_grid():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 60)
    each = [rng.dirichlet(np.ones(4), 60) for _ in range(3)]
    each[1][np.arange(60), y] += 0.4
    each[1] /= each[1].sum(1, keepdims=True)
    shares = mixture_shares(y, each)

    def nll(w):
        return -np.log(sum(a * p for a, p in zip(w, each, strict=True))[np.arange(60), y]).mean()

    steps = np.linspace(0, 1, 41)
    grid = [(a, b, 1 - a - b) for a in steps for b in steps if a + b <= 1 + 1e-9]
    assert shares.sum() == pytest.approx(1)
    assert nll(shares) <= min(nll(w) for w in grid) + 1e-9
    assert shares[1] > 0.5


def test_a_useless_teacher_gets_no_share():
    y = np.arange(30) % 3
    right, wrong = np.full((30, 3), 0.05), np.full((30, 3), 0.45)
    right[np.arange(30), y], wrong[np.arange(30), y] = 0.9, 0.1
    assert mixture_shares(y, [right, wrong]) == pytest.approx([1, 0], abs=1e-6)


def test_a_weight_schedule_shows_in_the_history(tiny, tmp_path):
    record = mmkd.run("kd", **tiny, runs=tmp_path, weight_schedule="linear:1,0")
    with (record.folder / "history.csv").open() as stream:
        kd = [float(row["loss/kd"]) for row in csv.DictReader(stream)]
    assert kd[0] > 0
    assert kd[1] > 0
    assert kd[2] == 0


@pytest.mark.parametrize("text", ["sig=1,sig=1", "sig=1, sig =0,gaf=1,pi=1"])
def test_a_teacher_has_one_weight(text):
    with pytest.raises(MmkdError, match="sig is there twice"):
        METHODS.get("kd")(teacher_weights=text).weights(dict.fromkeys(("sig", "gaf", "pi")))


@pytest.mark.parametrize(
    ("method", "options"),
    [
        *((name, {"temperature": value}) for name in ("kd", "dist", "ls-kd", "mtkd-rl") for value in (0.009, 100.5)),
        ("kd", {"temperature_schedule": "linear:4,101"}),
        ("kd", {"temperature_schedule": "step:0.001,4,0.5"}),
        ("mlkd", {"temperatures": "2,1000"}),
        ("ctkd", {"t_start": 0.001}),
        ("ctkd", {"t_range": 99.5}),
    ],
)
def test_temperatures_have_one_range(method, options):
    with pytest.raises(MmkdError, match="a temperature is from 0.01 to 100"):
        METHODS.get(method)(**options)


def test_every_temperature_may_be_at_its_ends():
    for name in METHODS:
        config = METHODS.get(name).Config
        for value in (0.01, 100.0) if "temperature" in config.__dataclass_fields__ else ():
            assert config(temperature=value).temperature == value


def test_a_method_without_temperature_refuses_its_schedule(tiny, tmp_path):
    with pytest.raises(MmkdError, match="leave --temperature-schedule out"):
        mmkd.run("at", **tiny, runs=tmp_path, temperature_schedule="linear:8,2")


def test_a_deployed_network_other_than_the_student(tiny, tmp_path, sines):
    """`simkd`: what is scored, stored and loaded is the student with the teachers' heads."""
    record = mmkd.run("simkd", **tiny, runs=tmp_path)
    assert record.result["deploys"] == "method"
    data, model = mmkd.data.load_file(sines), mmkd.load_student(record)
    with np.load(record.folder / "predictions.npz", allow_pickle=False) as z:
        np.testing.assert_allclose(model.predict_proba(data.x[z["window"]]), z["probabilities"], atol=1e-5)
    kd = mmkd.run("kd", **tiny, runs=tmp_path)
    assert kd.result["deploys"] == "student"
    assert record.result["parameters"] > kd.result["parameters"]
