"""The comparison of records that travelled: the same files as of whole records, but for what says that it lacks."""

import csv
import io
import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from mmkd.compare import main
from mmkd.comparison import compare as comparison
from mmkd.comparison.network_pairs import MOST_TRAVELLING, NetworkPair
from mmkd.comparison.travelling import travelling_records
from mmkd.metrics.classes import log_loss, macro_f1
from mmkd.report.fidelity import fidelity_notes
from mmkd.report.spreadsheet import fidelity_csv, leaderboard_csv, results_csv
from mmkd.specs.data import DataSpec
from mmkd.specs.unit import Training, UnitSpec
from mmkd.store.records import Records
from mmkd.store.travelling import line_of, read_travelling, write_travelling

N, K = 120, 3
KD = UnitSpec(
    data=DataSpec("sines", "ab" * 32),
    seed=0,
    method="kd",
    options={"temperature": 4.0},
    views={"sig": {}, "gaf": {"size": 16}},
    teachers={"sig": "WRN16-1", "gaf": "WRN16-1"},
    teacher_training=Training(epochs=9),
    student=("sig",),
    student_net="small",
    fusion=None,
    training=Training(epochs=5),
)
ALONE = replace(KD, method="student", options={}, views={"sig": {}}, teachers={}, teacher_training=None)
TRUE = np.arange(N) % K


def write(runs, spec, number, skill, towards=None, subjects=6):
    """A record of a made-up network, which leans towards the answers of another one."""
    logits = np.random.default_rng(number).normal(size=(N, K)) + skill * np.eye(K)[TRUE]
    logits += 0 if towards is None else 1.5 * np.log(towards)
    p = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)
    predicted = p.argmax(1)
    arrays = {"window": np.arange(N), "true": TRUE, "predicted": predicted, "probabilities": p}
    arrays |= {"subject": np.array([f"p{n % subjects}" for n in range(N)])} if subjects else {}
    scores = {"accuracy": float((predicted == TRUE).mean()), "macro_f1": macro_f1(TRUE, predicted)}
    scores |= {"nll": log_loss(TRUE, p.astype(float)), "ece": 0.1}
    student = isinstance(spec, UnitSpec)

    def fill(folder):
        np.savez(folder / "predictions.npz", **arrays)
        (folder / "history.csv").write_text("epoch,loss\n1,0.5\n")
        (folder / ("student" if student else "teacher")).with_suffix(".safetensors").write_bytes(b"w" * 1000)
        return {
            "kind": "student" if student else "teacher",
            "key": spec.key,
            "spec": asdict(spec),
            "metrics": {"test": scores, "validation": {"accuracy": 1.0}},
            "parameters": 10,
            "seconds": 1.0 + number,
            "teachers": {name: spec.teacher(name).key for name in spec.teachers} if student else {},
            "views": {"sig": {"config": {}, "state": {"mean": [0.5]}}},
            "data": {"classes": list("abc"), "channels": ["x"], "window": 32, "split": {"unit": "subject"}},
            "environment": {"platform": "Linux", "threads": 1, "command": "bench.py --runs /home/me/runs"},
        }

    record = Records(runs).write(spec.key, fill)
    if student:
        clean = {"accuracy": 0.8, "macro_f1": 0.8}
        curves = [{"disturbance": "noise", "level": 0.1, "unit": "sd", "accuracy": 0.5, "macro_f1": 0.5 + number / 1e3}]
        cost = {
            "macs": 7,
            "latency_ms": 1.0 + number,
            "latency_p95_ms": 1.5 + number,
            "processor": "a",
            "size_bytes": 9,
        }
        robust = json.dumps({"clean": clean, "curves": curves}).encode()
        files = {"deployment.json": json.dumps(cost).encode(), "robustness.json": robust}
        Records(runs).add_measurements(record, files)
    return p


def suite(runs, **how):
    for seed in (0, 1, 2):
        kd = replace(KD, seed=seed)
        both = [write(runs, kd.teacher(name), 10 * seed + n, 1.0 + n, **how) for n, name in enumerate(("sig", "gaf"))]
        write(runs, replace(ALONE, seed=seed), 100 + seed, 1.2, **how)
        write(runs, kd, 100 + seed, 1.2, np.mean(both, axis=0), **how)
        write(runs, replace(kd, method="full-kd"), 100 + seed, 1.2, np.mean(both, axis=0), **how)


