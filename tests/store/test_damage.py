"""Damage on disk is noticed and costs no run, and nothing that is read is ever executed."""

import ast
import json
import pickle
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import mmkd
import mmkd.store.cache
import mmkd.store.files
from mmkd import MmkdError
from mmkd.bench import main
from mmkd.core.errors import DamageWarning
from mmkd.store.records import Records, _content_hash

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore:.*mask.*:UserWarning")

# --- caches -----------------------------------------------------------------------------------------------------------

SMALL = {"student": "sig", "teachers": "sig", "epochs": 2}


def of_a_new_process():
    """Forget which files were hashed: what a new process knows."""
    mmkd.store.files._checksums.clear()


@pytest.fixture(scope="module")
def whole(sines, tmp_path_factory):
    """A cache with an entry of each kind, and the metrics of the units that made it."""
    folder = tmp_path_factory.mktemp("whole")
    made = [
        mmkd.run(method, data=sines, image_size=16, **SMALL, cache=folder / "cache", runs=folder / "runs")
        for method in ("kd", "fam-1d")
    ]
    return folder, [record.metrics for record in made]


def flip(path: Path) -> None:
    """Turn a bit in the middle; of JSON the next that changes what is read (not the last digit of a long number)."""
    whole = path.read_bytes()
    for at in range(len(whole) // 2, len(whole)):
        data = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        if path.suffix != ".json" or not reads_the_same(whole, data):
            path.write_bytes(data)
            return
    raise AssertionError(f"no bit of {path} matters")


def reads_the_same(one: bytes, other: bytes) -> bool:
    try:
        return json.loads(one) == json.loads(other)
    except ValueError:
        return False


def test_a_flip_changes_what_is_read(tmp_path):
    path = tmp_path / "a.json"
    text = '{"a": 0.30000000000000004441, "b": 1}'  # more digits than a float holds, in the middle
    path.write_text(text)
    flip(path)
    assert path.read_text() != text
    assert not reads_the_same(text.encode(), path.read_bytes())


def into_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def into_link(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


DAMAGE = {
    "flipped": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "empty": lambda path: path.write_bytes(b""),
    "gone": Path.unlink,
    "folder": into_folder,
    "link": into_link,
}
FILES = {
    "views": ["view.npy", "state.json", "manifest.json"],
    "teachers": ["best.safetensors", "last.safetensors", "history.json", "predictions.npz", "result.json"],
    "outputs": ["logits.npy", "order.json"],
    "features": ["features.stage2.npy", "order.json"],
}


def entry_of(cache: Path, kind: str) -> Path:
    return next(path for path in sorted((cache / kind).iterdir()) if path.is_dir())


def again(sines, folder: Path) -> list:
    runs = folder / "again"
    shutil.rmtree(runs, ignore_errors=True)
    of_a_new_process()
    settings = {"data": sines, "image_size": 16, **SMALL, "cache": folder / "cache", "runs": runs}
    return [mmkd.run(method, **settings).metrics for method in ("kd", "fam-1d")]


@pytest.mark.parametrize("kind", FILES)
def test_every_damage_of_every_kind_is_noticed(whole, tmp_path, kind):
    """Without training: which entry is set aside, and that the others are not."""
    shutil.copytree(whole[0] / "cache", tmp_path / "cache")
    cache = mmkd.store.cache.Cache(tmp_path / "cache")
    intact = entry_of(cache.root, kind)
    assert set(FILES[kind]) <= {path.name for path in intact.iterdir()}
    for name, damage in ((n, d) for n in FILES[kind] for d in DAMAGE if (n, d) != ("manifest.json", "gone")):
        entry = shutil.copytree(intact, cache.root / kind / "again", dirs_exist_ok=True)
        manifest = json.loads((entry / "manifest.json").read_text()) | {"entry": f"{kind}/again"}
        (entry / "manifest.json").write_text(json.dumps(manifest))
        of_a_new_process()
        assert cache.find_damage(kind, "again") is None
        DAMAGE[damage](entry / name)
        if (name, damage) == ("manifest.json", "longer"):
            (entry / name).write_bytes((entry / name).read_bytes() + b"x")
        of_a_new_process()
        if (name, damage) == ("manifest.json", "link"):  # it says what it said
            assert cache.find_damage(kind, "again") is None
        elif (name, damage) != ("manifest.json", "flipped"):  # which may hit a blank
            with pytest.warns(
                DamageWarning, match=rf"{kind}/again is damaged \({name}.* is made again; the damaged entry is in"
            ):
                assert (cache.get_or_create(kind, "again", lambda folder: (folder / "new").touch()) / "new").exists()
            assert cache.find_damage(kind, "again") is None
        shutil.rmtree(entry)
        (entry.parent / "elsewhere").unlink(missing_ok=True)
        (entry / "elsewhere").unlink(missing_ok=True)
    assert len(list((cache.root / "damaged").iterdir())) <= mmkd.store.files.DAMAGED_LIMIT


def test_runs_go_on_with_the_same_numbers(whole, sines, tmp_path):
    shutil.copytree(whole[0] / "cache", tmp_path / "cache")
    assert again(sines, tmp_path) == whole[1], "copied, nothing is damaged: no warning"
    for kind, damage in (("views", "flipped"), ("teachers", "cut"), ("outputs", "gone"), ("features", "folder")):
        DAMAGE[damage](entry_of(tmp_path / "cache", kind) / FILES[kind][0])
    with pytest.warns(DamageWarning) as found:
        assert again(sines, tmp_path) == whole[1]
    assert len(found) == 4
    assert len(list((tmp_path / "cache" / "damaged").iterdir())) == 4
    assert again(sines, tmp_path) == whole[1]


def sign(entry: Path) -> None:
    """Write the manifest of an entry that somebody made by hand."""
    (entry / "manifest.json").unlink()
    mmkd.store.cache._write_manifest(entry, f"{entry.parent.name}/{entry.name}")


def change(path: Path, **values) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


CRAFTED = {
    "teachers lacks best_epoch": lambda e: (e / "result.json").write_text('{"metrics":{},"parameters":1,"seconds":1}'),
    "teachers no object": lambda e: (e / "result.json").write_text("[]"),
    "teachers its metrics is no": lambda e: change(e / "result.json", metrics={"test": {"accuracy": "good"}}),
    "teachers history.json is no list": lambda e: (e / "history.json").write_text("{}"),
    "teachers predictions.npz is missing": lambda e: (e / "predictions.npz").unlink(),
    "teachers best.safetensors is missing": lambda e: (e / "best.safetensors").unlink(),
    "outputs order.json lacks logits": lambda e: (e / "order.json").write_text('["embedding"]'),
}


@pytest.mark.parametrize("case", CRAFTED)
def test_an_entry_whose_checksums_are_right_and_that_lacks_something_is_made_again(whole, sines, tmp_path, case):
    kind, _, why = case.partition(" ")
    shutil.copytree(whole[0] / "cache", tmp_path / "cache")
    entry = entry_of(tmp_path / "cache", kind)
    CRAFTED[case](entry)
    sign(entry)
    with pytest.warns(DamageWarning, match=f"{entry.name} is damaged .*{why}.* is made again"):
        assert again(sines, tmp_path) == whole[1]


def test_old_and_foreign_entries_and_files_that_are_not_theirs(whole, sines, tmp_path):
    """Without a manifest: made anew in silence. A file more: left alone. Another's entry, or a file: set aside."""
    shutil.copytree(whole[0] / "cache", tmp_path / "cache")
    (entry_of(tmp_path / "cache", "teachers") / "manifest.json").unlink()
    (entry_of(tmp_path / "cache", "views") / "thumbs.db").write_text("of somebody else")
    assert again(sines, tmp_path) == whole[1]
    assert not (tmp_path / "cache" / "damaged").exists()
    outputs, features = (entry_of(tmp_path / "cache", kind) for kind in ("outputs", "features"))
    shutil.rmtree(outputs)
    outputs.write_text("no folder")
    shutil.rmtree(features)
    shutil.copytree(entry_of(tmp_path / "cache", "views"), features)
    with pytest.warns(DamageWarning) as found:
        assert again(sines, tmp_path) == whole[1]
    assert {"it is no folder" in str(w.message) for w in found} == {True, False}
    assert any("it is entry 'views/" in str(w.message) for w in found)


# --- records ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def runs(whole, tmp_path):
    return shutil.copytree(whole[0] / "runs", tmp_path / "runs")


def student_of(runs: Path, method: str = "kd") -> Path:
    for path in runs.glob("[!.]*/result.json"):
        if json.loads(path.read_text())["spec"].get("method") == method:
            return path.parent
    raise AssertionError(method)


def forge(folder: Path, **changes) -> None:
    """Change a record's `result.json`, with checksums that fit it and its files."""
    result = json.loads((folder / "result.json").read_text()) | changes
    for name in set(result["files"]) & {p.name for p in folder.iterdir() if p.is_file()}:
        said = mmkd.store.files.hash_files(folder)[name]
        result["files"][name] = {"bytes": said["bytes"], "sha256": said["sha256"]}
    (folder / "result.json").write_text(json.dumps({**result, "sha256": _content_hash(result)}))


RECORD_DAMAGE = [
    *[("result.json", how) for how in ("cut", "empty", "flipped", "folder")],
    *[("predictions.npz", how) for how in ("cut", "gone", "empty", "folder")],
    *[("student.safetensors", how) for how in ("cut", "gone", "empty", "link")],
    *[("history.csv", how) for how in ("cut", "gone", "empty", "flipped")],
]


@pytest.mark.filterwarnings("default::mmkd.core.errors.DamageWarning")
@pytest.mark.parametrize(("name", "how"), RECORD_DAMAGE)
def test_a_damaged_record_ends_in_no_traceback(whole, sines, runs, capsys, monkeypatch, name, how):
    kd, fam = student_of(runs), student_of(runs, "fam-1d")
    DAMAGE[how](kd / name)
    of_a_new_process()
    args = ["--method", "kd,fam-1d", "--data", str(sines), "--student", "sig", "--teachers", "sig", "--epochs", "2"]
    args += ["--image-size", "16", "--runs", str(runs), "--cache", str(whole[0] / "cache"), "--json", "--quiet"]

    assert main([*args, "--existing", "only"]) == 1
    out, err = capsys.readouterr()
    units = json.loads(out)
    assert [unit["status"] for unit in units] == ["missing", "cached"]
    assert "is damaged" in units[0]["error"]
    assert name in units[0]["error"]
    assert f"mmkd.bench: warning: record {kd} is damaged ({name}" in err
    assert "Traceback" not in err

    with pytest.raises(MmkdError, match=f"is damaged .{name}"):
        mmkd.load_student(kd)
    mmkd.load_student(fam)

    def publish(runs, records, suite=None, new=None, log_models=False):
        (new if new is not None else []).extend(record.key for record in records)

    monkeypatch.setattr("mmkd.report.mlflow.publish", publish)
    assert main(["--publish", "--runs", str(runs)]) == 0
    assert capsys.readouterr().out.startswith("2 of 2 records sent")

    assert main(args) == 0
    out, err = capsys.readouterr()
    assert [unit["status"] for unit in json.loads(out)] == ["done", "cached"]
    assert [unit["metrics"] for unit in json.loads(out)] == whole[1]
    assert (runs / ".damaged" / f"{kd.name}-1").is_dir()
    assert {r.folder for r in Records(runs)} >= {kd, fam}


def test_rerun_sets_a_damaged_record_aside(whole, sines, runs, capsys):
    kd = student_of(runs)
    (kd / "student.safetensors").unlink()
    settings = {"data": sines, "image_size": 16, **SMALL, "cache": whole[0] / "cache", "runs": runs}
    assert mmkd.run("kd", **settings, existing="rerun").metrics == whole[1][0]
    assert (runs / ".damaged" / f"{kd.name}-1").is_dir()


def test_only_from_python_says_why(whole, sines, runs):
    (student_of(runs) / "predictions.npz").unlink()
    settings = {"data": sines, "image_size": 16, **SMALL, "cache": whole[0] / "cache", "runs": runs}
    with (
        pytest.warns(DamageWarning),
        pytest.raises(MmkdError, match=r"^its record .* is damaged \(predictions.npz is missing\)$"),
    ):
        mmkd.run("kd", **settings, existing="only")


def test_weights_that_were_changed_in_place_are_not_loaded(runs):
    """They are larger than what is hashed at every look, so it shows when they are read."""
    kd = student_of(runs)
    path = kd / "student.safetensors"
    path.write_bytes(path.read_bytes().ljust(300 << 10, b" "))
    forge(kd)
    record = Records(runs).get(kd.name)
    flip(path)
    of_a_new_process()
    assert Records(runs).get(kd.name) is not None
    with pytest.raises(MmkdError, match=r"student.safetensors has another checksum"):
        mmkd.load_student(record)


def test_pictures_and_logs_are_not_missed(runs):
    kd = student_of(runs)
    for name in ("curves.svg", "confusion.svg", "events.log"):
        (kd / name).unlink()
    assert Records(runs).get(kd.name) is not None


def test_pictures_of_old_records_are_not_missed_either(runs):
    """Pictures were PNG files once; their checksums are in `result.json`."""
    kd = student_of(runs)
    (kd / "curves.png").write_bytes(b"a picture")
    forge(kd, files={**json.loads((kd / "result.json").read_text())["files"], "curves.png": {}})
    assert json.loads((kd / "result.json").read_text())["files"]["curves.png"]["bytes"] == len(b"a picture")
    assert Records(runs).get(kd.name) is not None
    (kd / "curves.png").unlink()
    assert Records(runs).get(kd.name) is not None


def test_a_record_of_before_checksums_counts_as_it_is(runs):
    kd = student_of(runs)
    old = json.loads((kd / "result.json").read_text())
    del old["files"], old["sha256"]
    (kd / "result.json").write_text(json.dumps(old))
    record = Records(runs).get(kd.name)
    assert record is not None
    assert mmkd.load_student(record).classes == ("0", "1", "2")
    for change in ({"metrics": {}}, {"metrics": {"test": {"accuracy": 1, "macro_f1": "x"}}}, {"spec": {}}, {"spec": 3}):
        (kd / "result.json").write_text(json.dumps({**old, **change}))
        with pytest.warns(DamageWarning, match="result.json"):
            assert Records(runs).get(kd.name) is None
    (kd / "result.json").write_text(json.dumps({**old, "spec": {**old["spec"], "student_net": 7}}))
    with pytest.raises(MmkdError, match="its spec.student_net is no value of that field"):
        mmkd.load_student(kd)


# --- nothing is executed ----------------------------------------------------------------------------------------------

UNSAFE_MODULES = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml", "jsonpickle", "hickle"}
EXECUTES = {"eval", "exec", "compile", "__import__"}
UNPACKS = {"extractall", "extract", "unpack_archive", "read_pickle", "to_pickle", "load_learner"}
ALLOWED = {("plugins.py", "exec"), ("plugins.py", "compile")}  # a plugin is a program that its user names


def constant(call: ast.Call, name: str) -> object:
    return next((k.value.value for k in call.keywords if k.arg == name and isinstance(k.value, ast.Constant)), None)


def dangers(code: str) -> list[str]:
    """What in a source text could run what it reads."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [m for m in modules if m.split(".")[0] in UNSAFE_MODULES]
            if isinstance(node, ast.ImportFrom) and node.module in ("torch", "numpy"):
                found += [f"{node.module}.load" for alias in node.names if alias.name in ("load", "save")]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found += [node.func.id] if node.func.id in EXECUTES else []
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name, of = node.func.attr, node.func.value.id if isinstance(node.func.value, ast.Name) else ""
            found += [name] if name in UNPACKS else []
            if (name, of) == ("load", "torch") and constant(node, "weights_only") is not True:
                found.append("torch.load")
            if name in ("load", "read_array") and of in ("np", "numpy", "format"):
                found += [] if constant(node, "allow_pickle") is False else [f"np.{name}"]
            if (of == "torch" and name == "save") or of == "builtins":
                found.append(f"{of}.{name}")
    return found


@pytest.mark.parametrize("folder", ["mmkd", "baselines", "experiments"])
def test_nothing_unpickles_or_executes(folder):
    paths = [path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts]
    assert paths
    for path in paths:
        found = [what for what in dangers(path.read_text(encoding="utf-8")) if (path.name, what) not in ALLOWED]
        assert not found, path


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load('x')",
        "import torch\ntorch.load('x', weights_only=False)",
        "from torch import load",
        "import numpy as np\nnp.load('x')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "np.load('x', allow_pickle=flag)",
        "np.lib.format.read_array(f)\nformat.read_array(f)",
        "archive.extractall(folder)",
        "shutil.unpack_archive('x')",
        "import yaml",
        "eval('1')",
        "exec(text)",
        "pd.read_pickle('x')",
        "torch.save(x, 'y')",
    ],
)
def test_the_search_for_dangers_finds_each(code):
    assert dangers(code)


def test_what_is_safe_is_no_danger():
    assert not dangers("torch.load(p, weights_only=True)\nnp.load(p, allow_pickle=False)\nnet.eval()\nre.compile('x')")


class Payload:
    """Unpickling it creates the file `path`."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@contextmanager
def harmless(tmp_path):
    """A payload whose file must not be there at the end; that it would be is tried first."""
    marker = tmp_path / "it-ran"
    pickle.loads(pickle.dumps(Payload(marker))).close()
    assert marker.exists()
    marker.unlink()
    yield Payload(marker)
    assert not marker.exists(), "the payload ran"


def objects(payload: Payload, n: int = 24):
    array = np.empty(n, object)
    array[:] = [payload] * n
    return array


@pytest.mark.parametrize("name", ["x", "y", "subject", "test"])
def test_npz_with_pickled_objects(tmp_path, capsys, name):
    with harmless(tmp_path) as payload:
        arrays = {"x": np.zeros((24, 2, 32), np.float32), "y": np.arange(24) % 2, name: objects(payload)}
        np.savez(tmp_path / "evil.npz", **arrays)
        assert main(["--method", "kd", "--data", str(tmp_path / "evil.npz"), "--runs", str(tmp_path / "runs")]) == 2
    assert "pickled objects" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def pickled(kind: str, payload: Payload, path: Path) -> None:
    """Put the payload in the place of a file, in one of the ways in which it could be read."""
    if kind == "pickle":
        path.write_bytes(pickle.dumps(payload))
    elif kind == "torch":
        with path.open("wb") as stream:
            torch.save(payload, stream)
    elif kind == "npy":
        with path.open("wb") as stream:
            np.save(stream, objects(payload), allow_pickle=True)
    else:
        with path.open("wb") as stream:
            np.savez(stream, **{name: objects(payload) for name in ("window", "true", "predicted", "probabilities")})


@pytest.mark.parametrize("how", ["pickle", "torch", "npy"])
def test_a_cache_with_payloads_runs_none(whole, sines, tmp_path, how):
    """Even where the manifest was forged to fit them."""
    shutil.copytree(whole[0] / "cache", tmp_path / "cache")
    with harmless(tmp_path) as payload:
        kinds = ("views", "teachers", "outputs", "features") if how != "torch" else ("views", "teachers")
        for kind in kinds:
            entry = entry_of(tmp_path / "cache", kind)
            for name in ("view.npy", "last.safetensors", "logits.npy"):
                if (entry / name).exists():
                    pickled(how, payload, entry / name)
            (entry / "manifest.json").unlink()
            mmkd.store.cache._write_manifest(entry, f"{kind}/{entry.name}")
        with pytest.warns(DamageWarning) as found:
            assert again(sines, tmp_path) == whole[1]
        assert len(found) == len(kinds)


@pytest.mark.parametrize("how", ["pickle", "torch", "npy"])
@pytest.mark.parametrize("forged", [False, True])
def test_a_student_that_is_a_pickle(runs, tmp_path, how, forged):
    kd = student_of(runs)
    with harmless(tmp_path) as payload:
        pickled(how, payload, kd / "student.safetensors")
        if forged:
            forge(kd)
        with pytest.raises(MmkdError, match="student.safetensors"):
            mmkd.load_student(kd)


def test_predictions_that_are_pickles(whole, sines, tmp_path):
    """A teacher's predictions are copied into its record: those of a forged entry fail the unit, or are replaced."""
    shutil.copytree(whole[0] / "cache", tmp_path / "cache")
    with harmless(tmp_path) as payload:
        entry = entry_of(tmp_path / "cache", "teachers")
        pickled("npz", payload, entry / "predictions.npz")
        (entry / "manifest.json").unlink()
        mmkd.store.cache._write_manifest(entry, f"teachers/{entry.name}")
        with pytest.raises(MmkdError, match="allow_pickle"):
            again(sines, tmp_path)


ODD_TS = [
    "@problemName $(touch {0})\n@data\n1,2:a\n",
    "@data\n__import__('os').system('touch {0}'),2:a\n",
    "@data\n1,2:__import__('os').system('touch {0}')\n",
    "@data\n{{payload}}\n",
    "@classLabel true !!python/object/apply:os.system ['touch {0}']\n@data\n1,2:a\n",
    "@data\n`touch {0}`:a\n1e999,nan:b\n",
    "\0\0\0\n@data\n1:a\n",
    "@data\n" + "9" * 400 + ",1:a\n",
]


@pytest.mark.parametrize("text", ODD_TS)
def test_ts_files_with_odd_content(tmp_path, capsys, text):
    with harmless(tmp_path) as payload:
        path = tmp_path / "odd.ts"
        path.write_text(text.format(payload.path))
        assert main(["--method", "student", "--data", str(path), "--runs", str(tmp_path / "runs")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_ts_that_is_a_pickle(tmp_path, capsys):
    with harmless(tmp_path) as payload:
        pickled("pickle", payload, tmp_path / "odd.ts")
        assert main(["--method", "student", "--data", str(tmp_path / "odd.ts"), "--runs", str(tmp_path / "runs")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("how", ["pickle", "torch", "npy"])
def test_a_checkpoint_that_is_a_pickle(sines, tmp_path, capsys, how):
    with harmless(tmp_path) as payload:
        path = tmp_path / "mine.safetensors"
        pickled(how, payload, path)
        args = ["--method", "kd", "--data", str(sines), "--runs", str(tmp_path / "runs"), "--student", "sig"]
        assert main([*args, "--teacher-checkpoint", f"sig={path}"]) == 2
    assert f"sig={path}: no intact safetensors file" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_safetensors_are_what_this_house_stores(runs):
    """The tests above stand on files that load when they are left alone."""
    state = load_file(student_of(runs) / "student.safetensors")
    save_file(state, runs / "copy.safetensors")
    assert set(load_file(runs / "copy.safetensors")) == set(state)
