"""The anomaly task: prefixes, simple detectors, reverse distillation, and the command from series to table."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmkd.baselines.reverse_kd import gap_map, near_diagonal

import mmkd.data.cards
import mmkd.data.load
from mmkd import METHODS, Batch, MmkdError, Setup, load_student
from mmkd.bench import main
from mmkd.compare import main as compare
from mmkd.data import data_root, load_dataset, pretext
from mmkd.data import series as s
from mmkd.data.cards import find_card
from mmkd.data.checksums import files_exist
from mmkd.engines.worker import perform
from mmkd.evaluation.detectors import SIMPLE_DETECTORS, moving_median
from mmkd.metrics.detections import evaluate_detector, overlapped, starts_in, window_starts
from mmkd.nets import build_teacher
from mmkd.nets.reverse import ReverseNet
from mmkd.store.records import Records
from mmkd.training.preparation import prepare_unit
from mmkd.training.series import Detector, TeacherSubset, use_normal_segments
from mmkd.training.trial import make_method
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import expand
from mmkd.units.request import Request
from mmkd.units.splits import split_for
from mmkd.views.channels import make_modality

W = 32
SIDE = 16
AXES = [f"{part}_{axis}" for part in ("ankle", "leg", "trunk") for axis in ("horiz_fwd", "vert", "horiz_lateral")]


def one_series(n=900, at=(600, 640), seed=0, name="made"):
    rng = np.random.default_rng(seed)
    x = np.sin(np.arange(n) / 5) + 0.1 * rng.normal(size=n)
    labels = np.zeros(n, np.int8)
    labels[slice(*at)] = 1
    x[labels > 0] += 2.5
    return name, s.RawSeries(x[None], labels)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data folder with four series of NAB's form, one without an event, and a card for it."""
    root = tmp_path_factory.mktemp("series")
    (root / "nab").mkdir()
    arrays = {}
    for i in range(4):
        _, made = one_series(seed=i, at=(600 + 20 * i, 640 + 20 * i) if i < 3 else (0, 0))
        arrays |= {f"s{i}_x": made.values[0], f"s{i}_y": made.labels}
    np.savez(root / "nab" / "nab.npz", names=np.array([f"made/{i}" for i in range(4)]), **arrays)
    write_card(root, "nab", root / "nab" / "nab.npz")
    (root / "smap_msl").mkdir()
    write_telemetry(root, spacecraft_arrays())
    return root


def write_card(root, name, path):
    """A copy of a card with the checksum of a file of ours."""
    card = (Path(s.__file__).parents[2] / "datasets" / name / "card.toml").read_text()
    (root / "cards" / name).mkdir(parents=True, exist_ok=True)
    checksum = mmkd.data.checksums.file_sha256(path)
    (root / "cards" / name / "card.toml").write_text(re.sub('"[0-9a-f]{64}"', f'"{checksum}"', card))


def spacecraft_arrays():
    """Arrays of the form of smap_msl.npz: three channels of SMAP, one of MSL; telemetry of the second is constant."""
    arrays = {
        "channels": np.array(["P-1", "E-6", "T-4", "D-12"]),
        "spacecraft": np.array(["SMAP"] * 2 + ["MSL", "SMAP"]),
    }
    for i, (name, columns, train) in enumerate(
        [("P-1", 25, 400), ("E-6", 25, 320), ("T-4", 55, 300), ("D-12", 25, 40)]
    ):
        rng = np.random.default_rng(i)
        x = np.zeros((train + 500, columns), np.float32)
        x[:, 0] = np.sin(np.arange(len(x)) / 5) if i != 1 else -1
        x[:, 1] = 1
        x[:, 2:6] = rng.random((len(x), 4)) < 0.02
        label = np.zeros(500, np.int8)
        label[200 + 10 * i : 240] = 1
        x[train:, 0] += label
        arrays |= {f"{name}_train": x[:train], f"{name}_test": x[train:], f"{name}_label": label}
    return arrays


def write_telemetry(root, arrays):
    path = root / "smap_msl" / "smap_msl.npz"
    np.savez_compressed(path, **arrays)
    for name in ("smap", "msl"):
        write_card(root, name, path)


@pytest.fixture
def cards(folder, monkeypatch):
    monkeypatch.setattr(mmkd.data.cards, "cards_folder", lambda: folder / "cards")
    return folder


@pytest.fixture
def data(cards):
    return load_dataset("nab", cards)


