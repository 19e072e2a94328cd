"""The anomaly task: prefixes, simple detectors, reverse distillation, and the command from series to table."""

import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmkd.baselines.reverse_kd import gap_map, near_diagonal

import mmkd.data.cards
from mmkd import METHODS, Batch, MmkdError, Setup, load_student
from mmkd.anomaly.scoring import judge, overlapped, window_starts
from mmkd.anomaly.simple import SIMPLE, moving_median
from mmkd.anomaly.unit import Chosen, Detector, on_normal
from mmkd.assemble import make_method
from mmkd.bench import main
from mmkd.cache import Cache
from mmkd.compare import main as compare
from mmkd.data import data_root, load_dataset
from mmkd.data import series as s
from mmkd.data.cards import find_card, present
from mmkd.nets import build_teacher
from mmkd.nets.reverse import ReverseNet
from mmkd.progress import Progress
from mmkd.record import Records
from mmkd.request import Request, cut, expand
from mmkd.spec import UnitSpec
from mmkd.unit import Log, Place, make_ready
from mmkd.work import perform, setting

W = 32
SIDE = 16


def one_series(n=900, at=(600, 640), seed=0, name="made"):
    rng = np.random.default_rng(seed)
    x = np.sin(np.arange(n) / 5) + 0.1 * rng.normal(size=n)
    labels = np.zeros(n, np.int8)
    labels[slice(*at)] = 1
    x[labels > 0] += 2.5
    return name, x[None], labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data folder with four series of NAB's form, one without an event, and a card for it."""
    root = tmp_path_factory.mktemp("series")
    (root / "nab").mkdir()
    arrays = {}
    for i in range(4):
        _, x, labels = one_series(seed=i, at=(600 + 20 * i, 640 + 20 * i) if i < 3 else (0, 0))
        arrays |= {f"s{i}_x": x[0], f"s{i}_y": labels}
    np.savez(root / "nab" / "nab.npz", names=np.array([f"made/{i}" for i in range(4)]), **arrays)
    checksum = mmkd.data.cards.file_sha256(root / "nab" / "nab.npz")
    card = (mmkd.data.cards.cards_folder() / "nab" / "card.toml").read_text()
    (root / "cards" / "nab").mkdir(parents=True)
    (root / "cards" / "nab" / "card.toml").write_text(re.sub('"[0-9a-f]{64}"', f'"{checksum}"', card))
    return root


@pytest.fixture
def cards(folder, monkeypatch):
    monkeypatch.setattr(mmkd.data.cards, "cards_folder", lambda: folder / "cards")
    return folder


@pytest.fixture
def data(cards):
    return load_dataset("nab", cards)


# the prefix


def test_the_prefix_ends_a_window_before_the_first_event():
    found = s.cut_prefix(*one_series(n=2000), W)
    assert (found.fit, found.chosen, found.prefix) == (340, 454, 568)
    assert s.cut_prefix(*one_series(n=900), W).prefix == 450, "at most half the series"


@pytest.mark.parametrize(
    ("at", "n", "why"),
    [
        ((0, 0), 900, "no event"),
        ((100, 120), 900, "68 of 900 steps"),
        ((0, 9), 900, "0 of 900"),
        ((400, 420), 9000, "368 of"),
    ],
)
def test_series_that_cannot_be_scored_say_why(at, n, why):
    assert why in s.cut_prefix(*one_series(n=n, at=at), W)


def test_nothing_after_the_fitted_part_shapes_the_scale():
    name, x, labels = one_series()
    changed = x.copy()
    changed[:, s.cut_prefix(name, x, labels, W).fit :] *= 100
    one, other = s.cut_prefix(name, x, labels, W), s.cut_prefix(name, changed, labels, W)
    np.testing.assert_array_equal(one.x[:, : one.fit], other.x[:, : one.fit])
    assert abs(one.x[:, : one.fit].mean()) < 1e-5
    assert one.x[:, : one.fit].std() == pytest.approx(1)


@pytest.mark.parametrize("level", [0.0, 5.0, 4e7])
def test_a_constant_prefix_stays_finite(level):
    x = np.full((1, 900), level)
    x[0, 700] += 1
    found = s.cut_prefix("flat", x, one_series()[2], W)
    assert np.isfinite(found.x).all()
    for detect in SIMPLE.values():
        assert np.isfinite(detect(found, W, 0)).all()


