"""Images through `--data`, in both tasks: from file to table, record and loaded student."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file as load_weights

import mmkd
from mmkd import MmkdError
from mmkd.bench import main
from mmkd.data import load_file
from mmkd.metrics.recordings import StepScores
from mmkd.metrics.steps import confusion_matrix
from mmkd.specs.unit import Training
from mmkd.training.data import TrainingData
from mmkd.training.evaluation import evaluate
from mmkd.training.teachers import make_network
from mmkd.views import Image

SHAPES = [(3, 16, 16), (1, 20, 18)]
PAIR = ("--student-net", "fast-scnn-small", "--teacher-net", "img=segformer-small")


def images(path, shape=(1, 20, 18), dense=False, n=36, **more):
    """Write an `.npz` of stripes whose number is the class, or that are labelled above and below the middle."""
    rng = np.random.default_rng(0)
    channels, height, width = shape
    y = np.arange(n) % 3
    rows, columns = np.mgrid[:height, :width]
    wave = np.sin(2 * np.pi * (y[:, None, None] + 1) * columns / width + rng.uniform(0, 6, (n, 1, 1)))
    x = 5 + wave[:, None] + 0.3 * rng.normal(size=(n, channels, height, width))
    if dense:
        y = np.where(wave > 0.3, 1 + (rows > height // 2), 0)
        y[:, 0, :2] = -1
    test = np.arange(n) % 4 == 0
    np.savez(path, **{"x": x.astype(np.float32), "y": y, "test": test, **more})
    return path


@pytest.fixture
def bench(tmp_path, capsys, shared_cache):
    """Runs the command with one epoch and `--json`: exit code, document or error, folder of the runs."""

    def call(*args, runs=tmp_path / "runs"):
        flags = ("--epochs", "1", "--runs", str(runs), "--cache", str(shared_cache), "--json", "--quiet")
        code = main([*map(str, args), *flags])
        out, err = capsys.readouterr()
        return code, json.loads(out) if code == 0 else err, runs

    return call


def records(runs):
    return {r["kind"]: (r, p.parent) for p in runs.glob("[!.]*/result.json") for r in [json.loads(p.read_text())]}


# Both tasks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_classification_from_file_to_student(bench, tmp_path, shape):
    path = images(tmp_path / "own.npz", shape)
    code, _, runs = bench("--method", "fam", "--data", path, "--mask", "none")
    assert code == 0
    (student, folder), (teacher, _) = records(runs)["student"], records(runs)["teacher"]
    assert (student["spec"]["student"], teacher["spec"]["modality"]) == (["img"], "img")
    assert (student["spec"]["student_net"], teacher["spec"]["net"]) == ("small", "WRN16-1")
    assert student["data"]["grid"] == list(shape[1:])
    assert {"views.svg", "confusion.svg", "curves.svg"} <= {p.name for p in folder.iterdir()}
    with np.load(path) as z:
        x, test = z["x"], z["test"]
    loaded = mmkd.load_student(folder)
    with np.load(folder / "predictions.npz") as z:
        assert z["predicted"].tolist() == loaded.predict(x[test]).tolist()
        np.testing.assert_allclose(loaded.predict_proba(x[test]), z["probabilities"], atol=1e-6)
    assert loaded.predict_proba(x[:0]).shape == (0, 3)
    assert loaded.predict(x[:0]).shape == (0,)


@pytest.mark.parametrize("shape", SHAPES)
def test_segmentation_from_file_to_student(bench, tmp_path, shape):
    path = images(tmp_path / "own.npz", shape, dense=True)
    code, _, runs = bench("--task", "segmentation", "--method", "kd", "--data", path, *PAIR)
    assert code == 0
    student, folder = records(runs)["student"]
    assert student["spec"]["student_net"] == "fast-scnn-small"
    assert student["spec"]["teachers"] == {"img": "segformer-small"}
    scores = student["metrics"]["test"]
    means = {"accuracy", "macro_f1", "balanced_accuracy", "miou"}
    steps = means | {"nll"} | {f"pooled_{name}" for name in means}
    assert steps | {"iou_0"} <= set(scores) <= steps | {"iou_0", "iou_1", "iou_2"}
    assert {"image.svg", "confusion.svg"} <= {p.name for p in folder.iterdir()}
    assert not {"views.svg", "recording.svg"} & {p.name for p in folder.iterdir()}
    assert "left out" not in (folder / "events.log").read_text()
    with np.load(path) as z:
        x, y, test = z["x"], z["y"], z["test"]
    loaded = mmkd.load_student(folder)
    predicted = loaded.predict(x[test])
    with np.load(folder / "predictions.npz") as z:
        assert np.array_equal(z["true"], y[test])
        assert np.array_equal(z["predicted"], predicted)
    ious = [[jaccard(t, p, k) for k in range(3)] for t, p in zip(y[test], predicted, strict=True)]
    assert scores["miou"] == pytest.approx(np.mean([np.nanmean(row) for row in ious]))
    known = y[test] >= 0
    assert scores["pooled_accuracy"] == pytest.approx((predicted == y[test])[known].mean())
    probabilities = loaded.predict_proba(x[test])
    assert probabilities.shape == (test.sum(), 3, *shape[1:])
    picked = np.take_along_axis(probabilities, np.maximum(y[test], 0)[:, None], 1)[:, 0]
    assert scores["nll"] == pytest.approx(-np.log(picked[known]).mean(), rel=1e-5)
    assert np.array_equal(loaded(loaded.views(x[:2])).logits.argmax(1).numpy(), loaded.predict(x[:2]))
    assert loaded.predict(x[:0]).shape == (0, *shape[1:])


def test_logits_stand_in_the_order_of_the_labels():
    """Pixel (i, j) of the network's logits is number i W + j, as in labels (H, W) read row by row."""
    net = make_network("segmentation", "fast-scnn-small", "img", (1, 20, 18), 3, window=360).eval()
    x = torch.randn(2, 1, 20, 18)
    with torch.no_grad():
        rows, maps = net({"img": x}).logits, net.backbone(x).logits
    assert maps.shape == (2, 3, 20, 18)
    assert torch.equal(rows[:, :, 7 * 18 + 4], maps[:, :, 7, 4])


