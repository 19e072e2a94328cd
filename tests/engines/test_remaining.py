"""The time that the trainings of a command still take: teachers and units, without those that exist."""

import io
import time

import pytest
from rich.console import Console

from mmkd.bench import main
from mmkd.core.progress import Bars, Lines, Progress, duration
from mmkd.engines.plan import JobResult, make_plan, run_plan
from mmkd.engines.remaining import Remaining
from mmkd.store.cache import Cache
from mmkd.store.records import Records
from mmkd.units.expansion import expand
from mmkd.units.request import Request


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("mmkd.engines.remaining.time.monotonic", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


@pytest.fixture
def plan(sines, tmp_path):
    """Two units, of a student that learns alone and of one with two teachers; 10 epochs of 8 batches."""
    given = {"students": ("sig",), "teachers": ("sig,gaf",), "epochs": 10, "image_size": 16, "data": str(sines)}
    units = list(expand(Request(("student", "kd"), **given)))
    return make_plan(units, Records(tmp_path / "runs"), Cache(tmp_path / "cache"))


def remaining(plan, workers=1, records=()):
    return Remaining(plan, records, workers=workers, threads=1, device="cpu")


def ids(plan):
    return [job.id for job in plan if job.kind == "unit"], [job.id for job in plan if job.kind == "teacher"]


def test_teachers_count_and_views_do_not(plan):
    assert len([job for job in plan if job.kind == "view"]) == 2
    assert remaining(plan).counts() == (0, 4)
    assert remaining(plan).seconds_left() is None


def test_what_is_left_is_that_of_the_teachers_too(plan, clock):
    """The student alone takes 20 s; three trainings of the same work are left, and nothing else is known."""
    (student, kd), teachers = ids(plan)
    left = remaining(plan)
    left.begin(student, 10)
    left.advance(student, 0)
    clock(5)
    left.advance(student, 5)
    assert left.seconds_left() == pytest.approx(0.5 * 10 + 3 * 10)
    clock(15)
    left.advance(student, 5)
    left.end(student)
    assert left.counts() == (1, 4)
    assert left.seconds_left() == pytest.approx(60)
    for teacher, seconds in zip(teachers, (2, 4), strict=True):
        left.begin(teacher, 10)
        left.advance(teacher, 0)
        clock(seconds)
        left.advance(teacher, 10)
        left.end(teacher)
    assert left.counts() == (3, 4)
    assert left.seconds_left() == pytest.approx((20 + 2 + 4) / 3), "nothing is known of kd itself"
    left.begin(kd, 10)
    left.end(kd)
    assert (left.counts(), left.seconds_left()) == ((4, 4), 0.0)


def test_an_interrupted_training_is_not_taken_for_a_fast_one(plan, clock):
    (student, _), _ = ids(plan)
    left = remaining(plan)
    left.begin(student, 10)
    left.advance(student, 8)  # done by an earlier process
    assert left.seconds_left() is None
    clock(3)
    left.advance(student, 1)
    assert left.seconds_left() == pytest.approx(3 + 3 * 30)


def test_teachers_of_another_command_are_not_waited_for(plan):
    (student, kd), _ = ids(plan)
    left = remaining(plan)
    left.begin(kd, 10)  # its teachers are there
    assert left.counts() == (2, 4)
    left.end(student)
    left.end(kd)
    assert left.counts() == (4, 4)


def test_a_unit_that_fails_takes_the_teachers_along_that_nobody_else_needs(plan):
    (_, kd), _ = ids(plan)
    left = remaining(plan)
    left.end(kd)
    assert left.counts() == (3, 4)


def test_workers_share_what_is_left(plan, clock):
    (student, _), _ = ids(plan)
    left = remaining(plan, workers=2)
    job = next(job for job in plan if job.id == student)
    left.start_elsewhere(job)
    assert left.running() == job.title
    clock(10)
    left.end(student)
    assert left.running() == ""
    assert left.seconds_left() == pytest.approx(3 * 10 / 2)
    for job in plan:
        if job.kind == "teacher":
            left.start_elsewhere(job)
    clock(4)
    assert left.seconds_left() == pytest.approx((6 + 6 + 10) / 2)
    assert remaining(plan, workers=None).seconds_left() is None


def test_a_plan_tells_what_is_started(plan):
    class Engine:
        free_slots = 1 << 10

        def __init__(self):
            self.jobs = []

        def start(self, job):
            self.jobs.append(job)

        def wait(self):
            return [(self.jobs.pop(), JobResult("done"))]

    started, ended = [], []
    run_plan(plan, Engine(), lambda job, result: ended.append(job.id), lambda job: started.append(job.id))
    assert sorted(started) == sorted(ended) == sorted(job.id for job in plan)


class Halfway:
    """An overview of which half is done."""

    def __init__(self, seconds=100.0, done=1):
        self.seconds, self.done, self.calls = seconds, done, []
        self.on_change = lambda: None

    def counts(self):
        return self.done, 2

    def seconds_left(self):
        return self.seconds

    def running(self):
        return ""

    def begin(self, *args):
        self.calls.append(("begin", *args))

    def advance(self, *args):
        self.calls.append(("advance", *args))

    def end(self, *args):
        self.calls.append(("end", *args))


def test_a_log_gets_a_line_an_interval_and_no_bar():
    stream = io.StringIO()
    lines = Lines(stream, interval=0.05)
    with lines.overall(Halfway()), lines.of_training("unit/1").bar("kd -> sig", 20) as bar:
        bar.advance(7, "loss 1.0")
        for _ in range(1000):  # more steps than lines
            bar.advance(0)
        time.sleep(0.4)
    written = stream.getvalue().splitlines()
    assert 1 <= len(written) <= 12
    assert set(written) == {"1 of 2 trainings, about 100 s left; kd -> sig: 7 of 20"}
    time.sleep(0.15)
    assert stream.getvalue().splitlines() == written, "nothing is written after the end"


def test_a_line_says_what_is_known():
    lines = Lines(io.StringIO())
    with lines.bar("view pi", 500) as bar:
        bar.advance(20)
        assert lines.line() == "view pi: 20 of 500"
        with lines.overall(Halfway(seconds=None)):
            assert lines.line() == "1 of 2 trainings, time left not known yet; view pi: 20 of 500"
    with lines.overall(Halfway(done=2)):
        assert lines.line() == "2 of 2 trainings"
    assert [duration(s) for s in (4, 100, 7200)] == ["4.0 s", "100 s", "2.0 h"]


def test_a_short_command_writes_no_such_line():
    stream = io.StringIO()
    lines = Lines(stream)
    started = time.monotonic()
    with lines.overall(Halfway()), lines.bar("view sig", 3) as bar:
        bar.advance(3)
    assert stream.getvalue() == ""
    assert time.monotonic() - started < 5


def test_the_epochs_of_a_training_reach_the_overview_and_nothing_else_does():
    overview = Halfway()
    progress = Progress()
    assert progress.of_training("unit/1") is progress
    with progress.overall(overview):
        with progress.bar("view sig", 3) as bar:
            bar.advance(3)
        with progress.of_training("unit/1").bar("kd -> sig", 2) as bar:
            bar.advance(0)
            bar.advance(1, "loss 1")
    assert overview.calls == [
        ("begin", "unit/1", 2),
        ("advance", "unit/1", 0),
        ("advance", "unit/1", 1),
        ("end", "unit/1"),
    ]
    assert progress.overview is None


def test_the_overall_bar_of_a_terminal_shows_the_time_left():
    bars = Bars()
    bars.console.file = io.StringIO()
    overview = Halfway()

    def shown():
        console = Console(file=io.StringIO(), width=80)
        console.print(bars.rich.get_renderable())
        return console.file.getvalue()

    with bars.overall(overview), bars.bar("teacher gaf", 4) as bar:
        bar.advance(1)
        overall, teacher = shown().splitlines()
        assert overall.startswith("trainings ")
        assert "0/2 about 100 s left" in overall
        assert "1/4" in teacher
        overview.on_change()
        assert "1/2 about 100 s left" in shown()
    assert bars.overview is None
    with bars.overall(None):
        assert shown().strip() == ""


def test_a_command_writes_lines_while_it_trains(sines, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mmkd.core.progress.Lines.__init__.__defaults__", (0.02,))
    folders = ["--runs", str(tmp_path / "runs"), "--data", str(sines)]
    flags = ["--method", "kd", "--student", "sig", "--teachers", "sig", "--epochs", "8"]
    assert main([*flags, *folders]) == 0
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if " of 2 trainings" in line]
    assert any("teacher sig: " in line for line in lines)
    assert any("kd -> sig: " in line and line.startswith("1 of 2") for line in lines)
    assert any("about " in line for line in lines)
    assert "trainings" not in out
    assert main([*flags, *folders, "--seed", "1", "--quiet"]) == 0
    assert capsys.readouterr().err == ""
