"""The comparison: what meets in a table and what does not, its figures, its files, and names that mean harm."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

import mmkd
from mmkd import compare
from mmkd.comparison import compare as comparison
from mmkd.comparison import ranking
from mmkd.comparison.identity import WHERE_CHOSEN
from mmkd.comparison.predictions import best_of
from mmkd.comparison.robustness import robustness_curves
from mmkd.comparison.units import Unit, different_machines, machine, mean_over_folds, on_one_machine
from mmkd.core.refusal import Refusal
from mmkd.core.registry import METHODS
from mmkd.core.text import slug
from mmkd.metrics import classes
from mmkd.metrics.series import SERIES_METRICS
from mmkd.report import mlflow as track
from mmkd.report.columns import columns
from mmkd.report.markup import latex, latex_tables, markdown, markdown_tables
from mmkd.report.mlflow import runs as store_runs
from mmkd.report.mlflow import store as mlflow_store
from mmkd.report.mlflow.leaderboard import leaderboard_metrics, table_columns
from mmkd.report.page import page_files
from mmkd.report.phrases import group_notes, mean_and_deviation, row_name
from mmkd.report.reproducibility import portable, reproducibility, reproducibility_markdown
from mmkd.report.spreadsheet import leaderboard_csv, results_csv
from mmkd.report.statistics import ranking_lines
from mmkd.report.tsml import tsml_files
from mmkd.specs.data import DataSpec
from mmkd.specs.unit import Training, UnitSpec
from mmkd.store.records import Records, _content_hash

ROOT = Path(__file__).parents[2]
KD = UnitSpec(
    data=DataSpec("sines", "ab" * 32),
    seed=0,
    method="kd",
    options={"branch_weight": 0.5, "temperature": 4.0, "kd_weight": 0.7},
    views={"sig": {}, "gaf": {"size": 16}},
    teachers={"sig": "WRN16-1", "gaf": "WRN16-1"},
    teacher_training=Training(epochs=9),
    student=("sig",),
    student_net="small",
    fusion=None,
    training=Training(epochs=5),
)
ALONE = replace(
    KD,
    method="student",
    options={"branch_weight": 0.5},
    views={"sig": {}},
    teachers={},
    teacher_training=None,
)
PLACE = {"platform": "Linux", "processor": "x86_64", "device": "cpu", "threads": 1, "processes": 1, "python": "3.11"}
WINDOWS, CLASSES = 60, 3


def predictions(right: int, sure: float, first: int = 0) -> dict[str, np.ndarray]:
    """Of 60 windows of three classes so many right, from window `first` on, each with this confidence."""
    true = np.arange(WINDOWS) % CLASSES
    hit = (np.arange(WINDOWS) - first) % WINDOWS < right
    predicted = np.where(hit, true, (true + 1) % CLASSES)
    probabilities = np.full((WINDOWS, CLASSES), (1 - sure) / (CLASSES - 1))
    probabilities[np.arange(WINDOWS), predicted] = sure
    said = {"window": np.arange(WINDOWS) + 100, "true": true, "predicted": predicted}
    return said | {"probabilities": probabilities.astype(np.float32)}


def write(runs, spec, right, sure=0.8, first=0, seconds=10.0, place=PLACE, **more):
    """Write the record of a unit or teacher by hand."""
    said = predictions(right, sure, first)
    y, p = said["true"], said["probabilities"].astype(float)
    scores = {
        "accuracy": classes.accuracy(y, said["predicted"]),
        "macro_f1": classes.macro_f1(y, said["predicted"]),
        "nll": classes.log_loss(y, p),
        "ece": classes.reliability(y, p).error,
    }
    student = isinstance(spec, UnitSpec)

    def fill(folder):
        np.savez(folder / "predictions.npz", **said)
        (folder / "history.csv").write_text("epoch,loss\n1,0.5\n")
        (folder / ("student" if student else "teacher")).with_suffix(".safetensors").write_bytes(b"w" * 1000)
        taught = {name: spec.teacher(name).key for name in spec.teachers} if student else {}
        return {
            "kind": "student" if student else "teacher",
            "key": spec.key,
            "spec": asdict(spec),
            "metrics": {"test": scores, "validation": {"accuracy": 1.0}},
            "parameters": 1234 if student else 9876,
            "seconds": seconds,
            "process_peak_memory_mib": 1.0,
            "teachers": taught,
            "data": {"classes": ["a", "b", "c"], "window": 32, "split": {"unit": "subject", "sha256": "cd" * 32}},
            "environment": {**place, "versions": {"mmkd": "0"}, "git": {"commit": "ef" * 20, "dirty": False}},
            **more,
        }

    return Records(runs).write(spec.key, fill)


def suite(runs, seeds=(0, 1, 2), **changes):
    """Two teachers, the student alone and kd, each under these seeds."""
    for seed in seeds:
        kd, alone = replace(KD, seed=seed, **changes), replace(ALONE, seed=seed, **changes)
        write(runs, kd.teacher("sig"), 54 + seed, 0.9)
        write(runs, kd.teacher("gaf"), 30, 0.6, first=40)
        write(runs, alone, 42 + seed)
        write(runs, kd, 48 + 2 * seed, seconds=15.0)


@pytest.fixture
def runs(tmp_path):
    suite(tmp_path / "runs")
    return tmp_path / "runs"


def compared(runs, control="student"):
    records, left_out = comparison.read_records(Records(runs))
    return comparison.compare(records, control, left_out)


def rows(group):
    found = {row.name: row for row in group.rows}
    assert len(found) == len(group.rows)
    return found


def run(capsys, *argv):
    code = compare.main([str(arg) for arg in argv])
    said = capsys.readouterr()
    return code, said.out, said.err


# Figures --------------------------------------------------------------------------------------------------------------


def test_rows_of_a_suite(runs):
    (group,) = compared(runs).groups
    assert [row.kind for row in group.rows] == ["teacher", "teacher", "mean", "oracle", "student", "student"]
    both = ["mean of sig, gaf", "oracle-teacher of sig, gaf (bound)"]
    assert list(rows(group)) == ["sig WRN16-1", "gaf WRN16-1", *both, "student", "kd"]
    assert group.title == "sines, student sig (small)"
    assert group.notes == []


def test_change_and_gap_and_time_are_paired_with_the_student_alone(runs):
    (group,) = compared(runs).groups
    found = rows(group)
    alone, kd, best = (found[name].values("macro_f1") for name in ("student", "kd", "sig WRN16-1"))
    differences = np.subtract(kd, alone)
    assert found["kd"].change.mean == pytest.approx(differences.mean())
    assert found["kd"].change.sd == pytest.approx(differences.std(ddof=1))
    assert (found["kd"].change.n, found["kd"].control) == (3, "student")
    assert found["kd"].change.low == pytest.approx(differences.min())
    assert found["kd"].gap == pytest.approx(differences.mean() / np.subtract(best, alone).mean())
    assert found["kd"].time == pytest.approx(1.5)
    for nothing in ("student", "sig WRN16-1", "mean of sig, gaf", "oracle-teacher of sig, gaf (bound)"):
        assert (found[nothing].change, found[nothing].gap, found[nothing].time) == (None, None, None)


def test_the_mean_of_the_teachers_is_that_of_their_probabilities(runs):
    (group,) = compared(runs).groups
    unit = rows(group)["mean of sig, gaf"].units[1]
    sig, gaf = predictions(55, 0.9), predictions(30, 0.6, first=40)
    mean = (sig["probabilities"].astype(float) + gaf["probabilities"].astype(float)) / 2
    assert unit.metrics["accuracy"] == pytest.approx((mean.argmax(1) == sig["true"]).mean())
    assert unit.metrics["nll"] == pytest.approx(-np.log(mean[np.arange(WINDOWS), sig["true"]]).mean())
    kd = predictions(50, 0.8)["predicted"]
    agreement = rows(group)["kd"].units[1].metrics["agreement"]
    assert agreement == pytest.approx((kd == mean.argmax(1)).mean())
    assert rows(group)["student"].units[1].metrics["agreement"] == pytest.approx(
        (predictions(43, 0.8)["predicted"] == mean.argmax(1)).mean()
    ), "the student alone is held against the same teachers"


def test_the_oracle_takes_for_each_window_the_teacher_that_knows_it_best(runs):
    (group,) = compared(runs).groups
    unit = rows(group)["oracle-teacher of sig, gaf (bound)"].units[1]
    both, right, nll = (predictions(55, 0.9), predictions(30, 0.6, first=40)), 0, 0.0
    for n, true in enumerate(both[0]["true"]):
        each = [said["probabilities"][n].astype(float) for said in both]
        known = [p for p in each if p.argmax() == true]
        right += bool(known)
        nll -= np.log(max(p[true] for p in known or each))
    assert unit.metrics["accuracy"] == pytest.approx(right / WINDOWS)
    assert unit.metrics["nll"] == pytest.approx(nll / WINDOWS)
    others = [row for row in group.rows if row.kind in ("teacher", "mean")]
    assert all(unit.metrics["accuracy"] > row.units[1].metrics["accuracy"] for row in others)
    assert len(tsml_files(compared(runs), [])) == len(list(Records(runs)))  # it is nobody's prediction


def test_the_oracle_prefers_one_that_is_right_to_one_that_is_nearer():
    true = np.array([0, 0])
    near = np.array([[0.4, 0.45, 0.15], [0.4, 0.45, 0.15]])  # wrong
    right = np.array([[0.36, 0.32, 0.32], [0.1, 0.8, 0.1]])
    assert best_of(true, [near, right]).tolist() == [right[0].tolist(), near[1].tolist()]


def test_balanced_accuracy_is_a_column_everywhere(runs):
    """Its entry in the registry is all that it has; these records are older and get it from their predictions."""
    found = compared(runs)
    (group,) = found.groups
    row = rows(group)["kd"]
    for unit in row.members:
        assert "balanced_accuracy" not in unit.record.metrics.test
        with np.load(unit.record.file("predictions.npz")) as z:
            wanted = balanced_accuracy_score(z["true"], z["predicted"])
        assert unit.metrics["balanced_accuracy"] == pytest.approx(wanted)
    text = mean_and_deviation(row.values("balanced_accuracy"))
    ranked = ranking.rankings(found)
    page = page_files(found, ranked, reproducibility(found, {}), [])["report.html"]
    assert "bal. acc" in [column.head for column in columns([group], "student")]
    for document in (markdown_tables(found, ranked), latex_tables(found).replace("$\\pm$", "±"), page):
        assert "bal. acc" in document
        assert text in document
    line = next(line for line in csv.DictReader(io.StringIO(leaderboard_csv(found))) if line["row"] == "kd")
    assert float(line["balanced_accuracy_mean"]) == pytest.approx(np.mean(row.values("balanced_accuracy")))
    assert "balanced_accuracy" in {line["metric"] for line in csv.DictReader(io.StringIO(results_csv(found)))}
    assert any(name.startswith("leaderboard/balanced_accuracy kd") for name in leaderboard_metrics(found.groups))
    assert "balanced_accuracy_mean" in table_columns()
    assert rows(group)["mean of sig, gaf"].values("balanced_accuracy")


def test_scores_are_those_of_the_records(runs):
    (group,) = compared(runs).groups
    by_key = {record.key: record for record in Records(runs)}
    for row in group.rows:
        for seed, unit in row.units.items():
            if row.kind not in ("mean", "oracle"):
                assert unit.seed == seed == by_key[unit.key].spec.seed
                assert unit.metrics["macro_f1"] == by_key[unit.key].metrics["test"]["macro_f1"]


def test_pairs_are_those_of_one_seed(runs):
    """A method with other seeds: only what both have is compared, and the table says so."""
    for seed, right in ((2, 60), (7, 10)):
        write(runs, replace(KD, method="aver", seed=seed), right)
    (group,) = compared(runs).groups
    found = rows(group)["aver"]
    assert found.change.n == 1
    assert found.change.mean == pytest.approx(
        found.values("macro_f1")[0] - rows(group)["student"].values("macro_f1")[2]
    )
    assert row_name(found, group) == "aver (2 of 4 seeds)"


def test_without_a_common_seed_nothing_is_invented(runs):
    write(runs, replace(KD, method="aver", seed=9), 60)
    (group,) = compared(runs).groups
    found = rows(group)["aver"]
    assert isinstance(found.change, Refusal)
    assert isinstance(found.gap, Refusal)
    assert isinstance(found.time, Refusal)
    assert any("no pair" in note and "aver" in note for note in group_notes(group))


def test_no_gap_is_said_and_no_number_given(tmp_path):
    write(tmp_path, KD.teacher("sig"), 40)
    write(tmp_path, KD.teacher("gaf"), 30)
    write(tmp_path, ALONE, 50)
    write(tmp_path, KD, 55)
    (group,) = compared(tmp_path).groups
    assert isinstance(rows(group)["kd"].gap, Refusal)
    assert any("no teacher is better" in note for note in group_notes(group))
    assert "gap" not in [column.head for column in columns([group], "student")]


def test_times_of_another_machine_are_not_compared(tmp_path):
    write(tmp_path, ALONE, 50)
    write(tmp_path, KD, 55, place={**PLACE, "threads": 4})
    (group,) = compared(tmp_path).groups
    assert isinstance(rows(group)["kd"].time, Refusal)
    assert "2 of 2 teachers are not on record" in group.notes


NAMED = {**PLACE, "processor": "Some CPU 3000"}


@pytest.mark.parametrize(
    ("alone", "kd", "known"),
    [
        (NAMED, NAMED, True),
        (NAMED, {**NAMED, "processor": "Some CPU 4000"}, False),
        (PLACE, NAMED, True),  # older records have the architecture alone
        (NAMED, {**PLACE, "platform": "Linux of another machine"}, False),
    ],
)
def test_times_are_compared_by_the_model_of_the_processor(tmp_path, alone, kd, known):
    write(tmp_path, ALONE, 50, seconds=10.0, place=alone)
    write(tmp_path, KD, 55, seconds=15.0, place=kd)
    (group,) = compared(tmp_path).groups
    assert (rows(group)["kd"].time == 1.5) if known else isinstance(rows(group)["kd"].time, Refusal)


def test_an_architecture_is_no_machine_beside_a_processor_of_that_platform(tmp_path):
    def units(*places):
        runs = tmp_path / str(len(list(tmp_path.iterdir())))
        return [Unit(str(n), 0, {}, write(runs, replace(KD, seed=n), 50, place=own)) for n, own in enumerate(places)]

    other = {**NAMED, "processor": "Some CPU 4000"}
    for places, different in (
        ((PLACE, PLACE), 1),
        ((PLACE, NAMED), 1),
        ((PLACE, NAMED, other), 2),
        ((PLACE, {**NAMED, "threads": 2}), 2),
        ((PLACE, {}), 1),
    ):
        made = units(*places)
        assert len(different_machines(map(machine, made))) == different
        one = different == 1 and {} not in places
        assert on_one_machine(made) is one
        assert bool(machine(mean_over_folds(made))) is one
    assert machine(mean_over_folds(units(PLACE, NAMED)))[0] == "Some CPU 3000"


def test_costs_are_shown_where_records_have_them(tmp_path):
    write(tmp_path, ALONE, 50)
    cost = {"macs": 1000, "latency_ms": 1.5, "latency_p95_ms": 2.5}
    Records(tmp_path).add_measurements(write(tmp_path, KD, 55), {"deployment.json": json.dumps(cost).encode()})
    found = compared(tmp_path)
    heads = [column.head for column in columns(found.groups, "student")]
    assert {"MACs", "latency ms", "p95 ms", "size"} <= set(heads)
    assert "MACs" not in [c.head for c in columns(found.groups[:0], "student")]
    assert rows(found.groups[0])["kd"].values("macs") == [1000.0]


# What meets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training": Training(epochs=6)}, "training.epochs=6"),
        ({"data": DataSpec("sines", "ab" * 32, train_subjects=2)}, "data.train_subjects=2"),
        ({"data": DataSpec("sines", "ab" * 32, train_windows=2)}, "data.train_windows=2"),
        ({"data": DataSpec("sines", "ba" * 32)}, "data babababa"),
        ({"data": DataSpec("other", "ab" * 32)}, "other"),
        ({"student_net": "WRN16-1"}, "WRN16-1"),
    ],
)
def test_other_settings_are_another_group(runs, changes, said):
    suite(runs, **changes)
    groups = compared(runs).groups
    assert len(groups) == 2
    assert len({group.title for group in groups}) == 2
    assert any(said in group.title for group in groups)
    assert all(len(row.units) == 3 for group in groups for row in group.rows)


def test_other_views_of_the_student_are_another_group(runs):
    suite(runs, student=("sig",), views={"sig": {"size": 8}, "gaf": {"size": 16}})
    assert len(compared(runs).groups) == 2


def test_titles_say_the_rate_and_differences_in_few_words(runs):
    for data in (DataSpec("sines", "ab" * 32, rate=25.0), DataSpec("sines", "cd" * 32, train_subjects=2)):
        suite(runs, data=data)
    titles = [group.title for group in compared(runs).groups]
    assert titles == [
        "sines at 25 Hz, student sig (small)",
        "sines, student sig (small) data abababab",
        "sines, student sig (small) data.train_subjects=2",
    ]


def test_teachers_of_another_students_table_add_nothing_to_names(runs):
    """But on another data set of the same student they do: rankings go by these names."""
    more = {"sig": "WRN16-1", "gaf": "WRN16-1", "pi": "WRN16-1"}
    views = {"sig": {}, "gaf": {"size": 16}, "pi": {}}
    wide = {"student": ("sig", "gaf"), "fusion": "concat", "views": views}
    write(runs, KD, 50)
    write(runs, replace(KD, teachers=more, options={**KD.options, "temperature": 2.0}, **wide), 51)
    notes = {group.student: [note for note in group.notes if "temperature" in note] for group in compared(runs).groups}
    assert notes["student sig+gaf (small, concat)"] == ["kd: temperature=2.0, unlike in tables of other students"]
    assert [[row.name for row in group.rows if row.base == "kd"] for group in compared(runs).groups] == [["kd"]] * 2
    write(runs, replace(KD, data=DataSpec("other", "cd" * 32), teachers=more, views=views), 52)
    found = compared(runs)
    names = {group.title: row.variant for group in found.groups for row in group.rows if row.base == "kd"}
    assert names == {
        "other, student sig (small)": "kd teachers=sig,gaf,pi",
        "sines, student sig (small)": "kd teachers=sig,gaf",
        "sines, student sig+gaf (small, concat)": "kd",
    }


def test_options_and_teachers_are_rows_of_their_own(runs):
    hot = replace(KD, options={**KD.options, "temperature": 8.0})
    write(runs, hot, 50)
    write(runs, replace(KD, teachers={"sig": "WRN16-1"}), 51)
    (group,) = compared(runs).groups
    names = [row.name for row in group.rows if row.base == "kd"]
    assert sorted(names) == ["kd", "kd teachers=sig", "kd temperature=8.0"]
    longer = replace(KD, teacher_training=Training(epochs=20))
    write(runs, longer.teacher("sig"), 50)
    write(runs, longer, 52)
    (group,) = compared(runs).groups
    assert "kd teacher.epochs=20" in rows(group)
    assert sum(row.kind == "teacher" for row in group.rows) == 3


def names_of_kd(runs):
    (group,) = compared(runs).groups
    return {row.members[0].record.spec.revision: row.variant for row in group.rows if row.base == "kd"}, group.notes


def test_the_newest_form_of_a_method_has_the_bare_name(runs):
    """The older one has three seeds here, the newer one a single seed."""
    newer = {**KD.options, "temperature": 2.0, "kd_weight": 0.9, "teacher_epoch": "last"}
    write(runs, replace(KD, options=newer, seed=7), 50)
    (group,) = compared(runs).groups
    names = [row.name for row in group.rows if row.base == "kd"]
    assert sorted(names) == ["kd", "kd kd_weight=0.7 temperature=4.0"]
    write(runs, replace(KD, options={**newer, "width": 3}, seed=7), 51)
    (group,) = compared(runs).groups
    names = [row.name for row in group.rows if row.base == "kd"]
    assert "kd" in names
    assert "kd kd_weight=0.7 temperature=4.0 older-form" in names
    assert [note for note in group.notes if note.startswith("older-form: made by an older form of the method")]


def test_an_option_that_is_on_record_only_where_chosen_makes_no_older_form(runs):
    write(runs, replace(KD, options={**KD.options, "class_weights": "balanced"}), 50)
    (group,) = compared(runs).groups
    assert sorted(row.name for row in group.rows if row.base == "kd") == ["kd", "kd class_weights=balanced"]
    options = [f for name in METHODS for f in fields(METHODS.get(name).Config) if f.metadata.get("since", 0) > 2]
    assert {f.name for f in options if "before" not in f.metadata} == WHERE_CHOSEN


def test_a_lower_revision_is_an_older_form(runs):
    assert names_of_kd(runs)[0] == {1: "kd"}
    write(runs, replace(KD, revision=2), 50)
    names, notes = names_of_kd(runs)
    assert names == {1: "kd older-form", 2: "kd"}
    (group,) = compared(runs).groups
    assert {"kd", "kd older-form"} <= {row.name for row in group.rows}, "nothing else is added"
    assert len([note for note in notes if note.startswith("older-form")]) == 1
    found = ranking.rankings(compared(runs))
    assert found
    assert not any("several sets of teachers" in note for part in found for note in part.notes)


def test_the_control_of_a_variant_is_the_nearest_one(runs):
    half = {"branch_weight": 0.1}
    for seed in (0, 1):
        write(runs, replace(ALONE, seed=seed, options=half), 20)
        write(runs, replace(KD, seed=seed, options={**KD.options, **half}), 30)
    (group,) = compared(runs).groups
    found = rows(group)
    assert found["kd branch_weight=0.1"].control == "student branch_weight=0.1"
    assert found["kd branch_weight=0.5"].control == "student branch_weight=0.5"
    assert any("2 rows of 'student'" in note for note in group.notes)


def test_another_control(runs):
    write(runs, replace(KD, method="aver"), 30)
    (group,) = compared(runs, "kd").groups
    assert rows(group)["aver"].control == "kd"
    assert rows(group)["student"].change.mean < 0
    assert rows(group)["kd"].change is None


# Folds ----------------------------------------------------------------------------------------------------------------


RIGHT = {1: 20, 2: 40, 3: 58}  # windows that the student alone has right, by fold: folds differ more than methods
GAIN = {1: 1, 2: -1, 3: 2}
SUBJECTS = {"data": {"classes": ["a", "b", "c"], "window": 32, "split": {"sha256": "cd" * 32}, "subjects": 6}}


def fold_spec(spec, fold, of=3, seed=0, name=None):
    name = name or f"fold {fold} of {of}"
    return replace(spec, seed=seed, data=replace(spec.data, test_subjects=(2 * fold, 2 * fold + 1), fold=name))


def folded(runs, folds=(1, 2, 3), seeds=(0,), of=3, **spans):
    """Teachers, the student alone and kd in folds; kd gains in the first and third and loses in the second."""
    for seed in seeds:
        for fold in folds:
            kd, alone = (fold_spec(spec, fold, of, seed) for spec in (KD, ALONE))
            write(runs, kd.teacher("sig"), 59, 0.9)
            write(runs, kd.teacher("gaf"), 30, 0.6, first=40)
            write(runs, alone, RIGHT[fold], **SUBJECTS)
            write(runs, kd, RIGHT[fold] + GAIN[fold] + seed, **SUBJECTS)


def f1(right):
    said = predictions(right, 0.8)
    return classes.macro_f1(said["true"], said["predicted"])


def test_folds_of_one_seed_are_one_group_paired_by_fold(tmp_path):
    folded(tmp_path)
    (group,) = compared(tmp_path).groups
    assert (group.by, group.folds, group.all_folds) == ("fold", ("fold 1 of 3", "fold 2 of 3", "fold 3 of 3"), 3)
    assert group.title == "sines in 3 folds, student sig (small)"
    alone, kd = rows(group)["student"], rows(group)["kd"]
    assert alone.values("macro_f1") == [f1(right) for right in RIGHT.values()]
    differences = [f1(RIGHT[n] + GAIN[n]) - f1(RIGHT[n]) for n in RIGHT]
    assert (kd.change.n, kd.change.mean) == (3, pytest.approx(np.mean(differences)))
    assert kd.change.sd == pytest.approx(np.std(differences, ddof=1))
    assert len(rows(group)["mean of sig, gaf"].units) == len(kd.values("agreement")) == 3
    assert kd.time == 1.0
    notes = group_notes(group)
    assert any("folds share training data" in note and "optimistic" in note for note in notes)
    assert any("paired by fold" in note for note in notes)
    assert not any("incomplete" in note for note in notes)


def test_folds_of_windows_are_one_group_apart_from_the_data_sets_own_split(tmp_path):
    said = {"data": {name: value for name, value in SUBJECTS["data"].items() if name != "subjects"}}
    for fold in (1, 2, 3):
        for spec, gain in ((ALONE, 0), (KD, GAIN[fold])):
            data = replace(spec.data, stratified_fold=(fold, 3), fold=f"fold {fold} of 3")
            write(tmp_path, replace(spec, data=data), RIGHT[fold] + gain, **said)
    write(tmp_path, ALONE, 30, **said)
    groups = {group.title: group for group in compared(tmp_path).groups}
    assert set(groups) == {"sines in 3 folds, student sig (small)", "sines, student sig (small)"}
    group = groups["sines in 3 folds, student sig (small)"]
    assert (group.by, group.folds, group.all_folds) == ("fold", ("fold 1 of 3", "fold 2 of 3", "fold 3 of 3"), 3)
    assert rows(group)["student"].values("macro_f1") == [f1(right) for right in RIGHT.values()]
    assert rows(group)["kd"].change.n == 3


def test_folds_of_subjects_that_were_counted_say_so(tmp_path):
    folded(tmp_path)
    for spec in (KD, ALONE):
        for fold in RIGHT:
            cut = fold_spec(spec, fold)
            write(tmp_path, replace(cut, data=replace(cut.data, by_name=True)), RIGHT[fold], **SUBJECTS)
    titles = sorted(group.title for group in compared(tmp_path).groups)
    assert titles == [
        "sines in 3 folds, student sig (small)",
        "sines in 3 folds, student sig (small) subjects counted from 0",
    ]


def test_of_several_seeds_each_is_the_mean_over_its_folds(tmp_path):
    """Folds that are taken for seeds give six values, and a spread that is that of the folds."""
    folded(tmp_path, seeds=(0, 1))
    (group,) = compared(tmp_path).groups
    assert (group.by, group.repeats) == ("seed", [0, 1])
    kd, alone = rows(group)["kd"], rows(group)["student"]
    means = [np.mean([f1(RIGHT[n] + GAIN[n] + seed) for n in RIGHT]) for seed in (0, 1)]
    assert kd.values("macro_f1") == pytest.approx(means)
    assert np.std(alone.values("macro_f1")) == 0, "both seeds have the same folds; only these differ"
    assert kd.change.n == 2
    assert kd.change.sd == pytest.approx(np.std(np.subtract(means, alone.values("macro_f1")), ddof=1))
    assert kd.change.sd < 0.02 < np.std([f1(right) for right in RIGHT.values()])
    assert [len(unit.parts) for unit in kd.units.values()] == [3, 3]
    assert len(kd.values("agreement")) == len(rows(group)["oracle-teacher of sig, gaf (bound)"].units) == 2
    assert not any("share training data" in note for note in group_notes(group))
    assert any("mean over its folds" in note for note in group_notes(group))


def test_a_method_without_all_folds_is_incomplete(tmp_path):
    folded(tmp_path)
    for fold in (1, 3):
        write(tmp_path, replace(fold_spec(KD, fold), method="aver"), RIGHT[fold] + 1)
    found = compared(tmp_path)
    (group,) = found.groups
    row = rows(group)["aver"]
    assert row_name(row, group) == "aver (2 of 3 folds)"
    assert row.incomplete == ("seed 0: 2 of 3 folds",)
    assert row.change.n == 2
    assert row.change.mean == pytest.approx(np.mean([f1(RIGHT[n] + 1) - f1(RIGHT[n]) for n in (1, 3)]))
    assert any("incomplete: aver, seed 0: 2 of 3 folds, without fold 2 of 3" in note for note in group.notes)
    (over,) = ranking.rankings(found)
    assert "left out on sines, without all its folds: aver" in over.notes


def test_a_seed_without_all_folds_is_no_value(tmp_path):
    folded(tmp_path, seeds=(0, 1))
    for seed, folds in ((0, (1, 2, 3)), (1, (3,))):
        for fold in folds:
            write(tmp_path, replace(fold_spec(KD, fold, seed=seed), method="aver"), RIGHT[fold])
    write(tmp_path, replace(fold_spec(KD, 3), method="at"), 59)
    (group,) = compared(tmp_path).groups
    row = rows(group)["aver"]
    assert row.values("macro_f1") == pytest.approx([np.mean([f1(right) for right in RIGHT.values()])])
    assert row_name(row, group) == "aver (1 of 2 seeds)"
    assert "at" not in rows(group)
    said = "\n".join(group.notes)
    assert "incomplete: aver, seed 1: 1 of 3 folds, without fold 1 of 3, fold 2 of 3; left out" in said
    assert "incomplete: at, seed 0: 1 of 3 folds" in said


def test_how_many_folds_there_are(tmp_path):
    folded(tmp_path, folds=(1, 2), of=5)
    (group,) = compared(tmp_path).groups
    assert group.title == "sines in 2 of 5 folds, student sig (small)"
    for fold in (1, 2, 3):
        one = fold_spec(ALONE, fold, name=f"subject {fold}")
        write(tmp_path, replace(one, data=replace(one.data, test_subjects=(fold,))), 30, **SUBJECTS)
        write(tmp_path, replace(fold_spec(ALONE, fold, name=f"mine {fold}"), training=Training(epochs=2)), 30)
    write(tmp_path, ALONE, 30)
    titles = {group.title.partition(" student")[0] for group in compared(tmp_path).groups}
    assert titles == {"sines in 2 of 5 folds,", "sines in 3 of 6 folds,", "sines in 3 folds,", "sines,"}


def test_nothing_whole_in_folds_is_said(tmp_path):
    write(tmp_path, fold_spec(ALONE, 1, seed=0), 30)
    write(tmp_path, fold_spec(ALONE, 2, seed=1), 30)
    with pytest.raises(mmkd.MmkdError, match="no unit here has all its folds.*student, seed 0: 1 of 2 folds"):
        compared(tmp_path)
    many(tmp_path, 1)
    found = compared(tmp_path)
    assert [group.dataset for group in found.groups] == ["set0"]
    assert any("sines in 2 of 3 folds" in line and "incomplete" in line for line in found.left_out)


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_robustness_in_folds(tmp_path, seeds):
    folded(tmp_path, seeds=seeds)
    for n, seed in enumerate(seeds):
        for fold in (1, 2, 3):
            record = Records(tmp_path).get(fold_spec(KD, fold, seed=seed).key)
            points = [{"disturbance": "noise", "level": 0.1, "macro_f1": fold / 10 + n}]
            text = json.dumps({"clean": {"macro_f1": 0.9}, "curves": points})
            Records(tmp_path).add_measurements(record, {"robustness.json": text.encode()})
    (group,) = compared(tmp_path).groups
    (curve,) = robustness_curves(rows(group)["kd"], [])
    wanted = [0.1, 0.2, 0.3] if seeds == (0,) else [0.2, 1.2]
    assert curve.scores[:, 1] == pytest.approx(wanted)


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_the_files_of_folds(tmp_path, capsys, seeds):
    folded(tmp_path / "runs", seeds=seeds)
    code, out, err = run(capsys, "--runs", tmp_path / "runs", "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    texts = {path.name: path.read_text() for path in (tmp_path / "out").iterdir() if path.is_file()}
    share, said = "folds share training data", "by fold" if seeds == (0,) else "each the mean of its 3 folds"
    for text in (out, texts["tables.md"], texts["tables.tex"], texts["report.html"]):
        flat = " ".join(text.split())
        assert said in flat
        assert (share in flat.lower()) == (seeds == (0,))
    lines = list(csv.DictReader(io.StringIO(texts["results.csv"], newline="")))
    assert len({(x["row"], x["seed"], x["fold"], x["metric"]) for x in lines}) == len(lines)
    assert len([x for x in lines if x["row"] == "kd" and x["metric"] == "macro_f1"]) == 3 * len(seeds)
    (group,) = json.loads(texts["comparison.json"])["groups"]
    assert (group["by"], len(group["folds"]), group["all_folds"]) == (("fold", "seed")[len(seeds) - 1], 3, 3)
    facts = json.loads(texts["reproducibility.json"])
    assert len(facts["data"][0]["split_sha256"]) == 3 * len(seeds)
    assert len(texts["records.jsonl"].splitlines()) == 12 * len(seeds)
    assert len(list((tmp_path / "out").glob("tsml/kd-*/Predictions/sines/*.csv"))) == 3 * len(seeds)


# Over data sets -------------------------------------------------------------------------------------------------------


def many(runs, count):
    for n in range(count):
        data = DataSpec(f"set{n}", f"{n:02d}" * 32)
        for spec, right in ((ALONE, 30), (KD, 33 + n % 3 + n), (replace(KD, method="aver"), 29 - n)):
            write(runs, replace(spec, data=data), right)
    return ranking.rankings(compared(runs))


def detectors(runs, name, values, seeds=(0, 1, 2)):
    """Records of the anomaly task on a data set: method -> VUS-PR under seed 0, 0.01 more under each later seed."""
    for method, vus in values.items():
        for seed in seeds:
            base = {"kd": KD, "student": ALONE}.get(method, ALONE)
            spec = replace(base, task="anomaly", data=DataSpec(name, "cd" * 32), seed=seed)
            scores = dict.fromkeys(SERIES_METRICS, 0.5) | {"vus_pr": vus + 0.01 * seed}
            more = {"metrics": {"test": scores}, "series": {"scored": 4, "left_out": {"e": "no event"}}}
            if method not in ("kd", "student"):
                said = {"method": method, "student": [], "student_net": "", "teachers": {}, "options": {}}
                simple = {key: asdict(spec)[key] for key in ("data", "seed", "task")} | said
                more |= {"kind": "simple", "spec": simple, "key": f"{method}-{name}-{seed}", "teachers": {}}
                Records(runs).write(more["key"], lambda folder, more=more: {**simple_record(folder), **more})
            else:
                write(runs, spec, 30, **more)


def simple_record(folder):
    (folder / "history.csv").write_text("epoch\n")
    return {"parameters": 0, "seconds": 1.0, "environment": PLACE}


def test_detectors_stand_in_tables_of_their_own(runs, capsys, tmp_path):
    detectors(runs, "first", {"kd": 0.4, "student": 0.3, "pca": 0.6})
    detectors(runs, "second", {"kd": 0.2, "student": 0.3})
    code, said, err = run(capsys, "--runs", runs, "--out", tmp_path)
    assert code == 0, err
    document = json.loads((tmp_path / "comparison.json").read_text())
    assert [g["task"] for g in document["groups"]] == ["anomaly", "anomaly", "classification"]
    assert [row["row"] for row in document["groups"][0]["rows"]] == ["student", "kd", "pca"]
    student, kd, pca = document["groups"][0]["rows"]
    assert [kd["vus_pr_mean"], kd["change_mean"], pca["change_mean"]] == pytest.approx([0.41, 0.1, 0.3])
    assert [student["vus_pr_sd"], kd["time_ratio"]] == pytest.approx([0.01, 1.0])
    assert pca["time_ratio"] is kd["gap_closed"] is kd["macro_f1_mean"] is None
    over = next(each for each in document["over_data_sets"] if "anomaly" in each["title"])
    assert over["datasets"] == ["first", "second"]
    assert [(t["first"], t["wins"], t["losses"]) for t in over["tests"]] == [("kd", 1, 1)]
    parts = (tmp_path / "tables.md").read_text().split("\n## ")
    lines = {part.partition(",")[0]: part.split("\n") for part in parts[1:4]}
    heads = {name: next(line for line in part if line.startswith("| |")) for name, part in lines.items()}
    assert heads["first"] == heads["second"]
    assert "VUS-PR" in heads["first"]
    assert "macro-F1" not in heads["first"]
    assert "macro-F1" in heads["sines"]
    assert "VUS-PR" not in heads["sines"]
    assert "macro-F1 or VUS-PR in points" in " ".join(said.split()) or "VUS-PR or macro-F1" in " ".join(said.split())


def test_simple_detectors_are_held_against_the_student_of_all_channels(tmp_path):
    detectors(tmp_path, "one", {"student": 0.3, "pca": 0.6}, seeds=(0,))
    views = {"sig@acc": {"channels": [0]}}
    part = replace(ALONE, task="anomaly", data=DataSpec("one", "cd" * 32), student=("sig@acc",), views=views)
    write(tmp_path, part, 30, metrics={"test": dict.fromkeys(SERIES_METRICS, 0.5)})
    (group,) = compared(tmp_path).groups
    found = rows(group)
    assert list(found) == ["student student=sig@acc", "student student=sig", "pca"]
    assert found["pca"].control == "student student=sig"


def test_statistics_over_data_sets(tmp_path):
    (found,) = many(tmp_path, 7)
    assert len(found.datasets) == 7
    by_name = {each.first: each for each in found.tests}
    assert set(by_name) == {"kd", "aver"}
    assert by_name["kd"].test.p == pytest.approx(2 / 128)
    assert by_name["kd"].p_holm == pytest.approx(4 / 128)
    assert (by_name["kd"].wins, by_name["aver"].losses) == (7, 7)
    assert len(found.pairs) == 3
    assert "needs 10" in found.diagram.why
    assert "p 0.0156 (exact)" in "\n".join(ranking_lines(found))


def test_few_data_sets_refuse_and_say_why(tmp_path):
    (found,) = many(tmp_path, 5)
    assert all(isinstance(each.test, Refusal) and each.p_holm is None for each in found.tests)
    said = "\n".join(ranking_lines(found))
    assert "not tested: 5 data sets" in said
    assert "no matrix of all pairs: 5 data sets: 3 methods make 3 pairs, which need 7" in said
    assert "no critical-difference diagram" in said
    assert "smallest attainable p 0.0625" in said


def test_two_settings_on_one_data_set_are_not_in_the_statistics(tmp_path):
    many(tmp_path, 6)
    write(tmp_path, replace(KD, data=DataSpec("set0", "00" * 32), training=Training(epochs=99)), 60)
    (found,) = ranking.rankings(compared(tmp_path))
    assert "set0" not in found.datasets
    assert any("set0 is left out: it was done under 2 settings" in note for note in found.notes)


# Files ----------------------------------------------------------------------------------------------------------------


FILES = {
    "fidelity.csv",
    "report.html",
    "leaderboard.csv",
    "results.csv",
    "tables.md",
    "tables.tex",
    "comparison.json",
    "records.jsonl",
    "reproducibility.json",
    "reproducibility.md",
}


def test_the_command_writes_its_files(runs, capsys):
    code, out, err = run(capsys, "--runs", runs)
    assert (code, err) == (0, "")
    folder = runs / "comparison"
    assert {path.name for path in folder.iterdir()} == FILES | {"tsml", "figures"}
    *lines, last = out.splitlines()  # the last one names a folder, however long that is
    assert last.startswith("files: ")
    assert max(map(len, lines)) <= 120
    assert "kd" in out
    with (folder / "results.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert len({(line["row"], line["seed"], line["metric"]) for line in lines}) == len(lines)
    kd = [float(x["value"]) for x in lines if x["row"] == "kd" and x["metric"] == "macro_f1"]
    assert kd == rows(compared(runs).groups[0])["kd"].values("macro_f1")
    again = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with (folder / "tables.md").open() as held:
        assert run(capsys, "--runs", runs)[0] == 0
        assert os.fstat(held.fileno()).st_nlink == 0, "replaced by a rename, never written into"
    assert again == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}, "the same input"


def test_compact_records_hold_results_and_measurements(runs, capsys):
    records = {record.key: record for record in Records(runs)}
    one = next(record for record in records.values() if record.kind == "student")
    Records(runs).add_measurements(one, {"deployment.json": b'{"macs": 7}'})
    assert run(capsys, "--runs", runs)[0] == 0
    lines = [json.loads(line) for line in (runs / "comparison" / "records.jsonl").read_text().splitlines()]
    assert [line["result"]["key"] for line in lines] == sorted(records)
    for line in lines:
        record = records[line["result"]["key"]]
        kept = {k: v for k, v in record.result.items() if k not in ("files", "sha256", "environment", "metrics")}
        assert kept.items() <= line["result"].items()
        assert set(line["result"]) - set(kept) == {"environment", "files", "metrics"}
        for part, scores in record.result["metrics"].items():
            assert scores.items() <= line["result"]["metrics"][part].items()
        assert line.get("deployment") == ({"macs": 7} if record.key == one.key else None)


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("bench.py --runs /home/me/x/runs --suite a/b.toml", "bench.py --runs runs --suite a/b.toml"),
        ("bench.py --runs=/runs --teacher-checkpoint sig=/a/b.st,gaf=/c.st", None),
        ("bench.py --lr 1/2", "bench.py --lr 1/2"),
    ],
)
def test_no_folder_of_the_machine_is_published(command, shown):
    assert portable(command) == (shown or "bench.py --runs=runs --teacher-checkpoint sig=b.st,gaf=c.st")


def test_the_json_document_has_everything(runs, capsys):
    code, out, _ = run(capsys, "--runs", runs, "--json", "--out", runs.parent / "else where")
    found = json.loads(out, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    assert code == 0
    assert set(found) == {"control", "groups", "over_data_sets", "left_out", "reproducibility", "notes"}
    (group,) = found["groups"]
    kd = next(row for row in group["rows"] if row["row"] == "kd")
    assert kd["settings"]["temperature"] == 4.0
    assert [unit["seed"] for unit in kd["units"]] == [0, 1, 2]
    facts = found["reproducibility"]
    assert facts["code"] == [{"commit": "ef" * 20, "dirty": False, "records": 12}]
    assert facts["data"][0]["sha256"] == "ab" * 32
    assert facts["data"][0]["split_sha256"] == {"0": "cd" * 32, "1": "cd" * 32, "2": "cd" * 32}
    assert (runs.parent / "else where" / "comparison.json").read_text() == out


def test_reproducibility_knows_the_licence_of_a_card(tmp_path):
    spec = replace(KD, data=DataSpec("basic-motions", "ab" * 32))
    write(tmp_path, spec, 50)
    facts = reproducibility(compared(tmp_path), {"abc": "ValueError: no"})
    assert "citation" in facts["data"][0]["licence"]
    assert set(facts["seeds"]["control"]) == {"split", "teacher", "student", "batches", "method"}
    said = reproducibility_markdown(facts)
    assert "failed: abc: ValueError: no" in said
    assert "ef" * 20 in said


def test_failed_units_are_listed(runs, capsys):
    Records(runs).write_failure("0123456789abcdef", "Traceback\n  line\nRuntimeError: it <b>broke</b>\n")
    run(capsys, "--runs", runs)
    found = json.loads((runs / "comparison" / "reproducibility.json").read_text())
    assert found["failed"] == {"0123456789abcdef": "RuntimeError: it <b>broke</b>"}
    assert "&lt;b&gt;" in (runs / "comparison" / "tables.md").read_text()


def test_tsml_files_are_read_as_tsml_eval_reads_them(runs, capsys):
    """Line by line as `load_classifier_results` of tsml-eval splits them."""
    run(capsys, "--runs", runs)
    found = sorted((runs / "comparison").glob("tsml/*/Predictions/sines/testResample*.csv"))
    assert len(found) == 12
    path = next(p for p in found if p.name == "testResample1.csv" and p.parts[-4].startswith("kd"))
    lines = path.read_text().splitlines()
    first, third = lines[0].split(","), lines[2].split(",")
    assert first[:5] == ["sines", path.parts[-4], "TEST", "1", "MILLISECONDS"]
    assert (float(third[0]), float(third[1]), int(third[5])) == (pytest.approx(50 / 60), 15000.0, 3)
    assert len(third) == 9
    assert float(third[7]) == float(third[8]) == -1
    cases = [line.split(",") for line in lines[3:]]
    said = predictions(50, 0.8)
    assert [int(case[0]) for case in cases] == said["true"].tolist()
    assert [int(case[1]) for case in cases] == said["predicted"].tolist()
    assert {case[2] for case in cases} == {""}
    assert np.array([[float(p) for p in case[3:6]] for case in cases]) == pytest.approx(said["probabilities"])


def test_tsml_files_of_before_go_and_other_peoples_files_stay(runs, capsys):
    run(capsys, "--runs", runs)
    out = runs / "comparison"
    old = out / "tsml" / "gone" / "Predictions" / "sines" / "testResample0.csv"
    old.parent.mkdir(parents=True)
    old.write_text("old")
    (out / "mine.txt").write_text("mine")
    run(capsys, "--runs", runs)
    assert not old.exists()
    assert (out / "mine.txt").read_text() == "mine"
    assert not list(out.glob(".making-*"))


def test_nothing_is_half_written(runs, capsys, monkeypatch):
    run(capsys, "--runs", runs)
    before = (runs / "comparison" / "leaderboard.csv").read_bytes()
    write(runs, replace(KD, method="aver"), 30)
    real = Path.write_text

    def full(self, *args, **more):
        if self.name == "tables.tex":
            raise OSError(28, "No space left on device")
        return real(self, *args, **more)

    monkeypatch.setattr(Path, "write_text", full)
    code, _, err = run(capsys, "--runs", runs)
    assert code == 2
    assert "No space left" in err
    assert (runs / "comparison" / "leaderboard.csv").read_bytes() == before
    assert not list((runs / "comparison").glob(".making-*"))


# Damage and bad input -------------------------------------------------------------------------------------------------


def test_damaged_records_are_noticed_and_left_out(runs, capsys):
    kd = replace(KD, seed=1)
    (runs / kd.key / "predictions.npz").write_bytes(b"no")
    code, out, err = run(capsys, "--runs", runs)
    assert code == 0
    assert f"{kd.key} is damaged" in err
    assert "2 teachers on record taught none of these units" in err
    assert "kd (2 of 3 seeds)" in out
    assert kd.key in json.loads((runs / "comparison" / "comparison.json").read_text())["left_out"][0]


def test_predictions_that_do_not_fit_cost_only_what_stands_on_them(runs):
    spec = replace(KD, seed=1)
    record = Records(runs).get(spec.key)
    arrays = dict(np.load(record.folder / "predictions.npz"))
    arrays["window"] = arrays["window"] + 1

    def fill(folder):
        np.savez(folder / "predictions.npz", **arrays)
        return {k: v for k, v in record.result.items() if k not in ("sha256", "files")}

    Records(runs).write(spec.key, fill)
    (group,) = compared(runs).groups
    assert len(rows(group)["kd"].units) == 3
    assert len(rows(group)["kd"].values("agreement")) == 2
    assert any("not tested on the same windows" in note for note in group.notes)


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"data": 3},
        {**asdict(KD), "seed": "0"},
        {**asdict(KD), "options": None},
        {**asdict(KD), "student": 4},
        {**asdict(KD), "task": None},
        {**asdict(KD), "method_sha256": 3},
        {**asdict(KD), "views": {}},
    ],
)
def test_records_of_another_kind_are_left_out_with_a_line(runs, spec):
    scores = {"accuracy": 1.0, "macro_f1": 1.0}
    said = {"kind": "student", "key": "odd", "spec": spec, "metrics": {"test": scores}, "parameters": 1, "seconds": 1}
    (runs / "odd").mkdir()
    (runs / "odd" / "result.json").write_text(json.dumps({**said, "sha256": _content_hash(said)}))
    found = compared(runs)
    assert len(found.groups) == 1
    assert sum("odd" in line and ("left out" in line or "does not count" in line) for line in found.left_out) == 1


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--runs", "nowhere"], "there is no such folder"),
        (["--runs", "."], "no unit is on record here"),
        (["--runs", "RUNS", "--control", "kdd"], "did you mean 'kd'"),
        (["--runs", "RUNS", "--out", "RUNS/file"], "not a folder"),
        (["--runs", "RUNS", "--jso"], "did you mean '--json'"),
        (["--runs", ""], "the name is empty"),
        (["--runs", "RUNS", "more"], "unknown option more"),
        (["--out"], "expected one argument"),
    ],
)
def test_bad_input_is_one_line(runs, capsys, monkeypatch, tmp_path, argv, said):
    (runs / "file").write_text("")
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    code, out, err = run(capsys, *[arg.replace("RUNS", str(runs)) for arg in argv])
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1
    assert not list(empty.iterdir())
    assert not (runs / "comparison").exists()


# Names that mean harm -------------------------------------------------------------------------------------------------


HOSTILE = [
    "<script>alert(1)</script>",
    "a\"b'c`d",
    "one,two;three|four",
    r"50% \input{/etc/passwd} $x_1^2$ #~&{}",
    "line\nbreak\r\n\ttab",
    "../../etc/passwd",
    "=cmd|' /C calc'!A0",
    "\x1b[31mred\x00",
    "very long " * 60,
    "日本 ± é",
    "-",
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names(tmp_path, capsys, name):
    data = DataSpec(name, "ab" * 32)
    write(tmp_path / "runs", replace(ALONE, data=data), 30)
    write(tmp_path / "runs", replace(KD, data=data, method=f"kd {name}", student_net=name), 40)
    write(tmp_path / "runs", replace(KD, data=data, options={**KD.options, "note": name}), 40)
    write(tmp_path / "runs", replace(KD, data=data, options={**KD.options, "note": "tame"}), 40)
    code, out, err = run(capsys, "--runs", tmp_path / "runs", "--out", tmp_path / "out")
    assert code == 0, err
    assert max(map(len, out.splitlines())) <= 120
    assert "\x1b" not in out
    assert "\x00" not in out
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "out"}, "no file anywhere else"
    texts = {path.name: path.read_text() for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert "<" not in texts["tables.md"]
    with_table = [line for line in texts["tables.md"].splitlines() if line.startswith("|")]
    plain = [line.replace("\\\\", "").replace("\\|", "") for line in with_table]
    assert len({line.count("|") for line in plain if line.startswith("| |")}) == 1
    for head in ("fidelity.csv", "leaderboard.csv", "results.csv"):
        lines = list(csv.reader(io.StringIO(texts[head], newline="")))
        assert len({len(line) for line in lines}) == 1
        assert not any(cell[:1] in ("=", "@") for line in lines for cell in line)
    body = texts["tables.tex"].replace("\\\\", "")
    for left in (r"\{", r"\}", r"\$", r"\%", r"\#", r"\_", r"\&"):
        body = body.replace(left, "")
    assert body.count("{") == body.count("}")
    assert "\\input" not in body
    assert body.count("$") % 2 == 0
    for path in (tmp_path / "out").glob("tsml/*/Predictions/*/*.csv"):
        lines = path.read_text().splitlines()
        assert len(lines) == 3 + WINDOWS
        assert len(lines[0].split(",")) == 6
    assert json.loads(texts["comparison.json"])["groups"]


def test_records_from_before_a_field_was_there(runs):
    """`train_subjects` came later; its absence says 0, and is no other setting."""
    spec = asdict(replace(KD, seed=5))
    del spec["data"]["train_subjects"]
    scores = {"accuracy": 1.0, "macro_f1": 1.0}
    said = {"kind": "student", "key": "old", "spec": spec, "metrics": {"test": scores}, "parameters": 1, "seconds": 1}
    Records(runs).write("old", lambda folder: said)
    (group,) = compared(runs).groups
    assert list(rows(group)["kd"].units) == [0, 1, 2, 5]


def test_escapes():
    assert latex("a_b & 50% {x} \\y ~ ^ #1 $") == (
        r"a\_b \& 50\% \{x\} \textbackslash{}y \textasciitilde{} \textasciicircum{} \#1 \$"
    )
    assert markdown("a|b <i> *c* `d` [e](f)\ng") == r"a\|b &lt;i&gt; \*c\* \`d\` \[e\](f) g"
    assert slug("kd") == "kd"
    assert slug("a/b") != slug("a b")
    assert "/" not in slug("../../x")
    assert len(slug("x" * 500)) <= 89


# Real records, MLflow, and what is loaded -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    for method in ("student", "kd"):
        for seed in (0, 1):
            mmkd.run(method, student="sig", seed=seed, **tiny, runs=folder)
    return folder


def test_real_records(trained, capsys, tmp_path):
    code, out, err = run(capsys, "--runs", trained, "--out", tmp_path)
    assert (code, err) == (0, "")
    (group,) = compared(trained).groups
    assert [row.kind for row in group.rows] == ["teacher"] * 3 + ["mean", "oracle", "student", "student"]
    assert all(len(row.values(metric)) == 2 for row in group.rows for metric in ("macro_f1", "nll", "ece"))
    assert all(0 <= value <= 1 for row in group.rows for value in row.values("agreement"))
    assert isinstance(rows(group)["kd"].time, float)
    assert "kd" in out


def test_mlflow_says_the_same(trained, capsys, tmp_path):
    records = list(Records(trained))
    assert track.publish(trained, records, "a suite") is None
    code, out, err = run(capsys, "--runs", trained, "--out", tmp_path / "records", "--json")
    assert (code, err) == (0, "")
    pattern = "mmkd/*/classification"
    code, fetched, err = run(capsys, "--runs", trained, "--experiment", pattern, "--out", tmp_path / "store", "--json")
    assert (code, err) == (0, "")
    assert json.loads(fetched) == json.loads(out)
    for name in FILES:
        assert (tmp_path / "store" / name).read_bytes() == (tmp_path / "records" / name).read_bytes()
    assert len(list((tmp_path / "store").glob("tsml/*/*/*/*.csv"))) == len(records)


def test_runs_of_mlflow_that_are_not_whole_are_left_out(trained, capsys, tmp_path):
    copy = shutil.copytree(trained, tmp_path / "runs", ignore=shutil.ignore_patterns("mlflow*", "mlartifacts"))
    records = list(Records(copy))
    assert track.publish(copy, records) is None
    kd = next(r for r in records if r.result["spec"].get("method") == "kd" and r.spec.seed == 1)
    (sent,) = (copy / "mlartifacts").rglob(f"*/{_run_of(copy, kd.key)}/artifacts/result.json")
    sent.write_text(sent.read_text().replace('"seconds"', '"second"'))
    code, out, err = run(capsys, "--runs", copy, "--experiment", "mmkd/*")
    assert code == 0
    assert "its result.json is not what was sent" in err
    assert "kd (1 of 2 seeds)" in out


def _run_of(runs, key):
    client = mlflow_store.connect(runs)
    found = client.get_experiment_by_name("mmkd/sines/classification").experiment_id
    return store_runs.existing_runs(client, found, key)[0].info.run_id


def test_no_store_and_no_experiment(trained, runs, capsys):
    code, _, err = run(capsys, "--runs", runs, "--experiment", "mmkd/*")
    assert code == 2
    assert "there is no MLflow store" in err
    assert not (runs / "mlflow.db").exists(), "nothing is made"
    track.publish(trained, list(Records(trained)))
    code, _, err = run(capsys, "--runs", trained, "--experiment", "mmkd/sine/classification")
    assert code == 2
    assert "did you mean 'mmkd/sines/classification'" in err
    assert not (trained / "comparison").exists()


def test_a_store_that_does_not_answer(runs, capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@127.0.0.1:1/mlflow")
    code, _, err = run(capsys, "--runs", runs, "--experiment", "mmkd/*")
    assert code == 2
    assert "secret" not in err
    assert len(err.splitlines()) == 1


HEAVY = {"torch", "mlflow", "pandas", "tsai", "sklearn", "matplotlib"}


def loaded(code, *args):
    whole = f"{code}\nimport sys\nprint()\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", whole, *args], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_comparing_loads_neither_torch_nor_mlflow(runs):
    many(runs, 10)
    code = "import sys, mmkd.compare\nassert mmkd.compare.main(['--runs', sys.argv[1]]) == 0"
    found = loaded(code, str(runs))
    assert "numpy" in found
    assert HEAVY & found == set()


def test_comparing_on_one_data_set_loads_no_statistics(runs):
    """Tests over data sets need scipy.stats; on fewer they are refused, and half a second is saved."""
    code = "import sys, mmkd.compare\nassert mmkd.compare.main(['--runs', sys.argv[1]]) == 0\n"
    loaded(code + "assert 'numba' not in sys.modules and 'scipy.stats' not in sys.modules", str(runs))
