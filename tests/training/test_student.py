"""One unit from windows to record, on small real networks: what is written, and that it is what it says."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch

import mmkd
from mmkd import MmkdError
from mmkd.core.errors import DamageWarning
from mmkd.data import load_file
from mmkd.metrics.scores import window_scores

pytestmark = pytest.mark.filterwarnings("ignore:.*mask.*:UserWarning")


@pytest.fixture(scope="module")
def record(tiny, tmp_path_factory):
    return mmkd.run("kd", **tiny, runs=tmp_path_factory.mktemp("runs"))


def test_the_record_holds_its_files(record):
    names = {p.name for p in record.folder.iterdir()}
    assert names >= {"result.json", "history.csv", "predictions.npz", "student.safetensors", "events.log"}
    assert names >= {"curves.svg", "confusion.svg", "views.svg"}
    assert record.folder.name == record.key


def test_the_metrics_are_those_of_the_predictions_on_the_test_windows(record, sines):
    data = load_file(sines)
    with np.load(record.folder / "predictions.npz", allow_pickle=False) as z:
        assert sorted(z["window"]) == np.flatnonzero(data.test).tolist()
        np.testing.assert_array_equal(z["true"], data.y[z["window"]])
        np.testing.assert_array_equal(z["subject"], data.subject[z["window"]])
        np.testing.assert_array_equal(z["predicted"], z["probabilities"].argmax(1))
        found = window_scores(z["true"], z["probabilities"].astype(np.float64))
    for name, value in record.metrics["test"].items():
        assert found[name] == pytest.approx(value, abs=1e-6)
    assert set(record.metrics) == {"test", "test_last", "validation"}


def test_history_has_each_epoch_and_each_term(record):
    with (record.folder / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(r["epoch"]) for r in rows] == [1, 2, 3]
    assert {"loss", "loss/ce", "loss/branch_ce", "loss/kd", "val_macro_f1", "lr"} <= set(rows[0])
    best = rows[record.result["best_epoch"] - 1]
    assert float(best["val_macro_f1"]) == max(float(r["val_macro_f1"]) for r in rows)


def test_the_result_says_how_it_was_made(record):
    result = record.result
    assert result["data"]["windows"] == {"train": 48, "validation": 18, "test": 30}
    assert result["data"]["split"]["unit"] == "subject"
    assert result["spec"]["options"]["temperature"] == 4.0
    assert set(result["teachers"]) == {"sig", "gaf", "pi"}
    assert result["environment"]["versions"]["torch"]
    assert result["status"] == "done"


def test_teachers_have_records_of_their_own(record):
    for modality, key in record.result["teachers"].items():
        folder = record.folder.parent / key
        result = json.loads((folder / "result.json").read_text())
        assert (result["kind"], result["spec"]["modality"]) == ("teacher", modality)
        with np.load(folder / "predictions.npz", allow_pickle=False) as z:
            accuracy = (z["true"] == z["predicted"]).mean()
        assert result["metrics"]["test"]["accuracy"] == pytest.approx(accuracy)


def test_a_stored_student_predicts_raw_windows_as_it_did(record, sines):
    data, model = load_file(sines), mmkd.load_student(record)
    with np.load(record.folder / "predictions.npz", allow_pickle=False) as z:
        windows, expected = z["window"], z["probabilities"]
    np.testing.assert_allclose(model.predict_proba(data.x[windows]), expected, atol=1e-5)
    assert model.classes == ("0", "1", "2")
    assert not model.training
    assert not model.network.training
    torch.testing.assert_close(
        torch.softmax(model(model.views(data.x[windows[:4]])).logits, 1),
        torch.from_numpy(expected[:4]),
        atol=1e-5,
        rtol=0,
    )
    again = mmkd.load_student(str(record.folder))
    np.testing.assert_array_equal(again.predict(data.x[:5]), model.predict(data.x[:5]))
    assert len(model.predict(data.x[:0])) == 0


@pytest.mark.parametrize("names", [np.array([30, 7, 12]), np.array(["c", "a", "b"]), np.array([2.0, 4.0, 1.0])])
def test_a_stored_student_gives_labels_as_they_were_in_y(names, sines, tmp_path):
    with np.load(sines) as z:
        x, y = z["x"], names[z["y"]]
    record = mmkd.run("student", data=mmkd.Dataset.from_arrays(x, y), student="sig", epochs=8, runs=tmp_path)
    model = mmkd.load_student(record)
    predicted = model.predict(x)
    assert predicted.dtype.kind == names.dtype.kind
    assert model.labels.tolist() == sorted(names.tolist())
    np.testing.assert_array_equal(predicted, model.labels[model.predict_proba(x).argmax(1)])
    np.testing.assert_array_equal(model.predict_numbers(x), model.predict_proba(x).argmax(1))
    assert (predicted == y).mean() > 0.8


def test_a_stored_student_refuses_what_it_was_not_made_for(record, tmp_path):
    with pytest.raises(MmkdError, match=r"takes \(N, 2, 32\)"):
        mmkd.load_student(record).predict(np.zeros((1, 2, 31)))
    with pytest.raises(MmkdError, match="no record"):
        mmkd.load_student(tmp_path / "nothing")
    teacher = record.folder.parent / record.result["teachers"]["sig"]
    with pytest.raises(MmkdError, match="record of a teacher"):
        mmkd.load_student(teacher)


def test_a_second_call_does_no_work(record, tiny, monkeypatch):
    monkeypatch.setattr("mmkd.training.student.run_unit", lambda *_: pytest.fail("the unit was done again"))
    again = mmkd.run("kd", **tiny, runs=record.folder.parent)
    assert again.result == record.result


def test_another_method_shares_the_teachers(record, tiny, monkeypatch):
    monkeypatch.setattr("mmkd.training.teachers.train", lambda *_, **__: pytest.fail("a teacher was trained again"))
    other = mmkd.run("aver", **tiny, runs=record.folder.parent)
    assert other.result["teachers"] == record.result["teachers"]


def test_the_same_unit_from_an_empty_cache_is_the_same(record, filled):
    _, fresh = filled
    assert fresh.key == record.key
    assert fresh.metrics == record.metrics


def test_methods_of_one_seed_start_from_the_same_student(tiny, tmp_path):
    """At a learning rate of nothing the student stays where it began: there all methods must agree."""
    from mmkd.training.trial import make_student
    from mmkd.training.workspace import Workspace
    from mmkd.units.expansion import expand
    from mmkd.units.request import Request

    request = Request(methods=("student", "kd", "fam"), data=str(tiny["data"]), image_size=16, epochs=1)
    shapes = {"sig": (2, 32), "gaf": (2, 16, 16), "pi": (2, 16, 16)}
    states = [make_student(spec, shapes, 3, 32).state_dict() for spec, _ in expand(request)]
    assert len(states) == 3
    assert all((a == b).all() for s in states[1:] for a, b in zip(states[0].values(), s.values(), strict=True))
    assert Workspace(tmp_path).cache_folder == tmp_path / "cache"


@pytest.mark.parametrize("student", ["sig", "sig+gaf", "gaf"])
def test_other_students(tiny, tmp_path, student):
    record = mmkd.run("fam", student=student, **tiny, runs=tmp_path)
    assert set(record.result["views"]) == set(student.split("+"))
    mmkd.load_student(record).predict(load_file(tiny["data"]).x[:2])


def test_without_a_validation_split_the_last_epoch_counts(tiny, tmp_path):
    record = mmkd.run("student", student="sig", **{**tiny, "epoch_rule": "last"}, runs=tmp_path)
    assert record.result["best_epoch"] == 3
    assert "validation" not in record.metrics
    assert record.metrics["test"] == record.metrics["test_last"]
    assert record.result["data"]["windows"]["validation"] == 0


def test_attention_fusion(tiny, tmp_path):
    assert mmkd.run("student", fusion="attention", **tiny, runs=tmp_path).result["spec"]["fusion"] == "attention"


def test_the_test_windows_are_read_once_and_after_training(tiny, tmp_path, monkeypatch):
    """Every call of `predict` during training is on validation windows; the test windows follow, once a kept epoch."""
    import mmkd.training.evaluation
    import mmkd.training.loop

    calls = []
    real = mmkd.training.evaluation.predict
    monkeypatch.setattr(
        "mmkd.training.evaluation.predict", lambda n, at, w, *a: calls.append(set(w)) or real(n, at, w, *a)
    )
    mmkd.run("student", student="sig", **tiny, runs=tmp_path)
    test = set(np.flatnonzero(load_file(tiny["data"]).test))
    assert len(calls) == 3 + 2
    assert all(windows and not (windows & test) for windows in calls[:3])
    assert calls[3:] == [test] * 2


def test_constant_channels_and_windows_work(windows_file, tmp_path, tiny):
    with np.load(tiny["data"]) as z:
        x = z["x"].copy()
    x[:, 1] = 2.5
    x[3] = 0.0
    path = windows_file(tmp_path / "flat.npz", x=x)
    record = mmkd.run("kd", **{**tiny, "data": path}, runs=tmp_path / "runs")
    assert np.isfinite(list(record.metrics["test"].values())).all()


@pytest.fixture(scope="module")
def filled(tiny, tmp_path_factory):
    """A cache of its own and the record of the unit that filled it."""
    folder = tmp_path_factory.mktemp("filled")
    return folder / "cache", mmkd.run("kd", **{**tiny, "cache": folder / "cache"}, runs=folder / "runs")


@pytest.mark.parametrize(
    "what", ["views/*/view.npy", "views/*/state.json", "teachers/*/best.safetensors", "outputs/*/logits.npy"]
)
def test_a_damaged_cache_entry_is_made_anew(filled, tiny, tmp_path, what):
    cache, first = shutil.copytree(filled[0], tmp_path / "cache"), filled[1]
    assert list(cache.glob(what))
    for path in cache.glob(what):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.warns(DamageWarning, match=what.split("/")[2]):
        again = mmkd.run("kd", **{**tiny, "cache": cache}, runs=tmp_path / "runs")
    assert again.metrics == first.metrics


def test_python_calls_that_make_no_unit_are_refused(tiny, tmp_path):
    bad = [
        {"seed": "a"},
        {"seed": 0.5},
        {"method": "all"},
        {"existing": "bogus"},
        {"seeds": (0, 1)},
        {"students": ("sig",)},
    ]
    for change in bad:
        with pytest.raises(MmkdError):
            mmkd.run(**{"method": "kd", **tiny, "runs": tmp_path, **change})
    assert not list(tmp_path.iterdir())


def test_loading_a_student_leaves_the_callers_random_state(record):
    before = torch.get_rng_state()
    mmkd.load_student(record)
    assert torch.equal(before, torch.get_rng_state())