def test_segments_keep_to_their_part():
    found = s.cut_prefix("ramp", np.arange(900.0)[None], one_series()[2], W)
    spans = {part: [] for part in range(3)}
    for x, part in s.segments([found], W, 16):
        spans[part].append((x.min(), x.max()))
    borders = found.x[0, [0, found.fit, found.chosen, found.prefix]]
    for part, each in spans.items():
        assert each
        assert min(low for low, _ in each) >= borders[part]
        assert max(high for _, high in each) < borders[part + 1]


def test_the_parts_of_the_data_set_do_not_meet(cards, data):
    spec, _ = next(expand(Request(("student",), task="anomaly", data_root=str(cards))))
    split = cut(data, spec.data, 0)
    parts = [split.train, split.validation, split.test]
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(data.x)))
    assert len(np.unique(np.concatenate(parts))) == len(data.x)
    half = len(data.x) // 2
    assert (data.y[:half] == 0).all()
    assert (data.y[half:] > 0).all()
    assert {n % half for n in split.train}.isdisjoint({n % half for n in [*split.validation, *split.test]})


@pytest.mark.parametrize("kind", range(1, len(s.PRETEXT)))
def test_each_disturbance_changes_a_part_of_a_segment(kind):
    windows = np.sin(np.arange(W) / 3 + np.arange(200)[:, None, None]).astype(np.float32)
    x, y = s.pretext(windows)
    np.testing.assert_array_equal(x[:200], windows)
    changed = x[200:][y[200:] == kind] != windows[y[200:] == kind]
    assert len(changed) > 10
    assert changed.any(axis=(1, 2)).mean() > 0.95
    assert changed.mean() < 0.6
    np.testing.assert_array_equal(s.pretext(windows)[0], x)


# scores of steps


def test_overlapped_is_the_mean_of_the_windows_of_a_step():
    starts = window_starts(3, 30, 8, 5)
    assert starts.tolist() == [3, 8, 13, 18, 22]
    scores = np.random.default_rng(0).normal(size=(len(starts), 8))
    slow = [np.mean([w[t - a] for a, w in zip(starts, scores, strict=True) if a <= t < a + 8]) for t in range(3, 30)]
    np.testing.assert_allclose(overlapped(scores, starts), slow, atol=1e-12)


def test_the_threshold_comes_from_the_prefix_alone():
    series = s.cut_prefix(*one_series(), W)
    found = s.SeriesSet((series,), {}, np.zeros(0, np.int64))
    before = series.prefix - series.chosen
    score = np.random.default_rng(0).uniform(size=len(series.labels) - series.chosen)
    high = np.concatenate([score[:before], score[before:] + 5])
    low, top = judge(found, lambda _: score, W)[0], judge(found, lambda _: high, W)[0]
    assert low.threshold == top.threshold == score[: before - W + 1].max()
    assert top.metrics["event_f1"] < top.metrics["point_adjusted_f1"] + 1e-9
    assert top.metrics["vus_pr"] == pytest.approx(low.metrics["vus_pr"])


@pytest.mark.parametrize("name", ["moving-median", "pca", "kmeans"])
def test_no_value_after_the_prefix_moves_the_threshold(name):
    """Windows reach over the end of the prefix: the steps that they share with what comes after it do not count."""
    series = s.cut_prefix(*one_series(), W)
    x = series.x.copy()
    x[:, series.prefix :] += 50
    both = s.SeriesSet((series, replace(series, x=x)), {}, np.zeros(0, np.int64))
    one, other = judge(both, lambda each: SIMPLE[name](each, W, 3)[each.chosen :], W)
    assert one.threshold == pytest.approx(other.threshold, rel=1e-9)


def test_a_detector_that_knows_the_labels_is_perfect():
    series = s.cut_prefix(*one_series(), W)
    (found,) = judge(
        s.SeriesSet((series,), {}, np.zeros(0, np.int64)), lambda _: series.labels[series.chosen :] * 1.0, W
    )
    assert [found.metrics[name] for name in ("auc_pr", "auc_roc", "range_f1", "event_f1")] == pytest.approx([1.0] * 4)


@pytest.mark.parametrize("name", SIMPLE)
def test_simple_detectors_score_every_step_the_same_each_time(name):
    series = s.cut_prefix(*one_series(), W)
    score = SIMPLE[name](series, W, 3)
    assert score.shape == series.labels.shape
    np.testing.assert_array_equal(score, SIMPLE[name](series, W, 3))


