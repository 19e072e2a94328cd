"""Installed packages add entries of every kind under its entry-point group; a broken one stops nobody."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GROUPS = {
    "methods": "from mmkd import METHODS as R, Method as Base",
    "modalities": "from mmkd import MODALITIES as R, Modality as Base",
    "backbones": "from torch.nn import Module as Base\nfrom mmkd import BACKBONES as R",
    "dense": "from torch.nn import Module as Base\nfrom mmkd import DENSE as R",
    "fusions": "from torch.nn import Module as Base\nfrom mmkd import FUSIONS as R",
    "stage_fusions": "from torch.nn import Module as Base\nfrom mmkd import STAGE_FUSIONS as R",
    "augmentations": "from mmkd import AUGMENTATIONS as R, Augmentation as Base",
}
ENTRY = """
@R.register("theirs")
class Theirs(Base):
    "Of an installed package."
    name = "theirs"
"""
OBJECTS = """
from mmkd import METRICS, READERS, TASKS, Metric, Task
METRICS.register("theirs")(Metric("theirs", "theirs"))
TASKS.register("theirs")(Task("theirs", "", "window", TASKS.get("classification").presets, (), ("sig",), ("sig",)))
READERS.register("theirs")(lambda card, folder: None)
"""
SCRIPT = """
import mmkd
names = ["METHODS", "MODALITIES", "BACKBONES", "DENSE", "FUSIONS", "STAGE_FUSIONS", "METRICS", "TASKS", "READERS"]
names += ["AUGMENTATIONS"]
for name in names:
    registry = getattr(mmkd, name)
    assert "theirs" in registry, name
    assert len(registry.source_sha256("theirs")) == 64, name
    assert len(registry.broken_packages) == 1, registry.broken_packages
print("all of them")
"""


@pytest.fixture
def environment(tmp_path):
    """Of a process that has two packages more: one with an entry of each kind, one that cannot be imported."""
    package = tmp_path / "their_package"
    package.mkdir()
    (package / "__init__.py").touch()
    for group, imports in GROUPS.items():
        (package / f"{group}.py").write_text(f"{imports}\n{ENTRY}", encoding="utf-8")
    (package / "objects.py").write_text(OBJECTS, encoding="utf-8")
    (package / "broken.py").write_text("raise OSError('no licence on this machine')", encoding="utf-8")
    modules = {group: group for group in GROUPS} | dict.fromkeys(("metrics", "tasks", "readers"), "objects")
    lines = []
    for group, module in modules.items():
        lines += [f"[mmkd.{group}]", f"theirs = their_package.{module}", f"old = their_package.broken:{group}"]
    info = tmp_path / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}


def run(environment, *arguments):
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_a_package_registers_every_kind(environment):
    assert run(environment, "-c", SCRIPT) == (0, "all of them\n", "")


def test_a_package_that_cannot_be_imported_is_one_line_and_stops_nobody(environment, sines, tmp_path):
    code, out, err = run(environment, "-m", "mmkd.bench", "--list", "backbones")
    assert (code, err) == (0, "")
    assert "theirs Of an installed package." in " ".join(out.split())
    assert "broken: entry point old = their_package.broken:backbones of mmkd.backbones: OSError: no licence" in out
    common = ["-m", "mmkd.bench", "--data", str(sines), "--runs", str(tmp_path / "runs")]
    code, out, err = run(environment, *common, "--method", "student", "--student-net", "thiers")
    assert code == 2
    assert err.count("\n") == 1
    assert "unknown backbone 'thiers'; did you mean 'theirs'?" in err
    assert "entry point old = their_package.broken:backbones of mmkd.backbones could not be loaded: OSError" in err


def test_help_does_not_look_for_packages(environment):
    code, out, err = run(environment, "-X", "importtime", "-m", "mmkd.bench", "--help")
    assert code == 0
    assert "--plugin" in out
    assert "their_package" not in err
    assert "importlib.metadata" not in err
