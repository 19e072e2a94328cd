"""Many units: the plan, worker processes, what they cost when they die, and how they end."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mmkd import METHODS
from mmkd.bench import main
from mmkd.engines.estimate import estimate
from mmkd.engines.plan import Job, JobResult, make_plan, pending, run_plan
from mmkd.specs.unit import UnitSpec
from mmkd.store.cache import Cache
from mmkd.store.record import Record
from mmkd.store.records import Records
from mmkd.units.expansion import expand, student_alone
from mmkd.units.request import Request

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*mask.*:UserWarning")]
SMALL = ["--epochs", "2", "--image-size", "16", "--student", "sig"]


@pytest.fixture
def units(sines):
    """Units of two seeds, one of which starts from a student that nobody asked for."""

    def make(methods=("kd", "aver"), seeds=(0, 1), **more):
        given = {"students": ("sig",), "teachers": ("sig,gaf",), "epochs": 2, "image_size": 16}
        given |= {"epoch_rule": "val-best"} | more
        return list(expand(Request(methods, data=str(sines), seeds=seeds, **given)))

    return make


@pytest.fixture
def place(tmp_path):
    return Records(tmp_path / "runs"), Cache(tmp_path / "cache")


class Engine:
    """Ends tasks in the order of their start, `free_slots` at a time; `fails` are ids."""

    def __init__(self, slots=2, fails=()):
        self.slots, self.fails, self.busy, self.begun, self.most = slots, fails, [], [], 0
        self.made = set()

    @property
    def free_slots(self):
        return self.slots - len(self.busy)

    def start(self, task):
        assert set(task.needs) <= self.made
        self.begun.append(task.id)
        self.busy.append(task)
        self.most = max(self.most, len(self.busy))

    def wait(self):
        task = self.busy.pop(0)
        failed = task.id in self.fails
        if not failed:
            self.made.add(task.id)
        return [(task, JobResult("failed", "no", "log") if failed else JobResult("done"))]


def test_a_plan_has_each_task_once_and_after_its_needs(units, place):
    plan = make_plan(units(), *place)
    kinds = [task.kind for task in plan]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "view": 3,
        "teacher": 4,
        "unit": 4,
    }  # a gaf is fitted on nothing
    assert len({task.id for task in plan}) == len(plan)
    seen = set()
    for task in plan:
        assert set(task.needs) <= seen
        seen.add(task.id)
    assert [task.kind for task in pending(plan)] == ["view"] * 3 + ["teacher"] * 4 + ["unit"] * 4
    assert not place[0].runs.exists()
    assert not place[1].root.exists()


def test_what_is_there_is_not_done_again(units, place):
    records, cache = place
    plan = make_plan(units(), *place)
    view, teacher = next(t for t in plan if t.kind == "view"), next(t for t in plan if t.kind == "teacher")
    cache.get_or_create("views", view.key, lambda folder: None)
    cache.get_or_create("teachers", teacher.key, lambda folder: None)
    unit = units()[-1][0]
    result = {"key": unit.key, "kind": "student", "spec": {}, "metrics": {}}
    records.write(unit.key, lambda folder: result)
    again = {task.id: task for task in make_plan(units(), *place)}
    assert again[view.id].exists
    assert again[teacher.id].exists
    assert again[f"unit/{unit.key}"].exists
    assert sum(task.exists for task in again.values()) == 3
    rerun = {task.id: task for task in make_plan(units(), *place, rerun=True)}
    assert not rerun[f"unit/{unit.key}"].exists
    assert rerun[f"unit/{unit.key}"].rerun
    assert rerun[view.id].exists


def test_a_student_to_start_from_is_a_task_of_its_own(units, place):
    options = {name: {"init_student": "trained"} for name in ("kd", "aver")}
    found = units(seeds=(0,), options=options)
    plan = {task.id: task for task in make_plan(found, *place)}
    base = f"unit/{student_alone(found[0][0]).key}"
    assert base in plan
    for spec, _ in found:
        assert base in plan[f"unit/{spec.key}"].needs
    assert not any(name.startswith("teacher") for name in plan[base].needs)


def test_a_spec_survives_the_way_to_a_worker(units):
    """Every method's options come back from JSON under the same key."""
    for spec, _ in units(methods=tuple(METHODS), seeds=(0,)):
        task = Job("unit", spec.key, spec)
        assert UnitSpec.parse(json.loads(json.dumps(task.values()))["spec"]).key == spec.key


