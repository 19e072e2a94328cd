"""The shape of the house: who may import whom, and what a quick start must not load."""

import ast
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import mmkd
import mmkd.frequency

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mmkd"

FLOORS = (
    {"core"},
    {"specs", "methods", "frequency", "drawing"},
    {"store", "tasks"},
    {"data", "nets"},
    {"views", "metrics", "augment", "peers"},
    {"units"},
    {"training", "comparison"},
    {"evaluation", "report"},
    {"engines", "deploy", "results"},
    {"api"},
    {"estimators"},
    {"aeon"},
    {"cli"},
)
"""The packages of `mmkd/`, from the ground up: each imports from the floors below its own, and from itself."""
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
LEVEL["mmkd"] = LEVEL["core"] + 1  # `mmkd/__init__.py`; the rest of its names load on first use
LEVEL["baselines"] = LEVEL["frequency"] + 1  # above methods and frequency, whose public names they may use
DOORS = {"__main__.py", "bench.py", "compare.py", "export.py", "data/__main__.py", "results/__main__.py"}
"""`python -m mmkd.bench` and the like: a few lines above the whole house."""


def files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*.py") if "__pycache__" not in p.parts)


def package_of(path: Path) -> str:
    """The package of the house that a file belongs to; `mmkd` for its own `__init__`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "mmkd" if parts == ("__init__",) else parts[0]


def is_door(path: Path) -> bool:
    return str(path.relative_to(PACKAGE)) in DOORS


@cache
def imports(path: Path) -> set[tuple[str, str]]:
    """All (module, name) that a file imports, in functions too, relative ones made absolute; name "" for `import m`.

    What stands under `if TYPE_CHECKING:` is left out.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = ["mmkd", *path.relative_to(PACKAGE).parent.parts] if path.is_relative_to(PACKAGE) else []
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {(module, alias.name) for alias in node.names}
    return found


def own_packages(path: Path) -> set[str]:
    """The packages of mmkd that a file imports."""
    found = set()
    for module, name in imports(path):
        parts = module.split(".")
        if parts[0] == "mmkd":
            if len(parts) > 1:
                found.add(parts[1])
            else:
                inside = (PACKAGE / f"{name}.py").is_file() or (PACKAGE / name / "__init__.py").is_file()
                found.add(name if name and inside else "mmkd")
    return found


def test_every_package_has_its_floor():
    found = {package_of(path) for path in files(PACKAGE) if not is_door(path)}
    assert found - set(LEVEL) == set(), "give the new package a floor above"
    assert set(LEVEL) - found == set(), "no such package any more"


@pytest.mark.parametrize("path", files(PACKAGE), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_only_from_below(path):
    if is_door(path):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 12
        name = path.parent.name if path.parent != PACKAGE else path.stem.replace("__main__", "commands")
        assert {module for module, _ in imports(path)} - {"sys"} == {f"mmkd.cli.{name}"}
        return
    here = package_of(path)
    for other in own_packages(path) - {here}:
        assert LEVEL[other] < LEVEL[here], f"{path.name} imports mmkd.{other}"


def cycles(edges: dict[str, set[str]]) -> set[str]:
    """The modules that import each other in a circle."""
    left = {name: set(others) & set(edges) for name, others in edges.items()}
    while free := [name for name, others in left.items() if not others - {name}]:
        left = {name: others - set(free) for name, others in left.items() if name not in free}
    return set(left)


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_modules_import_each_other_in_a_circle():
    known = {module_of(path): path for path in files(PACKAGE) if not is_door(path) and path.parent.name != "baselines"}
    edges = {}
    for name, path in known.items():
        asked = {f"{module}.{thing}" if f"{module}.{thing}" in known else module for module, thing in imports(path)}
        edges[name] = {
            other for other in asked if other in known and other != name and known[other].name != "__init__.py"
        }
    assert cycles(edges) == set()
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == {"a", "b", "c", "d"}


@pytest.mark.parametrize("name", sorted(set(LEVEL) - {"aeon", "api", "mmkd", "baselines"}))
def test_each_package_says_what_it_is_for(name):
    text = ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text(encoding="utf-8")))
    assert text is not None
    assert 3 <= len(text.splitlines()) <= 8, f"say in about five lines what belongs in mmkd/{name}, and what does not"