@pytest.mark.parametrize("name", ["pca", "kmeans"])
def test_sub_sequences_find_a_shift(name):
    series = s.cut_prefix(*one_series(), W)
    score = SIMPLE[name](series, W, 0)
    assert score[series.labels > 0].mean() > 5 * score[: series.prefix].mean()


def test_moving_median_by_hand():
    series = s.cut_prefix(*one_series(), W)
    x, at = series.x[0].astype(float), 400
    assert moving_median(series, 5, 0)[at] == pytest.approx(abs(x[at] - np.median(x[at - 2 : at + 3])))


# reverse distillation


def reverse(seed=0):
    torch.manual_seed(seed)
    return ReverseNet(build_teacher("WRN10-1", "gaf", (1, SIDE, SIDE), 6), (1, SIDE, SIDE))


def test_the_decoder_gives_maps_of_the_encoders_shapes():
    net = reverse().eval()
    outputs = net({"gaf": torch.randn(3, 1, SIDE, SIDE)})
    for stage in net.stages:
        assert outputs.features[f"decoder-{stage}"].shape == outputs.features[f"encoder-{stage}"].shape
    assert outputs.logits.shape == (3, 6)


def test_training_leaves_the_encoder_as_it_is():
    net = reverse()
    before = {k: v.clone() for k, v in net.encoder.state_dict().items()}
    net.train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.1)
    method = METHODS.get("reverse-kd")()
    for _ in range(2):
        outputs = net({"gaf": torch.randn(4, 1, SIDE, SIDE)})
        optimizer.zero_grad()
        method.losses(outputs, {}, Batch(torch.zeros(4), torch.arange(4)))["gap"].backward()
        optimizer.step()
    for name, value in net.encoder.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is not None for n, p in net.named_parameters() if not n.startswith("encoder."))


def test_the_loss_is_the_papers_sum_in_slow_loops():
    outputs = reverse().eval()({"gaf": torch.randn(2, 1, SIDE, SIDE)}).detach()
    total = 0.0
    for stage in ("stage1", "stage2", "stage3"):
        a, b = outputs.features[f"encoder-{stage}"], outputs.features[f"decoder-{stage}"]
        gaps = []
        for n in range(2):
            for i in range(a.shape[2]):
                for j in range(a.shape[3]):
                    u, v = a[n, :, i, j], b[n, :, i, j]
                    gaps.append(1 - float(u @ v / (u.norm() * v.norm()).clamp(min=1e-8)))
        total += np.mean(gaps)
    found = METHODS.get("reverse-kd")().losses(outputs, {}, Batch(torch.zeros(2), torch.arange(2)))
    assert set(found) == {"gap"}
    assert found["gap"].item() == pytest.approx(total, abs=1e-4)


def test_the_gap_is_nothing_where_the_decoder_is_the_encoder():
    outputs = reverse().eval()({"gaf": torch.randn(2, 1, SIDE, SIDE)})
    for name in [n for n in outputs.features if n.startswith("decoder-")]:
        outputs.features[name] = 3 * outputs.features[name.replace("decoder", "encoder")] + 0
    gap = gap_map(outputs, SIDE)
    assert gap.shape == (2, SIDE, SIDE)
    zero = sum((outputs.features[f"encoder-{k}"].norm(dim=1) == 0).any() for k in ("stage1", "stage2", "stage3"))
    assert zero or gap.abs().max() < 1e-5


@pytest.mark.parametrize("band", [0, 2, 40])
def test_pixels_near_the_diagonal_map_to_time(band):
    gap = torch.rand(2, SIDE, SIDE, dtype=torch.float64)
    found = near_diagonal(gap, band)
    for n in range(2):
        for t in range(SIDE):
            near = [j for j in range(SIDE) if abs(t - j) <= band]
            slow = np.mean([(float(gap[n, t, j]) + float(gap[n, j, t])) / 2 for j in near])
            assert float(found[n, t]) == pytest.approx(slow)


def test_an_encoder_without_images_is_refused():
    with pytest.raises(MmkdError, match="--teachers gaf"):
        ReverseNet(build_teacher("WRN10-1", "sig", (1, W), 6), (1, W))
    outputs = reverse().eval()({"gaf": torch.randn(2, 1, SIDE, SIDE)})
    with pytest.raises(MmkdError, match="--teachers gaf"):
        METHODS.get("reverse-kd")().check(Setup(outputs, {"pi": outputs}, 6, 9, 1, task="anomaly"))