@pytest.mark.parametrize("slots", [1, 2, 100])
def test_an_engine_is_kept_busy_and_never_asked_too_early(units, place, slots):
    engine, told = Engine(slots), []
    plan = make_plan(units(), *place)
    run_plan(plan, engine, lambda task, how: told.append(task.id))
    assert sorted(told) == sorted(engine.begun) == sorted(task.id for task in plan)
    assert engine.most == min(slots, 4)


def test_what_needed_a_failed_task_fails_with_its_reason_and_the_rest_goes_on(units, place):
    plan = make_plan(units(), *place)
    bad = next(task for task in plan if task.kind == "teacher" and task.spec.seed == 0)
    engine, told = Engine(2, {bad.id}), {}
    run_plan(plan, engine, lambda task, how: told.update({task.id: how}))
    assert {told[task.id].status for task in plan if bad.id in task.needs} == {"failed"}
    assert {told[task.id].log for task in plan if bad.id in task.needs} == {"log"}
    assert sum(how.status == "failed" for how in told.values()) == 3
    assert not set(engine.begun) & {task.id for task in plan if bad.id in task.needs}
    assert set(told) == {task.id for task in plan}


def fake(spec, seconds, epochs, folder, threads=1, **more):
    """A record of one unit or teacher, as `estimate` reads it."""
    import platform
    from dataclasses import asdict

    values = json.loads(json.dumps(asdict(replace(spec, training=replace(spec.training, epochs=epochs)))))
    where = {"platform": platform.platform(), "device": "cpu", "threads": threads} | more
    kind = "student" if isinstance(spec, UnitSpec) else "teacher"
    facts = {"seconds": seconds, "environment": where, "data": {"windows": {"train": 48}}}
    result = {"kind": kind, "spec": values, **facts}
    return Record(folder, result)


def test_an_estimate_stands_on_records_of_the_same_kind(units, place, tmp_path):
    found = units(methods=("kd",))
    spec = found[0][0]
    plan = make_plan(found, *place)
    assert estimate(plan, [], 1, 1, "auto").seconds is None
    assert "unknown" in estimate(plan, [], 1, 1, "auto").text("")
    # two units of 2 epochs at 1.5 s an epoch; the teachers are of no known kind
    some = [fake(spec, 15.0, 10, tmp_path)]
    one = estimate(plan, some, 1, 1, "cpu")
    assert one.seconds == pytest.approx(6.0)
    assert (one.trainings, one.known, one.records) == (6, 2, 1)
    assert "more than 6.0 s" in one.text("")
    assert estimate(plan, some, 2, 1, "cpu").seconds == pytest.approx(3.0)
    # each of four teachers 8 s: two at a time, then the units
    taught = [fake(spec.teacher(name), 40.0, 10, tmp_path) for name in ("sig", "gaf")]
    assert estimate(plan, some + taught, 1, 1, "cpu").seconds == pytest.approx(6 + 4 * 8)
    assert estimate(plan, some + taught, 2, 1, "cpu").seconds == pytest.approx(3 + 2 * 8)
    assert "about 38 s of training" in estimate(plan, some + taught, 1, 1, "cpu").text("")


