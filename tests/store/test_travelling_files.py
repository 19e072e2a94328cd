"""Files of records as data of strangers: what is wrong with a line is said in one line, and nothing is taken of it."""

import json
import os
import warnings
from dataclasses import asdict, replace

import pytest

from mmkd import MmkdError
from mmkd.core.errors import DamageWarning, MachineWarning
from mmkd.specs.data import DataSpec
from mmkd.specs.unit import PeerSpec, Training, UnitSpec
from mmkd.store import travelling as module
from mmkd.store.record import Record
from mmkd.store.records import Records
from mmkd.store.travelling import TravellingRecord, line_of, read_travelling, travelling, united, write_travelling

UNIT = UnitSpec(
    data=DataSpec("gunpoint", "ab" * 32),
    seed=0,
    method="kd",
    options={"temperature": 4.0},
    views={"sig": {}},
    teachers={"sig": "WRN16-1"},
    teacher_training=Training(),
    student=("sig",),
    student_net="small",
    fusion=None,
    training=Training(),
    plugins=("/home/me/plugin.py",),
)
TEACHER = UNIT.teacher("sig")


def result_of(spec=UNIT, kind="student", macro_f1=0.5, **more):
    return {
        "key": spec.key,
        "kind": kind,
        "spec": asdict(spec),
        "metrics": {"test": {"macro_f1": macro_f1, "accuracy": 0.5}},
        "parameters": 7,
        "seconds": 1.5,
        **more,
    }


def record_of(spec=UNIT, kind="student", functional=None, **more):
    made = json.loads(json.dumps(result_of(spec, kind, **more)))
    return travelling(Record(module.Path("runs") / spec.key, made), functional or {})


LINE = line_of(record_of())
VALUES = json.loads(LINE)


def forged(**changes):
    """A line with changed values and the checksum that they need."""
    values = {**VALUES, **changes}
    values = {name: value for name, value in values.items() if value is not None}
    return json.dumps({**values, "sha256": module._checksum(values)})


def scored(part, name, text):
    """A line without a checksum, as older ones have none, with this text as a score."""
    result = json.dumps(VALUES["result"])
    old = '"macro_f1": 0.5'
    assert old in result
    return '{"result": ' + result.replace(old, f'"{name}": {text}') + "}"


