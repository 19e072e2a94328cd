"""`python -m mmkd.results make`: records become tables, and only those that the protocol's suites describe."""

import copy
import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

import mmkd
from mmkd import MmkdError
from mmkd.cli.results import main
from mmkd.comparison.network_pairs import NetworkPair, pair_of
from mmkd.comparison.predictions import Predictions, combine
from mmkd.results.columns import COLUMNS, number_text
from mmkd.results.fitting import describe, differences, method_differences
from mmkd.results.making import lines_of, make_lines, record_files
from mmkd.results.subjects import accuracies
from mmkd.specs.unit import PeerSpec, UnitSpec
from mmkd.units.frozen import frozen_options
from tests.results.made_up import dataset, record, records_of, score_of, units, write_protocol, write_records


@pytest.fixture(scope="module")
def protocol(tmp_path_factory):
    return write_protocol(tmp_path_factory.mktemp("protocol"))


@pytest.fixture(scope="module")
def of_a(protocol):
    return records_of(protocol, "A", score_of)


@pytest.fixture(scope="module")
def of_c(protocol):
    return records_of(protocol, "C", score_of)


@pytest.fixture
def folder(tmp_path, of_a, of_c):
    made = write_protocol(tmp_path / "v").folder
    write_records(made / "records" / "A.jsonl", of_a)
    write_records(made / "records" / "C-first.jsonl", of_c[::2])
    write_records(made / "records" / "C-wide.jsonl", of_c[1::2])
    write_records(made / "records" / "A-dev.jsonl", of_a)
    return made


def fits(one, protocol, regime):
    return differences(one, protocol, regime, methods=True)


def values_of(one):
    """Metric -> value, of a made-up record; peers are no networks and have no parameters."""
    return one.metrics.test | {"seconds": 12.345678} | ({} if one.kind == "reference" else {"parameters": 2052})


def count_lines(records):
    """How many lines of results these records make."""
    return sum(len(values_of(one)) for one in records)