# the prefix


def test_the_prefix_ends_a_window_before_the_first_event():
    found = s.split_prefix(*one_series(n=2000), W)
    assert (found.train_end, found.validation_end, found.prefix_end) == (340, 454, 568)
    assert s.split_prefix(*one_series(n=900), W).prefix_end == 450, "at most half the series"


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
    assert why in s.split_prefix(*one_series(n=n, at=at), W)


def test_nothing_after_the_fitted_part_shapes_the_scale():
    name, made = one_series()
    changed, one = made.values.copy(), s.split_prefix(name, made, W)
    changed[:, one.train_end :] *= 100
    other = s.split_prefix(name, replace(made, values=changed), W)
    np.testing.assert_array_equal(one.x[:, : one.train_end], other.x[:, : one.train_end])
    assert abs(one.x[:, : one.train_end].mean()) < 1e-5
    assert one.x[:, : one.train_end].std() == pytest.approx(1)


@pytest.mark.parametrize("level", [0.0, 5.0, 4e7])
def test_a_constant_prefix_stays_finite(level):
    x = np.full((1, 900), level)
    x[0, 700] += 1
    found = s.split_prefix("flat", replace(one_series()[1], values=x), W)
    assert np.isfinite(found.x).all()
    for detect in SIMPLE_DETECTORS.values():
        assert np.isfinite(detect(found, W, 0)).all()


def test_segments_keep_to_their_part():
    found = s.split_prefix("ramp", replace(one_series()[1], values=np.arange(900.0)[None]), W)
    spans = {part: [] for part in range(3)}
    for x, part in pretext.prefix_segments([found], W, 16):
        spans[part].append((x.min(), x.max()))
    borders = found.x[0, [0, found.train_end, found.validation_end, found.prefix_end]]
    for part, each in spans.items():
        assert each
        assert min(low for low, _ in each) >= borders[part]
        assert max(high for _, high in each) < borders[part + 1]


def test_the_parts_of_the_data_set_do_not_meet(cards, data):
    spec, _ = next(expand(Request(("student",), task="anomaly", data_root=str(cards))))
    split = split_for(data, spec.data, 0)
    parts = [split.train, split.validation, split.test]
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(data.x)))
    assert len(np.unique(np.concatenate(parts))) == len(data.x)
    half = len(data.x) // 2
    assert (data.y[:half] == 0).all()
    assert (data.y[half:] > 0).all()
    assert {n % half for n in split.train}.isdisjoint({n % half for n in [*split.validation, *split.test]})


@pytest.mark.parametrize("kind", range(1, len(pretext.PRETEXT_CLASSES)))
def test_each_disturbance_changes_a_part_of_a_segment(kind):
    windows = np.sin(np.arange(W) / 3 + np.arange(200)[:, None, None]).astype(np.float32)
    x, y = pretext.add_disturbed(windows)
    np.testing.assert_array_equal(x[:200], windows)
    changed = x[200:][y[200:] == kind] != windows[y[200:] == kind]
    assert len(changed) > 10
    assert changed.any(axis=(1, 2)).mean() > 0.95
    assert changed.mean() < 0.6
    np.testing.assert_array_equal(pretext.add_disturbed(windows)[0], x)


# a training part of the publisher's

OFFICIAL = {"values": np.arange(900.0)[None] / 900, "labels": np.arange(900) >= 880, "scaled": True}


@pytest.mark.parametrize(
    ("prefix", "cuts"),
    [(160, (96, 128, 160)), (700, (420, 560, 700)), (159, "159 of 900 steps to"), (880, "nothing but")],
)
def test_the_publishers_training_part_is_the_prefix_whole(prefix, cuts):
    found = s.split_prefix("made", s.RawSeries(**OFFICIAL, prefix=prefix), W)
    if isinstance(cuts, str):
        assert cuts in found
    else:
        assert (found.train_end, found.validation_end, found.prefix_end) == cuts
        np.testing.assert_allclose(found.x, OFFICIAL["values"], atol=1e-7)


def test_values_that_are_not_scaled_are_standardised_by_the_fitted_part():
    found = s.split_prefix("made", s.RawSeries(**{**OFFICIAL, "scaled": False}, prefix=400), W)
    assert found.x[0, :240].std() == pytest.approx(1, abs=1e-5)


def in_two_parts():
    return s.split_prefix("made", replace(one_series(seed=3)[1], prefix=300, has_gap=True), W)


