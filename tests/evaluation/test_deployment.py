"""What a deployed student costs: counted against hand counts, timed one window at a time, kept beside its record."""

import json
import time

import numpy as np
import pytest
import torch
from torch import nn

import mmkd
import mmkd.comparison.units
from mmkd.bench import main
from mmkd.compare import main as compare_command
from mmkd.comparison.compare import compare
from mmkd.comparison.deployment import deployment_facts, export_metrics
from mmkd.core.errors import MmkdError
from mmkd.evaluation import deployment
from mmkd.evaluation.deployment import count_macs
from mmkd.nets import build_teacher
from mmkd.report import mlflow as track
from mmkd.report.mlflow import store as mlflow_store
from mmkd.report.page import costs as costs_figures
from mmkd.store.record import CHECKSUMS, MEASUREMENTS
from mmkd.store.records import Records
from mmkd.training.student_model import StudentModel
from mmkd.units import costs

# Multiply-accumulates -------------------------------------------------------------------------------------------------


class On(nn.Module):
    """A module, or a function, on the view `x`."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, views):
        return self.inner(views["x"])


X = torch.randn(1, 10, 8)  # (B, T, features), or (B, channels, W)


@pytest.mark.parametrize(
    ("inner", "macs"),
    [
        (nn.Linear(8, 5), 10 * 8 * 5),
        (nn.Conv1d(10, 6, 3, padding=1), 8 * 10 * 6 * 3),
        (nn.Conv1d(10, 6, 3, stride=2, padding=1), 4 * 10 * 6 * 3),
        (nn.Conv1d(10, 10, 3, padding=1, groups=10), 8 * 10 * 3),
        (nn.ConvTranspose1d(10, 4, 3, stride=2), 8 * 10 * 4 * 3),
        (nn.LSTM(8, 16, 2, batch_first=True), 10 * (4 * 16 * (8 + 16) + 4 * 16 * (16 + 16))),
        (nn.LSTM(8, 16, batch_first=True, bidirectional=True), 2 * 10 * 4 * 16 * (8 + 16)),
        (nn.GRU(8, 16, batch_first=True), 10 * 3 * 16 * (8 + 16)),
        (
            nn.TransformerEncoderLayer(8, 2, 32, batch_first=True),
            10 * 8 * 24 + 2 * 10 * 10 * 8 + 10 * 8 * 8 + 2 * 10 * 8 * 32,
        ),
        (lambda x: nn.functional.scaled_dot_product_attention(x[None], x[None], x[None]), 2 * 10 * 10 * 8),
        (lambda x: torch.einsum("btc,bsc->bts", x, x), 10 * 10 * 8),
        (lambda x: torch.fft.rfft(x), 10 * 2.5 * 8 * 3 / 2),
        (lambda x: torch.fft.irfft(torch.fft.rfft(x)), 2 * 10 * 2.5 * 8 * 3 / 2),
        (lambda x: torch.fft.fft(torch.complex(x, x)), 10 * 5 * 8 * 3 / 2),
        (lambda x: torch.fft.rfft2(x[..., :8, :]), 2.5 * 64 * 6 / 2),
        (torch.relu, 0),
    ],
    ids=lambda value: type(value).__name__ if callable(value) else None,
)
def test_macs_are_those_of_a_hand_count(inner, macs):
    assert count_macs(On(inner), {"x": X}) == macs


def wrn_macs(depth, width, channels, length, classes, dims):
    """Of a wide residual network, convolution by convolution."""
    total = length**dims * channels * 16 * 3**dims
    inputs = 16
    for stage, outputs in enumerate((16 * width, 32 * width, 64 * width)):
        length //= 1 if stage == 0 else 2
        for block in range((depth - 4) // 6):
            total += length**dims * (inputs * outputs + outputs * outputs) * 3**dims
            total += length**dims * inputs * outputs if block == 0 and inputs != outputs else 0
            inputs = outputs
    return total + inputs * classes


@pytest.mark.parametrize(("depth", "width"), [(10, 1), (16, 1), (16, 3)])
def test_macs_of_wide_residual_networks(depth, width):
    name = f"WRN{depth}-{width}"
    line, image = (build_teacher(name, "x", shape, 6) for shape in [(6, 128), (6, 32, 32)])
    assert count_macs(line, {"x": torch.zeros(1, 6, 128)}) == wrn_macs(depth, width, 6, 128, 6, 1)
    assert count_macs(image, {"x": torch.zeros(1, 6, 32, 32)}) == wrn_macs(depth, width, 6, 32, 6, 2)


def test_counting_leaves_the_settings_as_they_were():
    def fails(x):
        assert not torch.backends.mkldnn.enabled
        raise ValueError

    before = torch.backends.mkldnn.enabled, torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(ValueError, match="^$"):
        count_macs(On(fails), {"x": X})
    assert (torch.backends.mkldnn.enabled, torch.backends.mha.get_fastpath_enabled()) == before


# Time -----------------------------------------------------------------------------------------------------------------


class Slow:
    """A view that takes a while to make."""

    def __init__(self, seconds):
        self.seconds, self.seen = seconds, []

    def transform(self, windows):
        self.seen.append(windows.copy())
        time.sleep(self.seconds)
        return windows


class Watched(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, views):
        inference, threads = torch.is_inference_mode_enabled(), torch.get_num_threads()
        self.calls.append((inference, threads, self.training, {n: (v.shape, v.dtype) for n, v in views.items()}))
        time.sleep(0.0002)


def test_latency_is_of_one_window_with_its_views(monkeypatch):
    monkeypatch.setattr(deployment, "REPEATS", 7)
    monkeypatch.setattr(deployment, "WARM_UP", 2)
    views, network = {"sig": Slow(0.0), "gaf": Slow(0.002)}, Watched()
    student = StudentModel(network, views, classes=("a", "b"), channels=2, window=16)
    windows = np.arange(3 * 2 * 16, dtype=np.float32).reshape(3, 2, 16)
    torch.set_num_threads(2)
    try:
        found = deployment.latency(student, windows)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    shapes = dict.fromkeys(views, ((1, 2, 16), torch.float32))
    assert network.calls == [(True, 1, False, shapes)] * 9
    np.testing.assert_array_equal(np.concatenate(views["gaf"].seen), windows[np.arange(9) % 3])
    assert set(found["views_ms"]) == {"sig", "gaf"}
    assert found["views_ms"]["gaf"] >= 2 > found["views_ms"]["sig"]
    assert found["network_ms"] >= 0.2
    parts = found["network_ms"] + sum(found["views_ms"].values())
    assert found["latency_ms"] >= 2.2
    assert parts == pytest.approx(found["latency_ms"], rel=0.5)
    assert found["latency_p95_ms"] >= found["latency_ms"]


publish = track.publish


# Beside the record ----------------------------------------------------------------------------------------------------


@pytest.fixture
def bench(tiny, tmp_path, capsys, monkeypatch):
    """Run the command on the small data; returns exit code, stdout, stderr. `bench.timed` lists what was timed."""
    timed, measure = [], deployment.measure_deployment

    def watched(student, windows):
        timed.append(windows.shape)
        return measure(student, windows)

    monkeypatch.setattr("mmkd.evaluation.runner.deployment.measure_deployment", watched)
    monkeypatch.setattr("mmkd.report.mlflow.publish", lambda *_, **__: None)

    def call(*args, student="sig"):
        own = ["--data", str(tiny["data"]), "--epochs", "2", "--image-size", "16", "--student", student]
        own += ["--epoch-rule", "val-best"]
        code = main([*args, *own, "--runs", str(tmp_path / "runs"), "--cache", str(tiny["cache"])])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    call.timed = timed
    return call


def students(tmp_path):
    return [record for record in Records(tmp_path / "runs") if record.kind == "student"]


def test_the_command_measures_each_network_once_and_every_record_has_it(bench, tmp_path):
    assert bench("--method", "student", "--seeds", "0-1")[0] == 0
    assert len(bench.timed) == 1
    assert bench("--method", "student", student="sig+gaf+pi")[0] == 0
    assert len(bench.timed) == 2
    for record in students(tmp_path):
        said = record.measurement("deployment.json")
        assert list(said["views_ms"]) == list(record.spec.student)
        assert said["size_bytes"] == (record.folder / "student.safetensors").stat().st_size
        assert (said["threads"], said["repeats"]) == (1, 100)
        assert 0 < said["network_ms"] < said["latency_ms"] <= said["latency_p95_ms"]
        assert set(record.measurements) == {"deployment.json", "maps.npz"}
        student = mmkd.load_student(record.folder)
        assert said["macs"] == count_macs(student.network, student.views(np.zeros((1, 2, 32), np.float32)))
        assert {"macs", "latency_ms"} <= set(mmkd.comparison.units.unit_metrics(record))


def test_what_is_there_is_not_measured_again(bench, tmp_path):
    first = bench("--method", "student", "--quiet")
    (record,) = students(tmp_path)
    assert bench("--method", "student", "--quiet") == first
    assert len(bench.timed) == 1
    (record.folder / "deployment.json").write_text(json.dumps({"macs": 1}))  # damaged: it counts as not measured
    assert record.measurement("deployment.json") == {}
    assert set(Records(tmp_path / "runs").get(record.key).measurements) == {"maps.npz"}, "the record is none the worse"
    assert bench("--method", "student", "--quiet", "--existing", "only")[0] == 0
    assert len(bench.timed) == 1, "only looks"
    assert bench("--method", "student", "--quiet")[0] == 0
    assert len(bench.timed) == 2
    assert record.measurement("deployment.json")["macs"] > 1
    (record.folder / "maps.npz").unlink()
    (record.folder / CHECKSUMS).unlink()  # as of files that were put there by a process killed right after
    assert list(record.measurements) == ["deployment.json"]
    assert bench("--method", "student", "--quiet", "--existing", "rerun")[0] == 0
    assert len(bench.timed) == 3


def test_equal_networks_of_separate_commands_have_one_latency(bench, tmp_path):
    for seed in range(5):
        assert bench("--method", "student", "--seed", str(seed), "--quiet")[0] == 0
    assert bench("--method", "student", "--seed", "0", "--quiet", student="gaf")[0] == 0
    assert len(bench.timed) == 2
    found = [record.measurement("deployment.json")["latency_ms"] for record in students(tmp_path)]
    assert len(found) == 6
    assert len(set(found)) == 2
    comparison = compare(list(Records(tmp_path / "runs")))
    assert not any("latency" in note for group in comparison.groups for note in group.notes)


@pytest.fixture
def timed_apart(bench, tmp_path):
    """Five equal networks and one of another view, each with times of its own, as older folders have them."""
    assert bench("--method", "student", "--seeds", "0-4", "--quiet")[0] == 0
    assert bench("--method", "student", "--seed", "0", "--quiet", student="gaf")[0] == 0
    times = {0: (1.2, 1.4), 1: (0.9, 1.1), 2: (1.0, 1.3), 3: (1.1, 1.2), 4: (0.8, 3.0)}
    for record in students(tmp_path):
        median, p95 = times[record.spec.seed] if record.spec.student == ("sig",) else (7.0, 8.0)
        measured = {**record.measurement("deployment.json"), "latency_ms": median, "latency_p95_ms": p95}
        measured.pop("torch")
        Records(tmp_path / "runs").add_measurements(record, {"deployment.json": json.dumps(measured).encode()})
    return bench


def test_equal_networks_that_were_timed_apart_show_one_figure(timed_apart, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(costs, "UNSTEADY", 2.0)
    comparison = compare(list(Records(tmp_path / "runs")))
    groups = {group.student: group for group in comparison.groups}
    small = groups["student sig (small)"]
    (row,) = [row for row in small.rows if row.kind == "student"]
    assert row.values("latency_ms") == [1.0] * 5  # the middle one of the four that are steady, the lower of two
    assert row.values("latency_p95_ms") == [1.3] * 5
    (note,) = [note for note in small.notes if "latency" in note]
    assert note.startswith("latency: equal networks were measured 5 times, 0.80 to 1.20 ms; each shows the middle one")
    sizes = {unit.record.measurement("deployment.json")["size_bytes"] for unit in row.units.values()}
    assert sizes == {(record.folder / "student.safetensors").stat().st_size for record in students(tmp_path)[:1]}
    other = groups["student gaf (small)"]
    assert [row.values("latency_ms") for row in other.rows if row.kind == "student"] == [[7.0]]
    _, points = costs_figures._points(comparison.groups, "latency_ms")
    assert {point.cost for point in points} == {1.0, 7.0}
    facts = deployment_facts(next(iter(row.units.values())).record)
    assert facts["the middle one"] == "of 5 measurements of equal networks, 0.8 to 1.2 ms"
    assert compare_command(["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    assert "each shows the middle one, 1.00 ms" in capsys.readouterr().out
    assert "each shows the middle one, 1.00 ms" in (tmp_path / "out" / "report.html").read_text()


def test_a_network_on_record_is_not_measured_again_where_its_times_are_steady(timed_apart, tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "UNSTEADY", 2.0)
    monkeypatch.setattr(deployment, "steadiest_latency", lambda *_: {**FAKE, "latency_ms": 5.0, "latency_p95_ms": 5.5})
    before = len(timed_apart.timed)
    assert timed_apart("--method", "student", "--seed", "7", "--quiet")[0] == 0
    found = {record.spec.seed: record for record in students(tmp_path) if record.spec.student == ("sig",)}
    assert found[7].measurement("deployment.json")["latency_ms"] == 1.0
    assert len(timed_apart.timed) == before
    monkeypatch.setattr(deployment, "processor", lambda: "another machine")
    assert timed_apart("--method", "student", "--seed", "8", "--quiet")[0] == 0
    assert len(timed_apart.timed) == before + 1
    found = {record.spec.seed: record for record in students(tmp_path)}
    assert found[8].measurement("deployment.json")["latency_ms"] == 5.0


def test_what_was_measured_of_exported_files_is_of_one_record(timed_apart, tmp_path):
    records = Records(tmp_path / "runs")
    exports = {"onnx-int8": {"accuracy": 0.5, "float32_accuracy": 0.75, "bytes": 9}}

    def signal_students():
        return {record.spec.seed: record for record in students(tmp_path) if record.spec.student == ("sig",)}

    middle = signal_students()[2]
    measured = {**middle.measurement("deployment.json"), "exports": exports}
    records.add_measurements(middle, {"deployment.json": json.dumps(measured).encode()})
    assert timed_apart("--method", "student", "--seed", "7", "--quiet")[0] == 0
    new = signal_students()[7]
    assert new.measurement("deployment.json")["latency_ms"] == 1.0  # taken over from an equal network
    assert "exports" not in new.measurement("deployment.json")
    groups = {group.student: group for group in compare(list(records)).groups}
    (row,) = [row for row in groups["student sig (small)"].rows if row.kind == "student"]
    found = {seed: unit.metrics for seed, unit in row.units.items() if "int8_accuracy" in unit.metrics}
    assert set(found) == {2}
    assert [found[2][name] for name in ("int8_accuracy", "int8_points_lost", "int8_bytes")] == [0.5, 25, 9]
    assert [unit.metrics["latency_ms"] for unit in row.units.values()] == [1.0] * 6
    assert deployment_facts(row.units[2].record)["exported as onnx-int8"] == "accuracy 0.500, in float32 0.750, 9 bytes"
    records.add_measurements(new, {"deployment.json": json.dumps({"exports": exports}).encode()})
    assert timed_apart("--method", "student", "--seed", "7", "--quiet")[0] == 0
    measured = signal_students()[7].measurement("deployment.json")
    assert (measured["latency_ms"], measured["exports"]) == (1.0, exports)


def test_malformed_measurements_of_exported_files_are_no_columns():
    for exports in (None, [], {"onnx-int8": 3}, {"onnx-int8": {"accuracy": "x", "float32_accuracy": 1, "bytes": True}}):
        assert export_metrics({"exports": exports}) == {}
    assert export_metrics({}) == {}


FAKE = {"latency_ms": 1.0, "latency_p95_ms": 3.5, "network_ms": 1.0, "views_ms": {"sig": 0.1}}


def test_equal_networks_share_an_unsteady_latency_too(bench, tmp_path, monkeypatch):
    """On a machine that stays busy there is one figure all the same, and one line on it."""
    monkeypatch.setattr(costs, "UNSTEADY", 2.0)
    medians = iter(range(1, 100))
    monkeypatch.setattr(
        deployment, "latency", lambda *_: {**FAKE, "latency_ms": next(medians), "latency_p95_ms": 999.0}
    )
    for seeds in ("0-1", "2", "0-3"):
        assert bench("--method", "student", "--seeds", seeds)[2].count("is unsteady") == 1
    found = [record.measurement("deployment.json")["latency_ms"] for record in students(tmp_path)]
    assert found == [1] * 4
    assert len(bench.timed) == 3, "each command tries once"


def test_an_unsteady_latency_is_tried_again_and_said_and_measured_by_the_next_command(
    bench, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(costs, "UNSTEADY", 2.0)
    times = iter([3.5, 2.5, 4.0, 3.5, 1.9])
    monkeypatch.setattr(deployment, "latency", lambda *_: {**FAKE, "latency_p95_ms": next(times)})
    code, _, err = bench("--method", "student")
    assert code == 0
    assert err.count("warning: ") == 1
    assert "warning: latency of student sig (small) is unsteady: p95 2.50 ms, over twice the median of 1.00 ms" in err
    assert compare_command(["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    assert "is unsteady: p95 2.50 ms" in " ".join(capsys.readouterr().out.split())
    assert "is unsteady: p95 2.50 ms" in (tmp_path / "out" / "report.html").read_text()
    assert "unsteady" not in bench("--method", "student")[2]
    (record,) = students(tmp_path)
    assert record.measurement("deployment.json")["latency_p95_ms"] == 1.9
    assert next(times, None) is None


def test_a_measurement_that_fails_is_a_line_and_costs_no_unit(bench, tmp_path, monkeypatch):
    def fails(*_):
        raise RuntimeError("no clock\nhere")

    monkeypatch.setattr("mmkd.evaluation.runner.deployment.measure_deployment", fails)
    code, out, err = bench("--method", "student", "--seeds", "0-1", "--quiet")
    assert code == 0
    assert "student" in out
    assert err.count("\n") == 1
    assert "2 not measured, the first: deployment.json of unit" in err
    assert "no clock here" in err
    assert [list(record.measurements) for record in students(tmp_path)] == [["maps.npz"]] * 2
    assert bench("--method", "student", "--quiet", "--robustness")[0] == 1, "there it was asked for"


def test_measurements_of_a_record_that_was_replaced_are_not_kept(tmp_path):
    def fill(value):
        return lambda folder: {"key": "k", "kind": "student", "spec": {}, "metrics": {}, "value": value}

    records = Records(tmp_path)
    old = records.write("k", fill(1))
    new = records.write("k", fill(2))
    with pytest.raises(MmkdError, match="replaced"):
        records.add_measurements(old, {"deployment.json": b"{}"})
    (new.folder / ".making-left").touch()
    records.add_measurements(new, {"deployment.json": b'{"macs": 3}'})
    assert new.measurement("deployment.json") == {"macs": 3}
    assert {path.name for path in new.folder.iterdir()} == {"result.json", "deployment.json", CHECKSUMS}
    for text in ("", "[]", '{"deployment.json": 3}', '{"deployment.json": {"bytes": 11}}', "{"):
        (new.folder / CHECKSUMS).write_text(text)
        assert new.measurement("deployment.json") in ({}, {"macs": 3})
        assert records.get("k") is not None


def test_what_comes_later_reaches_mlflow_too(bench, tiny, tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setattr(track, "publish", publish)
    runs = tmp_path / "runs"
    record = mmkd.run("student", student="sig", **{**tiny, "epochs": 2}, runs=runs)
    assert record.measurements == {}
    assert track.publish(runs, [record]) is None

    def sent():
        client = mlflow_store.connect(runs)
        found = client.get_experiment_by_name("mmkd/sines/classification")
        (run,) = client.search_runs([found.experiment_id], filter_string=f"tags.`mmkd.key` = '{record.key}'")
        return run, {each.path for each in client.list_artifacts(run.info.run_id)}

    before, artifacts = sent()
    assert "deploy/macs" not in before.data.metrics
    assert not artifacts & {*MEASUREMENTS, CHECKSUMS}
    assert bench("--method", "student", "--quiet")[0] == 0
    assert sent()[0].data.metrics["deploy/latency_ms"] == record.measurement("deployment.json")["latency_ms"]
    curve = {"disturbance": "dead-channel", "level": "../a b/\n", "accuracy": 0.5, "macro_f1": 0.25}
    Records(runs).add_measurements(record, {"robustness.json": json.dumps({"curves": [curve]}).encode()})
    assert track.unsent(runs, [record]) == [record]
    assert track.publish(runs, [record]) is None
    after, artifacts = sent()
    assert after.info.run_id == before.info.run_id, "the same run has more"
    assert artifacts == {path.name for path in record.folder.iterdir()}
    assert after.data.metrics["deploy/macs"] == record.measurement("deployment.json")["macs"]
    assert after.data.metrics["robust/dead-channel/_a b__/macro_f1"] == 0.25
    assert track.unsent(runs, [record]) == []
    (tmp_path / "fetched").mkdir()
    (fetched,), problems = track.fetch(runs, "mmkd/*", tmp_path / "fetched")
    assert problems == []
    assert set(fetched.measurements) == set(MEASUREMENTS)
    assert fetched.measurement("deployment.json") == record.measurement("deployment.json")