# the command

COMMON = ("--task", "anomaly", "--image-size", str(SIDE))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("anomaly")


@pytest.fixture
def bench(cards, place, capsys):
    def call(*args, runs=place / "runs", epochs="4"):
        net = [] if "--teachers" in args else ["--teacher-net", "gaf=WRN10-1"]
        code = main([*COMMON, *net, *args, "--data-root", str(cards), "--runs", str(runs), "--epochs", epochs])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_from_series_to_table(bench, place, data):
    code, out, err = bench("--method", "reverse-kd,feature-kd")
    assert code == 0, err
    assert "nab, 3 series, 1 left out, 1 seed" in out
    heads = re.split(r"\s{2,}", out.splitlines()[1].strip())
    assert heads[0] == "VUS-PR"
    assert "(PA F1)" in heads
    rows = {line.split()[0]: line for line in out.splitlines()[2:10]}
    assert set(rows) >= {"reverse-kd", "feature-kd", *SIMPLE}
    records = {r.spec.get("method"): r for r in Records(place / "runs") if r.kind != "teacher"}
    assert {r.kind for r in records.values()} == {"student", "simple"}
    for record in records.values():
        lines = record.file("series.csv").read_text().splitlines()
        assert len(lines) == 4
        first = dict(zip(lines[0].split(","), lines[1].split(","), strict=True))
        values = [float(line.split(",")[lines[0].split(",").index("vus_pr")]) for line in lines[1:]]
        assert record.metrics["test"]["vus_pr"] == pytest.approx(np.mean(values))
        assert first["events"] == "1"
        assert record.result["series"] == {"scored": 3, "left_out": {"made/3": "no event"}}
        with np.load(record.file("scores.npz")) as z:
            assert [len(z[f"s{i}"]) for i in range(3)] == [len(x.labels) - x.chosen for x in data.series.kept]
    for name in ("reverse-kd", "feature-kd"):
        assert (records[name].folder / "series.png").stat().st_size > 10_000
        assert records[name].metrics["test"]["vus_pr"] > 2 * records["random"].metrics["test"]["vus_pr"]
    history = records["reverse-kd"].file("history.csv").read_text().splitlines()
    gap = [float(line.split(",")[history[0].split(",").index("loss/gap")]) for line in history[1:]]
    assert gap[-1] < 0.8 * gap[0]


def test_a_second_run_finds_all_on_record(bench, place):
    """Stands on the run above, as pytest orders them; alone it does that run itself."""
    bench("--method", "reverse-kd,feature-kd")
    before = {r.key: (r.folder / "result.json").stat().st_mtime_ns for r in Records(place / "runs")}
    code, out, _ = bench("--method", "reverse-kd,feature-kd", "--existing", "only", "--json")
    assert code == 0
    units = json.loads(out)
    assert [u["method"] for u in units] == ["reverse-kd", "feature-kd", *SIMPLE]
    assert [u["status"] for u in units[:2]] == ["cached"] * 2
    assert all(0 <= u["metrics"]["test"]["vus_pr"] <= 1 for u in units)
    assert {r.key: (r.folder / "result.json").stat().st_mtime_ns for r in Records(place / "runs")} == before
    code, out, err = bench("--method", "student", "--existing", "only")
    assert code == 1
    assert "not on record" in err


def test_simple_detectors_that_are_lost_are_made_again(bench, place, monkeypatch):
    bench("--method", "reverse-kd,feature-kd")
    for record in [r for r in Records(place / "runs") if r.spec.get("method") in ("pca", "random")]:
        shutil.rmtree(record.folder)
    code, out, err = bench("--method", "feature-kd")
    assert code == 0
    assert all(f"\n{name} " in out for name in SIMPLE)
    assert "reverse-kd" not in out
    (record,) = [r for r in Records(place / "runs") if r.spec.get("method") == "kmeans"]
    shutil.rmtree(record.folder)
    monkeypatch.setitem(SIMPLE, "kmeans", lambda *_: 1 / 0)
    code, out, err = bench("--method", "feature-kd")
    assert code == 0
    assert "kmeans" not in out
    assert "simple detector kmeans on nab: ZeroDivisionError" in err