def test_the_reader_of_imports_reads_them(tmp_path, monkeypatch):
    """The test above can fail: each way to write an import is seen."""
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path / "mmkd")
    sub = tmp_path / "mmkd" / "data"
    sub.mkdir(parents=True)
    (tmp_path / "mmkd" / "api.py").touch()
    (sub / "one.py").write_text(
        "import os.path, mmkd.bench\nfrom ..train import train\nfrom . import two\nfrom .. import api\n"
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..teachers import Teacher\n"
        "def f():\n    from mmkd.training.student import run_unit\n    from mmkd import METHODS\n"
    )
    assert own_packages(sub / "one.py") == {"bench", "train", "data", "api", "training", "mmkd"}


def importers_of(name: str) -> set[str]:
    return {
        str(path.relative_to(PACKAGE)) for path in files(PACKAGE) if name in {m.split(".")[0] for m, _ in imports(path)}
    }


def test_only_its_module_imports_mlflow():
    assert {Path(path).parts[:2] for path in importers_of("mlflow")} <= {("report", "mlflow"), ("report", "mlflow.py")}


def test_only_its_engine_imports_ray():
    assert importers_of("ray") == {"engines/ray.py"}


def test_nothing_imports_matplotlib():
    assert importers_of("matplotlib") == set()


TORCH = {"methods", "frequency", "nets", "training", "evaluation", "deploy", "baselines"}
"""Packages that may import torch; others may not, or only inside a function that needs it."""


def test_only_methods_networks_and_training_import_torch():
    lazily = {"engines/worker.py", "core/registry.py", "peers/minirocket.py"}
    lazily |= {f"views/tensor_{name}.py" for name in ("fields", "images", "views")}
    assert {path for path in importers_of("torch") if package_of(PACKAGE / path) not in TORCH} <= lazily


@pytest.mark.parametrize("path", files(ROOT / "baselines"), ids=lambda p: p.name)
def test_a_method_needs_public_names_torch_and_python(path):
    for module, name in imports(path):
        top = module.split(".")[0]
        assert top in {"torch", "mmkd"} or top in sys.stdlib_module_names, module
        if top == "mmkd":
            public = {"mmkd": mmkd.__all__, "mmkd.frequency": mmkd.frequency.__all__}
            assert module in public, f"{module} is not for methods"
            assert name in public[module], f"{module}.{name} is no public name"


def test_public_names_are_there_and_listed_once():
    for module in (mmkd, mmkd.frequency):
        assert len(set(module.__all__)) == len(module.__all__)
        for name in module.__all__:
            assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        mmkd.nonsense  # noqa: B018
    assert set(mmkd.__all__) <= set(dir(mmkd))


@pytest.mark.parametrize("folder", ["baselines", "datasets", "experiments"])
def test_folders_that_are_no_packages(folder):
    assert (ROOT / folder).is_dir()
    assert list((ROOT / folder).rglob("__init__.py")) == []


def test_annotations_are_evaluated():
    """`from __future__ import annotations` would turn the types of options into texts."""
    listed = [*files(PACKAGE), *files(ROOT / "baselines"), *files(ROOT / "tests")]
    assert len(listed) > 50
    for path in listed:
        assert ("__future__", "annotations") not in imports(path), path


def run(code: str, *args: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *args], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


HEAVY = {"torch", "mlflow", "pandas", "numpy", "tsai", "scipy", "sklearn", "matplotlib", "numba", "pyts", "rich"}