def test_no_window_lies_on_both_parts():
    series = in_two_parts()
    starts = starts_in(series, series.validation_end, W, 8)
    covered = np.zeros(900, bool)
    for start in starts:
        assert start + W <= series.prefix_end or start >= series.prefix_end
        covered[start : start + W] = True
    assert covered.tolist() == [t >= series.validation_end for t in range(900)]
    assert len(starts_in(replace(series, has_gap=False), series.validation_end, W, 8)) > len(starts) - 4


@pytest.mark.parametrize("name", SIMPLE_DETECTORS)
def test_no_detector_reads_over_the_border_of_two_parts(name):
    series = in_two_parts()
    x = series.x.copy()
    x[:, series.prefix_end :] += 50
    one, other = (SIMPLE_DETECTORS[name](each, W, 3) for each in (series, replace(series, x=x)))
    np.testing.assert_allclose(one[: series.prefix_end], other[: series.prefix_end], rtol=1e-9)
    x = series.x.copy()
    x[:, series.validation_end : series.prefix_end] += 50
    other = SIMPLE_DETECTORS[name](replace(series, x=x), W, 3)
    np.testing.assert_allclose(one[series.prefix_end :], other[series.prefix_end :], rtol=1e-9)


def test_of_two_parts_the_whole_last_part_sets_the_threshold():
    series = in_two_parts()
    score = np.random.default_rng(0).uniform(size=900 - series.validation_end)
    score[series.prefix_end - series.validation_end - 1] = 7
    found = s.SeriesSet((series,), {}, np.zeros(0, np.int64))
    assert evaluate_detector(found, lambda _: score, W)[0].threshold == 7


def test_a_channel_that_was_constant_counts_by_its_distance():
    """By hand: beside a channel that the components rebuild, one that leaves its constant value of training."""
    series = in_two_parts()
    x = np.concatenate([np.sin(np.arange(900) / 5)[None], np.full((1, 900), 0.5)]).astype(np.float32)
    x[1, 500] = 2.5
    score = SIMPLE_DETECTORS["pca"](replace(series, x=x), W, 0)
    counted = [sum(a <= 500 < a + W for a in range(t - W + 1, t + 1)) / W for t in range(460, 540)]
    np.testing.assert_allclose(score[460:540], 4 * np.array(counted), atol=1e-3)


@pytest.mark.parametrize(("name", "columns", "kept"), [("smap", 25, ["P-1", "E-6"]), ("msl", 55, ["T-4"])])
def test_the_channels_of_a_spacecraft(cards, name, columns, kept):
    data, arrays = load_dataset(name, cards), spacecraft_arrays()
    assert data.task == "anomaly"
    assert data.x.shape[1:] == (columns, 32)
    assert [each.name for each in data.series.scored] == kept
    assert data.series.excluded == ({"D-12": "40 of 540 steps to train on"} if name == "smap" else {})
    for each in data.series.scored:
        train, test = arrays[f"{each.name}_train"], arrays[f"{each.name}_test"]
        assert each.prefix_end == len(train)
        assert each.has_gap
        np.testing.assert_array_equal(each.x, np.concatenate([train, test]).T)
        np.testing.assert_array_equal(each.labels[each.prefix_end :], arrays[f"{each.name}_label"])
        assert not each.labels[: each.prefix_end].any()
    assert data.channel_group("telemetry") == (0,)
    assert data.channel_group("commands") == tuple(range(1, columns))
    assert len(np.unique(data.x[:, 1])) > 1, "disturbed where it is constant"


