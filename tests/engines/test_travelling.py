"""Records that travel: a suite goes on elsewhere from a file of records, and what such records cannot give."""

import csv
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import mmkd
from mmkd import MmkdError
from mmkd.bench import main as bench
from mmkd.compare import main as compare
from mmkd.engines import sweep
from mmkd.engines.plan import make_plan
from mmkd.report.mlflow import default_uri
from mmkd.store.cache import Cache
from mmkd.store.records import Records
from mmkd.store.travelling import TravellingRecord, line_of, read_travelling, travelling, write_travelling
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import expand, student_alone
from mmkd.units.likes import likes_of
from mmkd.units.request import Request
from mmkd.units.suites import read_suite

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*mask.*:UserWarning")]
TIMES = ("seconds", "time_ratio", "latency", "network_ms", "process")
"""Beginnings of the columns that differ between two trainings of one unit."""
SUITE = """
methods = ["student", "kd"]
data = {data}
students = ["sig"]
teachers = ["sig"]
teacher_nets = {{ sig = "small" }}
student_net = ["small"]
seeds = [0, 1]
epochs = 1
epoch_rule = "last"
records = "from/elsewhere.jsonl"
"""


class Machine:
    """A folder with runs and a cache of its own."""

    def __init__(self, folder: Path, sines: Path) -> None:
        self.folder = folder
        self.runs = folder / "runs"
        self.suite = folder / "suite.toml"
        self.file = folder / "from" / "elsewhere.jsonl"
        self.file.parent.mkdir(parents=True)
        self.file.touch()
        self.suite.write_text(SUITE.format(data=json.dumps(str(sines))))
        self.trained: list[str] = []

    def bench(self, *flags: str) -> int:
        places = ("--runs", str(self.runs), "--cache", str(self.folder / "cache"), "--device=cpu", "--quiet")
        return bench(["--suite", str(self.suite), *places, *flags])

    def compare(self, *flags: str, out: str = "comparison") -> list[dict[str, str]]:
        """The leaderboard, without columns of times."""
        assert compare(["--runs", str(self.runs), "--out", str(self.folder / out), *flags]) == 0
        with (self.folder / out / "leaderboard.csv").open(newline="") as stream:
            return [{n: v for n, v in row.items() if not n.startswith(TIMES)} for row in csv.DictReader(stream)]

    def units(self):
        return list(expand(read_suite(self.suite)))


@pytest.fixture
def machines(tmp_path, sines, monkeypatch):
    """Makes a machine of this name; which units each trains is counted in `trained`."""
    by_runs: dict[str, Machine] = {}
    own = sweep.run_one

    def make(name):
        machine = Machine(tmp_path / name, sines)
        by_runs[str(machine.runs)] = machine
        return machine

    def counted(spec, data, workspace, rerun=False, failure=None):
        result = own(spec, data, workspace, rerun, failure)
        if result.status == "done":
            machine = by_runs[str(workspace.runs)]
            machine.trained.append(spec.key)
            if len(machine.trained) == stop.get(str(workspace.runs)):
                raise KeyboardInterrupt
        return result

    stop: dict[str, int] = {}
    make.stop = stop
    monkeypatch.setattr(sweep, "run_one", counted)
    return make


def test_a_suite_that_was_stopped_goes_on_on_another_machine(home, machines, capsys):
    first, second = machines("first"), machines("second")
    machines.stop[str(first.runs)] = 3
    assert first.bench() == 130
    assert len(first.trained) == 3
    first.compare("--write-records", str(second.file))
    assert "(4 lines, 4 of them new)" in capsys.readouterr().out, "three students and a teacher"
    assert second.file.stat().st_size < 4 * 5000
    assert second.bench() == 0
    assert second.trained == [spec.key for spec, _ in home.units() if spec.key not in first.trained]
    capsys.readouterr()
    shared = [second.compare("--records", str(second.file)), home.compare()]
    assert "agreement: records from elsewhere (--records, --with) came without predictions" in capsys.readouterr().out
    assert [row["row"] for row in shared[0]] == ["sig small", "student", "kd"]
    scores = [
        [{n: v for n, v in row.items() if n.endswith(("_mean", "_sd")) and "agree" not in n} for row in board]
        for board in shared
    ]
    assert scores[0] == scores[1]
    capsys.readouterr()
    assert second.bench("--existing=only") == 0, "all is on record, here or from elsewhere"
    assert second.bench("--dry-run") == 0
    assert "4 units, 4 on record" in capsys.readouterr().out


@pytest.fixture(scope="module")
def home(tmp_path_factory, sines):
    """A machine with a whole suite on record, and the file of its records; tests only read them."""
    machine = Machine(tmp_path_factory.mktemp("travelling") / "home", sines)
    assert machine.bench() == 0
    assert compare(["--runs", str(machine.runs), "--write-records", str(machine.file)]) == 0
    return machine