def compared(runs, *files):
    records, left_out = comparison.read_records(Records(runs, files))
    return records, comparison.compare(records, "student", left_out)


@pytest.fixture
def made(tmp_path):
    """Makes a suite and the file of its records; returns both comparisons and the file."""

    def make(**how):
        suite(tmp_path / "runs", **how)
        records, whole = compared(tmp_path / "runs")
        path = tmp_path / "records.jsonl"
        write_travelling(path, travelling_records(records, whole))
        return whole, compared(tmp_path / "nothing", path)[1], path

    return make


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_every_file_of_numbers_is_the_same(made):
    whole, away, path = made()
    assert len(table(leaderboard_csv(whole))) == 7, "two teachers, mean, oracle, the student alone and two methods"
    assert leaderboard_csv(away) == leaderboard_csv(whole)
    assert sorted(results_csv(away).splitlines()) == sorted(results_csv(whole).splitlines())
    assert fidelity_csv(away) == fidelity_csv(whole)
    assert [group.notes for group in away.groups] == [group.notes for group in whole.groups]
    (row,) = [row for row in away.groups[0].rows if row.base == "kd"]
    assert row.equals == ("full-kd",), "their predictions are equal to the bit"
    excess = [line for line in table(fidelity_csv(away)) if line["measure"] == "agreement"]
    assert all(line["excess_low"] for line in excess if line["row"] == "kd")
    assert path.stat().st_size < 15 * 6000


def test_lines_are_the_same_however_often_they_travel(made, tmp_path):
    _, away, path = made()
    records, _ = compared(tmp_path / "nothing", path)
    again = {record.key: line_of(record) for record in travelling_records(records, away)}
    assert "".join(f"{again[key]}\n" for key in sorted(again)) == path.read_text()


def test_without_subjects_no_sums_of_windows_travel_and_intervals_say_so(made):
    whole, away, path = made(subjects=0)
    missing = {
        (line["row"], name)
        for line, own in zip(table(leaderboard_csv(away)), table(leaderboard_csv(whole)), strict=True)
        for name, value in line.items()
        if value != own[name]
    }
    measures = ("agreement_excess", "copied_errors_excess", "kept_right_excess", "asymmetry")
    ends = [f"{name}_{end}" for name in measures for end in ("low", "high")]
    known = {(line["row"], name) for line in table(leaderboard_csv(whole)) for name in ends if line[name]}
    assert ("kd", "agreement_excess_low") in known
    assert missing == known
    assert all(line["agreement_excess_low"] == "" for line in table(leaderboard_csv(away)))
    why = "it needs predictions, which records from elsewhere (--records, --with) came without"
    assert {line["excess_why"] for line in table(fidelity_csv(away)) if line["excess_mean"]} == {why}
    assert any(why in line for line in fidelity_notes(away.groups[0]))
    for line in path.read_text().splitlines():
        for pair in json.loads(line).get("functional", {}).get("fidelity", {}).values():
            assert len(pair["sums"]) == 1
            assert "names" not in pair


def test_more_subjects_than_travel_give_no_interval(made):
    _, away, _ = made(subjects=MOST_TRAVELLING + 1)
    assert all(line["agreement_excess_low"] == "" for line in table(leaderboard_csv(away)))


def test_what_a_student_has_of_teachers_that_were_not_there_is_not_told(made, tmp_path):
    whole, _, path = made()
    own = Records(tmp_path / "runs")
    alone = [record for record in own if record.kind == "student" and record.spec.method == "student"]
    elsewhere = tmp_path / "alone.jsonl"
    write_travelling(elsewhere, travelling_records(alone, comparison.compare(alone, "student")))
    assert "fidelity" not in elsewhere.read_text()
    kept = {record.key for record in alone}
    lines = [line for line in path.read_text().splitlines() if json.loads(line)["result"]["key"] not in kept]
    path.write_text("".join(f"{line}\n" for line in lines))
    away = compared(tmp_path / "nothing", path, elsewhere)[1]
    note = "agreement: records from elsewhere (--records, --with) came without predictions"
    assert note in away.groups[0].notes
    rows = {line["row"]: line for line in table(leaderboard_csv(away))}
    assert rows["student"]["agreement_mean"] == ""
    assert rows["kd"]["agreement_mean"] != ""
    assert rows["kd"]["agreement_excess"] == ""
    assert rows["kd"]["change_mean"] == table(leaderboard_csv(whole))[5]["change_mean"]