def test_the_presets_nets_need_not_be_typed(bench, tmp_path):
    path = images(tmp_path / "own.npz", (1, 18, 16), dense=True, n=16)
    code, _, runs = bench("--task", "segmentation", "--method", "kd", "--data", path)
    spec = records(runs)["student"][0]["spec"]
    assert code == 0
    assert (spec["student_net"], spec["teachers"]) == ("fast-scnn-small", {"img": "segformer"})


def jaccard(true, predicted, k):
    """IoU of a class over the known pixels; NaN where it is in neither."""
    known = true >= 0
    t, p = (true == k) & known, (predicted == k) & known
    return (t & p).sum() / (t | p).sum() if (t | p).any() else np.nan


def test_the_teacher_moves_the_student(tmp_path, shared_cache):
    path = images(tmp_path / "own.npz")
    weights, more = {}, {"data": path, "epochs": 1, "runs": tmp_path / "r", "cache": shared_cache}
    for weight in (0.0, 1.0):
        record = mmkd.run("fam", mask="none", feature_weight=weight, **more)
        weights[weight] = load_weights(record.folder / "student.safetensors")
    assert any(not np.array_equal(weights[0.0][name], weights[1.0][name]) for name in weights[0.0])


# Scores ---------------------------------------------------------------------------------------------------------------


