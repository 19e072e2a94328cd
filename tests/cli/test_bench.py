"""The command: what it prints, what it writes, its exit codes, and its one line for each bad input."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from mmkd.bench import main

pytestmark = pytest.mark.filterwarnings("ignore:.*mask.*:UserWarning")

PLUGIN = '''
from mmkd import METHODS, Method

@METHODS.register("plugin-{name}")
class Mine(Method):
    """A method of a plugin file, for this test."""

    def losses(self, student, teachers, batch):
        terms = self.supervised(student, batch)
        gap = [(student.logits - t.logits).square().mean() for t in teachers.values()]
        return {{**terms, "gap": sum(gap) / len(gap)}}
'''


@pytest.fixture
def bench(tiny, tmp_path, capsys):
    """Run the command on the small data, with its own runs folder; returns exit code, stdout, stderr."""

    def call(*args, data=True):
        own = ["--data", str(tiny["data"]), "--epochs", "3", "--image-size", "16"] if data else []
        code = main([*args, *own, "--runs", str(tmp_path / "runs"), "--cache", str(tiny["cache"])])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def refused(found, *words):
    """Exit 2, one line on stderr with these words, nothing on stdout."""
    code, out, err = found
    assert code == 2, (out, err)
    assert out == ""
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    for word in words:
        assert word in err


def test_the_main_road(bench, tmp_path):
    code, out, err = bench("--method", "fam")
    assert code == 0
    lines = [line for line in out.splitlines() if line.startswith(("teacher ", "fam "))]
    assert [line.split()[:2] for line in lines] == [
        ["teacher", "sig"],
        ["teacher", "gaf"],
        ["teacher", "pi"],
        ["fam", lines[3].split()[1]],
    ]
    assert "accuracy" in err
    assert (tmp_path / "runs" / "mlflow.db").exists()
    assert "\x1b" not in out


def test_a_second_call_answers_from_the_records(bench, monkeypatch):
    first = bench("--method", "kd", "--quiet")
    monkeypatch.setattr("mmkd.training.student.run_unit", lambda *_: pytest.fail("done again"))
    monkeypatch.setattr("mmkd.report.mlflow.store.connect", lambda *_: pytest.fail("sent to MLflow again"))
    assert bench("--method", "kd", "--quiet") == first


def test_json_is_one_document(bench):
    code, out, _ = bench("--method", "student,kd", "--seeds", "0-1", "--json", "--student", "sig")
    units = json.loads(out)
    assert code == 0
    assert [(u["method"], u["seed"]) for u in units] == [("student", 0), ("kd", 0), ("student", 1), ("kd", 1)]
    for unit in units:
        assert unit["status"] == "done"
        assert 0 <= unit["metrics"]["test"]["macro_f1"] <= 1
        assert os.path.isdir(unit["paths"]["record"])
    again = json.loads(bench("--method", "student,kd", "--seeds", "0-1", "--json", "--student", "sig")[1])
    assert [u["status"] for u in again] == ["cached"] * 4


def test_the_change_against_the_student_alone_is_paired(bench):
    bench("--method", "student", "--seeds", "0-1", "--student", "sig")
    _, out, _ = bench("--method", "kd", "--seeds", "0-1", "--student", "sig")
    units = json.loads(bench("--method", "student,kd", "--seeds", "0-1", "--student", "sig", "--json")[1])
    f1 = {(u["method"], u["seed"]): 100 * u["metrics"]["test"]["macro_f1"] for u in units}
    change = [f1["kd", s] - f1["student", s] for s in (0, 1)]
    assert f"{np.mean(change):+.1f} ± {np.std(change, ddof=1):.1f}" in out
    assert any(line.startswith("student ") for line in out.splitlines())


def test_existing_only_runs_nothing(bench, tmp_path):
    code, _, err = bench("--method", "kd", "--existing", "only")
    assert code == 1
    assert "not on record" in err
    assert not (tmp_path / "runs").exists()


def test_a_lost_teacher_is_written_again_from_the_cache_or_said_to_be_lost(bench, tmp_path, monkeypatch):
    command = ("--method", "student,kd", "--student", "sig", "--quiet")
    code, first, err = bench(*command)
    assert (code, err) == (0, "")
    unit = next(u for u in json.loads(bench(*command, "--json")[1]) if u["method"] == "kd")
    teachers = json.loads((tmp_path / "runs" / unit["key"] / "result.json").read_text())["teachers"]
    lost = tmp_path / "runs" / teachers["sig"]
    shutil.rmtree(lost)
    code, out, err = bench(*command, "--existing", "only")
    assert code == 1
    assert err.count("\n") == 1
    assert f"teacher sig WRN16-1 of kd, seed 0: not on record ({teachers['sig']}), and in no gap" in err
    assert "teacher sig" not in out
    code, out, err = bench(*command)
    assert (code, out, err) == (0, first, "")
    assert (lost / "result.json").exists()
    shutil.rmtree(lost)
    monkeypatch.setattr("mmkd.store.cache.Cache.find_damage", lambda *_: "")
    code, out, err = bench(*command)
    assert code == 0
    assert "not on record" in err, "what the cache has not either is not trained for a row of a table"
    assert not lost.exists()


@pytest.mark.parametrize("name", ["a?b", "a%20b"])
def test_a_runs_folder_that_mlflow_would_misread_is_refused(capsys, tmp_path, name, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    code = main(["--method", "student", "--runs", str(tmp_path / name), "--cache", str(tmp_path / "cache")])
    captured = capsys.readouterr()
    refused((code, captured.out, captured.err), "--runs", "address")
    assert not (tmp_path / name).exists()


def test_existing_rerun_does_it_again(bench):
    bench("--method", "student", "--student", "sig")
    unit = json.loads(bench("--method", "student", "--student", "sig", "--existing", "rerun", "--json")[1])[0]
    assert unit["status"] == "done"


def test_a_failed_unit_does_not_stop_the_others(bench, tmp_path):
    plugin = tmp_path / "bad.py"
    plugin.write_text(
        PLUGIN.format(name="fails").replace("terms = ", "raise RuntimeError('two\\nlines')\n        terms = ")
    )
    code, out, err = bench("--method", "plugin-fails,student", "--plugin", str(plugin), "--student", "sig")
    assert code == 1
    assert "RuntimeError: two lines" in err
    assert any(line.startswith("student") for line in out.splitlines())
    assert list((tmp_path / "runs" / "failed").glob("*.log"))
    plugin.write_text(PLUGIN.format(name="fails"))


def test_a_plugin_runs_and_is_listed(bench, tmp_path):
    plugin = tmp_path / "mine_listed.py"
    plugin.write_text(PLUGIN.format(name="listed"))
    code, out, _ = bench("--method", "plugin-listed", "--plugin", str(plugin), "--student", "sig", "--json")
    assert code == 0
    assert json.loads(out)[0]["status"] == "done"
    assert main(["--list", "methods", "--plugin", str(plugin)]) == 0


def test_a_suite(tiny, bench, tmp_path):
    suite = tmp_path / "small.toml"
    suite.write_text(
        f'methods = ["student", "kd"]\ndata = "{tiny["data"]}"\nstudents = ["sig"]\nepochs = 3\nimage_size = 16\n'
        'epoch-rule = "val-best"\n'
        "[options.kd]\ntemperature = [1.0, 4.0]\n"
    )
    code, out, _ = bench("--suite", str(suite), data=False)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if line.startswith(("student", "kd"))] == [
        "student",
        "kd",
        "kd",
    ]
    assert "temperature=1.0" in out


def test_dry_run_writes_nothing(bench, tmp_path):
    code, out, _ = bench("--method", "all", "--dry-run")
    assert code == 0
    assert "0 on record" in out
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--method", "famm"], ["unknown method 'famm'", "'fam'", "--list methods"]),
        (["--method", "kd", "--dataset", "hapt7"], ["unknown data set", "--list datasets"]),
        (["--method", "kd", "--temprature", "2"], ["--temprature", "--temperature"]),
        (["--method", "kd", "--epoch", "2"], ["--epoch"]),
        (["--method", "kd", "--temperature", "hot"], ["temperature", "number"]),
        (["--method", "kd", "--temperature", "-1"], ["temperature", "> 0"]),
        (["--method", "kd", "--epochs", "many"], ["--epochs 'many'", "number"]),
        (["--method", "kd", "--epochs", "0"], ["epochs = 0", ">= 1"]),
        (["--method", "kd", "--student", "sig+gfa"], ["gfa", "gaf"]),
        (["--method", "kd", "--teachers", "sig,sig"], ["twice"]),
        (["--method", "kd", "--teacher-net", "sig=WRN99"], ["WRN99"]),
        (["--method", "kd", "--teacher-net", "WRN16-1"], ["sig=WRN16-1"]),
        (["--method", "kd", "--fusion", "concta"], ["concta", "concat"]),
        (["--method", "kd", "--student-net", "smal"], ["smal", "small"]),
        (["--method", "kd", "--preset", "slow"], ["slow", "quick"]),
        (["--method", "kd", "--seeds", "3-1"], ["seeds"]),
        (["--method", "kd", "--seed", "0", "--seeds", "1"], ["--seed", "--seeds", "one of them"]),
        (["--method", "kd", "--image-size", "900"], ["900"]),
        (["--method", "kd", "--device", "tpu"], ["--device"]),
        (["--method", "kd", "--data", "/nowhere.npz"], ["no such file"]),
        (["--method", "kd", "--plugin", "/nowhere.py"], ["no such Python file"]),
        (["--method", "kd", "--teacher-weights", "sig=1"], ["teacher-weights"]),
        (["--suite", "/nowhere.toml"], ["No such file"]),
        (["--method", "kd", "stray"], ["stray"]),
        (["--list", "method"], ["--list"]),
        ([], ["--method fam"]),
    ],
)
def test_bad_input_gets_one_line_and_writes_nothing(args, words, tmp_path, capsys):
    code = main([*args, "--runs", str(tmp_path / "runs")])
    captured = capsys.readouterr()
    refused((code, captured.out, captured.err), *words)
    assert not (tmp_path / "runs").exists()


def test_windows_with_nan_are_refused_and_the_choices_named(bench, windows_file, tmp_path, tiny, capsys):
    with np.load(tiny["data"]) as z:
        x = z["x"].copy()
    x[7, 1, 3] = np.nan
    path = windows_file(tmp_path / "nan.npz", x=x)
    runs = ["--runs", str(tmp_path / "runs"), "--epochs", "1", "--image-size", "16", "--student", "sig", "--quiet"]
    code = main(["--method", "student", "--data", str(path), *runs])
    captured = capsys.readouterr()
    refused((code, captured.out, captured.err), "1 of 96", "window 7", "--nan impute")
    for policy in ("impute", "drop"):
        assert main(["--method", "student", "--data", str(path), "--nan", policy, *runs]) == 0


def test_a_corrupt_file_is_refused(tmp_path, capsys):
    path = tmp_path / "broken.npz"
    path.write_bytes(b"PK\x03\x04 not really")
    code = main(["--method", "student", "--data", str(path), "--runs", str(tmp_path / "runs")])
    captured = capsys.readouterr()
    refused((code, captured.out, captured.err), "broken.npz")


def test_a_runs_folder_that_cannot_be_written(tiny, tmp_path, capsys):
    (tmp_path / "runs").write_text("a file")
    code = main(["--method", "student", "--data", str(tiny["data"]), "--epochs", "1", "--runs", str(tmp_path / "runs")])
    captured = capsys.readouterr()
    refused((code, captured.out, captured.err), "--runs")


def test_a_window_too_short_for_the_network(windows_file, tmp_path, capsys):
    path = windows_file(tmp_path / "short.npz", length=4)
    code = main(["--method", "student", "--student", "sig", "--data", str(path), "--runs", str(tmp_path / "runs")])
    captured = capsys.readouterr()
    refused((code, captured.out, captured.err), "8 samples")


def test_lists(capsys):
    for what in ("methods", "datasets", "modalities", "augmentations", "backbones", "fusions"):
        assert main(["--list", what]) == 0
        printed = capsys.readouterr().out.splitlines()
        assert max(map(len, printed)) <= 120
        lines = [line for line in printed if line[:1].strip() and not line.endswith(":")]  # of methods there are heads
        assert len(lines) >= 2
        assert all(len(line.split(None, 1)) == 2 for line in lines), f"an entry of {what} has no text"
        assert main(["--list", what, "--json"]) == 0
        assert len(json.loads(capsys.readouterr().out)[what]) == len(lines)


def test_help_shows_the_options_of_a_method(capsys):
    assert main(["--method", "fam", "--help"]) == 0
    out = capsys.readouterr().out
    for option in ("--cutoff", "--mask", "--lift", "--feature-weight", "--preset"):
        assert option in out
    assert "presets:" in out
    assert max(map(len, out.splitlines())) <= 120


def test_the_module_runs_as_a_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mmkd.bench", "--method", "nope"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stderr.startswith("mmkd.bench: unknown method 'nope'")


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("return {}", "mapping of names"),
        ("return {'a': student.logits.sum(1)}", "shape (4,)"),
        ("return {'a': 1.0}", "float"),
        ("return {'a': student.logits.sum().detach()}", "gradient"),
        ("return 1 / 0", "ZeroDivisionError"),
        ("import sys; sys.exit(3)", "SystemExit"),
    ],
)
def test_a_broken_method_fails_at_once_and_alone(bench, tmp_path, body, word, request):
    name = f"broken-{abs(hash(body)) % 10**8}"
    plugin = tmp_path / f"{name}.py"
    plugin.write_text(
        f'from mmkd import METHODS, Method\n\n@METHODS.register("{name}")\n'
        'class M(Method):\n    """A broken one."""\n\n'
        f"    def losses(self, student, teachers, batch):\n        {body}\n"
    )
    code, out, err = bench("--method", f"{name},student", "--plugin", str(plugin), "--student", "sig")
    assert code == 1
    assert word in err
    assert any(line.startswith("student") for line in out.splitlines())
    assert not list((tmp_path / "runs").glob("*/teacher.safetensors")), "no teacher is trained for a broken method"


@pytest.mark.parametrize("thing", ["class M:\n    pass", "def m():\n    pass"])
def test_a_plugin_that_registers_something_else_is_refused(tmp_path, capsys, thing):
    plugin = tmp_path / "odd.py"
    plugin.write_text(f'from mmkd import METHODS\n\n@METHODS.register("odd")\n{thing}\n')
    code = main(["--method", "odd", "--plugin", str(plugin), "--runs", str(tmp_path / "runs")])
    captured = capsys.readouterr()
    refused((code, captured.out, captured.err), "odd.py", "mmkd.Method")


def test_an_edited_plugin_is_another_unit(bench, tmp_path, monkeypatch):
    import sys as system

    from mmkd import METHODS

    plugin = tmp_path / "edited.py"
    keys = []
    for name in ("gap", "gap2"):
        plugin.write_text(PLUGIN.format(name="edited").replace('"gap"', f'"{name}"'))
        keys.append(
            json.loads(bench("--method", "plugin-edited", "--plugin", str(plugin), "--student", "sig", "--json")[1])
        )
        METHODS.unregister("plugin-edited")
        del system.modules["mmkd_plugin_edited"]
    assert keys[0][0]["key"] != keys[1][0]["key"]


def test_odd_names_cost_no_record(windows_file, tmp_path, capsys, picture_size):
    labels = np.array(["$a^_", "b$", "ü名"])[np.arange(96) % 3]
    path = windows_file(tmp_path / "my $f^_$ name.npz", y=labels)
    small = ["--epochs", "1", "--student", "sig", "--runs", str(tmp_path / "r u n s")]
    assert main(["--method", "student", "--data", str(path), "--json", *small]) == 0
    (unit,) = json.loads(capsys.readouterr().out)
    for name in ("confusion.svg", "curves.svg", "views.svg"):
        assert os.path.getsize(os.path.join(unit["paths"]["record"], name)) > 1500
        assert min(picture_size(os.path.join(unit["paths"]["record"], name))) > 150


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--seed", ""], ["seeds"]),
        (["--seed", "0-2"], ["--seeds 0-2"]),
        (["--teachers", ""], ["teachers"]),
        (["--student", ""], ["student"]),
        (["--dataset", ""], ["dataset"]),
        (["--teacher-net", "sig=FCN,sig=ResCNN"], ["twice"]),
        (["--publish"], ["--publish"]),
        (["--list", "methods"], ["--list"]),
        (["--cutoff", "0.2"], ["--cutoff is an option of fam"]),
        (["--.temperature", "2"], ["--.temperature: no method is named before the dot"]),
    ],
)
def test_contradictions_are_refused(args, words, tmp_path, capsys):
    code = main(["--method", "kd", *args, "--runs", str(tmp_path / "runs")])
    captured = capsys.readouterr()
    refused((code, captured.out, captured.err), *words)
    assert not (tmp_path / "runs").exists()


def test_sending_from_a_folder_that_is_not_there(tmp_path, capsys):
    code = main(["--publish", "--runs", str(tmp_path / "none")])
    captured = capsys.readouterr()
    refused((code, captured.out, captured.err), "no such folder")