@pytest.fixture
def travelled(home, machines):
    """That machine, and one that has its file of records only."""
    away = machines("away")
    away.file.write_bytes(home.file.read_bytes())
    return home, away


def test_the_leaderboard_of_travelled_records_is_that_of_whole_ones(travelled):
    home, away = travelled
    assert away.compare("--records", str(away.file)) == home.compare()
    assert not away.runs.exists()


def test_what_needs_files_says_that_they_did_not_travel(travelled, capsys):
    _, away = travelled
    record = next(r for r in read_travelling([away.file]).values() if r.kind == "student")
    assert isinstance(record, TravellingRecord)
    with pytest.raises(
        MmkdError, match=r"came from .* without student.safetensors; run its unit again with --existing"
    ):
        mmkd.load_student(record)
    capsys.readouterr()
    assert away.bench("--robustness") == 1
    problem = capsys.readouterr().err
    assert "4 not measured" in problem
    assert "without the student" in problem
    assert away.trained == []


def test_a_student_that_another_unit_starts_from_is_trained_again(travelled):
    home, away = travelled
    kd = next(spec for spec, _ in away.units() if spec.method == "kd" and spec.seed == 0)
    alone = student_alone(kd)
    away.suite.write_text(away.suite.read_text() + '[options.kd]\ninit_student = "trained"\n')
    starts = [(spec, data) for spec, data in away.units() if spec.method == "kd"]
    records = Records(away.runs, [away.file])
    assert records.get(alone.key) is not None
    assert records.get_whole(alone.key) is None
    plan = make_plan(away.units(), records, Cache(away.folder / "cache"))
    again = {job.key for job in plan if job.kind == "unit" and not job.exists}
    assert again == {student_alone(spec).key for spec, _ in starts} | {spec.key for spec, _ in starts}
    (job,) = [job for job in plan if job.key == alone.key]
    assert job.rerun
    assert away.bench("--seed=0") == 0
    records = Records(away.runs, [away.file])
    weights = records.get_whole(alone.key)
    assert weights is not None
    assert weights.metrics.test == records.travelled[alone.key].metrics.test
    assert records.differences([weights]) == []
    home_records = Records(home.runs)
    assert weights.result["files"]["predictions.npz"] == home_records.get(alone.key).result["files"]["predictions.npz"]


def test_workers_and_the_store_take_records_that_travelled(travelled, capsys):
    _, away = travelled
    lines = away.file.read_text().splitlines()
    kept = [line for line in lines if json.loads(line)["result"]["spec"].get("method") != "kd"]
    away.file.write_text("".join(f"{line}\n" for line in kept))
    assert away.bench("--jobs=2", "--seed=0") == 0
    (trained,) = [record.spec for record in Records(away.runs) if record.kind == "student"]
    assert (trained.method, trained.seed) == ("kd", 0)
    assert "MLflow:" not in capsys.readouterr().err
    assert (away.runs / "mlflow.db").exists()
    assert default_uri(away.runs).endswith("mlflow.db")
    assert compare(["--runs", str(away.runs), "--experiment", "mmkd/*", "--out", str(away.folder / "store")]) == 0
    with (away.folder / "store" / "leaderboard.csv").open(newline="") as stream:
        rows = {row["row"]: row["n"] for row in csv.DictReader(stream)}
    assert rows == {"sig small": "1", "student": "1", "kd": "1"}, "the student alone came from elsewhere"