@pytest.mark.parametrize(
    "change",
    [
        {"agreement": 7},
        {"agreement": True},
        {"agreement": None},
        {"of": "window of a stranger"},
        {"sums": [[1, 2, 3]]},
        {"sums": [["x"] * 15]},
        {"sums": "x"},
        {"sums": [[-1] * 15] * 6},
        {"sums": [[0] * 15] * 6},
        {"names": ["p0"]},
        {"names": ["p0", "p0", "p1", "p2", "p3", "p4"]},
        {"names": [0, 1, 2, 3, 4, 5]},
    ],
)
def test_malformed_sums_cost_only_what_stands_on_them(change, made, tmp_path):
    _, _, path = made()
    records = {}
    for key, record in read_travelling([path]).items():
        pairs = record.functional.get("fidelity", {})
        pairs = {name: {**pair, **change} for name, pair in pairs.items()} if record.spec.seed == 0 else pairs
        records[key] = replace(record, functional={**record.functional, "fidelity": pairs})
    other = tmp_path / "other.jsonl"
    write_travelling(other, records.values())
    away = compared(tmp_path / "nothing", other)[1]
    assert any("what it has of its teachers is malformed" in note for note in away.groups[0].notes)
    (kd,) = [line for line in table(leaderboard_csv(away)) if line["row"] == "kd"]
    assert kd["n"] == "3"


def test_aligned_sums_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    sums = rng.integers(1, 9, (3, 9 + 2 * 2)).astype(float)
    pair = NetworkPair(0.5, "subject", np.array(["a", "c", "d"]), sums)
    names = np.array(["a", "b", "c", "d"])
    wide = pair.aligned(names, 4)
    expected = np.zeros((4, 9 + 2 * 4))
    for number, place in enumerate((0, 2, 3)):
        for column in range(9):
            expected[place, column] = sums[number, column]
        for column in range(2):
            expected[place, 9 + column] = sums[number, 9 + column]
            expected[place, 13 + column] = sums[number, 11 + column]
    np.testing.assert_array_equal(wide, expected)
    np.testing.assert_array_equal(pair.aligned(None, 4), expected.sum(0, keepdims=True))
    unknown = NetworkPair(0.5, "subject", np.array(["a"]), np.where(np.arange(13) // 4 == 1, np.nan, 1.0)[None])
    assert np.isnan(unknown.aligned(names, 2)[:, 5:8]).all()
    back = NetworkPair.from_json(json.loads(json.dumps(pair.to_json())))
    np.testing.assert_array_equal(back.sums, sums)
    assert back.names.tolist() == ["a", "c", "d"]


def test_the_page_is_made_of_lines_alone(made, tmp_path, capsys, monkeypatch):
    _, _, path = made()
    monkeypatch.chdir(tmp_path)
    assert main(["--runs", "nowhere", "--records", str(path), "--out", str(tmp_path / "out")]) == 0
    notes = capsys.readouterr().err.splitlines()
    assert len(notes) == len(set(notes)) <= 4, "one line each, however many records"
    assert any("some units have no tsml files: records from elsewhere" in note for note in notes)
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    assert (tmp_path / "out" / "records.jsonl").read_text() == path.read_text()
    assert not (tmp_path / "nowhere").exists()
    for flags, why in (
        (["--records", str(path), "--experiment", "x"], "both name records"),
        (["--write-records", "x.json"], "ends in .jsonl"),
        (["--write-records", ""], "the name is empty"),
        (["--records", "missing.jsonl"], "there is no such file"),
    ):
        assert main(["--runs", str(tmp_path / "runs"), *flags]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert why in line