BAD = {
    "no json": ("<<<<<<< HEAD", "line 1: it is no line of JSON"),
    "half a line": (LINE[: len(LINE) // 2], "line 1: it is no line of JSON"),
    "an empty line": ("", "line 1: it is no line of JSON (it is empty)"),
    "a list": ("[1]", "lacks an object 'result'"),
    "no result": ('{"format": 1}', "lacks an object 'result'"),
    "a wrong sign": ('{"format": 1, result}', "line 1: it is no line of JSON (its character 15 is wrong)"),
    "deep": ("[" * 100_000, "line 1: its values are nested too deeply"),
    "not utf-8": ("\udcff", "line 1: it is not UTF-8; save it as UTF-8"),
    "utf-16": ("\udcff\udcfe{\0", "line 1: it is UTF-16; save it as UTF-8"),
    "nan": (scored("test", "macro_f1", "NaN"), "NaN is no number of JSON"),
    "infinity": (scored("test", "macro_f1", "-Infinity"), "-Infinity is no number of JSON"),
    "too large a number": (scored("test", "macro_f1", "1e999"), "1e999 is no number of JSON"),
    "a text for a score": (scored("test", "macro_f1", '"0.5"'), "'0.5' is no number"),
    "true for a score": (scored("test", "macro_f1", "true"), "True is no number"),
    "a null score": (scored("test", "macro_f1", "null"), "None is no number"),
    "a number of 5000 digits": (scored("test", "macro_f1", "1" * 5000), "has 5000 digits"),
    "a number that is no float": (scored("test", "macro_f1", "1" * 400), "has 400 digits"),
    "a score above 1": (
        forged(result={**VALUES["result"], "metrics": {"test": {"macro_f1": 1e308}}}),
        "macro_f1 1e+308 is not between 0 and 1",
    ),
    "no scores": (forged(result={**VALUES["result"], "metrics": {}}), "it has no test scores"),
    "no parameters": (forged(result={**VALUES["result"], "parameters": None}), "None is no number"),
    "scores of a wrong form": (forged(result={**VALUES["result"], "metrics": {"test": [1]}}), "its scores are no obj"),
    "an edited score": (LINE.replace('"macro_f1":0.5', '"macro_f1":0.9'), "it is not what was written"),
    "no checksum": (json.dumps({n: v for n, v in VALUES.items() if n != "sha256"}), "it is not what was written"),
    "a newer format": (forged(format=99), "it is of format 99, and this mmkd reads up to 1; update mmkd"),
    "a format of a wrong type": (forged(format="1"), "it is of format '1'"),
    "an unknown field": (forged(predictions=[1]), "it has an unknown field 'predictions'"),
    "a measurement of a wrong form": (forged(robustness=[1]), "robustness is no object"),
    "a key with a path": (forged(result={**VALUES["result"], "key": "../../etc/passwd"}), "is none"),
    "a key of a wrong type": (forged(result={**VALUES["result"], "key": 7}), "its key 7 is none"),
    "a unit twice": (f"{LINE}\n{LINE}", f"line 2: unit {UNIT.key} is in line 1 too"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_malformed_line_is_one_clear_line(name, tmp_path):
    text, why = BAD[name]
    path = tmp_path / "bad.jsonl"
    path.write_bytes(text.encode("utf-8", "surrogateescape") + b"\n")
    with pytest.raises(MmkdError) as error:
        read_travelling([path])
    message = str(error.value)
    assert message.startswith(f"--records {path}, line ")
    assert why in message
    assert "\n" not in message
    assert len(message) < 400 + len(str(path))
    with pytest.raises(MmkdError):
        write_travelling(path, [record_of()])
    assert path.read_bytes() == text.encode("utf-8", "surrogateescape") + b"\n", "nothing is written"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: None, "there is no such file; python -m mmkd.compare --write-records"),
        (lambda path: path.mkdir(), "the folder has no *.jsonl"),
        (lambda path: os.mkfifo(path), "it is no plain file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is no plain file"),
    ],
)
def test_what_is_no_file_of_records(make, why, tmp_path):
    path = tmp_path / "records.jsonl"
    make(path)
    with pytest.raises(MmkdError, match=why.replace("*", r"\*")):
        read_travelling([path])


def test_huge_files_and_lines_are_not_read(tmp_path, monkeypatch):
    path = tmp_path / "records.jsonl"
    path.write_text(LINE + "\n")
    monkeypatch.setattr(module, "LARGEST_LINE", len(LINE) + 1)
    assert [line.key for line in module.read_lines(path, "--records")] == [UNIT.key]
    monkeypatch.setattr(module, "LARGEST_LINE", len(LINE) - 1)
    with pytest.raises(MmkdError, match="line 1: it has more than"):
        module.read_lines(path, "--records")
    monkeypatch.setattr(module, "LARGEST_FILE", 10)
    with pytest.raises(MmkdError, match="at most 0 are read"):
        module.read_lines(path, "--records")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"spec": {**VALUES["result"]["spec"], "seed": 1}}, "is not the key of its spec"),
        ({"spec": {**VALUES["result"]["spec"], "flux": 1}}, r"a spec of another version \(its fields are not"),
        ({"spec": {}}, r"a spec of another version \(it lacks 'teacher_training'\)"),
        ({"spec": None}, "its spec is no object"),
        ({"views": [1]}, "its views is no object of objects"),
        ({"views": {"sig": "x"}}, "its views is no object of objects"),
        ({"environment": "x"}, "its environment is no object"),
        ({"environment": {"git": {"commit": 1}}}, "its environment.git.commit is no text"),
        ({"teachers": {"sig": 1}}, "its teachers is no object of texts"),
        ({"data": {"windows": ["x"]}}, "its data.windows is no object of numbers"),
        ({"kind": "oracle"}, "unknown kind 'oracle'"),
    ],
)
def test_lines_of_other_versions_do_not_count_and_stay(changes, why, tmp_path):
    path = tmp_path / "records.jsonl"
    odd = forged(result={**VALUES["result"], **changes})
    other = record_of(replace(UNIT, seed=7))
    path.write_text(f"{odd}\n{line_of(other)}\n")
    with pytest.warns(DamageWarning, match=f"1 of 2 lines do not count, the first: line 1: .*{why}"):
        assert set(read_travelling([path])) == {other.key}
    third = record_of(replace(UNIT, seed=8))
    assert write_travelling(path, [third]) == (3, 1)
    assert odd in path.read_text().splitlines()