@pytest.mark.parametrize("name", ["gaf", "gaf@commands", "sig", "sig@telemetry"])
def test_views_of_constant_channels_are_finite(cards, name):
    data = load_dataset("smap", cards)
    group = {"channels": data.channel_group(name.partition("@")[2])} if "@" in name else {}
    size = {} if name.startswith("sig") else {"size": SIDE}
    plain = data.x[: len(data.x) // 2]
    view = make_modality(name, {**size, **group}).fit(plain).transform(plain)
    assert view.shape[1] == (len(group["channels"]) if group else 25)
    assert np.isfinite(view).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.pop("E-6_label"), ("smap", "E-6_label")),
        (lambda a: a.update({"E-6_label": a["E-6_label"][:-1]}), ("smap", "E-6", "a label a step")),
        (lambda a: a["P-1_test"].__setitem__((7, 3), np.nan), ("smap", "P-1", "NaN")),
        (lambda a: a.update({"P-1_test": a["P-1_test"][:, :9]}), ("smap", "does not go with its files")),
        (lambda a: a.update(spacecraft=np.array(["SMAP"] * 4)), ("smap", "does not go with its files")),
        (lambda a: a.update(spacecraft=np.array(["ISS"] * 4)), ("smap", "no channel is of SMAP")),
        (lambda a: a.pop("channels"), ("smap", "channels")),
    ],
)
def test_files_that_are_not_telemetry_are_one_line(tmp_path, monkeypatch, change, words):
    monkeypatch.setattr(mmkd.data.cards, "cards_folder", lambda: tmp_path / "cards")
    arrays = spacecraft_arrays()
    change(arrays)
    (tmp_path / "smap_msl").mkdir()
    write_telemetry(tmp_path, arrays)
    with pytest.raises(MmkdError) as caught:
        load_dataset("smap", tmp_path)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("name", "columns", "events"), [("aeon-internal-bleeding", ["value"], 12), ("aeon-daphnet", AXES, 0)]
)
def test_one_series_as_csv(tmp_path, monkeypatch, name, columns, events):
    """Files of aeon's form, in the place of those inside its wheel."""
    monkeypatch.setattr(mmkd.data.cards, "cards_folder", lambda: tmp_path / "cards")
    monkeypatch.setattr(mmkd.data.load, "reader_folder", lambda card, root: tmp_path)
    values = np.random.default_rng(0).normal(70, 5, (1500, len(columns))).round(3)
    label = (np.arange(1500) >= 1400) & (np.arange(1500) < 1400 + events)
    lines = [f"{t},{','.join(map(str, row))},{int(e)}" for t, (row, e) in enumerate(zip(values, label, strict=True))]
    write_card(tmp_path, name, Path(__file__))
    for file in find_card(name).sha256:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("\n".join([",".join(["timestamp", *columns, "is_anomaly"]), *lines]) + "\n")
    write_card(tmp_path, name, tmp_path / file)
    if not events:
        with pytest.raises(MmkdError, match="none of 1 series can be scored, such as one with no event"):
            load_dataset(name)
        return
    (series,) = load_dataset(name).series.scored
    assert (series.train_end, series.validation_end, series.prefix_end, series.has_gap) == (720, 960, 1200, False)
    np.testing.assert_array_equal(series.labels, label)
    fitted = values[:720].T
    np.testing.assert_allclose(series.x, (values.T - fitted.mean()) / fitted.std(), atol=1e-4)
    for file in find_card(name).sha256:
        (tmp_path / file).write_text("timestamp,value\n0,1\n")
    write_card(tmp_path, name, tmp_path / file)
    with pytest.raises(MmkdError, match="is_anomaly"):
        load_dataset(name)


# scores of steps


def test_overlapped_is_the_mean_of_the_windows_of_a_step():
    starts = window_starts(3, 30, 8, 5)
    assert starts.tolist() == [3, 8, 13, 18, 22]
    scores = np.random.default_rng(0).normal(size=(len(starts), 8))
    slow = [np.mean([w[t - a] for a, w in zip(starts, scores, strict=True) if a <= t < a + 8]) for t in range(3, 30)]
    np.testing.assert_allclose(overlapped(scores, starts), slow, atol=1e-12)


def test_the_threshold_comes_from_the_prefix_alone():
    series = s.split_prefix(*one_series(), W)
    found = s.SeriesSet((series,), {}, np.zeros(0, np.int64))
    before = series.prefix_end - series.validation_end
    score = np.random.default_rng(0).uniform(size=len(series.labels) - series.validation_end)
    high = np.concatenate([score[:before], score[before:] + 5])
    low, top = evaluate_detector(found, lambda _: score, W)[0], evaluate_detector(found, lambda _: high, W)[0]
    assert low.threshold == top.threshold == score[: before - W + 1].max()
    assert top.metrics["event_f1"] < top.metrics["point_adjusted_f1"] + 1e-9
    assert top.metrics["vus_pr"] == pytest.approx(low.metrics["vus_pr"])