def test_the_stored_student_gives_the_stored_scores(bench, place, data):
    bench("--method", "reverse-kd,feature-kd")
    for record in [r for r in Records(place / "runs") if r.kind == "student"]:
        model = load_student(record)
        detector = Detector(
            model.network, model.modalities, torch.device("cpu"), make_method(UnitSpec.parse(record.spec))
        )
        with np.load(record.file("scores.npz")) as z:
            np.testing.assert_allclose(detector.scores(data.series.kept[1], W), z["s1"], rtol=1e-3, atol=1e-5)


def test_the_encoder_of_the_student_is_the_teacher(bench, place):
    from safetensors.torch import load_file

    bench("--method", "reverse-kd,feature-kd")
    records = {r.spec.get("method", "teacher"): r for r in Records(place / "runs")}
    teacher = load_file(records["teacher"].file("teacher.safetensors"))
    student = load_file(records["reverse-kd"].file("student.safetensors"))
    assert len(teacher) > 20
    assert all(torch.equal(student[f"encoder.{name}"], value) for name, value in teacher.items())


def test_reverse_distillation_learns_from_plain_segments_alone(bench, place, cards, data):
    bench("--method", "reverse-kd,feature-kd")
    nets = {"teacher_nets": {"gaf": "WRN10-1"}, "image_size": SIDE, "epochs": 4, "data_root": str(cards)}
    spec, _ = next(expand(Request(("reverse-kd",), task="anomaly", **nets)))
    runs, cache = Records(place / "runs"), Cache(place / "runs" / "cache")
    assert runs.get(spec.key) is not None, "the unit of the command above, with its teacher in the cache"
    whole = make_ready(spec, data, Place(runs, cache, torch.device("cpu"), Progress()), Log())
    ready = on_normal(whole, whole.student)
    plain = whole.windows.train[data.y[whole.windows.train] == 0]
    np.testing.assert_array_equal(ready.windows.train, plain)
    assert len(ready.windows.validation) == 0
    asked = []
    chosen = Chosen(SimpleNamespace(outputs=lambda at, views: asked.append(at)), np.array([1, 4, 6]))
    chosen.outputs(np.array([0, 2]), {})
    assert asked[0].tolist() == [1, 6]


def test_the_comparison_leaves_them_out(bench, place, capsys):
    bench("--method", "reverse-kd,feature-kd")
    assert compare(["--runs", str(place / "runs")]) == 2
    assert "--task anomaly" in capsys.readouterr().err


def test_a_worker_does_such_a_unit(cards, tmp_path):
    spec, _ = next(expand(Request(("student",), task="anomaly", epochs=1, data_root=str(cards))))
    from mmkd.plan import Task

    at = setting(tmp_path / "runs", tmp_path / "cache", "cpu", 1, None, cards, ())
    done = perform(Task("unit", spec.key, spec).values(), at)
    assert done["status"] == "done", done["error"]
    assert "vus_pr" in Records(tmp_path / "runs").get(spec.key).metrics["test"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--method", "reverse-kd", "--teachers", "sig"), ("reverse", "--teachers gaf")),
        (("--method", "reverse-kd", "--teachers", "gaf,sig"), ("one teacher", "--teachers gaf")),
        (("--method", "reverse-kd", "--init-student", "trained"), ("--init-student",)),
        (("--method", "reverse-kd", "--band", "-1"), ("band",)),
        (("--method", "fitnet"), ("not defined for --task anomaly",)),
        (("--method", "student", "--train-subjects", "2"), ("--train-subjects",)),
        (("--method", "student", "--dataset", "hapt"), ("hapt",)),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_is_one_line(bench, tmp_path, args, words):
    code, out, err = bench(*args, runs=tmp_path / "runs")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert all(word in err for word in words), err
    assert not list((tmp_path / "runs").glob("*/result.json"))


def test_reverse_distillation_is_for_series_alone(tmp_path, capsys):
    assert main(["--method", "reverse-kd", "--runs", str(tmp_path), "--epochs", "1"]) == 2
    assert "--task" in capsys.readouterr().err


@pytest.mark.data
def test_nab():
    if not present(find_card("nab"), data_root()):
        pytest.skip("no NAB in the data folder")
    data = load_dataset("nab")
    assert data.task == "anomaly"
    assert len(data.series.kept) == 52
    assert set(data.series.left_out.values()) == {"no event"}
    assert sum(len(x.labels) for x in data.series.kept) == 365_558 - 6 * 4032
    assert {x.prefix <= len(x.labels) // 2 and not x.labels[: x.prefix].any() for x in data.series.kept} == {True}
