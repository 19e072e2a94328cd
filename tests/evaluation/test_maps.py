"""Grad-CAM against its formula, similarities against numpy, and what a record's `maps.npz` holds."""

import numpy as np
import pytest
import torch
from torch import nn

import mmkd
from mmkd.data import load_file
from mmkd.evaluation import maps
from mmkd.evaluation.runner import MeasurementJob, MeasurementRunner
from mmkd.methods.outputs import Outputs
from mmkd.store.records import Records
from mmkd.training.student_model import StudentModel, load_teacher
from mmkd.training.workspace import Workspace


class Net(nn.Module):
    """Two maps; the logits hang on the last of them, by no mean but by a layer that is not linear."""

    def __init__(self, dims, read="stage2"):
        super().__init__()
        conv = nn.Conv1d if dims == 1 else nn.Conv2d
        self.first, self.second, self.read = conv(2, 3, 3, padding=1), conv(3, 4, 3, stride=2, padding=1), read
        size = 8 if dims == 1 else 64
        self.out = nn.Linear(4 * size // 2**dims if read == "stage2" else 3 * size, 5)

    def head(self, read):
        return self.out(torch.tanh(read.flatten(1)))

    def forward(self, views):
        one = torch.relu(self.first(views["x"]))
        features = {"stage1": one, "stage2": self.second(one)}
        return Outputs(self.head(features[self.read]), features["stage2"].flatten(1), features)


@pytest.mark.parametrize("read", ["stage1", "stage2"])
@pytest.mark.parametrize("dims", [1, 2])
def test_grad_cam_is_its_formula(dims, read):
    torch.manual_seed(0)
    net, x = Net(dims, read).double(), torch.randn(1, 2, *[8] * dims, dtype=torch.float64)
    _, found = maps.compute_maps(net, {"x": x}, {"x": x}, 3)
    with torch.no_grad():
        features = net({"x": x}).features[read][0]
        weights = torch.zeros(len(features), dtype=torch.float64)
        for k in range(len(features)):  # the derivative at each position by differences, and their mean
            slopes = []
            for place in np.ndindex(*features.shape[1:]):
                step = torch.zeros_like(features)
                step[(k, *place)] = 1e-5
                ends = [net.head((features + sign * step)[None])[0, 3] for sign in (1, -1)]
                slopes.append((ends[0] - ends[1]) / 2e-5)
            weights[k] = torch.stack(slopes).mean()
        cam = torch.zeros(features.shape[1:], dtype=torch.float64)
        for k, weight in enumerate(weights):
            cam += weight * features[k]
        cam = cam.clamp(min=0)
        assert 0 < (cam > 0).sum() < cam.numel(), "a case that says something"
        cam = nn.functional.interpolate(cam[None, None], [8] * dims, mode="linear" if dims == 1 else "bilinear")[0, 0]
    assert found[""].dtype == np.float16
    np.testing.assert_allclose(found[""], (cam / cam.max()).numpy(), atol=1e-3)


def test_a_network_without_maps_has_no_cam_and_is_no_error():
    class Bare(nn.Module):
        def forward(self, views):
            flat = views["x"].flatten(1)
            return Outputs(flat[:, :3], flat, {"stage1": views["x"].detach()})

    x = torch.randn(4, 2, 8)
    alike, found = maps.compute_maps(Bare(), {"x": x[:1]}, {"x": x}, 1)
    assert found == {}
    flat = x.flatten(1).numpy()
    norms = np.linalg.norm(flat, axis=1)
    np.testing.assert_allclose(alike, flat @ flat.T / np.outer(norms, norms), atol=1e-3)


def test_nothing_that_speaks_for_a_class_is_a_map_of_zeros():
    class Against(nn.Module):
        def forward(self, views):
            features = views["x"].exp()
            mean = -features.mean(2)
            return Outputs(mean, mean, {"stage1": features})

    x = torch.randn(1, 2, 8)
    np.testing.assert_array_equal(maps.compute_maps(Against(), {"x": x}, {"x": x}, 0)[1][""], np.zeros(8))


@pytest.mark.parametrize(("classes", "rare"), [(3, 40), (6, 2), (60, 5)])
def test_the_batch_is_sorted_and_balanced(classes, rare):
    y = np.concatenate([np.arange(40 * classes) % classes, np.zeros(5, np.int64)])
    windows = np.random.default_rng(0).permutation(len(y))
    few = np.flatnonzero(y == 1)[rare:]
    windows = windows[~np.isin(windows, few)]
    found = maps.choose_windows(y, windows)
    assert len(found) <= 48
    assert len(set(found.tolist())) == len(found)
    assert set(found) <= set(windows)
    assert (np.diff(y[found]) >= 0).all()
    counts = np.bincount(y[found], minlength=classes)[:48]
    assert (counts == np.minimum(np.bincount(y[windows], minlength=classes), max(1, 48 // classes))[:48]).all()


def test_of_many_channels_some_are_kept():
    view = np.random.default_rng(0).normal(size=(300, 64, 64)).astype(np.float32) * 1e6
    kept = maps.first_planes(view)
    assert kept.shape == (8, 64, 64)
    assert np.isfinite(kept).all()
    assert maps.first_planes(view[:6]).shape == (6, 64, 64)


# Beside the record ----------------------------------------------------------------------------------------------------


def measured(record, tiny):
    measuring = MeasurementRunner(Workspace(record.folder.parent, tiny["cache"], "cpu"))
    measuring.run([MeasurementJob(record, load_file(tiny["data"]), ["maps.npz"])])
    assert measuring.problems == []
    with np.load(record.measurements["maps.npz"], allow_pickle=False) as z:
        return {name: z[name] for name in z.files}


@pytest.mark.parametrize("student", ["sig", "sig+gaf+pi"])
def test_a_record_gets_what_its_networks_see(tiny, tmp_path, student):
    record = mmkd.run("kd", student=student, **tiny, runs=tmp_path)
    found, data = measured(record, tiny), load_file(tiny["data"])
    teachers = {"teacher-sig", "teacher-gaf", "teacher-pi"}
    branches = {f"student-{name}" for name in student.split("+")}
    shapes = {"sig": (32,), "gaf": (16, 16), "pi": (16, 16)}
    window = int(found["window_index"])
    assert not data.test[window]
    assert found["window_part"] == "validation"
    assert found["window_label"] == data.y[window]
    assert {name for name in found if name.startswith("cam/")} == {f"cam/{name}" for name in teachers | branches}
    for name, cam in ((name, cam) for name, cam in found.items() if name.startswith("cam/")):
        assert cam.shape == shapes[name.rpartition("-")[2]]
        assert cam.min() >= 0
        assert cam.max() in (0, 1)
    for modality, shape in shapes.items():
        assert found[f"window/{modality}"].shape == (2, *shape)
    model = StudentModel.load(record)
    views = model.views(data.x[window : window + 1])
    np.testing.assert_allclose(found["window/sig"], views["sig"][0], atol=2e-3)
    assert (np.diff(found["similarity_labels"]) >= 0).all()
    for name in (*teachers, "student"):
        alike = found[f"similarity/{name}"]
        assert alike.shape == (18, 18), "of the validation windows"
        np.testing.assert_allclose(np.diag(alike), 1, atol=1e-3)
        np.testing.assert_array_equal(alike, alike.T)
    chosen = maps.choose_windows(data.y, np.sort(_validation(record, data)))
    with torch.no_grad():
        embedding = model.network(model.views(data.x[chosen])).embedding
    np.testing.assert_array_equal(found["similarity/student"], maps.similarity(embedding))
    assert record.measurements["maps.npz"].stat().st_size < 300_000


def _validation(record, data):
    from mmkd.units.splits import split_for

    spec = record.unit
    return split_for(data, spec.data, spec.seed).validation


def test_without_validation_windows_they_are_of_the_training_part(tiny, tmp_path):
    record = mmkd.run("student", student="sig", **{**tiny, "epochs": 1, "epoch_rule": "last"}, runs=tmp_path)
    found = measured(record, tiny)
    assert found["window_part"] == "train"
    assert {name for name in found if "/" in name} == {"window/sig", "similarity/student", "cam/student-sig"}


def test_a_teacher_comes_back_from_its_record(tiny, tmp_path):
    student = mmkd.run("kd", student="sig", **tiny, runs=tmp_path)
    teacher = Records(tmp_path).get(student.result["teachers"]["sig"])
    network, data = load_teacher(teacher), load_file(tiny["data"])
    assert not network.training
    with np.load(teacher.folder / "predictions.npz", allow_pickle=False) as z, torch.no_grad():
        sig = StudentModel.load(student).views(data.x[z["window"]])  # the same view, of the same training windows
        probabilities = torch.softmax(network(sig).logits.double(), 1).numpy()
        np.testing.assert_allclose(probabilities, z["probabilities"], atol=1e-5)
