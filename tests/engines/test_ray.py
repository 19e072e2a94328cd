"""Units as tasks of Ray: on a cluster of three nodes on this machine, one of which is lost."""

import json
import os
import subprocess
import sys
import time

import pytest

from mmkd import MmkdError
from mmkd.bench import main
from mmkd.training.workspace import parse_resources

PLUGIN = '''
import time
from pathlib import Path
from mmkd import METHODS, Method

@METHODS.register("slow")
class Slow(Method):
    """Notes where it runs, and takes its time there."""

    def losses(self, student, teachers, batch):
        import ray

        if ray.is_initialized():
            node = ray.get_runtime_context().get_node_id()
            (Path({folder!r}) / f"{{node}}-{{time.time_ns()}}").touch()
            time.sleep(0.3)
        return self.supervised(student, batch)
'''


@pytest.mark.parametrize(
    ("text", "found"), [("", (1, 0)), ("cpus=2", (2, 0)), ("gpus=0.25", (1, 0.25)), ("cpus=0.5, gpus=2", (0.5, 2))]
)
def test_resources(text, found):
    assert parse_resources(text) == found


@pytest.mark.parametrize("text", ["cpu=1", "cpus", "cpus=no", "cpus=0", "cpus=-1", "gpus=1.5", "cpus=nan", "cpus=inf"])
def test_bad_resources_are_refused(text):
    with pytest.raises(MmkdError, match="--resources"):
        parse_resources(text)


def test_without_ray_it_says_how_to_get_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mmkd.training.workspace.find_spec", lambda name: None)
    assert main(["--method", "kd", "--engine", "ray", "--runs", str(tmp_path / "runs")]) == 2
    assert "install the extra mmkd[ray]" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_jobs_are_for_this_machine(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mmkd.training.workspace.find_spec", lambda name: True)
    assert main(["--method", "kd", "--engine", "ray", "--jobs", "2", "--runs", str(tmp_path / "runs")]) == 2
    assert "--resources" in capsys.readouterr().err


def command(sines, folder, *args, engine="ray"):
    return [
        *(sys.executable, "-m", "mmkd.bench", "--engine", engine, "--data", str(sines), "--json", "--image-size", "16"),
        *(
            "--epochs",
            "2",
            "--student",
            "sig",
            "--teachers",
            "sig",
            "--runs",
            str(folder / "runs"),
            "--peers",
            "none",
            *args,
        ),
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_lost_node_costs_no_unit(sines, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="the extra mmkd[ray] is not installed")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_DEDUP_LOGS", "0")
    (tmp_path / "plugin.py").write_text(PLUGIN.format(folder=str(tmp_path / "marks")))
    marks = tmp_path / "marks"
    marks.mkdir()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        given = ["--method", "slow,student", "--seeds", "0-3", "--plugin", str(tmp_path / "plugin.py")]
        process = subprocess.Popen(
            command(sines, tmp_path, *given),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "RAY_ADDRESS": cluster.address},
        )
        end, lost = time.monotonic() + 180, None
        while time.monotonic() < end and lost is None and process.poll() is None:
            seen = {path.name.split("-")[0] for path in marks.iterdir()}
            lost = next((node for node in nodes if node.node_id in seen), None)
            time.sleep(0.1)
        if lost is not None:
            cluster.remove_node(lost, allow_graceful=False)
        out, err = process.communicate(timeout=400)
        assert lost is not None, f"no unit came to one of the nodes: {err}"
        assert process.returncode == 0, err
        assert "Traceback" not in err
        assert "Ray: 3 nodes, 3 CPUs" in err
        units = json.loads(out)
        assert len(units) == 8
        assert [unit["status"] for unit in units if unit["status"] not in ("done", "cached")] == []
        assert {path.name.split("-")[0] for path in marks.iterdir()} > {lost.node_id}, "others did what it left"
        results = [json.loads((tmp_path / "runs" / u["key"] / "result.json").read_text()) for u in units]
        assert {result["environment"]["threads"] for result in results} == {1}
    finally:
        cluster.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_ray_of_its_own_makes_what_this_process_makes(sines, tmp_path):
    pytest.importorskip("ray", reason="the extra mmkd[ray] is not installed")
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment["OMP_NUM_THREADS"] = "1"
    found = {}
    for engine in ("local", "ray"):
        given = command(sines, tmp_path / engine, "--method", "kd", "--seeds", "0-1", engine=engine)
        done = subprocess.run(given, capture_output=True, text=True, timeout=300, env=environment)
        assert done.returncode == 0, done.stderr
        found[engine] = [(unit["key"], unit["status"], unit["metrics"]) for unit in json.loads(done.stdout)]
    assert found["ray"] == found["local"]
    given = command(sines, tmp_path / "much", "--method", "kd", "--resources", "cpus=999")
    done = subprocess.run(given, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 2
    *understood, error = done.stderr.splitlines()
    assert [line.partition(":")[0] for line in understood] == ["sines.npz"]
    assert "999" in error
