"""`predictions.npz`, and what lies beside it, gives every score of a record again, to the last bit: in every task."""

import numpy as np
import pytest

import mmkd
from mmkd import MmkdError
from mmkd.comparison.reproduction import recompute_scores
from mmkd.metrics.delineation import delineation_scores
from mmkd.metrics.reproduction import joined_recordings
from mmkd.store.records import Records


def dense_file(path, **more):
    """Windows that overlap, a label a step: two recordings of each of six persons, -1 at their beginnings."""
    rng = np.random.default_rng(0)
    found = {name: [] for name in ("x", "y", "subject", "recording", "start")}
    for number in range(12):
        label = np.repeat((np.arange(4) + number) % 3, 40)
        x = np.stack([np.sin(np.arange(160) * (label + 1) / 4), rng.normal(size=160)])
        label[:5] = -1
        for start in (0, 32, 64, 96):
            row = (x[:, start : start + 64], label[start : start + 64], number // 2, number, start)
            for name, value in zip(found, row, strict=True):
                found[name].append(value)
    np.savez(path, **{name: np.array(values) for name, values in found.items()}, **more)
    return path


def image_file(path, dense):
    rng = np.random.default_rng(0)
    y = np.arange(24) % 2
    x = rng.normal(size=(24, 1, 16, 18)) + 2 * y[:, None, None, None] * (np.arange(18) > 8)
    if dense:
        y = (x[:, 0] > 1).astype(int)
        y[:, 0, :3] = -1
    np.savez(path, x=x.astype(np.float32), y=y)
    return path


def series_file(path):
    rng = np.random.default_rng(0)
    x = np.sin(np.arange(1200) / 5) + 0.1 * rng.normal(size=1200)
    x[500:540] += 2
    x[1100:1140] += 2
    np.savez(path, series=x, lengths=[600, 600], events=[(500, 540), (1100, 1140)], train=300)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory, sines, shared_cache):
    """A runs folder for each kind of task and data: name -> its records."""
    folder = tmp_path_factory.mktemp("kinds")
    unet = {"task": "segmentation", "student_net": "unet-small", "teacher_nets": {"sig": "unet-small"}}
    pixel_nets = {"student_net": "fast-scnn-small", "teacher_nets": {"img": "segformer-small"}}
    series = {"task": "anomaly", "data": series_file(folder / "series.npz"), "teacher_nets": {"gaf": "WRN10-1"}}
    kinds = {
        "windows": [("kd", {"data": sines, "student": "sig", "teachers": "sig"})],
        "folds": [("student", {"data": sines, "student": "sig", "folds": 2, "fold": n}) for n in (1, 2)],
        "steps": [("kd", {"data": dense_file(folder / "dense.npz"), **unet})],
        "images": [("kd", {"data": image_file(folder / "images.npz", False)})],
        "pixels": [("kd", {"task": "segmentation", "data": image_file(folder / "pixels.npz", True), **pixel_nets})],
        "series": [(method, {**series, "image_size": 16}) for method in ("feature-kd", "reverse-kd")],
    }
    records = {}
    for name, units in kinds.items():
        for method, settings in units:
            mmkd.run(method, epochs=1, runs=folder / name, cache=shared_cache, **settings)
        records[name] = list(Records(folder / name))
    return records


KINDS = {
    "windows": ["student", "teacher"],
    "folds": ["student", "student"],
    "steps": ["student", "teacher"],
    "images": ["student", "teacher"],
    "pixels": ["student", "teacher"],
    "series": ["simple"] * 5 + ["student", "student", "teacher"],
}


@pytest.mark.parametrize("name", KINDS)
def test_every_score_of_every_record_is_computed_again(made, name):
    assert sorted(record.kind for record in made[name]) == KINDS[name]
    for record in made[name]:
        assert recompute_scores(record) == dict(record.metrics.test), (name, record.kind, record.spec)
    assert recompute_scores(str(record.folder)) == dict(record.metrics.test)


def test_a_changed_prediction_changes_the_scores(made, tmp_path):
    """The scores are computed, not read."""
    (student,) = (record for record in made["steps"] if record.kind == "student")
    with np.load(student.folder / "predictions.npz") as z:
        arrays = {name: z[name] for name in z.files}
    arrays["probabilities"] = arrays["probabilities"][:, ::-1]
    np.savez(tmp_path / "predictions.npz", **arrays)
    changed = mmkd.store.record.Record(tmp_path, {**student.result, "files": {}})
    found = recompute_scores(changed)
    assert found.keys() == student.metrics.test.keys()
    assert found["nll"] != student.metrics.test["nll"]
    assert found["f1_50"] != student.metrics.test["f1_50"]


@pytest.mark.parametrize("change", [{"data": "delineated"}, {"metrics": "onset_ppv_1"}])
def test_onsets_are_computed_again_where_a_record_has_them(made, change):
    """Newer records say that their data are delineated; older ones have the scores."""
    (student,) = (record for record in made["steps"] if record.kind == "student")
    data = {**student.result["data"], "rate_hz": 500.0} | ({"delineated": True} if "data" in change else {})
    test = {**student.metrics.test} | ({"onset_ppv_1": 0.5} if "metrics" in change else {})
    record = mmkd.store.record.Record(student.folder, {**student.result, "data": data, "metrics": {"test": test}})
    found = recompute_scores(record)
    with np.load(student.folder / "predictions.npz") as z:
        recordings = joined_recordings({name: z[name] for name in z.files})
    expected = delineation_scores(recordings, data["classes"], 500.0)
    assert expected
    assert {name: value for name, value in found.items() if name.startswith(("onset_", "offset_"))} == expected


def test_what_cannot_be_computed_is_one_line(made, tmp_path):
    student = made["images"][0]
    np.savez(tmp_path / "predictions.npz", true=np.zeros(3, int))
    bare = mmkd.store.record.Record(tmp_path, {**student.result, "files": {}})
    with pytest.raises(MmkdError, match="cannot be computed again: KeyError"):
        recompute_scores(bare)
    (tmp_path / "predictions.npz").unlink()
    with pytest.raises(MmkdError, match="missing"):
        recompute_scores(bare)
    for nothing, words in ((tmp_path, "no result.json"), ([3], "is no record; give what mmkd.run returned")):
        with pytest.raises(MmkdError, match=words):
            recompute_scores(nothing)
