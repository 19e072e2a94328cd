"""MLflow out of reach, slow, locked, damaged, full or killed: units end, and each record is sent once, later."""

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import filelock
import pytest

import mmkd
from mmkd.bench import main
from mmkd.compare import main as compare
from mmkd.core.errors import MmkdError
from mmkd.report import mlflow as track
from mmkd.report.mlflow import experiments
from mmkd.report.mlflow import runs as store_runs
from mmkd.report.mlflow import sent as mlflow_sent
from mmkd.report.mlflow import store as mlflow_store
from mmkd.store.records import Records

mlflow = pytest.importorskip("mlflow")
pytestmark = pytest.mark.slow

EXPERIMENT = "mmkd/sines/classification"


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    """Two units with their teachers, and a store in which nothing is yet: what each test copies."""
    folder = tmp_path_factory.mktemp("made") / "runs"
    mmkd.run("kd", student="sig", **tiny, runs=folder)
    mmkd.run("student", student="sig", **tiny, runs=folder)
    with warnings.catch_warnings(action="ignore"):  # of what mlflow imports
        mlflow_store.connect(folder)
    return folder


@pytest.fixture
def runs(made, tmp_path, monkeypatch):
    """A copy of `made`, whose store has more time than a busy machine needs, and few tries."""
    for name, value in {"TIMEOUT": "60", "MAX_RETRIES": "1", "BACKOFF_JITTER": "0"}.items():
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", value)
    return shutil.copytree(made, tmp_path / "runs")


