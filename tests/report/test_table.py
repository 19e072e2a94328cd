"""The table: rows, their grouping, and what is measured against what."""

import io
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from mmkd import METHODS
from mmkd.comparison.units import recorded_metrics
from mmkd.core.progress import duration
from mmkd.report.phrases import mean_and_deviation
from mmkd.report.run_rows import TableRow, rows
from mmkd.report.table import print_tables
from mmkd.specs.data import DataSpec
from mmkd.specs.unit import DetectorSpec, Training, UnitSpec
from mmkd.store.record import Record
from mmkd.units.names import option_names
from mmkd.units.result import UnitResult

UNIT = UnitSpec(
    data=DataSpec("gunpoint", "ab" * 32),
    seed=0,
    method="kd",
    options={"temperature": 4.0, "kd_weight": 0.7},
    views={"sig": {}, "gaf": {}},
    teachers={"sig": "WRN16-1", "gaf": "WRN16-1"},
    teacher_training=Training(),
    student=("sig",),
    student_net="small",
    fusion=None,
    training=Training(),
)


def record(key: str, accuracy: float, f1: float, seconds: float = 10.0, parameters: int = 1234) -> Record:
    metrics = {"test": {"accuracy": accuracy, "macro_f1": f1}}
    return Record(Path(key), {"key": key, "metrics": metrics, "seconds": seconds, "parameters": parameters})


def done(spec: UnitSpec, f1: float | None = 0.5) -> UnitResult:
    if f1 is None:
        return UnitResult(spec, "failed", error="no", log="somewhere")
    made = record(spec.key, f1 + 0.1, f1)
    return UnitResult(spec, "done", replace(made, result={**made.result, "kind": "student", "spec": asdict(spec)}))


def student(seed: int = 0, **changes) -> UnitSpec:
    alone = {"method": "student", "options": {"branch_weight": 0.5}, "teachers": {}, "teacher_training": None}
    return replace(UNIT, seed=seed, **alone, **changes)


def by_name(found: list[TableRow]) -> dict[str, TableRow]:
    assert len({row.name for row in found}) == len(found)
    return {row.name: row for row in found}


def test_one_row_a_method_over_its_seeds():
    results = [
        done(replace(UNIT, seed=seed, method=m), f1) for m, f1 in (("kd", 0.5), ("aver", 0.6)) for seed in (0, 1)
    ]
    found = by_name(rows(results, [], {}))
    assert list(found) == ["kd", "aver"]
    assert found["kd"].values["macro_f1"] == (0.5, 0.5)
    assert found["aver"].values["accuracy"] == (0.7, 0.7)
    assert found["kd"].change == ()
    assert found["kd"].parameters == 1234
    assert found["kd"].seconds == 10.0
    assert {row.kind for row in found.values()} == {"student"}


def test_times_of_several_machines_are_said_to_be():
    """Records of `--records` may come from elsewhere: their seconds do not stand beside those of here."""

    def on(processor: str, seed: int) -> UnitResult:
        made = done(replace(UNIT, seed=seed, method="kd" if seed else "aver"))
        place = {"processor": processor, "platform": "Linux", "device": "cpu", "threads": 1, "processes": 1}
        return replace(made, record=replace(made.record, result={**made.record.result, "environment": place}))

    note = "time: of units of several kinds of machine; mmkd.compare gives ratios of one"
    several = by_name(rows([on("AMD EPYC 1", 0), on("AMD EPYC 2", 1)], [], {}))
    assert all(note in row.notes for row in several.values())
    one = by_name(rows([on("AMD EPYC 1", 0), on("AMD EPYC 1", 1)], [], {}))
    assert not any(note in row.notes for row in one.values())


def test_options_that_a_name_does_not_show_are_a_note():
    """One row of a method has no options in its name; what is not its default is said below the table."""
    changed = replace(UNIT, options={"teacher_epoch": "best", "temperature": 2.0})
    (row,) = rows([done(changed)], [], {})
    assert row.name == "kd"
    assert row.notes == ("kd: teacher_epoch=best, temperature=2.0",)
    both = [done(changed), done(replace(changed, options={"teacher_epoch": "best", "temperature": 3.0}))]
    assert rows(both, [], {})[0].notes == ("kd temperature=2.0: teacher_epoch=best",)
    given = replace(changed, checkpoint_sha256={"sig": "ab" * 32, "gaf": "cd" * 32})
    assert rows([done(given)], [], {})[0].notes == ("kd: temperature=2.0",), "given weights have one epoch"


