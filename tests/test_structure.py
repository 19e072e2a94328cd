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

LAYERS = [
    {"errors"},
    {"options", "registry", "schedules", "statistics", "console"},
    {"spec", "memory", "parallel"},
    {"data", "modalities", "method", "outer", "progress"},
    {"frequency", "cache"},
    {"nets"},
    {"views", "evaluate", "record", "segmentation", "checkpoint"},
    {"train"},
    {"teachers"},
    {"outputs"},
    {"request", "figures"},
    {"assemble"},
    {"load"},
    {"unit", "sweep", "deployment", "robustness", "maps"},
    {"measure", "anomaly"},
    {"plan"},
    {"work", "estimate"},
    {"jobs", "workers", "ray_engine"},
    {"table", "listing"},
    {"api", "flags", "identity", "predictions", "series_table"},
    {"comparison", "charts"},
    {"ranking", "details"},
    {"report"},
    {"export"},
    {"page"},
    {"track"},
    {"bench", "data.__main__"},
    {"compare"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
LEVEL["baselines"] = LEVEL["frequency"] + 1  # above method and frequency, whose public names they may use
LEVEL["mmkd"] = LEVEL["registry"] + 1  # `mmkd/__init__.py`; the rest of its names load on first use


def files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*.py") if "__pycache__" not in p.parts)


def unit_of(path: Path) -> str:
    """The module, or the sub-package, of the package that a file belongs to."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if parts[1:] == ("__main__",):
        return ".".join(parts)  # a command, above the sub-package that it belongs to
    return "mmkd" if parts == ("__init__",) else parts[0]


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


def own_units(path: Path) -> set[str]:
    """The modules and sub-packages of mmkd that a file imports."""
    found = set()
    for module, name in imports(path):
        parts = module.split(".")
        if parts[0] == "mmkd":
            if len(parts) > 1:
                found.add(parts[1])
            else:
                found.add(name if (PACKAGE / f"{name}.py").is_file() or (PACKAGE / name).is_dir() else "mmkd")
    return found


def test_every_module_has_its_layer():
    found = {unit_of(path) for path in files(PACKAGE)}
    assert found - set(LEVEL) == set(), "give the new module a layer above"
    assert set(LEVEL) - found == set(), "no such module any more"


@pytest.mark.parametrize("path", files(PACKAGE), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_only_from_below(path):
    here = unit_of(path)
    for other in own_units(path) - {here}:
        assert LEVEL[other] < LEVEL[here], f"{path.name} imports mmkd.{other}"


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
    assert own_units(sub / "one.py") == {"bench", "train", "data", "api", "unit", "mmkd"}


def importers_of(name: str) -> set[str]:
    return {
        str(path.relative_to(PACKAGE)) for path in files(PACKAGE) if name in {m.split(".")[0] for m, _ in imports(path)}
    }


def test_only_track_imports_mlflow():
    assert importers_of("mlflow") == {"track.py"}


def test_only_its_engine_imports_ray():
    assert importers_of("ray") == {"ray_engine.py"}


def test_only_methods_networks_and_training_import_torch():
    free = {"errors", "options", "registry", "spec", "cache", "record", "sweep", "table", "request", "views", "track"}
    free |= {"data", "modalities", "progress", "bench", "api", "figures", "plan", "jobs", "workers", "ray_engine"}
    free |= {"statistics", "console", "identity", "predictions", "comparison", "ranking", "report", "export", "compare"}
    free |= {"charts", "details", "page"}
    assert {unit_of(PACKAGE / name) for name in importers_of("torch")} & free == set()


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
        "import mmkd.store.record, mmkd.store.cache, mmkd.units.spec",
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


@pytest.mark.parametrize(("command", "flag"), [("bench", "--method"), ("compare", "--control")])
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
