"""Own records beside a frozen benchmark: `mmkd.compare --with`, and the CSV that a request adds."""

import json
from dataclasses import replace

import pytest

from mmkd.cli.results import main
from mmkd.compare import main as compare
from mmkd.comparison.compare import compare as compare_records
from mmkd.results import beside
from mmkd.results.beside import place_records, records_beside, tables_beside, trained_again
from mmkd.results.protocol import read_protocol
from mmkd.results.summary import Row
from tests.results.made_up import record, records_of, score_of, units, write_protocol, write_records


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A protocol with results of regime A."""
    made = write_protocol(tmp_path_factory.mktemp("protocol"))
    write_records(made.records / "A.jsonl", records_of(made, "A", score_of))
    assert main(["make", "--folder", str(made.folder)]) == 0
    return made.folder


@pytest.fixture(scope="module")
def protocol(folder):
    return read_protocol(folder)


def own(protocol, regime="A", name="hapt6", method="mine", gain=0.06, change=lambda spec: spec, **facts):
    """Records of a method of one's own, on all seeds."""
    found = []
    for spec, data in units(protocol.regimes[regime].requests_of(name)[0], name):
        if spec.method == "kd":
            mine = change(replace(spec, method=method, method_sha256="cd" * 32 if method == "mine" else ""))
            score = round(score_of(replace(spec, method="student")) + gain, 4)
            found.append(record(spec, data, score))
            result = {**found[-1].result, "spec": as_json(mine), "key": mine.key, "method_status": "current", **facts}
            found[-1] = replace(found[-1], result=result)
    return found


def test_rows_of_the_benchmark_stand_under_the_seeds_of_own_rows(protocol):
    """Seed 2 is easy: a row that has it too would be far above an own row that has not, though no better beside it."""
    alone = Row("hapt6", "sig", "student", "student", {0: 0.9, 1: 0.9, 2: 0.5})
    good = Row("hapt6", "sig", "method", "good", {0: 0.91, 2: 0.9})
    bad = Row("hapt6", "sig", "method", "bad", {0: 0.85, 1: 0.85})
    mine = Row("hapt6", "sig", "method", "mine", {0: 0.93}, own=True)
    other = Row("hapt6", "sig", "method", "other", {7: 0.99})
    found = beside._table("v1", protocol.regimes["A"], "hapt6", "sig", [bad, other, alone, good, mine])
    assert found.seeds == (0,)
    assert [(row.name, row.scores, change) for row, change in found.rows] == [
        ("mine", {0: 0.93}, (pytest.approx(0.03), 1)),
        ("good", {0: 0.91}, (pytest.approx(0.01), 1)),
        ("student", {0: 0.9}, None),
        ("bad", {0: 0.85}, (pytest.approx(-0.05), 1)),
        ("other", {7: 0.99}, None),
    ]
    lines = beside.table_text(found).splitlines()
    assert lines[1] == "rows of v1 by the seed of own rows: 0"
    assert [line for line in lines if "not of these seeds" in line] == [lines[-1]]
    assert lines[-1].split()[0] == "other"
    found = beside._table("v1", protocol.regimes["A"], "hapt6", "sig", [bad, other, good, mine])
    assert [row.name for row, _ in found.rows] == ["other", "mine", "good", "bad"], "without a student by the mean"


def test_seeds_that_the_benchmark_lacks_are_paired_with_the_own_student(protocol):
    """Or `mmkd.bench` and `mmkd.compare --with` would show other changes of the same units."""
    alone = Row("hapt6", "sig", "student", "student", {0: 0.9, 1: 0.8})
    more = Row("hapt6", "sig", "student", "student", {1: 0.1, 2: 0.5}, own=True)
    mine = Row("hapt6", "sig", "method", "mine", {0: 0.9, 1: 0.8, 2: 0.8}, own=True)
    found = beside._table("v1", protocol.regimes["A"], "hapt6", "sig", [mine, alone, more])
    assert {(row.name, row.own): change for row, change in found.rows} == {
        ("mine", True): (pytest.approx(0.1), 3),
        ("student", False): None,
        ("student", True): None,
    }