def test_rows_in_one_line_keep_the_notes_of_all(monkeypatch):
    monkeypatch.setattr("mmkd.report.run_rows.prediction_mark", lambda record: "the same")
    hot = replace(UNIT, method="fam", options={**UNIT.options, "temperature": 2.0})
    (row,) = rows([done(UNIT), done(hot)], [], {})
    assert row.name == "kd = fam"
    assert any(note.startswith("fam: ") and "temperature=2.0" in note for note in row.notes)


def test_options_of_views_that_the_user_set_are_in_titles():
    given = replace(UNIT, views={"sig": {}, "gaf": {"range": "train"}}, given_views=("gaf.range",))
    assert given.key == replace(given, given_views=()).key
    assert given.teacher("gaf").title == "gaf WRN16-1 (gaf.range=train)"
    assert given.teacher("sig").title == "sig WRN16-1"
    assert given.student_title == "student sig (small)", "its own view is as it was"
    (row,) = rows([done(replace(given, student=("gaf",)))], [], {})
    assert row.group == "gunpoint, student gaf (small, gaf.range=train)"


def test_groups_are_data_set_student_net_and_fusion():
    variants = [
        UNIT,
        replace(UNIT, data=DataSpec("coffee", "cd" * 32)),
        replace(UNIT, student=("sig", "gaf"), fusion="concat"),
        replace(UNIT, student=("sig", "gaf"), fusion="attention"),
        replace(UNIT, student_net="WRN16-1"),
    ]
    found = rows([done(spec) for spec in variants], [], {})
    assert [row.group for row in found] == [
        "gunpoint, student sig (small)",
        "coffee, student sig (small)",
        "gunpoint, student sig+gaf (small, concat)",
        "gunpoint, student sig+gaf (small, attention)",
        "gunpoint, student sig (WRN16-1)",
    ]
    assert {row.name for row in found} == {"kd"}


def test_teachers_come_first_and_once_a_seed():
    results = [done(replace(UNIT, seed=seed, method=m)) for m in ("kd", "aver") for seed in (0, 1)]
    teachers = [
        record(replace(UNIT, seed=seed).teacher(m).key, 0.1 * seed + 0.5, 0.1 * seed + share, parameters=99)
        for seed in (0, 1)
        for m, share in (("sig", 0.2), ("gaf", 0.3))
    ]
    stranger = record("another sweep's teacher", 1.0, 1.0)
    found = rows(results, [*teachers, stranger], {})
    assert [(row.kind, row.name) for row in found] == [
        ("teacher", "sig WRN16-1"),
        ("teacher", "gaf WRN16-1"),
        ("student", "kd"),
        ("student", "aver"),
    ]
    assert found[0].values["macro_f1"] == (0.2, pytest.approx(0.3))
    assert found[1].values["macro_f1"] == (0.3, pytest.approx(0.4))
    assert found[0].change == ()
    assert found[0].parameters == 99


def test_teachers_of_one_modality_with_other_nets_have_rows_of_their_own():
    one, two = UNIT, replace(UNIT, teachers={"sig": "WRN16-3"})
    teachers = [record(s.teacher("sig").key, 0.5, 0.5) for s in (one, two)]
    assert [r.name for r in rows([done(one), done(two)], teachers, {}) if r.kind == "teacher"] == [
        "sig WRN16-1",
        "sig WRN16-3",
    ]


def test_change_is_paired_by_seed():
    """Seeds of different difficulty: the difference of means over all seeds would be another number."""
    base = {0: 0.2, 1: 0.5, 2: 0.9}
    alone_records = {seed: record(student(seed).key, 0.5, f1) for seed, f1 in base.items()}
    results = [done(replace(UNIT, seed=seed), f1 + 0.01 * (seed + 1)) for seed, f1 in base.items()]
    order = [results[2], results[0], results[1]]
    alone = {r.spec.key: alone_records[r.spec.seed] for r in results}
    found = by_name(rows(order, [], alone))
    assert found["kd"].change == pytest.approx((0.03, 0.01, 0.02))
    assert found["student"].values["macro_f1"] == (0.9, 0.2, 0.5)
    assert found["student"].change == ()