@pytest.mark.parametrize("name", ["moving-median", "pca", "kmeans"])
def test_no_value_after_the_prefix_moves_the_threshold(name):
    """Windows reach over the end of the prefix: the steps that they share with what comes after it do not count."""
    series = s.split_prefix(*one_series(), W)
    x = series.x.copy()
    x[:, series.prefix_end :] += 50
    both = s.SeriesSet((series, replace(series, x=x)), {}, np.zeros(0, np.int64))
    one, other = evaluate_detector(both, lambda each: SIMPLE_DETECTORS[name](each, W, 3)[each.validation_end :], W)
    assert one.threshold == pytest.approx(other.threshold, rel=1e-9)


def test_a_detector_that_knows_the_labels_is_perfect():
    series = s.split_prefix(*one_series(), W)
    (found,) = evaluate_detector(
        s.SeriesSet((series,), {}, np.zeros(0, np.int64)), lambda _: series.labels[series.validation_end :] * 1.0, W
    )
    assert [found.metrics[name] for name in ("auc_pr", "auc_roc", "range_f1", "event_f1")] == pytest.approx([1.0] * 4)


@pytest.mark.parametrize("name", SIMPLE_DETECTORS)
def test_simple_detectors_score_every_step_the_same_each_time(name):
    series = s.split_prefix(*one_series(), W)
    score = SIMPLE_DETECTORS[name](series, W, 3)
    assert score.shape == series.labels.shape
    np.testing.assert_array_equal(score, SIMPLE_DETECTORS[name](series, W, 3))


@pytest.mark.parametrize("name", ["pca", "kmeans"])
def test_sub_sequences_find_a_shift(name):
    series = s.split_prefix(*one_series(), W)
    score = SIMPLE_DETECTORS[name](series, W, 0)
    assert score[series.labels > 0].mean() > 5 * score[: series.prefix_end].mean()


def test_moving_median_by_hand():
    series = s.split_prefix(*one_series(), W)
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
    METHODS.get("reverse-kd")().check(Setup(outputs, {"gaf@telemetry": outputs}, 6, 9, 1, task="anomaly"))


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
    assert set(rows) >= {"reverse-kd", "feature-kd", *SIMPLE_DETECTORS}
    records = {r.result["spec"].get("method"): r for r in Records(place / "runs") if r.kind != "teacher"}
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
            assert [len(z[f"s{i}"]) for i in range(3)] == [len(x.labels) - x.validation_end for x in data.series.scored]
    for name in ("reverse-kd", "feature-kd"):
        assert (records[name].folder / "series.svg").stat().st_size > 10_000
        assert records[name].metrics["test"]["vus_pr"] > 2 * records["random"].metrics["test"]["vus_pr"]
    history = records["reverse-kd"].file("history.csv").read_text().splitlines()
    gap = [float(line.split(",")[history[0].split(",").index("loss/gap")]) for line in history[1:]]
    assert gap[-1] < 0.8 * gap[0]


def test_controls_of_students_like_the_own(bench, tmp_path):
    """A combined student scores series too, and has a picture of them without curves of a training."""
    methods = "born-again,student-ensemble,longer"
    flags = (
        "--method",
        methods,
        "--members",
        "2",
        "--student",
        "sig",
        "--teachers",
        "sig",
        "--teacher-net",
        "sig=small",
    )
    code, out, err = bench(*flags, runs=tmp_path, epochs="1")
    assert code == 0, err
    assert all(f"\n{name} " in out for name in methods.split(","))
    (record,) = [r for r in Records(tmp_path) if r.kind == "student" and r.unit.method == "student-ensemble"]
    assert (record.folder / "series.svg").exists()
    assert not (record.folder / "curves.svg").exists()


def test_a_second_run_finds_all_on_record(bench, place):
    """Stands on the run above, as pytest orders them; alone it does that run itself."""
    bench("--method", "reverse-kd,feature-kd")
    before = {r.key: (r.folder / "result.json").stat().st_mtime_ns for r in Records(place / "runs")}
    code, out, _ = bench("--method", "reverse-kd,feature-kd", "--existing", "only", "--json")
    assert code == 0
    units = json.loads(out)
    assert [u["method"] for u in units] == ["reverse-kd", "feature-kd", *SIMPLE_DETECTORS]
    assert [u["status"] for u in units[:2]] == ["cached"] * 2
    assert all(0 <= u["metrics"]["test"]["vus_pr"] <= 1 for u in units)
    assert {r.key: (r.folder / "result.json").stat().st_mtime_ns for r in Records(place / "runs")} == before
    code, out, err = bench("--method", "student", "--existing", "only")
    assert code == 1
    assert "not on record" in err