def test_an_estimate_takes_no_other_machine_and_no_other_method(units, place, tmp_path):
    spec = units(methods=("kd",))[0][0]
    plan = make_plan(units(methods=("kd",), seeds=(0,)), *place)
    for record in (
        fake(spec, 15.0, 10, tmp_path, platform="elsewhere"),
        fake(spec, 15.0, 10, tmp_path, device="cuda"),
        fake(replace(spec, method="aver"), 15.0, 10, tmp_path),
        fake(replace(spec, student_net="other"), 15.0, 10, tmp_path),
    ):
        assert estimate(plan, [record], 1, 1, "cpu").seconds is None
    slow, fast = fake(spec, 30.0, 10, tmp_path, threads=1), fake(spec, 15.0, 10, tmp_path, threads=2)
    assert estimate(plan, [slow, fast], 1, 2, "cpu").seconds == pytest.approx(3.0)
    assert estimate(plan, [slow, fast], 1, 1, "cpu").seconds == pytest.approx(6.0)


def test_a_dry_run_says_what_is_there_and_how_long_the_rest_takes(sines, tmp_path, capsys):
    folders = ["--runs", str(tmp_path / "runs"), "--cache", str(tmp_path / "cache"), "--data", str(sines)]

    def call(*args):
        assert main(["--teachers", "sig", *SMALL, *folders, "--epoch-rule", "val-best", *args]) == 0
        return capsys.readouterr().out

    first = call("--method", "student,kd", "--seeds", "0-1", "--dry-run")
    assert "4 units, 0 on record" in first
    assert "teachers: 0 cached, 2 to be made, each once" in first
    assert "time: unknown" in first
    assert not (tmp_path / "runs").exists()
    call("--method", "kd")
    more = ["--method", "student,kd", "--seeds", "0-1", "--dry-run"]
    found = json.loads(call(*more, "--json"))
    assert [unit["on_record"] for unit in found["units"]] == [False, True, False, False]
    assert [(t["net"], t["seed"], t["cached"]) for t in found["teachers"]] == [("WRN16-1", 1, False)]
    assert [(view["modality"], view["cached"]) for view in found["views"]] == [("sig", True), ("sig", False)]
    assert found["estimate"]["trainings"] == 4
    assert found["estimate"]["known"] == 2
    assert found["estimate"]["seconds"] > 0
    assert "more than" in call(*more)
    assert "for --init-student trained" in call("--method", "kd", "--init-student", "trained", "--dry-run")
    assert "4 to be made" not in call(*more, "--existing", "rerun")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--jobs", "0"], ["--jobs 0"]),
        (["--jobs", "many"], ["--jobs"]),
        (["--engine", "rai"], ["--engine", "ray"]),
        (["--resources", "cpus=1"], ["--resources", "--engine ray"]),
    ],
)
def test_bad_options_are_refused(args, words, tmp_path, capsys):
    code = main(["--method", "kd", *args, "--runs", str(tmp_path / "runs")])
    err = capsys.readouterr().err
    assert code == 2
    assert err.count("\n") == 1
    for word in words:
        assert word in err
    assert not (tmp_path / "runs").exists()


def test_runs_that_cannot_be_written_are_refused_with_jobs_too(sines, tmp_path, capsys):
    (tmp_path / "runs").write_text("a file")
    given = ["--data", str(sines), *SMALL, "--cache", str(tmp_path / "cache"), "--runs", str(tmp_path / "runs")]
    assert main(["--method", "student,kd", "--jobs", "2", *given]) == 2
    err = capsys.readouterr().err
    assert "--runs" in err
    assert err.count("\n") == 1


# a method that does something odd, once or always, in a worker
ODD = '''
import multiprocessing, os, signal, time
from pathlib import Path
from mmkd import METHODS, Method

HERE = Path({folder!r})

@METHODS.register("{name}")
class Odd(Method):
    """A method that ends its process, or takes its time."""

    def losses(self, student, teachers, batch):
        if multiprocessing.current_process().name == "mmkd-worker":
            {body}
        return self.supervised(student, batch)
'''


@pytest.fixture
def odd(tmp_path):
    def make(name, body):
        path = tmp_path / f"{name}.py"
        path.write_text(ODD.format(name=name, body=body, folder=str(tmp_path)))
        return str(path)

    return make