@pytest.mark.parametrize(
    "code",
    [
        "import mmkd",
        "import mmkd; mmkd.METHODS; mmkd.MmkdError; mmkd.option",
        "import sys; sys.argv = ['bench', '--help']; import mmkd.bench; assert mmkd.bench.main() == 0",
        "import mmkd.bench; assert mmkd.bench.main(['--epoch', '3']) == 2",
        "import mmkd.store.record, mmkd.store.cache, mmkd.specs.unit",
    ],
)
def test_quick_starts_load_nothing_heavy(code):
    out = run(f"{code}\nimport json, sys\nprint()\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))")
    assert HEAVY & set(json.loads(out.splitlines()[-1])) == set()


def test_the_list_of_methods_needs_torch_alone():
    out = run(
        "import json, sys, mmkd.bench\nmmkd.bench.main(['--list', 'methods'])\nprint(json.dumps(sorted(sys.modules)))"
    )
    assert HEAVY & set(json.loads(out.splitlines()[-1])) - {"rich"} == {"torch", "numpy"}


def test_units_on_record_need_neither_torch_nor_mlflow():
    """Requests, sweeps and tables: a command that finds everything on record answers at once."""
    out = run(
        "import json, sys, mmkd.api, mmkd.report.table, mmkd.report.mlflow\nprint(json.dumps(sorted(sys.modules)))"
    )
    assert {"torch", "mlflow", "tsai", "matplotlib"} & set(json.loads(out)) == set()


@pytest.mark.parametrize("flags", [["--dry-run"], ["--existing", "only"]])
def test_what_trains_nothing_loads_torch_alone(flags, tmp_path):
    """Reading pyts' sets would bring scikit-learn and pandas, the views numba, the checks of the data scipy.

    Of methods it loads those that are named, and a dry run no comparison.
    """
    flags = ["--method", "student,kd", "--dataset", "basic-motions", "--runs", str(tmp_path / "runs"), *flags]
    out = run(
        "import json, sys, mmkd.bench\nmmkd.bench.main(sys.argv[1:])\nprint()\nprint(json.dumps(sorted(sys.modules)))",
        *flags,
        "--cache",
        str(tmp_path / "cache"),
    )
    loaded = set(json.loads(out.splitlines()[-1]))
    assert HEAVY & loaded - {"rich"} == {"torch", "numpy"}
    assert {name for name in loaded if name.startswith("mmkd.baselines.")} == {
        "mmkd.baselines.kd",
        "mmkd.baselines.student",
    }
    assert "--dry-run" not in flags or not any(name.startswith("mmkd.comparison") for name in loaded)


@pytest.mark.parametrize(("command", "flag"), [("bench", "--method"), ("compare", "--control"), ("export", "--to")])
def test_help_of_a_command(command, flag):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", f"mmkd.{command}", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    loaded = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert {"argparse", "mmkd"} <= loaded
    assert HEAVY & loaded == set()
    assert flag in done.stdout


def test_our_folders_shadow_nobody():
    """In the checkout `datasets` and `baselines` are no modules: another package of that name would win."""
    out = run(
        "import importlib.util, json\n"
        "specs = {name: importlib.util.find_spec(name) for name in ('datasets', 'baselines', 'experiments')}\n"
        "print(json.dumps({name: spec and spec.origin for name, spec in specs.items()}))"
    )
    for origin in json.loads(out).values():
        assert origin is None or not Path(origin).is_relative_to(ROOT)


def test_another_package_called_datasets_wins(tmp_path):
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").write_text("whose = 'theirs'")
    code = (
        "import sys; sys.path.append(sys.argv[1]); import datasets, mmkd; print(datasets.whose, len(mmkd.METHODS) > 0)"
    )
    assert run(code, str(tmp_path)) == "theirs True\n"


def test_methods_come_from_the_checkout():
    for name in mmkd.METHODS:
        cls = mmkd.METHODS.get(name)
        if cls.__module__.startswith("mmkd.baselines."):
            assert Path(sys.modules[cls.__module__].__file__).parent == ROOT / "baselines"
