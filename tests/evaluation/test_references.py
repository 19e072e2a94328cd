"""Peers as rows of tables: on the windows of the unit, on record, shown and never ranked; `--peers`."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

import mmkd
from mmkd import MmkdError, recompute_scores
from mmkd.bench import main
from mmkd.comparison.compare import compare
from mmkd.comparison.ranking import rankings
from mmkd.evaluation.detectors import SIMPLE_DETECTORS
from mmkd.peers import PEERS, RandomForest
from mmkd.report.mlflow.runs import read_record
from mmkd.specs.unit import PeerSpec, signals_of
from mmkd.store.records import Records
from mmkd.tasks import TASKS
from mmkd.tasks.classification import PRESETS

USUAL = dict(PRESETS)  # before `conftest` changes them


@pytest.fixture(autouse=True)
def _peers(monkeypatch):
    for name, preset in USUAL.items():
        monkeypatch.setitem(PRESETS, name, preset)


@pytest.fixture
def bench(capsys):
    """A command: exit code, and what it prints."""

    def call(*argv):
        code = main([*argv, "--quiet"])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def flags(sines, tmp_path):
    """Flags of a short command on small windows."""
    run = ["--data", str(sines), "--student", "sig", "--teachers", "sig", "--teacher-net", "sig=small", "--epochs", "1"]
    return [*run, "--runs", str(tmp_path / "runs")]


def test_a_forest_is_a_row_and_is_fitted_once(bench, flags, tmp_path, monkeypatch):
    """Fitted on exactly the training windows of the unit, without its validation windows."""
    fitted = []
    fit = RandomForest.fit

    def spy(self, x, y, classes, seed):
        fitted.append(len(y))
        return fit(self, x, y, classes, seed)

    monkeypatch.setattr(RandomForest, "fit", spy)
    code, out, _ = bench("--method", "student,kd", *flags)
    assert code == 0
    rows = [line for line in out.splitlines() if line.startswith("peer random-forest ")]
    assert len(rows) == 1
    units = [record for record in Records(tmp_path / "runs") if record.kind == "student"]
    (peer,) = (record for record in Records(tmp_path / "runs") if record.kind == "reference")
    assert fitted == [units[0].data["windows"]["train"]]
    assert peer.data["split"] == units[0].data["split"]
    assert peer.result["made_with"].startswith("scikit-learn ")
    assert recompute_scores(peer) == dict(peer.metrics.test)
    code, out, _ = bench("--method", "student,kd", *flags, "--json")
    assert code == 0
    assert len(fitted) == 1
    units = json.loads(out)
    assert [unit.get("kind") for unit in units] == [None, None, "reference"]
    assert [unit["status"] for unit in units] == ["cached", "cached", "done"]
    assert bench("--method", "student,kd", *flags, "--seed", "1")[0] == 0
    assert len(fitted) == 2


def test_peers_stand_in_comparisons_and_in_no_rank(bench, flags, tmp_path):
    bench("--method", "student,kd", *flags, "--seeds", "0-1")
    records = list(Records(tmp_path / "runs"))
    comparison = compare(records)
    assert [(row.kind, row.base) for row in comparison.groups[0].rows] == [
        ("teacher", "sig small"),
        ("student", "student"),
        ("student", "kd"),
        ("reference", "random-forest"),
    ]
    row = comparison.groups[0].rows[-1]
    assert row.change.n == 2
    assert row.gap is row.time is None
    assert sorted(row.units) == [0, 1]
    (ranking,) = rankings(comparison)
    assert "random-forest" not in str(ranking)
    assert len(ranking.tests) == 1
    alone = [record for record in records if record.kind == "reference"]
    sent = {record.kind: [name for name, *_ in read_record(record).metrics] for record in records}
    assert {kind: "parameters" in names for kind, names in sent.items()} == {
        "teacher": True,
        "student": True,
        "reference": False,
    }
    with pytest.raises(MmkdError, match="no unit is on record"):
        compare(alone)


def test_peers_stand_beside_units_of_their_own_windows_and_channels_alone(bench, flags, tmp_path):
    for more in (["--seed", "0"], ["--seed", "0", "--epoch-rule", "val-best"]):
        bench("--method", "student", *flags, *more)
    comparison = compare(Records(tmp_path / "runs"))
    peers = [[row.members[0].key for row in group.rows if row.kind == "reference"] for group in comparison.groups]
    assert [len(keys) for keys in peers] == [1, 1]
    assert peers[0] != peers[1]
    lost = [r for r in Records(tmp_path / "runs") if r.kind != "student" or r.spec.data.epoch_rule == "last"]
    assert "1 peer on record beside no unit of the same windows; left out" in compare(lost).left_out


def test_signals_that_a_peer_reads():
    assert signals_of(["gaf@acc", "sig@acc", "pi@gyro"]) == ("sig@acc", "sig@gyro")
    assert signals_of(["gaf", "sig@acc"]) == ("sig",)
    assert signals_of(["img"]) == ("img",)


def test_a_peer_of_a_student_of_some_channels_reads_these(bench, windows_file, tmp_path, monkeypatch):
    read = []
    fit = RandomForest.fit

    def spy(self, x, *rest):
        read.append([signal.shape[1] for signal in x])
        return fit(self, x, *rest)

    monkeypatch.setattr(RandomForest, "fit", spy)
    path = windows_file(tmp_path / "w.npz")
    np.savez(path, **np.load(path), channels=np.array(["a", "b"]))
    flags = ["--data", str(path), "--method", "student", "--epochs", "1", "--runs", str(tmp_path / "runs")]
    assert bench(*flags, "--student", "sig@b+gaf@b", "--image-size", "16")[0] == 0
    assert read == [[1]]


def test_flag_peers(bench, flags, tmp_path):
    _, out, _ = bench("--method", "student", *flags, "--peers", "none")
    assert "peer " not in out
    for text, problem in (("forest", "unknown peer 'forest'"), ("all,minirocket", "all must be the only value")):
        code, _, err = bench("--method", "student", *flags, "--peers", text)
        assert code == 2
        assert problem in err
    code, _, err = bench(
        "--method", "student", "--task", "segmentation", "--peers", "pca", "--runs", str(tmp_path / "x")
    )
    assert code == 2
    assert "tables of --task segmentation have none; leave it out" in err
    assert TASKS.get("anomaly").reference_names == tuple(SIMPLE_DETECTORS)
    assert TASKS.get("anomaly").chosen_references((), "quick") == tuple(SIMPLE_DETECTORS)
    assert TASKS.get("anomaly").chosen_references(("pca",), "quick") == ("pca",)


def test_a_peer_that_fails_costs_one_line(bench, flags, monkeypatch):
    monkeypatch.setattr(RandomForest, "fit", lambda *args: 1 / 0)
    code, out, err = bench("--method", "student", *flags)
    assert code == 0
    assert "random-forest on " in err
    assert "ZeroDivisionError" in err
    assert "peer " not in out


def test_a_peer_without_probabilities_has_no_scores_of_them(bench, flags, tmp_path, monkeypatch):
    class Plain(RandomForest):
        has_probabilities = False

    monkeypatch.setitem(PEERS, "minirocket", Plain)
    bench("--method", "student", *flags, "--peers", "minirocket")
    (peer,) = (record for record in Records(tmp_path / "runs") if record.kind == "reference")
    assert "nll" not in peer.metrics.test
    assert recompute_scores(peer) == dict(peer.metrics.test)
    assert [row.base for row in compare(Records(tmp_path / "runs")).groups[0].rows] == ["student", "minirocket"]


def test_images_are_read_as_pixels(bench, tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(48) % 2
    x = (rng.uniform(size=(48, 3, 16, 16)) + 3 * y[:, None, None, None]).astype(np.float32)
    np.savez(tmp_path / "i.npz", x=x, y=y)
    flags = ["--data", str(tmp_path / "i.npz"), "--method", "student", "--epochs", "1"]
    code, out, err = bench(*flags, "--runs", str(tmp_path / "runs"), "--peers", "all")
    assert code == 0
    assert "peer random-forest" in out
    assert "minirocket on i: it reads signals, and these data are images" in err
    (peer,) = (record for record in Records(tmp_path / "runs") if record.kind == "reference")
    assert peer.spec.student == ("img",)
    assert peer.metrics.test["accuracy"] == 1


def test_the_key_holds_windows_seed_channels_and_revision(tiny, tmp_path):
    unit = mmkd.run("student", student="sig", **{**tiny, "epochs": 1, "runs": tmp_path}).unit
    spec = PeerSpec.beside(unit, "random-forest")
    assert PeerSpec.parse(json.loads(json.dumps(asdict(spec)))).key == spec.key
    others = [PeerSpec.beside(unit, "minirocket"), PeerSpec.beside(unit, "random-forest", 2), replace(spec, seed=1)]
    others += [replace(spec, student=("sig@acc",)), replace(spec, data=replace(spec.data, validation=0.3))]
    assert len({spec.key, *(other.key for other in others)}) == 6