def command(sines, tmp_path, *args, teachers="sig"):
    return [
        *(sys.executable, "-m", "mmkd.bench", "--data", str(sines), "--teachers", teachers, *SMALL),
        *("--runs", str(tmp_path / "runs"), "--cache", str(tmp_path / "cache"), "--peers", "none", *args),
    ]


def fine(sines, tmp_path, *args, env=None, rc=0):
    done = subprocess.run(
        command(sines, tmp_path, *args), capture_output=True, text=True, timeout=300, env={**os.environ, **(env or {})}
    )
    assert done.returncode == rc, done.stderr
    assert "Traceback" not in done.stderr
    return done


def children(pid: int) -> list[int]:
    """Processes whose parent is `pid`, and theirs."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parts = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(parts[1]) == pid and parts[0] != "Z":
            found += [int(stat.parent.name), *children(int(stat.parent.name))]
    return found


def gone(pids, seconds=20) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(Path(f"/proc/{pid}/stat").exists() and state(pid) != "Z" for pid in pids):
            return True
        time.sleep(0.1)
    return False


def state(pid) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"


def leftovers(folder) -> list[Path]:
    return [path for name in (".making-*", ".replaced-*") for path in Path(folder).rglob(name)]


def test_two_workers_make_what_one_makes(sines, tmp_path, capsys):
    """Metrics, predictions and weights, bit for bit; a unit that another one starts from included."""
    what = ["--method", "kd,fam-1d", "--init-student", "trained", "--data", str(sines)]
    same = [*what, "--teachers", "sig,pi", *SMALL, "--json", "--device", "cpu"]
    found = {}
    for jobs in ("1", "2"):
        folder = tmp_path / jobs
        code = main([*same, "--jobs", jobs, "--runs", str(folder), "--cache", str(folder / "c")])
        out, err = capsys.readouterr()
        assert code == 0, err
        found[jobs] = json.loads(out)
    for one, two in zip(found["1"], found["2"], strict=True):
        assert one["key"] == two["key"]
        assert one["status"] == two["status"] == "done"
        assert one["metrics"] == two["metrics"]
    keys = {path.parent.name for path in (tmp_path / "1").glob("[!.]*/result.json")}
    assert keys == {path.parent.name for path in (tmp_path / "2").glob("[!.]*/result.json")}
    assert len(keys) == 2 + 1 + 2
    for key in keys:
        one, two = (json.loads((tmp_path / jobs / key / "result.json").read_text()) for jobs in ("1", "2"))
        assert one["metrics"] == two["metrics"]
        assert two["environment"]["threads"] == 1
        for name in ("student.safetensors", "teacher.safetensors"):
            if (tmp_path / "1" / key / name).exists():
                assert (tmp_path / "1" / key / name).read_bytes() == (tmp_path / "2" / key / name).read_bytes()
        one, two = (np.load(tmp_path / jobs / key / "predictions.npz", allow_pickle=False) for jobs in ("1", "2"))
        assert one.files == two.files
        for name in one.files:
            np.testing.assert_array_equal(one[name], two[name])


def test_a_worker_that_dies_costs_its_unit_at_most(sines, tmp_path, odd):
    """Once: nothing, it is tried again; twice: the unit. What a method prints is no part of the answer."""
    once = "if not (HERE / 'died').exists(): (HERE / 'died').touch(); os.kill(os.getpid(), signal.SIGKILL)"
    always = "(HERE / str(time.time_ns())).touch(); print('no'); os.kill(os.getpid(), signal.SIGKILL)"
    plugins = ["--plugin", odd("dies-once", once), "--plugin", odd("dies", always)]
    done = fine(sines, tmp_path, "--method", "dies,dies-once,student", *plugins, "--jobs", "2", "--json", rc=1)
    failed, *rest = json.loads(done.stdout)
    assert [unit["status"] for unit in rest] == ["done", "done"]
    assert (tmp_path / "died").exists()
    assert failed["status"] == "failed"
    assert "SIGKILL (out of memory?), twice" in done.stderr
    assert len([path for path in tmp_path.iterdir() if path.name.isdecimal()]) == 2
    assert "SIGKILL" in Path(failed["log"]).read_text()


@pytest.mark.parametrize(
    ("number", "rc"),
    [
        pytest.param(signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143),
        (signal.SIGKILL, -9),
    ],
)
def test_an_end_of_the_parent_is_the_end_of_all(sines, tmp_path, odd, number, rc):
    plugin = odd("slow", "(HERE / str(os.getpid())).touch(); time.sleep(0.05 if (HERE / 'quick').exists() else 600)")
    given = ["--method", "student,slow", "--seeds", "0-1", "--plugin", plugin, "--jobs", "2"]
    with subprocess.Popen(
        command(sines, tmp_path, *given),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # which a shell's background job ignores
    ) as process:
        end = time.monotonic() + 120
        while time.monotonic() < end and len([p for p in tmp_path.iterdir() if p.name.isdecimal()]) < 2:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
        started = children(process.pid)
        assert len(started) >= 2
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does: every process of the group gets it
        else:
            process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == rc, err
    assert gone(started)
    assert "Traceback" not in err, err
    if number != signal.SIGKILL:
        assert err.splitlines()[-1].endswith("run the same command again to resume")
    assert leftovers(tmp_path / "runs") == leftovers(tmp_path / "cache") == []
    if number != signal.SIGINT:
        return
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "teachers").glob("[!.]*/best.safetensors")}
    assert len(kept) == 2
    (tmp_path / "quick").touch()
    fine(sines, tmp_path, *given, "--quiet")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


# counts what is made in each process, by the file that every process loads
COUNTS = '''
import os
from mmkd import METHODS, Method
from mmkd.store.cache import Cache
from mmkd.store.records import Records

def note(line):
    with open({log!r}, "a") as stream:
        stream.write(line + "\\n")

create, write = Cache.get_or_create, Records.write

def counted(self, kind, key, make):
    def made(folder):
        note(f"{{kind}}/{{key}}")
        return make(folder)
    return create(self, kind, key, made)

def written(self, key, fill):
    note(f"record/{{key}}")
    return write(self, key, fill)

Cache.get_or_create, Records.write = counted, written

@METHODS.register("counting")
class Counting(Method):
    """A method that does nothing of its own."""

    def losses(self, student, teachers, batch):
        return self.supervised(student, batch)
'''


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_eight_commands_at_once_do_everything_once(sines, tmp_path, jobs):
    plugin, log = tmp_path / "counting.py", tmp_path / "log"
    plugin.write_text(COUNTS.format(log=str(log)))
    given = ["--method", "counting,kd,fitnet", "--seeds", "0-1", "--plugin", str(plugin), "--jobs", jobs, "--json"]
    running = [
        subprocess.Popen(
            command(sines, tmp_path, *given, teachers="sig,pi"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for _ in range(8)
    ]
    for process in running:
        out, err = process.communicate(timeout=900)
        assert process.returncode == 0, err
        assert "mmkd.bench:" not in err
        assert [unit["status"] in ("done", "cached") for unit in json.loads(out)] == [True] * 6
    made = log.read_text().splitlines()
    assert sorted(made) == sorted(set(made)), "something was made twice"
    records = list(Records(tmp_path / "runs"))
    assert len([line for line in made if line.startswith("record/")]) == len(records) == 6 + 4
    assert len([line for line in made if line.startswith("teachers/")]) == 4
    store = sqlite3.connect(tmp_path / "runs" / "mlflow.db")
    sent = [key for (key,) in store.execute("select value from tags where key = 'mmkd.key'")]
    store.close()
    comparison = [key for key in sent if key.startswith("suite/")]
    assert len(comparison) == 1, "the comparison of all eight, once"
    assert comparison[0].startswith("suite/counting, kd, fitnet, seeds 0-1 ")
    assert sorted({*sent} - {*comparison}) == sorted(record.key for record in records), "sent, none deleted"
    assert len(sent) == len(records) + 1, "sent once"
