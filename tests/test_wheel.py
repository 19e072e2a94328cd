"""The wheel in an empty environment, run from another folder: what a user who never sees the checkout gets."""

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def run(*command, cwd, check=True):
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("env")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    constraints = ROOT / "constraints.txt"
    torch = next(line for line in constraints.read_text().splitlines() if line.startswith("torch=="))
    for what in (torch, wheel):
        run(python, "-m", "pip", "install", "--quiet", "-c", constraints, what, cwd=folder)
    return python


def test_the_wheel_carries_methods_and_cards_and_nothing_at_the_top_level(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    top = {n.split("/")[0] for n in names}
    assert {n for n in top if not n.endswith(".dist-info")} == {"mmkd"}
    assert {"mmkd/baselines/__init__.py", "mmkd/baselines/kd.py", "mmkd/datasets/basic-motions/card.toml"} <= set(names)
    assert "mmkd/tuned/README.md" in names
    for folder in (path.parent for path in (ROOT / "experiments").glob("*/protocol.toml")):
        files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
        carried = {f"mmkd/{folder.name}/{path}" for path in files if path.parts[0] != "records"}
        assert {f"mmkd/{folder.name}/{name}" for name in ("protocol.toml", "VERSION", "results/data.json")} <= carried
        assert carried <= set(names)
    assert not [name for name in names if name.endswith(".jsonl")]
    assert {f"mmkd/report/web/page.{kind}" for kind in ("html", "css", "js")} <= set(names)
    assert len(names) == len(set(names))
    methods = {p.name for p in (ROOT / "baselines").glob("*.py")}
    assert methods <= {Path(n).name for n in names if n.startswith("mmkd/baselines/")}


def test_it_runs_from_another_folder(python, tmp_path):
    done = run(python, "-m", "mmkd.bench", "--method", "kd", "--epochs", "1", "--json", cwd=tmp_path)
    unit, *peers = json.loads(done.stdout)
    assert peers
    assert all(peer["kind"] == "reference" for peer in peers)
    assert (unit["status"], unit["dataset"]) == ("done", "basic-motions")
    assert (tmp_path / unit["paths"]["record"] / "student.safetensors").is_file()
    assert "kd" in run(python, "-m", "mmkd.bench", "--list", "methods", cwd=tmp_path).stdout
    again = run(python, "-m", "mmkd.bench", "--method", "kd", "--epochs", "1", "--json", cwd=tmp_path)
    assert json.loads(again.stdout)[0]["status"] == "cached"


def test_the_results_of_v1_are_there(python, tmp_path):
    code = (
        "import mmkd; from mmkd.results.columns import COLUMNS; from mmkd.results.protocol import find_protocol; "
        "table = mmkd.load_results('v1'); assert tuple(table.columns) == COLUMNS; "
        "print(len(table), find_protocol('v1').parent.name)"
    )
    lines = sum(len(path.read_text().splitlines()) - 1 for path in (ROOT / "experiments/v1/results").glob("*.csv"))
    assert run(python, "-c", code, cwd=tmp_path).stdout.split() == [str(lines), "mmkd"]
    done = run(python, "-m", "mmkd.results", "hash", cwd=tmp_path)
    assert (done.stdout, done.stderr) == ((ROOT / "experiments/v1/VERSION").read_text(), "")


def test_it_works_without_tsai_and_says_how_to_get_it(python, tmp_path):
    done = run(
        python, "-m", "mmkd.bench", "--method", "kd", "--teacher-net", "sig=InceptionTime", cwd=tmp_path, check=False
    )
    assert done.returncode == 2
    assert "mmkd[tsai]" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_entry_point_of_another_wheel_is_found(python, tmp_path):
    package = tmp_path / "theirs"
    package.mkdir()
    (package / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "theirs"\nversion = "1"\n[project.entry-points."mmkd.methods"]\ntheirs = "theirs"\n'
    )
    (package / "theirs.py").write_text(
        "from mmkd import METHODS, Method\n\n\n"
        '@METHODS.register("theirs")\nclass Theirs(Method):\n    """A method of another wheel."""\n\n'
        "    def losses(self, student, teachers, batch):\n        return self.supervised(student, batch)\n"
    )
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", package, cwd=tmp_path)
    assert "theirs" in run(python, "-m", "mmkd.bench", "--list", "methods", cwd=tmp_path).stdout
    done = run(python, "-m", "mmkd.bench", "--method", "theirs", "--epochs", "1", "--student", "sig", cwd=tmp_path)
    assert done.stdout.count("theirs") == 1