def in_folds(seeds, method="kd", lacking=()) -> list[UnitResult]:
    """Three folds far apart; a second seed is 0.01 better."""
    return [
        done(fold_of(UNIT, fold, seed, method=method), None if (seed, fold) in lacking else 0.2 * fold + 0.01 * seed)
        for seed in seeds
        for fold in (1, 2, 3)
    ]


def fold_of(spec: UnitSpec, fold: int, seed: int, **changes) -> UnitSpec:
    data = replace(spec.data, test_subjects=(fold,), fold=f"fold {fold} of 3")
    return replace(spec, seed=seed, data=data, **changes)


def test_of_several_seeds_in_folds_each_is_the_mean_over_its_folds(monkeypatch):
    results = [
        *in_folds((0, 1)),
        *in_folds((0, 1), "aver", lacking=[(1, 2)]),
        *in_folds((0, 1), "at", [(0, 1), (1, 1)]),
    ]
    teachers = [record(r.spec.teacher("sig").key, 0.5, 0.1 * int(r.spec.data.fold[5])) for r in results]
    alone = {
        r.spec.key: record(f"{r.spec.data.fold} {r.spec.seed}", 0, 0.2 * int(r.spec.data.fold[5])) for r in results
    }
    found = by_name(rows(results, teachers, alone))
    assert {row.group for row in found.values()} == {"gunpoint in 3 folds, student sig (small)"}
    assert found["kd"].values["macro_f1"] == pytest.approx((0.4, 0.41))
    assert found["kd"].change == pytest.approx((0.0, 0.01))
    assert found["student"].values["macro_f1"] == pytest.approx((0.4, 0.4))
    assert found["sig WRN16-1"].values["macro_f1"] == pytest.approx((0.2, 0.2))
    assert found["aver"].values["macro_f1"] == pytest.approx((0.4,)), "no mean of the two folds that are there"
    assert found["at"].values["macro_f1"] == ()
    lines = printed(list(found.values()), None, monkeypatch)
    assert lines[0] == "gunpoint in 3 folds, student sig (small), 2 seeds"
    assert any(line.startswith("aver (1 of 2)") for line in lines)
    assert any(line.startswith("at (0 of 2)") for line in lines)
    assert any("mean over its folds" in line for line in lines)


def test_folds_of_one_seed_are_the_values(monkeypatch):
    results = in_folds((0,), lacking=[(0, 3)])
    alone = {r.spec.key: record(r.spec.data.fold, 0, 0.1) for r in results}
    found = by_name(rows(results, [], alone))
    assert found["kd"].values["macro_f1"] == pytest.approx((0.2, 0.4))
    assert found["kd"].change == pytest.approx((0.1, 0.3))
    lines = printed(rows([*results, *in_folds((0,), "aver")], [], {}), None, monkeypatch)
    assert lines[0] == "gunpoint in 3 folds, student sig (small), 3 folds"
    assert any(line.startswith("kd (2 of 3)") for line in lines)
    assert any("share training data" in line for line in lines)
    few = [r for r in in_folds((0,)) if r.spec.data.fold != "fold 2 of 3"]
    assert rows(few, [], {})[0].group == "gunpoint in 2 of 3 folds, student sig (small)"


def test_change_is_of_the_seeds_where_the_student_is_on_record():
    results = [done(replace(UNIT, seed=seed), 0.6) for seed in range(3)]
    alone = {results[1].spec.key: record(student(1).key, 0.5, 0.5)}
    found = by_name(rows(results, [], alone))
    assert found["kd"].change == pytest.approx((0.1,))
    assert len(found["kd"].values["macro_f1"]) == 3


def test_student_in_the_sweep_has_one_row_and_no_change():
    results = [done(student(), 0.4), done(UNIT, 0.6)]
    alone = dict.fromkeys((r.spec.key for r in results), results[0].record)
    found = rows(results, [], alone)
    assert [row.name for row in found] == ["student", "kd"]
    assert found[0].change == ()
    assert found[1].change == pytest.approx((0.2,))