def test_a_result_that_differs_is_said_and_not_written_over(travelled, capsys):
    home, away = travelled
    old = away.file.read_bytes()
    key, record = next((k, r) for k, r in read_travelling([away.file]).items() if r.kind == "student")
    scores = {**record.result["metrics"], "test": {**record.result["metrics"]["test"], "macro_f1": 0.123}}
    changed = replace(record, result={**record.result, "metrics": scores})
    texts = {json.loads(line)["result"]["key"]: line for line in old.decode().splitlines()}
    away.file.write_text("".join(f"{text}\n" for text in (texts | {key: line_of(changed)}).values()))
    edited = away.file.read_bytes()
    capsys.readouterr()
    assert compare(["--runs", str(home.runs), "--write-records", str(away.file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"student {key}, test macro_f1 0.123 and" in line
    assert "nothing is written" in line
    assert away.file.read_bytes() == edited
    assert compare(["--runs", str(home.runs), "--records", str(away.file)]) == 0
    assert f"student {key} has two results" in capsys.readouterr().err
    other = away.file.with_name("other.jsonl")
    other.write_bytes(old)
    assert away.bench("--existing=only", "--records", str(away.file.parent)) == 2
    assert f"unit {key} has two results" in capsys.readouterr().err


def test_writing_again_changes_nothing(travelled, capsys):
    home, away = travelled
    old = away.file.read_bytes()
    keys = [json.loads(line)["result"]["key"] for line in old.splitlines()]
    assert keys == sorted(keys)
    stamp = away.file.stat().st_mtime_ns
    capsys.readouterr()
    assert compare(["--runs", str(home.runs), "--write-records", str(away.file)]) == 0
    assert f"({len(keys)} lines, 0 of them new)" in capsys.readouterr().out
    assert away.file.stat().st_mtime_ns == stamp
    away.compare("--records", str(away.file), "--write-records", str(away.folder / "copy.jsonl"))
    assert (away.folder / "copy.jsonl").read_bytes() == old
    assert str(home.folder).encode() not in old, "no folder of the machine"


def test_a_run_from_python_takes_them_too(travelled, sines):
    home, away = travelled
    settings = {"data": sines, "student": "sig", "teachers": "sig", "teacher_nets": {"sig": "small"}, "epochs": 1}
    settings |= {"student_net": "small", "epoch_rule": "last", "runs": away.runs, "records": (str(away.file),)}
    record = mmkd.run("kd", existing="only", **settings)
    whole = next(r for r in Records(home.runs) if r.kind == "student" and r.spec.method == "kd" and r.spec.seed == 0)
    assert record.key == whole.key
    assert dict(record.metrics) == dict(whole.metrics)
    assert not record.has_files


def test_records_of_a_selection_phase_travel(machines):
    home, away = machines("home"), machines("away")
    assert home.bench("--select=2", "--method=student,kd", "--seed=0") == 0
    assert compare(["--runs", str(home.runs), "--write-records", str(away.file)]) == 0
    inner = [r for r in Records(home.runs) if r.spec.data.inner_fold]
    assert len(inner) == 4
    assert {r.key for r in inner} <= set(read_travelling([away.file]))
    assert away.bench("--select=2", "--method=student,kd", "--seed=0", "--jobs=2") == 0
    assert list(Records(away.runs)) == [], "nothing is trained again, not even its teachers"


def test_workspaces_of_workers_know_the_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    request = Request(("kd",), records=("a.jsonl",))
    workspace = Workspace.for_request(request, runs=tmp_path)
    again = Workspace.from_json(json.loads(json.dumps(workspace.to_json())))
    assert again.record_files == (str(tmp_path / "a.jsonl"),)


def test_what_travels_of_a_record_names_no_folder(home):
    for record in Records(home.runs):
        line = line_of(travelling(record, {}))
        assert "safetensors" in line, "its size is a column"
        assert str(home.folder.parent) not in line
        assert '"state"' not in line


@pytest.mark.parametrize("method", ["born-again", "student-ensemble"])
def test_plans_train_again_what_a_method_combines_or_is_taught_by(method, home, tmp_path):
    """Students that were trained alone for another unit are no use without their weights."""
    (unit,) = expand(replace(read_suite(home.suite, methods=(method,)), seeds=(0,)))
    alone = {own.key: own for own in likes_of(unit[0]).values()}
    assert alone
    whole = next(record for record in Records(home.runs) if record.kind == "student")
    path = tmp_path / "likes.jsonl"
    results = [{**whole.result, "key": key, "spec": asdict(own)} for key, own in alone.items()]
    results = json.loads(json.dumps(results))
    write_travelling(path, [travelling(replace(whole, result=result), {}) for result in results])
    records = Records(tmp_path / "runs", [path])
    assert all(records.get(key) is not None for key in alone)
    plan = make_plan([unit], records, Cache(tmp_path / "cache"))
    again = {job.key: job for job in plan if job.key in alone}
    assert again.keys() == alone.keys()
    assert all(job.rerun and not job.exists for job in again.values())
    needed = next(job for job in plan if job.key == unit[0].key).needs
    assert {job.id for job in again.values()} <= set(needed)


def test_a_student_that_was_trained_again_for_another_unit_is_that_of_the_table(home, machines, capsys):
    """Else its row has the score that travelled, and the changes of other rows are against the new one."""
    away = machines("away")
    alone = student_alone(home.units()[0][0])
    (whole,) = [record for record in Records(home.runs) if record.key == alone.key]
    metrics = {part: {**scores, "accuracy": 0.123} for part, scores in whole.metrics.items()}
    write_travelling(away.file, [travelling(replace(whole, result={**whole.result, "metrics": metrics}), {})])
    assert away.bench("--method=student,student-ensemble", f"--seed={alone.seed}", "--with-controls=false") == 0
    (row,) = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("student ")]
    assert row[1] == f"{whole.metrics.test['accuracy']:.3f}"
    assert row[1] != "0.123"


@pytest.mark.parametrize("flags", [[], ["--dry-run"], ["--existing=only"]])
def test_a_file_that_is_malformed_stops_a_command_before_it_trains(flags, machines, capsys):
    away = machines("away")
    for text, why in (("{", "line 1: it is no line of JSON"), (None, "there is no such file")):
        away.file.write_text(text) if text else away.file.unlink()
        assert away.bench(*flags) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert why in line
        assert str(away.file) in line
    assert not away.runs.exists()
    assert away.trained == []