def test_miou_by_hand():
    """Two images of 2 x 2 pixels and three classes; one pixel is not known."""
    found = StepScores(3)
    first = np.array([0, 1, 1, -1]), np.array([0, 1, 0, 2])  # IoU 1/2, 1/2; class 2 only where nothing is known
    second = np.array([2, 2, 2, 2]), np.array([2, 2, 2, 1])  # IoU of 1: 0, of 2: 3/4
    for pair in (first, second, (np.full(4, -1), np.zeros(4, int))):  # the last has nothing to score
        found.add(confusion_matrix(*pair, 3))
    scores = found.all()
    assert scores["miou"] == pytest.approx((1 / 2 + 3 / 8) / 2)
    assert scores["accuracy"] == pytest.approx((2 / 3 + 3 / 4) / 2)
    assert [scores[f"iou_{k}"] for k in range(3)] == pytest.approx([1 / 2, 1 / 4, 3 / 4])
    assert scores["pooled_accuracy"] == pytest.approx(5 / 7)
    assert scores["pooled_miou"] == pytest.approx((1 / 2 + 1 / 3 + 3 / 4) / 3)


def test_parts_of_the_images_score_as_all_at_once(tmp_path, monkeypatch):
    data = load_file(images(tmp_path / "own.npz", (2, 6, 5), dense=True, n=24))
    view = Image(6).fit(data.x).transform(data.x)
    every, names = np.arange(24), data.classes
    windows = TrainingData({"img": view}, data.y, every, every[:0], names, torch.device("cpu"), grid=data.grid)
    torch.manual_seed(0)
    net = make_network("segmentation", "fast-scnn-small", "img", view.shape[1:], 3, window=int(np.prod(view.shape[2:])))
    training = Training()
    whole, said = evaluate(net, windows, every, training)
    assert windows.prediction_batch == 256
    monkeypatch.setattr("mmkd.training.data.MAX_PREDICTION_VALUES", 5 * 3 * 30)
    assert windows.prediction_batch == 5
    sizes = []
    real = mmkd.training.evaluation.predict
    monkeypatch.setattr(
        "mmkd.training.evaluation.predict", lambda n, at, w, *a: sizes.append(len(w)) or real(n, at, w, *a)
    )
    parts, again = evaluate(net, windows, every, training)
    assert sizes == [5, 5, 5, 5, 4]
    assert parts == pytest.approx(whole)
    assert np.array_equal(said["predicted"], again["predicted"])


# The view -------------------------------------------------------------------------------------------------------------


def test_the_view_is_the_image_standardised():
    x = np.random.default_rng(0).normal(3, [[[2.0]], [[5.0]]], (40, 2, 6 * 5, 1))[..., 0].astype(np.float32)
    view = Image(6).fit(x[:30]).transform(x)
    assert view.shape == (40, 2, 6, 5)
    mean, std = x[:30].mean(axis=(0, 2), keepdims=True), x[:30].std(axis=(0, 2), keepdims=True)
    np.testing.assert_allclose(view, ((x - mean) / std).reshape(40, 2, 6, 5), atol=1e-5)
    assert Image().shape(1, 49) == (1, 7, 7)
    for height, pixels in ((None, 30), (7, 30), (None, 2)):
        with pytest.raises(MmkdError, match=f"{pixels} pixels do not make"):
            Image(height).shape(1, pixels)
    again = Image(6).load_state(Image(6).fit(x[:30]).state())
    assert np.array_equal(again.transform(x), view)


def test_statistics_never_see_the_test_images(tmp_path, shared_cache):
    states = []
    for name, factor in (("a", 1), ("b", 100)):
        path = images(tmp_path / f"{name}.npz")
        with np.load(path) as z:
            arrays = dict(z)
        arrays["x"][arrays["test"]] *= factor
        np.savez(path, **arrays)
        record = mmkd.run("student", data=path, epochs=1, runs=tmp_path / "r", cache=shared_cache)
        states.append(record.result["views"]["img"]["state"])
        with np.load(record.folder / "predictions.npz") as z:
            assert set(z["window"]) == set(np.flatnonzero(arrays["test"]))
    assert states[0] == states[1]


# What is refused ------------------------------------------------------------------------------------------------------