def test_failed_units_have_no_scores():
    results = [
        done(replace(UNIT, seed=0), 0.5),
        done(replace(UNIT, seed=1), None),
        done(replace(UNIT, method="fam"), None),
    ]
    found = by_name(rows(results, [], {}))
    assert list(found) == ["kd"]
    assert found["kd"].values["macro_f1"] == (0.5,)
    assert rows([], [], {}) == []


def test_names_hold_the_options_in_which_units_of_a_method_differ():
    specs = [
        UNIT,
        replace(UNIT, options={"temperature": 2.0, "kd_weight": 0.7}),
        replace(UNIT, options={"temperature": 2.0, "kd_weight": 0.7}, seed=1),
        replace(UNIT, method="aver", options={"temperature": 3.0}),
    ]
    assert option_names(specs) == ["kd temperature=4.0", "kd temperature=2.0", "kd temperature=2.0", "aver"]
    both = [*specs, replace(UNIT, options={"temperature": 4.0, "kd_weight": 0.9})]
    default = METHODS.get("kd").Config()
    assert (default.temperature, default.kd_weight) == (4.0, 0.7)
    assert option_names(both)[0] == "kd", "both are the defaults"
    assert option_names(both)[1] == "kd temperature=2.0"
    assert option_names(both)[4] == "kd kd_weight=0.9"


def test_names_hold_the_teachers_in_which_units_of_a_method_differ():
    specs = [UNIT, replace(UNIT, teachers={"sig": "WRN16-1"})]
    assert option_names(specs) == ["kd teachers=sig,gaf", "kd teachers=sig"]


def test_names_tell_units_of_one_method_apart_and_only_those():
    specs = [
        replace(UNIT, seed=seed, options={"temperature": t, "kd_weight": w}, teachers=dict.fromkeys(m, "WRN16-1"))
        for seed in (0, 1)
        for t in (1.0, 2.0, 4.0)
        for w in (0.5, 0.7)
        for m in (("sig",), ("sig", "gaf"))
    ]
    assert len(set(option_names(specs))) == 12
    assert len(set(option_names([replace(s, options=UNIT.options, teachers=UNIT.teachers) for s in specs]))) == 1


@pytest.mark.parametrize(
    ("values", "scale", "sign", "text"),
    [
        ((), 1.0, "", ""),
        ((0.5,), 1.0, "", "0.500"),
        ((0.9341,), 1.0, "", "0.934"),
        ((0.25, 0.75), 1.0, "", "0.500 ± 0.354"),  # sqrt(2 * 0.25^2 / (2 - 1))
        ((1.0, 1.0, 1.0), 1.0, "", "1.000 ± 0.000"),
        ((0.012,), 100, "+", "+1.2"),
        ((-0.0001,), 100, "+", "+0.0"),  # no "-0.0"
        ((-0.01, -0.03), 100, "+", "-2.0 ± 1.4"),
    ],
)
def test_spread(values, scale, sign, text):
    assert mean_and_deviation(values, scale, sign) == text


def test_spread_is_the_sample_standard_deviation():
    values = np.random.default_rng(0).uniform(size=7)
    mean, deviation = map(float, mean_and_deviation(tuple(values)).split(" ± "))
    assert mean == pytest.approx(values.mean(), abs=5e-4)
    assert deviation == pytest.approx(values.std(ddof=1), abs=5e-4)
    assert f"{values.std(ddof=0):.3f}" != f"{deviation:.3f}"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (10, "10 s"), (599, "599 s"), (600, "10 min"), (5400, "1.5 h")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def realistic() -> list[TableRow]:
    group = "basic-motions, student sig+gaf+pi (small, concat)"
    several = (0.934, 0.921, 0.95)

    def row(kind, name, parameters=1_234_567, change=(0.012, 0.02, -0.013)):
        values = {"accuracy": several, "macro_f1": several}
        change = change if kind == "student" else ()
        return TableRow(group, kind, name, "classification", values, change, parameters, 321.0)

    return [
        *(row("teacher", f"{m} WRN16-3") for m in ("sig", "gaf", "pi")),
        row("student", "student", change=()),
        *(row("student", name) for name in ("kd", "aver", "camkd", "fam", "fam-1d", "attention-transfer")),
    ]