def test_simple_detectors_that_are_lost_are_made_again(bench, place, monkeypatch):
    bench("--method", "reverse-kd,feature-kd")
    for record in [r for r in Records(place / "runs") if r.result["spec"].get("method") in ("pca", "random")]:
        shutil.rmtree(record.folder)
    code, out, err = bench("--method", "feature-kd")
    assert code == 0
    assert all(f"\n{name} " in out for name in SIMPLE_DETECTORS)
    assert "reverse-kd" not in out
    (record,) = [r for r in Records(place / "runs") if r.result["spec"].get("method") == "kmeans"]
    shutil.rmtree(record.folder)
    monkeypatch.setitem(SIMPLE_DETECTORS, "kmeans", lambda *_: 1 / 0)
    code, out, err = bench("--method", "feature-kd")
    assert code == 0
    assert "kmeans" not in out
    assert "simple detector kmeans on nab: ZeroDivisionError" in err


def test_the_stored_student_gives_the_stored_scores(bench, place, data):
    bench("--method", "reverse-kd,feature-kd")
    for record in [r for r in Records(place / "runs") if r.kind == "student"]:
        model = load_student(record)
        detector = Detector(model.network, model.modalities, torch.device("cpu"), make_method(record.unit))
        with np.load(record.file("scores.npz")) as z:
            np.testing.assert_allclose(detector.scores(data.series.scored[1], W), z["s1"], rtol=1e-3, atol=1e-5)


def test_the_encoder_of_the_student_is_the_teacher(bench, place):
    from safetensors.torch import load_file

    bench("--method", "reverse-kd,feature-kd")
    records = {r.result["spec"].get("method", "teacher"): r for r in Records(place / "runs")}
    teacher = load_file(records["teacher"].file("teacher.safetensors"))
    student = load_file(records["reverse-kd"].file("student.safetensors"))
    assert len(teacher) > 20
    assert all(torch.equal(student[f"encoder.{name}"], value) for name, value in teacher.items())


def test_reverse_distillation_learns_from_plain_segments_alone(bench, place, cards, data):
    bench("--method", "reverse-kd,feature-kd")
    nets = {"teacher_nets": {"gaf": "WRN10-1"}, "image_size": SIDE, "epochs": 4, "data_root": str(cards)}
    spec, _ = next(expand(Request(("reverse-kd",), task="anomaly", **nets)))
    workspace = Workspace(place / "runs", place / "runs" / "cache", "cpu")
    assert workspace.records.get(spec.key) is not None, "the unit of the command above, with its teacher in the cache"
    whole = prepare_unit(spec, data, workspace)
    ready = use_normal_segments(whole, whole.student)
    plain = whole.windows.train[data.y[whole.windows.train] == 0]
    np.testing.assert_array_equal(ready.windows.train, plain)
    assert len(ready.windows.validation) == 0
    asked = []
    chosen = TeacherSubset(SimpleNamespace(outputs=lambda at, views: asked.append(at)), np.array([1, 4, 6]))
    chosen.outputs(np.array([0, 2]), {})
    assert asked[0].tolist() == [1, 6]