def test_what_is_written_is_read_as_it_was(tmp_path):
    path = tmp_path / "deep" / "records.jsonl"
    peer = PeerSpec(UNIT.data, 0, "random-forest", "classification", student=("sig",))
    records = [record_of(), record_of(peer, "reference"), record_of(replace(UNIT, seed=1), macro_f1=1 / 3)]
    assert write_travelling(path, records) == (3, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = read_travelling([path])
    assert {key: record.result for key, record in read.items()} == {r.key: r.result for r in records}
    assert read[records[2].key].metrics.test["macro_f1"] == 1 / 3
    assert all(isinstance(record, TravellingRecord) and record.source == path for record in read.values())
    assert b"/home/me" not in path.read_bytes()
    assert b'"plugins":["plugin.py"]' in path.read_bytes()
    assert [p.name for p in path.parent.iterdir()] == ["records.jsonl"]


def test_old_lines_stay_and_new_ones_are_sorted_in(tmp_path):
    path = tmp_path / "records.jsonl"
    records = [record_of(replace(UNIT, seed=seed)) for seed in range(6)]
    write_travelling(path, records[::2])
    old = path.read_text().splitlines()
    again = [replace(r, result={**r.result, "seconds": 99.0}) for r in records[::2]]  # trained again, the same result
    assert write_travelling(path, [*records[1::2], *again]) == (6, 3)
    new = path.read_text().splitlines()
    assert set(old) < set(new)
    keys = [json.loads(line)["result"]["key"] for line in new]
    assert keys == sorted(keys)
    measured = replace(records[0], measured={"robustness.json": {"curves": []}})
    assert write_travelling(path, [measured]) == (6, 0)
    assert read_travelling([path])[UNIT.key].measurement("robustness.json") == {"curves": []}
    assert sum(a != b for a, b in zip(new, path.read_text().splitlines(), strict=True)) == 1


def test_a_teacher_that_was_trained_again_elsewhere_keeps_its_line(tmp_path):
    path = tmp_path / "records.jsonl"
    write_travelling(path, [record_of(TEACHER, "teacher")])
    content = path.read_bytes()
    with pytest.warns(
        MachineWarning, match=rf"teachers on file .*\(1, the first teacher {TEACHER.key}, .* the lines on file stay"
    ):
        counts = write_travelling(path, [record_of(TEACHER, "teacher", macro_f1=0.25), record_of()])
    assert counts == (2, 1)
    assert content.strip() in path.read_bytes()


def test_of_a_teacher_with_two_results_the_first_line_counts(tmp_path):
    write_travelling(tmp_path / "a.jsonl", [record_of(TEACHER, "teacher")])
    write_travelling(tmp_path / "b.jsonl", [record_of(TEACHER, "teacher", macro_f1=0.25), record_of()])
    with pytest.warns(MachineWarning, match=rf"teachers with two results \(1, the first {TEACHER.key}, "):
        read = read_travelling([tmp_path])
    assert set(read) == {TEACHER.key, UNIT.key}
    assert read[TEACHER.key].result["metrics"]["test"]["macro_f1"] == 0.5


def test_another_result_is_refused(tmp_path):
    path = tmp_path / "records.jsonl"
    write_travelling(path, [record_of()])
    content = path.read_bytes()
    with pytest.raises(MmkdError, match=f"1 of its lines .* student {UNIT.key}, test macro_f1 0.5 and 0.25; nothing"):
        write_travelling(path, [record_of(macro_f1=0.25), record_of(replace(UNIT, seed=3))])
    assert path.read_bytes() == content
    other = tmp_path / "other.jsonl"
    write_travelling(other, [record_of(macro_f1=0.25)])
    with pytest.raises(MmkdError, match=f"unit {UNIT.key} has two results, test macro_f1 0.5 and 0.25"):
        read_travelling([path, other])
    write_travelling(other, [record_of(macro_f1=0.5)]) if not other.unlink() else None
    assert set(read_travelling([tmp_path])) == {UNIT.key}


def test_two_files_of_one_unit_are_one_record():
    one = replace(record_of(functional={"a": {"x": 1}}), measured={"deployment.json": {"macs": 1}})
    other = replace(record_of(functional={"a": {"y": 2}, "b": {"z": 3}}), measured={"robustness.json": {}})
    both = united(one, other)
    assert set(both.measured) == {"deployment.json", "robustness.json"}
    assert both.functional == {"a": {"x": 1, "y": 2}, "b": {"z": 3}}


def test_records_of_the_folder_go_first(tmp_path):
    path = tmp_path / "records.jsonl"
    other = record_of(replace(UNIT, seed=1))
    write_travelling(path, [record_of(), other])
    records = Records(tmp_path / "runs", [path])
    assert isinstance(records.get(UNIT.key), TravellingRecord)
    assert records.get_whole(UNIT.key) is None
    records.write(UNIT.key, lambda folder: result_of(macro_f1=0.75))
    whole = records.get(UNIT.key)
    assert whole.has_files
    assert [record.key for record in records] == [UNIT.key, other.key]
    (line,) = records.differences(records)
    assert f"student {UNIT.key} has two results, test macro_f1 0.75 and 0.5: in {tmp_path / 'runs'}" in line
    with pytest.raises(MmkdError, match="came from .*records.jsonl without predictions.npz"):
        records.get(other.key).file("predictions.npz")
    assert records.get(other.key).measurement("robustness.json") == {}


def test_a_mark_of_utf_8_is_read_over(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + LINE.encode() + b"\n")
    assert set(read_travelling([path])) == {UNIT.key}


def test_committed_files_are_read():
    """Lines of before there was a format."""
    folder = module.Path(__file__).parents[2] / "experiments" / "results"
    read = read_travelling([folder / "hapt6-comparison", folder / "multi-teacher"])
    assert len(read) > 100
    assert {record.kind for record in read.values()} == {"student", "teacher"}


def test_a_file_that_changed_is_read_again(tmp_path):
    path = tmp_path / "records.jsonl"
    write_travelling(path, [record_of()])
    first = read_travelling([path])
    assert read_travelling([path])[UNIT.key] is first[UNIT.key], "read once"
    write_travelling(path, [record_of(replace(UNIT, seed=1))])
    assert len(read_travelling([path])) == 2