def printed(found, width: int | None, monkeypatch) -> list[str]:
    for name in ("FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    stream = io.StringIO()
    print_tables(found, stream, width)
    text = stream.getvalue()
    assert "\x1b" not in text
    return text.splitlines()


@pytest.mark.parametrize("width", [80, 100, None])
def test_each_row_is_one_line(monkeypatch, width):
    found = realistic()
    lines = printed(found, width, monkeypatch)
    assert max(map(len, lines)) <= (width or 100)
    assert lines[0].strip() == "basic-motions, student sig+gaf+pi (small, concat), 3 seeds"
    for row in found:
        name = f"teacher {row.name}" if row.kind == "teacher" else row.name
        (line,) = [line for line in lines if re.match(rf"{re.escape(name)}  ", line)]
        cells = re.split(r"\s{2,}", line.strip())
        assert cells[1:3] == ["0.935 ± 0.015", "0.935 ± 0.015"]
        assert cells[3:-2] == (["+0.6 ± 1.7"] if row.change else [])
        assert cells[-2:] == ["1,234,567", "321 s"]


def test_figures_are_never_cut(monkeypatch):
    """Long names make a file's table wider, and are cut where there is a width."""
    name = "fam " + " ".join(f"option_{n}=value" for n in range(9))
    found = [*realistic(), replace(realistic()[4], name=name)]
    for width in (80, None):
        lines = printed(found, width, monkeypatch)
        (long,) = [line for line in lines if line.startswith("fam option")]
        assert re.split(r"\s{2,}", long)[1:] == ["0.935 ± 0.015", "0.935 ± 0.015", "+0.6 ± 1.7", "1,234,567", "321 s"]
        assert (name in long) == (width is None)
        assert width is None or max(map(len, lines)) <= width


def test_a_table_a_group(monkeypatch):
    one, two = realistic(), [replace(row, group="coffee, student sig (small)") for row in realistic()[:1]]
    lines = printed(one + two, 100, monkeypatch)
    assert sum("macro-F1" in line and "test acc" in line for line in lines) == 2
    assert any(line.startswith("coffee, student sig (small)") for line in lines)
    assert "same seeds" in lines[-2]


def test_nothing_is_said_about_the_student_where_nothing_is_measured_against_it(monkeypatch):
    lines = printed([replace(row, change=()) for row in realistic()], 100, monkeypatch)
    assert not any("vs alone:" in line for line in lines)
    assert printed([], 100, monkeypatch) == []


@pytest.mark.parametrize(
    "name",
    [
        "my[1]",
        "kd stages=[red]",
        "run :smile:",
    ],
)
def test_names_are_printed_as_they_are(monkeypatch, name):
    row = replace(realistic()[4], name=name, group=f"{name}, student sig (small)")
    lines = printed([row], 100, monkeypatch)
    assert lines[0].startswith(f"{name}, student")
    assert any(line.startswith(f"{name} ") and "1,234,567" in line for line in lines)


def test_detectors_are_listed_from_the_best_on(monkeypatch):
    scores = {"moving-median": 0.2, "k-means": 0.6, "random": 0.1}
    references = []
    for name, score in scores.items():
        spec = DetectorSpec(DataSpec("nab", "ab" * 32), 0, name, "anomaly")
        values = {"kind": "simple", "key": spec.key, "spec": asdict(spec), "parameters": 0, "seconds": 1.0}
        references.append(Record(Path(spec.key), {**values, "metrics": {"test": {"vus_pr": score}}}))
    found = rows([], references=references)
    assert [row.name for row in found] == ["k-means", "moving-median", "random"]
    assert [row.score for row in found] == [(0.6,), (0.2,), (0.1,)]
    assert [line.split()[1:] for line in printed(found, 100, monkeypatch)[2:5]] == [
        [score, "1.0", "s"] for score in ("0.600", "0.200", "0.100")
    ]
    assert not any("parameters" in recorded_metrics(record) for record in references)