N = 36
BAD = [
    ({"recording": np.arange(N)}, "recording goes with windows of a signal, and x holds images; leave it out"),
    ({"start": np.arange(N)}, "start goes with windows of a signal"),
    ({"y": np.zeros((N, 20), int)}, r"y has shape (36, 20); with 36 images in x it must be (36,), or (36, 20, 18)"),
    ({"y": np.zeros((N, 18, 20), int)}, "y has shape (36, 18, 20)"),
    ({"subject": np.arange(N - 1)}, "subject has shape (35,); with 36 images in x it must be (36,)"),
    ({"y": np.zeros((N, 20, 18))}, "y holds float64; a label for every sample is a whole number"),
    ({"y": np.full((N, 20, 18), -2)}, "y holds labels from -2 to -2"),
    ({"y": np.where(np.arange(N) % 4, 1, -1)[:, None, None] * np.ones((20, 18), int)}, "no pixel of the test images"),
    ({"x": np.zeros((N, 1, 20, 0))}, "x has shape (36, 1, 20, 0)"),
    ({"x": np.full((N, 1, 20, 18), np.nan)}, "36 of 36 windows hold NaN or inf"),
    ({"x": np.full((N, 1, 20, 18), "a")}, "x holds <U1; it must hold real numbers"),
]


@pytest.mark.parametrize(("arrays", "message"), BAD)
def test_files_that_are_refused(bench, tmp_path, arrays, message):
    path = images(tmp_path / "own.npz", **arrays)
    code, error, runs = bench("--method", "kd", "--data", path)
    assert code == 2
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not runs.exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--student", "sig"), "--student sig: data 'own' has images, which have no view sig; use --student img"),
        (("--student", "img+gaf"), "--student img+gaf: data 'own' has images, which have no view gaf"),
        (("--student", "sig+gaf+pi"), "which have no view sig; use --student img"),  # as the default, but typed
        (("--teachers", "img,pi"), "--teachers img,pi: data 'own' has images, which have no view pi"),
        (("--teacher-net", "sig=WRN16-1"), "there is no sig teacher"),
        (("--image-size", "16"), "--image-size: the images of data 'own' keep their own size; leave it out"),
        (("--nan", "impute"), "--nan impute fills along time, which images do not have; use --nan drop"),
        (("--task", "segmentation"), "data 'own' is for classification; use --task classification"),
    ],
)
def test_flags_that_images_refuse(bench, tmp_path, flags, message):
    code, error, runs = bench("--method", "kd", "--data", images(tmp_path / "own.npz"), *flags)
    assert code == 2
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not runs.exists()


@pytest.mark.parametrize("flag", ["--student", "--teachers"])
def test_signals_have_no_images(bench, sines, flag):
    code, error, runs = bench("--method", "kd", "--data", sines, flag, "img")
    assert code == 2
    assert f"{flag} img: data 'sines' has signals, which have no view img; use {flag} sig (or gaf, pi)" in error
    assert not runs.exists()


def test_images_of_another_shape_are_refused_by_the_student(tmp_path, shared_cache):
    path = images(tmp_path / "own.npz")
    record = mmkd.run("student", data=path, epochs=1, runs=tmp_path / "r", cache=shared_cache)
    student = mmkd.load_student(record)
    for shape in ((2, 1, 18, 20), (2, 1, 360), (2, 20, 18), (1, 20, 18)):
        with pytest.raises(MmkdError, match=r"this student takes \(N, 1, 20, 18\)"):
            student.predict(np.zeros(shape))
    with pytest.raises(MmkdError, match="NaN"):
        student.predict(np.full((2, 1, 20, 18), np.nan))


def test_images_without_values_are_dropped_when_asked(tmp_path):
    x = np.random.default_rng(0).normal(size=(N, 1, 20, 18))
    x[5, 0, 3, 2] = np.nan
    path = images(tmp_path / "own.npz", x=x)
    assert load_file(path, "drop").x.shape == (N - 1, 1, 360)
    with pytest.raises(MmkdError, match="the first is window 5; --nan drop leaves those windows out"):
        load_file(path)