def test_the_comparison_has_a_table_of_detectors(bench, place, tmp_path, capsys):
    """Two seeds: VUS-PR is what is compared, simple detectors stand beside, and teachers' pretext scores nowhere."""
    bench("--method", "reverse-kd,feature-kd,student")
    bench("--method", "feature-kd,student", "--seed", "1")
    runs, out = place / "runs", tmp_path / "out"
    assert compare(["--runs", str(runs), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert said.err.count("note:") == 1, said.err
    assert "nab, detectors, seeds 0-1" in said.out
    assert said.out.splitlines()[1].split()[0] == "VUS-PR"
    assert "3 series scored, 1 left out" in said.out
    assert "(PA F1): point-adjusted, a warning" in said.out
    assert "macro-F1" not in said.out
    (group,) = json.loads((out / "comparison.json").read_text())["groups"]
    kinds = [row["kind"] for row in group["rows"]]
    assert kinds == ["student"] * 3 + ["simple"] * 5
    rows = {row["row"]: row for row in group["rows"]}
    assert group["rows"][0]["row"] == "student"
    assert set(rows) >= {"feature-kd", "reverse-kd", *SIMPLE_DETECTORS}
    records = {(r.spec.method, r.spec.seed): r for r in Records(runs) if r.kind != "teacher"}
    for name in ("feature-kd", "pca", "random"):
        scores = [records[name, seed].metrics["test"]["vus_pr"] for seed in (0, 1)]
        alone = [records["student", seed].metrics["test"]["vus_pr"] for seed in (0, 1)]
        assert rows[name]["vus_pr_mean"] == pytest.approx(np.mean(scores))
        assert rows[name]["vus_pr_sd"] == pytest.approx(np.std(scores, ddof=1))
        assert rows[name]["change_mean"] == pytest.approx(np.mean(scores) - np.mean(alone))
    assert (rows["feature-kd"]["n"], rows["reverse-kd"]["n"]) == (2, 1)
    assert rows["feature-kd"]["time_ratio"] > 0
    assert rows["pca"]["time_ratio"] is rows["feature-kd"]["gap_closed"] is None
    page = (out / "report.html").read_text()
    assert "The highest mean VUS-PR of a student is" in page
    assert "macro-F1 in points" not in page
    tables = (out / "tables.md").read_text()
    assert "VUS-PR" in tables.split("kmeans")[0]
    facts = json.loads((out / "reproducibility.json").read_text())
    assert set(facts["data"][0]["split_sha256"]) == {"0", "1"}
    assert None not in facts["data"][0]["split_sha256"].values()


def test_a_worker_does_such_a_unit(cards, tmp_path):
    spec, _ = next(expand(Request(("student",), task="anomaly", epochs=1, data_root=str(cards))))
    from mmkd.engines.plan import Job

    workspace = Workspace(tmp_path / "runs", tmp_path / "cache", "cpu", threads=1, data_root=cards)
    done = perform(Job("unit", spec.key, spec).values(), workspace.to_json())
    assert done["status"] == "done", done["error"]
    assert "vus_pr" in Records(tmp_path / "runs").get(spec.key).metrics["test"]


def test_channel_groups_of_telemetry_are_modalities(bench, tmp_path):
    args = (
        "--student",
        "sig@telemetry+sig@commands",
        "--teachers",
        "gaf@commands",
        "--teacher-net",
        "gaf@commands=WRN10-1",
    )
    code, out, err = bench("--dataset", "smap", "--method", "kd", *args, runs=tmp_path / "runs", epochs="1")
    assert code == 0, err
    assert "smap, 2 series, 1 left out, 1 seed" in out
    (record,) = [r for r in Records(tmp_path / "runs") if r.kind == "student"]
    assert record.spec.views["sig@telemetry"]["channels"] == [0]
    assert 0 < record.metrics["test"]["vus_pr"] <= 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--method", "reverse-kd", "--teachers", "sig"), ("reverse", "--teachers gaf")),
        (("--method", "reverse-kd", "--teachers", "gaf,sig"), ("one teacher", "--teachers gaf")),
        (("--method", "reverse-kd", "--init-student", "trained"), ("--init-student",)),
        (("--method", "reverse-kd", "--band", "-1"), ("band",)),
        (("--method", "fitnet"), ("not defined for --task anomaly",)),
        (("--method", "student", "--train-subjects", "2"), ("--train-subjects",)),
        (("--method", "student", "--train-windows", "2"), ("--train-windows",)),
        (("--method", "student", "--folds", "2"), ("--folds",)),
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
    if not files_exist(find_card("nab"), data_root()):
        pytest.skip("no NAB in the data folder")
    data = load_dataset("nab")
    assert data.task == "anomaly"
    assert len(data.series.scored) == 52
    assert set(data.series.excluded.values()) == {"no event"}
    assert sum(len(x.labels) for x in data.series.scored) == 365_558 - 6 * 4032
    for series in data.series.scored:
        assert series.prefix_end <= len(series.labels) // 2
        assert not series.labels[: series.prefix_end].any()


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "series", "train", "test"), [("smap", 54, 138_004, 435_826), ("msl", 27, 58_317, 73_729)]
)
def test_telemetry(name, series, train, test):
    if not files_exist(find_card(name), data_root()):
        pytest.skip("no SMAP and MSL in the data folder")
    kept = load_dataset(name).series.scored
    assert len(kept) == series
    assert sum(x.prefix_end for x in kept) == train
    assert sum(len(x.labels) - x.prefix_end for x in kept) == test
    assert all(np.isfinite(x.x).all() and x.labels.any() and not x.labels[: x.prefix_end].any() for x in kept)
    assert set(np.unique(np.concatenate([x.x[1:].ravel() for x in kept]))) == {0, 1}, "commands"
