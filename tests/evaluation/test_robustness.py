"""Disturbed test windows, and stored students on them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import mmkd
from mmkd.bench import main
from mmkd.core.progress import _Silent
from mmkd.data import load_file
from mmkd.evaluation import robustness
from mmkd.metrics.scores import window_scores
from mmkd.store.records import Records
from mmkd.training.student_model import StudentModel
from mmkd.views import GAF

KINDS = {"noise": robustness.add_noise, "missing": robustness.remove_segment, "shift": robustness.shift_windows}


@pytest.fixture(scope="module")
def data(sines):
    found = load_file(sines)
    return replace(found, x=np.stack([found.x[:, 0], 1000 + 50 * found.x[:, 1]], axis=1))


@pytest.mark.parametrize("kind", KINDS)
def test_level_zero_changes_nothing_and_the_data_set_is_left_alone(data, kind):
    before = data.x.copy()
    np.testing.assert_array_equal(KINDS[kind](data, 0), data.x[data.test])
    disturbed = KINDS[kind](data, 20)
    assert disturbed.dtype == np.float32
    assert (disturbed != data.x[data.test]).any(axis=(1, 2)).all()
    np.testing.assert_array_equal(data.x, before)
    np.testing.assert_array_equal(KINDS[kind](data, 20), disturbed)


def test_noise_is_of_the_scaled_signal(data):
    wide = replace(data, x=np.tile(data.x, (1, 1, 20)))
    wide.x[:, 1, 0] = 1000  # inside the range
    seen = wide.x[~wide.test]
    low, high = seen.min(axis=(0, 2))[:, None], seen.max(axis=(0, 2))[:, None]
    wide.x[wide.test, :, 1] *= 10  # of test windows nothing is learnt
    scaled, clean = (robustness.add_noise(wide, 0.09) - low) / (high - low), (wide.x[wide.test] - low) / (high - low)
    assert (scaled - clean).std(axis=(0, 2)) == pytest.approx([0.09, 0.09], rel=0.02)
    assert (scaled - clean).mean(axis=(0, 2)) == pytest.approx([0, 0], abs=0.003)
    doubled = (robustness.add_noise(wide, 0.18) - low) / (high - low)
    np.testing.assert_allclose(doubled - clean, 2 * (scaled - clean), atol=1e-4, err_msg="levels share their draws")
    constant = replace(data, x=np.stack([data.x[:, 0], np.full_like(data.x[:, 0], 3)], axis=1))
    np.testing.assert_array_equal(robustness.add_noise(constant, 0.1)[:, 1], 3)


@pytest.mark.parametrize("level", robustness.MISSING)
def test_missing_segments_hold_the_value_before_them(data, level):
    found, clean, starts = robustness.remove_segment(data, level), data.x[data.test], []
    length = round(level / 100 * data.window)
    for x, was in zip(found, clean, strict=True):
        start = int(np.flatnonzero((x != was).any(axis=0))[0])
        starts.append(start)
        assert start >= 1
        np.testing.assert_array_equal(x[:, start : start + length], np.repeat(was[:, start - 1 : start], length, 1))
        np.testing.assert_array_equal(x[:, start + length :], was[:, start + length :])
    assert len(set(starts)) > 5, "each window has a place of its own"
    assert max(starts) + length > 0.9 * data.window


def test_a_dead_channel_stays_at_its_mean(data):
    found = robustness.freeze_channel(data, 1)
    mean = data.x[~data.test, 1].astype(np.float64).mean()
    np.testing.assert_allclose(found[:, 1], mean, rtol=1e-6)
    np.testing.assert_array_equal(found[:, 0], data.x[data.test][:, 0])


@pytest.mark.parametrize("level", robustness.SHIFT)
def test_shifted_windows_repeat_their_edge(data, level):
    by, ways = round(level / 100 * data.window), set()
    for x, was in zip(robustness.shift_windows(data, level), data.x[data.test], strict=True):
        later = np.concatenate([np.repeat(was[:, :1], by, 1), was[:, : data.window - by]], axis=1)
        earlier = np.concatenate([was[:, by:], np.repeat(was[:, -1:], by, 1)], axis=1)
        ways.add("later" if (x == later).all() else "earlier" if (x == earlier).all() else "neither")
    assert ways == {"later", "earlier"}


# Stored students ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def records(tiny, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    return [mmkd.run(m, student="sig+gaf+pi", **tiny, runs=runs) for m in ("student", "kd")]


def measured(records, data, bar=None):
    students = [StudentModel.load(record) for record in records]
    trainings = [record.unit.training for record in records]
    return robustness.measure_robustness(students, trainings, data, torch.device("cpu"), bar or _Silent())


def test_scores_are_those_of_the_disturbed_raw_windows(records, sines, monkeypatch):
    data, made, transform = load_file(sines), [], GAF.transform
    monkeypatch.setattr("mmkd.views.PersistenceImage.fit", lambda *_: pytest.fail("fitted again"))
    monkeypatch.setattr("mmkd.views.Signal.fit", lambda *_: pytest.fail("fitted again"))
    monkeypatch.setattr(GAF, "transform", lambda self, x: made.append(len(x)) or transform(self, x))
    found = measured(records, data)
    levels = [*robustness.NOISE, *robustness.MISSING, *data.channels, *robustness.SHIFT]
    assert made == [30] * (1 + len(levels)), "the views of all students are made once"
    for record, said in zip(records, found, strict=True):
        for name, value in said["clean"].items():
            assert value == record.metrics["test"][name], "the clean score is that of the record"
        assert (said["seed"], said["windows"]) == (0, 30)
        assert [curve["level"] for curve in said["curves"]] == levels
        assert {curve["disturbance"] for curve in said["curves"]} == {"noise", "missing", "dead-channel", "shift"}
        student = StudentModel.load(record)
        for number, x in ((1, robustness.add_noise(data, 0.09)), (6, robustness.freeze_channel(data, 0))):
            wanted = window_scores(data.y[data.test], student.predict_proba(x))
            assert said["curves"][number]["macro_f1"] == wanted["macro_f1"]
            assert said["curves"][number]["accuracy"] == wanted["accuracy"]
        json.dumps(said, allow_nan=False)
    assert len({curve["macro_f1"] for said in found for curve in said["curves"]}) > 3, "disturbances change something"


def test_level_zero_gives_the_clean_score(records, sines, monkeypatch):
    for name in ("NOISE", "MISSING", "SHIFT"):
        monkeypatch.setattr(robustness, name, (0,))
    monkeypatch.setattr(robustness, "BATCH_SIZE", 7)
    for said in measured(records, load_file(sines)):
        for curve in said["curves"]:
            if curve["disturbance"] != "dead-channel":
                assert {name: curve[name] for name in said["clean"]} == said["clean"]


def command(tiny, runs, *args, units=("--method", "student,kd", "--student", "sig+gaf+pi")):
    own = ["--data", str(tiny["data"]), "--epochs", "3", "--image-size", "16", "--quiet"]
    own += ["--epoch-rule", "val-best"]
    return main([*units, *own, "--runs", str(runs), "--cache", str(tiny["cache"]), *args])


def test_students_on_record_are_measured_without_training(records, tiny, sines, monkeypatch, capsys):
    runs = records[0].folder.parent
    monkeypatch.setattr("mmkd.training.student.run_unit", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr("mmkd.report.mlflow.publish", lambda *_, **__: None)
    weights = records[1].folder / "student.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    assert command(tiny, runs, "--robustness") == 1, "one of them has damaged weights"
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "not measured" in line]
    assert records[1].key in line
    assert records[0].measurement("robustness.json") == measured(records[:1], load_file(sines))[0]
    assert records[1].measurement("robustness.json") == {}
    weights.write_bytes(kept)
    together = []
    measure = robustness.measure_robustness
    monkeypatch.setattr(
        "mmkd.evaluation.runner.robustness.measure_robustness",
        lambda s, *rest: together.append(len(s)) or measure(s, *rest),
    )
    assert command(tiny, runs, "--robustness") == 0
    assert together == [1], "only what is missing"
    assert records[1].measurement("robustness.json")["clean"]["accuracy"] == records[1].metrics["test"]["accuracy"]
    assert command(tiny, runs, "--robustness") == 0
    assert together == [1]
    assert {record.key for record in Records(runs)} >= {record.key for record in records}


def test_what_cannot_be_disturbed_is_refused(tiny, tmp_path, capsys):
    assert command(tiny, tmp_path / "runs", "--robustness", "--existing", "only") == 2
    assert "--existing only" in capsys.readouterr().err
    assert command(tiny, tmp_path / "runs", "--robustness", "--task", "segmentation", units=("--method", "kd")) == 2
    assert "--robustness" in capsys.readouterr().err
    images = np.random.default_rng(0).normal(size=(24, 1, 16, 16)).astype(np.float32)
    np.savez(tmp_path / "images.npz", x=images, y=np.arange(24) % 2)
    runs = tmp_path / "runs"
    code = main(
        ["--method", "student", "--data", str(tmp_path / "images.npz"), "--runs", str(runs), "--robustness", "--quiet"]
    )
    assert code == 2
    assert "are images" in capsys.readouterr().err
    assert not runs.exists()