def test_its_students_and_controls_stand_in_the_table_of_own_records(protocol):
    placed = place_records(own(protocol), protocol)
    found = [one for one in records_beside(placed, protocol, []) if one.kind == "student"]
    methods = {record.spec.method for record in found}
    assert {"student", "longer", "pseudo-label"} <= methods
    assert not {"kd", "mine"} & methods
    assert {record.spec.data.name for record in found} == {"hapt6"}
    assert {record.spec.seed for record in found} == {record.spec.seed for record in own(protocol)}
    (group,) = compare_records([*own(protocol), *found]).groups
    (row,) = [row for row in group.rows if row.base == "mine"]
    assert row.change.mean == pytest.approx(0.06)
    nowhere = replace(protocol, folder=protocol.folder / "nowhere")
    assert records_beside(placed, nowhere, []) == [], "as of the wheel"


def test_units_of_the_benchmark_that_were_trained_again_are_said_to_be(folder, protocol, tmp_path, capsys):
    """Its own student has another score on another machine; the two tables of a method have other changes then."""
    again = [one for one in records_of(protocol, "A", score_of) if one.kind == "student" and one.spec.seed == 0]
    again = [one for one in again if (one.spec.method, one.spec.data.name) == ("student", "hapt6")]
    scores = {**again[0].metrics.test, "macro_f1": 0.9}
    other = replace(again[0], result={**again[0].result, "metrics": {"test": scores}})
    assert trained_again(place_records(again, protocol), protocol, again) == []
    (line,) = trained_again(place_records([other], protocol), protocol, [other])
    assert line.startswith("regime A: 1 of its units was trained again with another score (student on hapt6, seed 0: ")
    assert "macro-F1 0.900, 0.540 in v1" in line
    path = write_records(tmp_path / "own.jsonl", [*own(protocol), other])
    arguments = ["--records", str(path), "--runs", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    assert compare([*arguments, "--with", str(folder)]) == 0
    assert f"note: --with v1: {line}" in capsys.readouterr().err


def test_where_all_own_records_are_bad_the_first_reason_is_said(folder, tmp_path, capsys):
    (tmp_path / "runs" / "0123456789abcdef").mkdir(parents=True)
    (tmp_path / "runs" / "0123456789abcdef" / "result.json").write_text("{")
    for more in ([], ["--with", str(folder)]):
        assert compare(["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), *more]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "no unit is on record here (1 left out: " in line
    assert not (tmp_path / "out").exists()


def test_teachers_of_own_students_stand_beside_them(folder, protocol, tmp_path, capsys):
    """Else there is no gap; a teacher that was trained again with another score is named."""
    mine = own(protocol)
    theirs = [one for one in records_of(protocol, "A", score_of) if one.kind == "teacher"]
    (teacher,) = [one for one in theirs if (one.spec.data.name, one.spec.seed) == ("hapt6", 0)]
    placed = place_records(mine, protocol)
    assert teacher.key in {one.key for one in records_beside(placed, protocol, mine)}
    assert teacher.key not in {one.key for one in records_beside(placed, protocol, [*mine, teacher])}
    first = [one for one in mine if one.spec.seed == 0]
    found = records_beside(place_records(first, protocol), protocol, first)
    assert {one.spec.seed for one in found if one.kind == "teacher"} == {0, 1, 2}, "those of controls, too"
    assert trained_again(placed, protocol, [*mine, teacher]) == []
    other = replace(teacher, result={**teacher.result, "metrics": {"test": {**teacher.metrics.test, "macro_f1": 0.9}}})
    (line,) = trained_again(placed, protocol, [*mine, other])
    assert line.startswith("regime A: 1 of its teachers was trained again with another score (sig WRN16-1")
    assert line.endswith("own rows and those of v1 had other teachers then")
    path = write_records(tmp_path / "own.jsonl", mine)
    arguments = ["--records", str(path), "--runs", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    assert compare([*arguments, "--with", str(folder)]) == 0
    assert "best teacher sig" in capsys.readouterr().out


def test_peers_that_were_fitted_again_are_said_to_be(protocol):
    (peer,) = [
        one
        for one in records_of(protocol, "A", score_of)
        if one.kind == "reference" and (one.spec.data.name, one.spec.seed) == ("hapt6", 1)
    ]
    other = replace(peer, result={**peer.result, "metrics": {"test": {**peer.metrics.test, "macro_f1": 0.9}}})
    for students in ([], own(protocol)):
        placed = place_records(students, protocol)
        assert trained_again(placed, protocol, [*students, peer]) == []
        (line,) = trained_again(placed, protocol, [*students, other])
        assert line.startswith("regime A: 1 of its peers was fitted again with another score (random-forest on hapt6, ")
        assert line.endswith("; the table beside v1 has its own")


def test_a_record_of_the_benchmark_that_cannot_be_used_is_no_error(protocol, tmp_path):
    """A line may have the key of its spec, and name a view without its options."""
    odd = own(protocol, method="longer", change=lambda spec: replace(spec, views={}))
    copy = replace(protocol, folder=tmp_path)
    write_records(copy.records / "A.jsonl", odd)
    assert records_beside(place_records(own(protocol), protocol), copy, []) == []


def as_json(spec):
    return json.loads(json.dumps(spec, default=lambda part: part.__dict__))


def test_own_rows_stand_among_those_of_the_benchmark(protocol):
    records = own(protocol) + own(protocol, name="ucr-uea.ECG200", gain=-0.02)
    placed = place_records(records, protocol)
    assert (list(placed.records), placed.left_out) == (["A"], [])
    first, second = tables_beside(placed, protocol)
    assert (first.dataset, first.student, first.metric) == ("hapt6", "sig", "macro_f1")
    found = {row.name: (row.own, row.mean, change) for row, change in first.rows}
    assert found["mine"] == (True, pytest.approx(0.55 + 0.003 + 0.06 - 0.01), (pytest.approx(0.06), 3))
    assert found["kd"] == (False, pytest.approx(0.55 + 0.003 + 0.04 - 0.01), (pytest.approx(0.04), 3))
    assert found["student"][2] is None
    names = [row.name for row, _ in first.rows]
    assert names.index("random-forest") < names.index("mine") < names.index("kd") < names.index("student")
    assert [change for row, change in second.rows if row.own] == [(pytest.approx(-0.02), 3)]


def test_an_own_variant_of_a_method_of_the_benchmark_says_its_options(protocol):
    """Beside the own records that the benchmark has too, or there were two rows of one name."""
    known = [one for one in records_of(protocol, "A", score_of) if one.kind == "student" and one.spec.method == "kd"]
    hot = own(protocol, method="kd", change=lambda spec: replace(spec, options={**spec.options, "temperature": 9.0}))
    (table,) = tables_beside(place_records([*known, *hot], protocol), protocol)
    assert [row.name for row, _ in table.rows if row.own] == ["kd temperature=9.0"]
    (alone,) = tables_beside(place_records(hot, protocol), protocol)
    assert [row.name for row, _ in alone.rows if row.own] == ["kd, other options"]
    assert "kd" in [row.name for row, _ in table.rows if not row.own]


def test_a_change_is_paired_by_seed(protocol):
    """Of an own row with two seeds only these two count: the student's third one is better."""
    (table,) = tables_beside(place_records(own(protocol)[:2], protocol), protocol)
    (change,) = [change for row, change in table.rows if row.own]
    assert change == (pytest.approx(0.06), 2)


def test_what_is_among_the_results_already_is_no_own_row(protocol):
    records = records_of(protocol, "A", score_of)
    placed = place_records(records, protocol)
    assert placed.left_out == []
    assert tables_beside(placed, protocol) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: replace(s, seed=9), "nearest is A: seed 9 instead of 0, 1, 2"),
        (lambda s: replace(s, student_net="small"), "nearest is A: student network small instead of micro"),
        (lambda s: replace(s, training=replace(s.training, steps=99)), "nearest is A: steps 99 instead of 1200"),
        (lambda s: replace(s, data=replace(s.data, labelled_subjects=4)), "A: labelled subjects 4 instead of 2"),
        (lambda s: replace(s, data=replace(s.data, name="natops")), "data set natops instead of"),
        (lambda s: replace(s, data=replace(s.data, sha256="ef" * 32)), "content of the data efefefef instead of"),
        (lambda s: replace(s, teachers={"sig": "small"}), "teachers sig=small instead of sig=WRN16-1-window"),
    ],
)
def test_what_is_of_no_regime_is_said(protocol, change, message):
    placed = place_records(own(protocol, change=change)[:1], protocol)
    assert placed.records == {}
    (line,) = placed.left_out
    assert f"1 record left out: of no regime of v1, {message}" in line or message in line


def test_the_command_shows_both(folder, protocol, tmp_path, capsys):
    path = write_records(tmp_path / "own.jsonl", own(protocol))
    arguments = ["--records", str(path), "--runs", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    assert compare([*arguments, "--with", str(folder)]) == 0
    out = capsys.readouterr().out
    head, *rows = out[out.index("beside v1, regime A, few labels: hapt6, student sig") :].splitlines()
    assert head.endswith("(*: own)")
    (mine,) = [row for row in rows if row.startswith("* mine ")]
    assert mine.split() == ["*", "mine", "0.603", "3", "+6.0", "points", "of", "3", "seeds"]
    assert next(row for row in rows if row.startswith("  kd ")).endswith("+4.0 points of 3 seeds")
    assert [row for row in rows if row.startswith("  peer random-forest ")]
    assert compare([*arguments, "--with", str(folder), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (table,) = document["beside"]["tables"]
    assert document["beside"]["protocol"] == protocol.title
    (mine,) = [row for row in table["rows"] if row["own"]]
    assert (mine["row"], mine["n"], mine["change_n"]) == ("mine", 3, 3)
    assert compare([*arguments, "--json"]) == 0
    assert "beside" not in json.loads(capsys.readouterr().out)


def test_the_command_says_why_it_adds_nothing(folder, protocol, tmp_path, capsys):
    path = write_records(tmp_path / "own.jsonl", own(protocol, change=lambda s: replace(s, student_net="small")))
    arguments = ["--records", str(path), "--runs", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    assert compare([*arguments, "--with", str(folder)]) == 0
    shown = capsys.readouterr()
    last = shown.out.splitlines()[-1]
    assert last == "--with v1 adds nothing of these units: none is of a regime of v1, for the reasons above"
    assert "student network small instead of micro" in shown.err


@pytest.mark.parametrize(
    ("version", "message"), [("v77", "protocol 'v77'"), ("", "name a version"), ("a\0", "name a v")]
)
def test_a_version_that_there_is_not(protocol, tmp_path, capsys, version, message):
    path = write_records(tmp_path / "own.jsonl", own(protocol))
    out = tmp_path / "out"
    assert compare(["--records", str(path), "--runs", "none", "--out", str(out), "--with", version]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not out.exists()


def test_own_records_become_a_file_that_the_check_accepts(folder, protocol, tmp_path, capsys):
    records = own(protocol) + own(protocol, "C", "basic-motions")
    records += own(protocol, change=lambda s: replace(s, seed=9))[:1]
    path = write_records(tmp_path / "own.jsonl", [*records, *records_of(protocol, "A")])
    out = tmp_path / "mine.csv"
    arguments = ["make", "--records", str(path), "--out", str(out), "--folder", str(folder)]
    assert main(arguments) == 0
    stdout, err = capsys.readouterr()
    assert "A: 21 lines of 3 records" in stdout
    assert "C: 21 lines of 3 records" in stdout
    assert "1 record left out" in err
    assert "records of mmkd's own methods" in err
    first = out.read_bytes()
    assert main(arguments) == 0
    assert out.read_bytes() == first
    assert b",true," not in first
    capsys.readouterr()
    assert main(["check", str(out), "--folder", str(folder)]) == 0
    stdout, err = capsys.readouterr()
    assert "regime A, student sig: 'mine': place 1 of " in stdout
    assert "+6.00 points of macro-F1" in stdout
    assert "regime A, 'mine': incomplete: 1 of 2; it lacks ucr-uea.ECG200" in err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--records", "{own}"], "name where their results go too, --out FILE.csv"),
        (["--out", "x.csv"], "--out x.csv: make writes the results of the protocol into its own folder"),
        (["--records", "{own}", "--out", "x.txt"], "name a file that ends in .csv"),
        (["--records", "nothing.jsonl", "--out", "x.csv"], "there is no such file"),
        (["--records", "{ours}", "--out", "x.csv"], "no unit of a method of your own is of a regime of v1"),
        (["--records", "{own}", "--out", "no/such/folder/x.csv"], "there is no folder no/such/folder"),
    ],
)
def test_nothing_is_written_of_bad_arguments(folder, protocol, tmp_path, monkeypatch, capsys, more, message):
    monkeypatch.chdir(tmp_path)
    paths = {"own": own(protocol), "ours": own(protocol, method="kd")}
    names = {name: str(write_records(tmp_path / f"{name}.jsonl", records)) for name, records in paths.items()}
    before = sorted(tmp_path.iterdir())
    assert main(["make", "--folder", str(folder), *(text.format(**names) for text in more)]) == 2
    err = capsys.readouterr().err.splitlines()
    assert message in err[-1]
    assert sorted(tmp_path.iterdir()) == before