def read(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_every_record_that_the_runner_makes_of_a_suite_is_of_its_regime(protocol, of_a, of_c):
    for regime, records in (("A", of_a), ("C", of_c)):
        for one in records:
            assert fits(one, protocol, protocol.regimes[regime]) == [], one.spec
    assert len(of_a) > 60


def test_the_tables_are_sorted_complete_and_the_same_each_time(folder, of_a, of_c, capsys):
    assert main(["make", "--folder", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert f"A: {count_lines(of_a):,} lines of {len(of_a)} records" in out
    texts = {path.name: path.read_bytes() for path in (folder / "results").iterdir()}
    assert set(texts) == {"A.csv", "A-change.svg", "C.csv", "C-change.svg", "data.json"}
    lines = read(folder / "results" / "C.csv")
    assert tuple(lines[0]) == COLUMNS
    assert len(lines) == count_lines(of_c)
    assert {line["protocol"] for line in lines} == {mmkd.results.protocol.read_protocol(folder).title}
    for name in ("A.csv", "C.csv"):
        (folder / "results" / name).unlink()
    for path in (folder / "records").iterdir():  # the order of records changes nothing
        path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    assert main(["make", "--folder", str(folder)]) == 0
    assert {path.name: path.read_bytes() for path in (folder / "results").iterdir()} == texts


def test_every_value_is_that_of_its_record(folder, of_a):
    main(["make", "--folder", str(folder)])
    found = {(line["key"], line["metric"]): line for line in read(folder / "results" / "A.csv")}
    for one in of_a:
        for metric, value in values_of(one).items():
            line = found[one.key, metric]
            assert float(line["value"]) == pytest.approx(value, rel=1e-5)
            assert (line["dataset"], line["seed"]) == (one.spec.data.name, str(one.spec.seed))
            assert (line["commit"], line["machine"]) == ("abababababab", "x86_64 cpu 1 thread")
            assert (line["verified"], line["tuned"], line["extra_data"]) == ("true", "false", "false")
    assert len(found) == count_lines(of_a)
    kinds = {(line["kind"], line["method"], line["row"]) for line in found.values()}
    assert {
        ("student", "student", "student"),
        ("method", "kd", "kd"),
        ("control", "shuffled-teacher", "shuffled-teacher scope=class"),
        ("control", "shuffled-teacher", "shuffled-teacher scope=any"),
        ("peer", "random-forest", "random-forest"),
        ("teacher", "WRN16-1-window", "sig WRN16-1-window"),
    } <= kinds


def test_students_of_several_networks_are_told_apart_in_their_column(folder):
    main(["make", "--folder", str(folder)])
    students = {(line["kind"], line["student"]) for line in read(folder / "results" / "C.csv")}
    assert students == {
        *((kind, f"sig {net}") for kind in ("student", "method") for net in ("micro", "small")),
        ("peer", "sig"),
        ("teacher", "sig"),
    }


def kd(protocol, regime="A", name="hapt6"):
    request = protocol.regimes[regime].requests_of(name)[0]
    return next((spec, data) for spec, data in units(request, name) if spec.method == "kd")


CHANGES = {
    "seed 7 instead of 0, 1, 2": lambda s: replace(s, seed=7),
    "data set natops instead of hapt6, ucr-uea.ECG200": lambda s: replace(s, data=replace(s.data, name="natops")),
    "labelled subjects 3 instead of 2": lambda s: replace(s, data=replace(s.data, labelled_subjects=3)),
    "labelled subjects all instead of 2": lambda s: replace(s, data=replace(s.data, labelled_subjects=0)),
    "train subjects 4 instead of all": lambda s: replace(s, data=replace(s.data, train_subjects=4)),
    "rate 50.0 instead of 25.0": lambda s: replace(s, data=replace(s.data, rate=50.0)),
    "missing values impute instead of refuse": lambda s: replace(s, data=replace(s.data, nan="impute")),
    "epoch rule val-best instead of last": lambda s: replace(s, data=replace(s.data, epoch_rule="val-best")),
    "test part fold 1 of 5 instead of that of the data set": lambda s: replace(
        s, data=replace(s.data, test_subjects=(1,), fold="fold 1 of 5")
    ),
    "student sig@acc instead of sig": lambda s: replace(s, student=("sig@acc",), views={**s.views, "sig@acc": {}}),
    "student network small instead of micro": lambda s: replace(s, student_net="small"),
    "teachers sig=small instead of sig=WRN16-1-window": lambda s: replace(s, teachers={"sig": "small"}),
    "targets of the teachers out-of-fold:5 instead of fitted": lambda s: replace(s, teacher_targets="out-of-fold:5"),
    "steps 77 instead of 1200": lambda s: replace(s, training=replace(s.training, steps=77)),
    "lr 0.1 instead of 0.002": lambda s: replace(s, training=replace(s.training, lr=0.1)),
    "augmentation none instead of rotate:30, gain:0.1, jitter:0.05": lambda s: replace(
        s, training=replace(s.training, augment=(), augment_copies=0)
    ),
    "augmented copies 0 instead of 4": lambda s: replace(s, training=replace(s.training, augment_copies=0)),
    "teacher's weight decay 0.5 instead of 0.0001": lambda s: replace(
        s, teacher_training=replace(s.teacher_training, weight_decay=0.5)
    ),
    "method dkd instead of": lambda s: replace(s, method="dkd"),
    "options of kd": lambda s: replace(s, options={**s.options, "temperature": 77.0}),
    "options tuned": lambda s: replace(s, tuned={"table": "t", "number": 1, "budget": 2, "on": ["natops"]}),
}


@pytest.mark.parametrize("message", CHANGES)
def test_what_differs_from_the_suite_is_said_and_left_out(protocol, message):
    spec, data = kd(protocol)
    counts = {"data": record(spec, data, 0.5).data}
    changed = CHANGES[message](spec)
    one = record(spec, data, 0.5)
    one = replace(one, result={**one.result, **counts, "spec": record_spec(changed), "key": changed.key})
    found = fits(one, protocol, protocol.regimes["A"])
    texts = [describe(difference) for difference in found]
    assert [text for text in texts if text.startswith(message)], texts
    assert len(texts) <= 2
    made = make_lines([one, record(spec, data, 0.5)], protocol, protocol.regimes["A"], verified=True)
    assert made.units == 1
    assert len(made.left_out) == 1
    assert f"1 record left out: {texts[0]}" in made.left_out[0]


FROZEN = """method = "kd"
table = "0123"
number = 1
budget = 2
metric = "macro_f1"
score = 0.5
default_score = 0.4
trainings = 2
seconds = 1.0
data = [{name = "natops"}]
[options]
"""


def test_a_tuned_unit_has_the_options_that_the_suite_has_frozen(protocol, tmp_path):
    spec, _ = kd(protocol)
    request = replace(protocol.regimes["A"].requests[0], tuned=str(tmp_path))
    tuned = replace(spec, tuned={"table": "t", "number": 1, "budget": 2, "on": ["natops"]})

    def differences(spec):
        return [describe(one) for one in method_differences(record(spec, dataset("hapt6"), 0.5), request)]

    assert differences(tuned) == [f"options tuned instead of as in {tmp_path.name}, which has no file of kd"]
    text = FROZEN + "temperature = 2.0\n"
    (tmp_path / "kd.toml").write_text(text)
    frozen = replace(tuned, options=frozen_options(tmp_path, "kd"))
    assert differences(frozen) == []
    changed = replace(frozen, options={**frozen.options, "temperature": 77.0})
    assert differences(changed)[0].startswith("tuned options of kd ")
    (tmp_path / "kd.toml").write_text(text.replace("budget", "bugdet"))
    with pytest.raises(MmkdError, match="it has no usable 'budget'"):
        differences(frozen)


def record_spec(spec):
    return json.loads(json.dumps(spec, default=lambda own: own.__dict__))


def test_a_teacher_and_a_peer_of_another_suite_are_left_out(protocol):
    spec, data = kd(protocol)
    regime = protocol.regimes["A"]
    teacher = replace(spec.teacher("sig"), net="small")
    assert describe(fits(record(teacher, data, 0.5), protocol, regime)[0]) == (
        "network of the teacher small instead of WRN16-1-window"
    )
    peer = PeerSpec.beside(spec, "minirocket", 1)
    assert describe(fits(record(peer, data, 0.5), protocol, regime)[0]) == ("peer minirocket instead of random-forest")


def test_a_part_of_a_suite_is_met_as_a_whole(protocol):
    """The methods of one part with the student of another are of none."""
    narrow, wide = protocol.regimes["C"].requests_of("basic-motions")
    other = replace(protocol.regimes["C"])
    other.__dict__["requests"] = [replace(narrow, methods=("student",)), replace(wide, methods=("student", "kd"))]
    for request, fit in ((narrow, False), (wide, True)):
        spec, data = next((s, d) for s, d in units(request, "basic-motions") if s.method == "kd")
        assert (fits(record(spec, data, 0.5), protocol, other) == []) is fit


def test_a_stated_checksum_of_the_content_is_compared(protocol):
    spec, data = kd(protocol)
    stated = replace(protocol, datasets={**protocol.datasets, "hapt6": {"sha256": "ff" * 32}})
    found = fits(record(spec, data, 0.5), stated, stated.regimes["A"])
    assert describe(found[0]).endswith("instead of ffffffff")
    stated = replace(protocol, datasets={**protocol.datasets, "hapt6": {"sha256": data.sha256}})
    assert fits(record(spec, data, 0.5), stated, stated.regimes["A"]) == []


def test_many_records_of_one_reason_are_one_line(folder, protocol, of_a, capsys):
    few = [one for one in of_a if isinstance(one.spec, UnitSpec)][:9]
    others = []
    for one in few:
        spec = replace(one.spec, student_net="small")
        others.append(replace(one, result={**one.result, "spec": record_spec(spec), "key": spec.key}))
    write_records(folder / "records" / "A.jsonl", [*of_a, *others])
    assert main(["make", "--folder", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert "regime A: 9 records left out: student network small instead of micro (the first " in err
    assert f"{len(of_a)} records" in out


def test_a_regime_without_records_has_no_table_and_one_that_is_there_stays(folder, capsys):
    (folder / "records" / "A.jsonl").unlink()
    (folder / "results").mkdir()
    (folder / "results" / "A.csv").write_text("old\n")
    assert main(["make", "--folder", str(folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "regime A: no record of" in line
    assert "or remove the table; nothing is written" in line
    assert [path.name for path in (folder / "results").iterdir()] == ["A.csv"]
    (folder / "results" / "A.csv").unlink()
    assert main(["make", "--folder", str(folder)]) == 0
    assert "A: 0 lines of 0 records" in capsys.readouterr().out
    assert not (folder / "results" / "A.csv").exists()


def test_nothing_is_written_of_a_protocol_that_changed_or_of_damaged_records(folder, capsys):
    text = (folder / "A.toml").read_text()
    (folder / "A.toml").write_text(text.replace("labelled_subjects = 2", "labelled_subjects = 3"))
    assert main(["make", "--folder", str(folder)]) == 2
    assert "make a new version" in capsys.readouterr().err
    (folder / "A.toml").write_text(text)
    (folder / "records" / "A.jsonl").write_text("{}\n")
    assert main(["make", "--folder", str(folder)]) == 2
    assert "line 1" in capsys.readouterr().err
    (folder / "records" / "A.jsonl").write_text("")
    (folder / "records" / "speed.jsonl").write_text("")
    assert main(["make", "--folder", str(folder)]) == 2
    assert "speed.jsonl: it has the name of no regime" in capsys.readouterr().err
    assert not (folder / "results").exists()


def test_files_of_records_belong_to_the_longest_name(folder, tmp_path):
    made = mmkd.results.protocol.read_protocol(folder)
    names = {name: [path.name for path in paths] for name, paths in record_files(made).items()}
    assert names == {"A": ["A.jsonl"], "C": ["C-first.jsonl", "C-wide.jsonl"]}


def test_accuracy_of_single_subjects_follows_from_the_sums_that_travel():
    """Against the accuracy counted window by window."""
    rng = np.random.default_rng(0)
    n, classes = 300, 4
    true = rng.integers(0, classes, n)
    subject = np.array([f"p{number}" for number in rng.integers(0, 12, n)])
    networks = []
    for skill in (1.0, 2.0):
        p = np.exp(rng.normal(size=(n, classes)) + skill * np.eye(classes)[true])
        p /= p.sum(1, keepdims=True)
        networks.append(Predictions(np.arange(n), true, p.argmax(1), p, ("subject", subject)))
    own, taught = combine([networks[0]]), combine([networks[1]])
    pair = NetworkPair.from_json(json.loads(json.dumps(pair_of(own, taught, 0.5).to_json())))
    for found, network in zip(accuracies(pair), networks, strict=True):
        assert list(found) == sorted(set(subject))
        for name, value in found.items():
            mine = subject == name
            assert value == (network.predicted[mine] == true[mine]).mean()


def test_subjects_stand_in_the_table(folder, protocol, of_a):
    spec, _ = kd(protocol)
    sums = [[4, 2, 1, 1, 1, 0, 0, 0, 0, 2, 2, 2, 2], [5, 5, 0, 0, 0, 0, 0, 0, 0, 3, 2, 3, 2]]
    pair = {"agreement": 0.75, "of": "subject", "names": ["10", "9"], "sums": sums}
    fidelity = {"fidelity": {f"{spec.teacher('sig').key}@best": pair}}
    records = [replace(one, functional=fidelity) if one.key == spec.key else one for one in of_a]
    write_records(folder / "records" / "A.jsonl", records)
    main(["make", "--folder", str(folder)])
    lines = [line for line in read(folder / "results" / "A.csv") if line["subject"]]
    found = [(line["kind"], line["row"], line["subject"], line["value"]) for line in lines]
    assert found == [
        ("method", "kd", "9", "1"),
        ("method", "kd", "10", "0.25"),
        ("teacher", "sig WRN16-1-window", "9", "1"),
        ("teacher", "sig WRN16-1-window", "10", "0.75"),
    ]
    table = mmkd.load_results(folder, regime="A")
    assert table[table.subject == "10"].value.tolist() == [0.25, 0.75]


def test_load_results_has_types_and_filters(folder, of_a, of_c):
    main(["make", "--folder", str(folder)])
    table = mmkd.load_results(folder)
    assert tuple(table.columns) == COLUMNS
    assert len(table) == count_lines([*of_a, *of_c])
    kinds = {name: table[name].dtype.kind for name in ("seed", "value", "tuned", "extra_data", "verified")}
    assert kinds == {"seed": "i", "value": "f", "tuned": "b", "extra_data": "b", "verified": "b"}
    assert all(isinstance(value, str) for name in ("subject", "key", "row") for value in table[name].head(50))
    assert not table.isna().any().any()
    assert set(mmkd.load_results(folder, regime="A").regime) == {"A"}
    short = mmkd.load_results(folder, dataset="ECG200")
    assert set(short.dataset) == {"ucr-uea.ECG200"}
    assert short.equals(mmkd.load_results(folder, dataset="ucr-uea.ECG200"))
    mean = table[(table.metric == "macro_f1") & (table.row == "kd")].groupby("dataset").value.mean()
    assert mean["hapt6"] == pytest.approx(0.54 + 0.003 + 0.05 - 0.01, abs=1e-6)


def test_results_that_there_are_not_yet_are_an_empty_table(tmp_path):
    write_protocol(tmp_path / "v")
    with pytest.warns(UserWarning, match="has no results of regime A$"):
        table = mmkd.load_results(tmp_path / "v", regime="A")
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 0
    assert table.seed.dtype.kind == "i"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"version": "v77"}, "protocol 'v77'"),
        ({"version": 1}, "no version such as v1"),
        ({"regime": "Z"}, "unknown regime 'Z'"),
        ({"dataset": "mnist"}, "unknown data set 'mnist'"),
    ],
)
def test_load_results_refuses_what_there_is_not(folder, how, message):
    with pytest.raises(MmkdError, match=message):
        mmkd.load_results(**{"version": folder, **how})


def test_a_damaged_table_is_refused(folder):
    main(["make", "--folder", str(folder)])
    path = folder / "results" / "A.csv"
    text = path.read_text()
    for damaged in (text.replace("regime,", "rgime,", 1), text.replace(",false,false,", ",no,false,", 1), ""):
        path.write_text(damaged)
        with pytest.raises(MmkdError, match="no table of results"):
            mmkd.load_results(folder)


@pytest.mark.parametrize(
    ("name", "said"), [("macro_f", "unknown metric 'macro_f'; did you mean 'macro_f1'?"), ("speed", "metric 'speed'")]
)
def test_a_table_with_an_unknown_metric_is_refused(folder, capsys, name, said):
    main(["make", "--folder", str(folder)])
    path = folder / "results" / "A.csv"
    path.write_text(path.read_text().replace(",macro_f1,", f",{name},", 1))
    with pytest.raises(MmkdError, match="no table of results") as caught:
        mmkd.load_results(folder)
    assert said in str(caught.value)
    capsys.readouterr()
    assert main(["page", "--folder", str(folder), "--out", str(folder / "out")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert said in err
    assert not (folder / "out").exists()


def test_a_metric_of_a_plugin_is_no_line_of_results(protocol, of_a):
    one = copy.deepcopy(of_a[0])
    one.result["metrics"]["test"]["worst_recall"] = 0.25
    made = lines_of([one], {one.key: "student"}, protocol, protocol.regimes["A"], verified=True)
    assert "macro_f1" in {line.metric for line in made.lines}
    assert "worst_recall" not in {line.metric for line in made.lines}
    assert made.left_out == ["metric 'worst_recall' is left out: mmkd's tables have none of this name"]
    for name in ("onset_hits_p", "onset_hits_t", "iou_p"):
        one.result["metrics"]["test"][name] = 0.5
    made = lines_of([one], {one.key: "student"}, protocol, protocol.regimes["A"], verified=True)
    assert made.left_out == [
        "metrics 'worst_recall', 'onset_hits_p', 'onset_hits_t' and 1 more are left out: mmkd's tables have none of "
        "these names"
    ]


@pytest.mark.parametrize("value", ["2", "-1", "1e308"])
def test_a_table_with_a_score_that_cannot_be_is_refused(folder, capsys, value):
    main(["make", "--folder", str(folder)])
    path = folder / "results" / "A.csv"
    first = next(line for line in path.read_text().splitlines() if ",macro_f1," in line)
    score = first.split(",")[COLUMNS.index("value")]
    path.write_text(path.read_text().replace(first, first.replace(f",macro_f1,{score},", f",macro_f1,{value},")))
    capsys.readouterr()
    assert main(["page", "--folder", str(folder), "--out", str(folder / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"the value {value} of macro_f1 is not between 0 and 1" in line
    assert not (folder / "out").exists()


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (1.0, "1"), (1 / 3, "0.333333"), (1e-7 / 3, "3.33333e-08")])
def test_numbers(value, text):
    assert number_text(value) == text