@contextlib.contextmanager
def process(code, *args):
    """Python in a process of its own that has said a line, which is returned; it is ended on the way out."""
    command = [sys.executable, "-c", code, *map(str, args)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield child.stdout.readline().strip()
    finally:
        child.kill()
        child.communicate()


def bench(runs, *args, **env):
    """`python -m mmkd.bench` in a process of its own."""
    command = [sys.executable, "-m", "mmkd.bench", *args, "--runs", str(runs)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", **env}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def check(runs, records=None, deleted=None):
    """Each record is in the store once, whole, with its files; no other folder of files lies there."""
    records = list(Records(runs)) if records is None else records
    client = mlflow_store.connect(runs)
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    found = client.search_runs([experiment], "tags.mmkd.kind != 'summary'")
    assert sorted(run.data.tags["mmkd.key"] for run in found) == sorted(record.key for record in records)
    by_key = {run.data.tags["mmkd.key"]: run for run in found}
    for record in records:
        run = by_key[record.key]
        assert run.info.status == "FINISHED"
        assert run.data.metrics["test/macro_f1"] == pytest.approx(record.metrics["test"]["macro_f1"])
        assert [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")] == [1, 2, 3]
        assert dict(run.data.params).keys() == dict(store_runs.flat_params(record.result["spec"])).keys()
        artifacts = {each.path: each.file_size for each in client.list_artifacts(run.info.run_id)}
        assert artifacts == {path.name: path.stat().st_size for path in record.folder.iterdir()}
    if not track.default_uri(runs).startswith("http"):
        every = client.search_runs([experiment])
        folders = {path.name for path in (runs / "mlartifacts").glob("*/*")}
        assert folders == {run.info.run_id for run in every}, "files of runs that are no more"
    return {run.data.tags["mmkd.key"]: run.info.run_id for run in found}


def one_line(problem):
    assert problem is not None
    assert "\n" not in problem
    return problem


# Locked

LOCK = """
import sqlite3, sys
store = sqlite3.connect(sys.argv[1], isolation_level=None)
store.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_locked_store_is_waited_for_a_while(runs, monkeypatch):
    monkeypatch.setattr(mlflow_store, "CONNECT_TIMEOUT", 3.0)
    records = list(Records(runs))
    with process(LOCK, runs / "mlflow.db") as said:
        assert said == "locked"
        started = time.monotonic()
        problem = one_line(track.publish(runs, records, "mine"))
        assert time.monotonic() - started < 15, "once, not for each of five records"
    assert f"{len(records)} of {len(records)} records not sent" in problem
    assert "mlflow.db: database is locked" in problem
    assert f"python -m mmkd.bench --publish --runs {runs} sends them" in problem
    assert track.publish(runs, records) is None
    check(runs)
    client = mlflow_store.connect(runs)
    parent = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id], "tags.mmkd.kind = 'summary'")
    assert [run.info.run_name for run in parent] == ["suite mine"], "the suite is sent later too"


def test_a_store_that_is_locked_half_way(runs, monkeypatch, capfd):
    records, sent, one = list(Records(runs)), [], store_runs.send_record
    with contextlib.ExitStack() as stack:

        def locking(*args):
            if len(sent) == 2:
                stack.enter_context(process(LOCK, runs / "mlflow.db"))
            sent.append(one(*args))

        monkeypatch.setattr(store_runs, "send_record", locking)
        started = time.monotonic()
        problem = one_line(track.publish(runs, records))
        assert time.monotonic() - started < 60
    assert f"{len(records) - 2} of {len(records)} records not sent" in problem
    assert "locked" in problem
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(store_runs, "send_record", one)
    assert track.publish(runs, records) is None
    check(runs)


# Deleted


def delete_experiment(runs):
    client = mlflow_store.connect(runs)
    number = client.get_experiment_by_name(EXPERIMENT).experiment_id
    client.delete_experiment(number)
    return client, number


def test_a_deleted_experiment_says_how_to_get_out(runs, capsys):
    """It keeps its name: nothing can be sent before it is restored, or gone for good."""
    records = list(Records(runs))
    assert track.publish(runs, records[:1]) is None
    client, number = delete_experiment(runs)
    ways = (
        f"mlflow experiments restore -x {number}",
        f"mlflow gc --backend-store-uri $MLFLOW_TRACKING_URI --experiment-ids {number}",
    )
    problem = one_line(track.publish(runs, records, "mine"))
    assert f"records not sent, the first: {records[1].key}: the experiment {EXPERIMENT} was deleted" in problem
    assert all(way in problem for way in ways)
    assert len(problem) < 500
    assert main(["--publish", "--runs", str(runs)]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert ways[0] in said
    assert compare(["--runs", str(runs), "--experiment", "mmkd/sines/*"]) == 2
    assert all(way in capsys.readouterr().err for way in ways[:1])
    client.restore_experiment(number)
    assert track.publish(runs, records, "mine") is None
    check(runs)


def test_a_deleted_experiment_keeps_no_other_from_being_sent(runs, monkeypatch):
    records = list(Records(runs))
    assert track.publish(runs, records[:1]) is None
    delete_experiment(runs)
    name = experiments.experiment_name
    monkeypatch.setattr(experiments, "experiment_name", lambda r: "mmkd/other" if r is records[-1] else name(r))
    new = []
    problem = one_line(track.publish(runs, records, new=new))
    assert f"{len(records) - 2} of {len(records)} records not sent" in problem
    assert new == [records[-1].key]


# Out of reach


def suite_of(tiny, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        f'methods = ["student", "kd"]\ndata = "{tiny["data"]}"\nepochs = 3\nimage_size = 16\nstudents = ["sig"]\n'
        'epoch-rule = "val-best"\npeers = "none"\n'
    )
    return path


def ends_well(runs, code, out, err):
    """What a suite on record says when its server is out of reach; all is sent when there is one."""
    assert code == 0, err
    assert [unit["status"] for unit in json.loads(out)] == ["cached", "cached"]
    assert err.count("\n") == 1, err
    assert err.startswith("mmkd.bench: MLflow: 5 of 5 records not sent (MlflowException: API request to")
    assert err.endswith(f"python -m mmkd.bench --publish --runs {runs} sends them\n")
    assert main(["--publish", "--runs", str(runs)]) == 0
    check(runs)


def test_a_suite_without_its_server_ends_well(runs, tiny, tmp_path):
    more = ("--suite", str(suite_of(tiny, tmp_path)), "--cache", str(tiny["cache"]), "--json", "--quiet")
    started = time.monotonic()
    child = bench(runs, *more, MLFLOW_TRACKING_URI="http://127.0.0.1:9", MLFLOW_HTTP_REQUEST_TIMEOUT="1")
    out, err = child.communicate(timeout=120)
    assert time.monotonic() - started < 60
    ends_well(runs, child.returncode, out, err)


def test_a_suite_whose_server_has_no_address_ends_well(runs, tiny, tmp_path, monkeypatch, capsys):
    """In this process."""
    more = ("--suite", str(suite_of(tiny, tmp_path)), "--cache", str(tiny["cache"]), "--json", "--quiet")
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://mmkd.invalid:5000")
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        started = time.monotonic()
        code = main([*more, "--runs", str(runs)])
        assert time.monotonic() - started < 60
    ends_well(runs, code, *capsys.readouterr())


@contextlib.contextmanager
def silent():
    """A server that takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept = []

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    kept.append(server.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for each in kept:
            each.close()


def test_a_server_that_never_answers(runs, monkeypatch):
    records = list(Records(runs))
    with silent() as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        started = time.monotonic()
        problem = one_line(track.publish(runs, records))
        assert 2 <= time.monotonic() - started < 10, "the user's own time-out and tries, of one record"
    assert "5 of 5 records not sent" in problem


def test_no_command_waits_much_longer_than_half_a_minute(runs, monkeypatch):
    for name in ("TIMEOUT", "MAX_RETRIES", "BACKOFF_JITTER"):
        monkeypatch.delenv(f"MLFLOW_HTTP_REQUEST_{name}")
    with silent() as uri:
        started = time.monotonic()
        child = bench(runs, "--publish", MLFLOW_TRACKING_URI=uri)
        err = child.communicate(timeout=120)[1]
        assert time.monotonic() - started < 60
    assert child.returncode == 1
    assert err.count("\n") == 1, err


def test_a_database_that_nobody_answers_for(runs, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@127.0.0.1:9/mlflow")
    started = time.monotonic()
    problem = one_line(track.publish(runs, list(Records(runs))))
    assert time.monotonic() - started < mlflow_store.CONNECT_TIMEOUT
    assert "ConnectionRefusedError" in problem
    assert not (runs / mlflow_sent.SENT).exists()
    assert "secret" not in mlflow_sent.stamp(next(iter(Records(runs))), track.default_uri(runs))


def test_own_values_stand_and_nonsense_is_named(runs, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
    mlflow_store.connect(runs)
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "7"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "soon")
    problem = one_line(track.publish(runs, list(Records(runs))))
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT=soon is no number of seconds" in problem


# A server with faults

SERVER = """
import json, sys, time
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

from mlflow.server import app

fault, before, count = Path(sys.argv[1]), None, 0

class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass

def faulty(environ, start_response):
    global before, count
    text = fault.read_text()
    count, before = (count if text == before else 0), text
    how = json.loads(text)
    count += environ["REQUEST_METHOD"] != "GET" or not how.get("writes", False)
    time.sleep(how.get("sleep", 0))
    if count > how.get("well", 1e9):
        start_response("500 Internal Server Error", [("Content-Length", "0"), ("Retry-After", "3600")])
        return [b""]
    if how.get("lose") and environ["REQUEST_METHOD"] != "GET" and count % 2:
        list(app(environ, lambda *_, **__: None))
        start_response("502 Bad Gateway", [("Content-Length", "0")])
        return [b""]
    return app(environ, start_response)

server = make_server("127.0.0.1", 0, faulty, handler_class=Quiet)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture(scope="module")
def server_process(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(made / "mlflow.db", folder / "mlflow.db")
    fault = folder / "fault"
    fault.write_text("{}")
    own = {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder / 'mlflow.db'}",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": (folder / "artifacts").as_uri(),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, value)
        starting = process(SERVER, fault)
        port = starting.__enter__()
    yield f"http://127.0.0.1:{port}", fault
    starting.__exit__(None, None, None)


@pytest.fixture
def server(server_process, runs, monkeypatch):
    """A tracking server without runs; the function returned says how it behaves from now on."""
    uri, fault = server_process
    fault.write_text("{}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = mlflow_store.connect(runs)
    found = client.get_experiment_by_name(EXPERIMENT)
    for run in client.search_runs([found.experiment_id]) if found else []:
        client.delete_run(run.info.run_id)
    return lambda **how: fault.write_text(json.dumps(how))


def test_a_server_that_only_fails(runs, server, capfd):
    records = list(Records(runs))
    server(well=0)
    started = time.monotonic()
    problem = one_line(track.publish(runs, records, "mine"))
    assert time.monotonic() - started < 60, "an hour that a server asks for is not waited"
    assert "5 of 5 records not sent" in problem
    server()
    assert track.publish(runs, records) is None
    check(runs)
    assert capfd.readouterr() == ("", "")


def test_a_server_that_fails_half_way(runs, server):
    records, before = list(Records(runs)), {}
    for well in (30, 9, 9, 41):  # in other places of a record each
        server(well=well)
        problem = one_line(track.publish(runs, records))
        left = {record.key for record in track.unsent(runs, records)}
        assert f"{len(left)} of 5 records not sent" in problem
        server()
        client = mlflow_store.connect(runs)
        found = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
        now = {run.data.tags["mmkd.key"]: run.info.run_id for run in found if run.info.status == "FINISHED"}
        assert now.keys() == {record.key for record in records} - left
        assert before.items() <= now.items(), "what was sent stays and is not sent again"
        assert len(found) <= len(now) + 1, "what was left half-sent is removed before it is sent again"
        before = now
    assert 0 < len(before) < 5
    assert track.publish(runs, records) is None
    assert before.items() <= check(runs).items()


def test_answers_that_are_lost_double_nothing(runs, server):
    records = list(Records(runs))
    server(lose=True, writes=True)  # the first try of everything that writes
    assert track.publish(runs, records, "mine") is None
    server()
    check(runs)
    client = mlflow_store.connect(runs)
    found = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id], "tags.mmkd.kind = 'summary'")
    assert len(found) == 1


def test_a_slow_server_has_its_time_and_no_more(runs, server, monkeypatch):
    records = list(Records(runs))
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        server(sleep=0.5)
        started = time.monotonic()
        problem = one_line(track.publish(runs, records))
        assert time.monotonic() - started < 20, "all five records ask for more than a hundred answers"
    assert "TimeoutError: the store is too slow" in problem
    server()
    assert track.publish(runs, records) is None
    check(runs)


def test_two_folders_with_the_same_records_send_them_once(runs, server, tmp_path):
    other = shutil.copytree(runs, tmp_path / "other")
    assert track.publish(runs, list(Records(runs))) is None
    ids = check(runs)
    assert track.publish(other, list(Records(other))) is None
    assert check(runs) == ids


# Killed

KILLED = """
import os, signal, sys
from pathlib import Path

import mlflow.store.tracking.sqlalchemy_store, mlflow.tracking
from mmkd.report import mlflow as track
from mmkd.report.mlflow import store as mlflow_store
from mmkd.store.records import Records

runs, records, own = Path(sys.argv[1]), list(Records(sys.argv[1])), mlflow_store.connect

class Killed:
    def __init__(self, client, after):
        self.client, self.left = client, after

    def __getattr__(self, name):
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return getattr(self.client, name)

def child(call=None, seconds=0):
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)  # ends the process at once, whatever it does
        if call is not None:
            mlflow_store.connect = lambda runs: Killed(own(runs), call)
        os._exit(track.publish(runs, records, "mine") is not None)
    except BaseException:
        os._exit(2)

ends = []
if sys.argv[2] == "call":
    for call in range(int(sys.argv[3])):
        ends.append(child(call=call))
else:
    for number in range(int(sys.argv[3])):
        ends.append(child(seconds=0.05 + 0.11 * number))
ends.append(child())
print(*ends, flush=True)
"""


def test_killed_between_any_two_calls_nothing_is_lost_or_doubled(runs):
    with process(KILLED, runs, "call", 40) as said:
        ends = [int(end) for end in said.split()]
    assert ends[-1] == 0
    assert ends.count(9) > 20
    assert set(ends) == {0, 9}
    check(runs)


def test_killed_at_any_time_from_the_first_store_on(runs):
    (runs / "mlflow.db").unlink()
    with process(KILLED, runs, "time", 24) as said:
        ends = [int(end) for end in said.split()]
    assert ends[-1] == 0
    assert ends.count(14) > 5
    assert set(ends) == {0, 14}
    check(runs)
    assert not list(runs.glob(".mlflow-new-*")), "stores that were left half made"


# Damaged, full


def test_a_store_that_is_no_database(runs):
    (runs / "mlflow.db").write_bytes(b"this is no database" * 100)
    records = list(Records(runs))
    mlflow_sent.write_sent(
        runs, {record.key: mlflow_sent.stamp(record, track.default_uri(runs)) for record in records[1:]}
    )
    problem = one_line(track.publish(runs, records))
    assert "1 of 5 records not sent" in problem
    assert "mlflow.db: file is not a database; move it away" in problem
    (runs / "mlflow.db").unlink()
    child = bench(runs, "--publish")
    out, err = child.communicate(timeout=120)
    assert (child.returncode, err) == (0, "")
    assert out.startswith("5 of 5 records sent")
    check(runs)


def test_no_room_for_files(runs):
    (runs / "mlartifacts").write_text("a file where a folder should be")
    records = list(Records(runs))
    problem = one_line(track.publish(runs, records))
    assert "5 of 5 records not sent" in problem
    (runs / "mlartifacts").unlink()
    assert track.publish(runs, records) is None
    check(runs)


FULL = """
import os, resource, signal, sys
from pathlib import Path

from mmkd.report import mlflow as track
from mmkd.report.mlflow import store as mlflow_store
from mmkd.store.records import Records

runs = Path(sys.argv[1])
records = list(Records(runs))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
print(track.publish(runs, records))
"""


@pytest.mark.parametrize("room", [200, 20_000, 10**6], ids=["notes", "files", "database"])
def test_a_disk_that_is_full(runs, room):
    """Files that grow past a limit fail as on a full disk: the notes, what is copied, or the database itself."""
    with process(FULL, runs, room) as said:
        assert "records not sent" in said
    assert track.publish(runs, list(Records(runs))) is None
    check(runs)


def damage(record, name):
    path = record.folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def test_a_damaged_record_is_left_out_and_the_others_are_sent(runs):
    records = list(Records(runs))
    damage(records[1], "predictions.npz")
    problem = one_line(track.publish(runs, records, "mine"))
    assert f"1 of 5 records not sent, the first: {records[1].key}: record " in problem
    assert "is damaged (predictions.npz" in problem
    check(runs, [record for record in records if record is not records[1]])
    damage(records[1], "predictions.npz")  # the same bits again
    track.publish(runs, records)
    check(runs)


def test_a_damaged_picture_is_left_out(runs):
    record = next(record for record in Records(runs) if (record.folder / "curves.svg").exists())
    damage(record, "curves.svg")
    assert track.publish(runs, [record]) is None
    client = mlflow_store.connect(runs)
    run = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])[0]
    sent = {each.path for each in client.list_artifacts(run.info.run_id)}
    assert sent == {path.name for path in record.folder.iterdir()} - {"curves.svg"}


def test_a_record_that_is_removed_meanwhile(runs):
    records = list(Records(runs))
    shutil.rmtree(records[0].folder)
    problem = one_line(track.publish(runs, records))
    assert "1 of 5" in problem
    check(runs, records[1:])


# The notes of what was sent


@pytest.mark.parametrize("content", [None, b"", b"[1]", b'{"a": {"b": 1}}', b"\xff\xfe", b"[" * 100_000])
def test_notes_that_are_lost_are_made_again_from_the_store(runs, content):
    records = list(Records(runs))
    assert track.publish(runs, records) is None
    ids = check(runs)
    (runs / mlflow_sent.SENT).unlink()
    if content is not None:
        (runs / mlflow_sent.SENT).write_bytes(content)
    assert len(track.unsent(runs, records)) == 5
    assert track.publish(runs, records) is None
    assert track.unsent(runs, records) == []
    assert check(runs) == ids, "found by their keys, and not sent again"


def test_two_that_publish_at_once_send_everything_once(runs):
    children = [bench(runs, "--publish") for _ in range(2)]
    for child in children:
        _, err = child.communicate(timeout=120)
        assert (child.returncode, err) == (0, "")
    check(runs)
    with contextlib.closing(sqlite3.connect(runs / "mlflow.db")) as store:
        assert store.execute("select count(*) from runs").fetchone() == (5,), "none was sent twice and then deleted"


def test_a_sender_that_gets_nowhere_is_not_waited_for(runs, monkeypatch):
    monkeypatch.setattr(mlflow_sent, "LOCK_TIMEOUT", 0.5)
    with filelock.FileLock(runs / ".mlflow.lock"):
        problem = one_line(track.publish(runs, list(Records(runs))))
    assert "another process is sending and gets nowhere" in problem
    assert track.publish(runs, list(Records(runs))) is None
    check(runs)


def test_a_sender_that_gets_on_is_waited_for(runs, monkeypatch):
    monkeypatch.setattr(mlflow_sent, "LOCK_TIMEOUT", 2.0)
    lock = filelock.FileLock(runs / ".mlflow.lock", thread_local=False)
    lock.acquire()

    def work():
        for _ in range(8):
            time.sleep(0.4)
            mlflow_sent.write_sent(runs, {})
        lock.release()

    thread = threading.Thread(target=work)
    thread.start()
    assert track.publish(runs, list(Records(runs))) is None
    thread.join()
    check(runs)


def test_a_record_done_again_takes_the_place_of_the_first(runs):
    records = list(Records(runs))
    assert track.publish(runs, records, "mine") is None
    ids = check(runs)
    result = records[0].folder / "result.json"
    result.write_text(result.read_text() + "\n")
    assert track.publish(runs, records) is None
    again = check(runs)
    assert {key for key in ids if ids[key] != again[key]} == {records[0].key}
    client = mlflow_store.connect(runs)
    parent = client.search_runs(
        [client.get_experiment_by_name(EXPERIMENT).experiment_id], "tags.mmkd.kind = 'summary'"
    )[0]
    assert client.get_run(again[records[0].key]).data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_only_looking_sends_nothing(runs, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mlflow_store, "connect", lambda *_: pytest.fail("sent"))
    before = {path.name: path.stat().st_mtime_ns for path in runs.iterdir() if path.name != ".locks"}
    toml = suite_of(tiny, tmp_path)
    given = ["--suite", str(toml), "--runs", str(runs), "--cache", str(tiny["cache"]), "--quiet"]
    assert main([*given, "--existing", "only"]) == 0
    assert main([*given, "--dry-run"]) == 0
    assert {path.name: path.stat().st_mtime_ns for path in runs.iterdir() if path.name != ".locks"} == before
    assert "MLflow" not in capsys.readouterr().err


def test_a_failing_record_of_the_store_is_told_apart_from_a_failing_store():
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, PERMISSION_DENIED, TEMPORARILY_UNAVAILABLE

    assert mlflow_store.refused_by_store(MlflowException("no", INVALID_PARAMETER_VALUE))
    for error in (MlflowException("no"), OSError("no"), MmkdError("no")):
        assert not mlflow_store.refused_by_store(error)
    for code in (PERMISSION_DENIED, TEMPORARILY_UNAVAILABLE):
        assert not mlflow_store.refused_by_store(MlflowException("no", code))


def test_files_of_others_are_never_removed(tmp_path):
    class Info:
        run_id = "1234"
        artifact_uri = (tmp_path / "elsewhere" / "artifacts").as_uri()

    class Run:
        info = Info

    gone = []

    class Client:
        def delete_run(self, run):
            gone.append(run)

    (tmp_path / "elsewhere" / "artifacts").mkdir(parents=True)
    store_runs.delete_run(Client(), Run)
    assert (tmp_path / "elsewhere" / "artifacts").is_dir()
    Info.artifact_uri = (tmp_path / "1234" / "artifacts").as_uri()
    (tmp_path / "1234" / "artifacts").mkdir(parents=True)
    store_runs.delete_run(Client(), Run)
    assert not (tmp_path / "1234").exists()
    assert gone == ["1234", "1234"]
    assert Path(tmp_path / "elsewhere").is_dir()
