"""Fixtures of all tests, and `--fast`.

One thread for all tests and the processes that they start: on small tensors a second thread costs more than it gives,
results do not depend on it, and the workers of pytest-xdist share the cores.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch and numpy are imported

import gc
import multiprocessing.popen_spawn_posix
import shutil
import sqlite3
import subprocess
import sys
import warnings
from contextlib import closing
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from filelock import FileLock
from torch.optim.optimizer import register_optimizer_step_pre_hook

from mmkd import METHODS
from mmkd.core.registry import REGISTRIES
from mmkd.core.source import is_own
from mmkd.evaluation import deployment
from mmkd.peers import forest
from mmkd.report.mlflow import store as mlflow_store
from mmkd.tasks.base import Task
from mmkd.tasks.classification import PRESETS
from mmkd.units import costs

for _word in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):  # a make that a test starts is no part of the `make test` above it
    os.environ.pop(_word, None)

torch.set_num_threads(1)
for _word in (
    "MAKEFLAGS",
    "MFLAGS",
    "MAKELEVEL",
):  # a make that a test starts is not a part of the `make test` above it
    os.environ.pop(_word, None)
gc.freeze()  # modules stay: the collector of garbage need not look at them again and again
gc.set_threshold(50_000, 20, 20)


def pytest_addoption(parser):
    parser.addoption(
        "--fast", action="store_true", help="skip a test as soon as it begins a training or starts another Python"
    )


FREE_STEPS = 4
"""Steps of an optimizer that a test may take under `--fast`."""


@pytest.fixture(scope="session", autouse=True)
def _fast(request):
    """Under `--fast` what takes long skips the test that asks for it: no list of long tests has to be kept."""
    if not request.config.getoption("--fast"):
        yield
        return

    def skips(reason, when=lambda *args: True):
        def wrap(real):
            def call(*args, **kwargs):
                if when(*args, **kwargs):
                    pytest.skip(f"--fast: {reason}")
                return real(*args, **kwargs)

            return call

        return wrap

    def python(popen, args, *more, **options):
        return not isinstance(args, str) and str(args[0]) == sys.executable

    def step(optimizer, args, kwargs):
        request.session.steps += 1
        if request.session.steps > FREE_STEPS:
            pytest.skip("--fast: it trains")

    request.session.steps = 0
    hook = register_optimizer_step_pre_hook(step)
    with pytest.MonkeyPatch.context() as patch:
        for owner, name, change in (
            (Task, "run_unit", skips("it trains")),
            (subprocess.Popen, "__init__", skips("it starts another Python", python)),
            (multiprocessing.popen_spawn_posix.Popen, "__init__", skips("it starts another Python")),
        ):
            patch.setattr(owner, name, change(getattr(owner, name)))
        yield
    hook.remove()


@pytest.fixture(autouse=True)
def _steps_of_this_test(request):
    request.session.steps = 0


@pytest.fixture(autouse=True)
def _no_stray_settings(monkeypatch):
    """Variables of the caller's shell change no test; MMKD_DATA is what the tests marked `data` read, and stays."""
    for name in ("MMKD_CACHE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """Where a store of MLflow without runs lies as soon as a test has made one; shared by the workers."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "new.db"


@pytest.fixture(scope="session", autouse=True)
def _new_stores_are_copies(empty_store):
    """MLflow makes a database in hundreds of steps, the same each time: the first of a session is kept and copied."""
    own, kept = mlflow_store.connect, empty_store

    def client(runs):
        for name, value in mlflow_store.SETTINGS.items():  # before the import, as in the house
            os.environ.setdefault(name, value)
        with warnings.catch_warnings(action="ignore"):
            from mlflow.store.db import utils
        if utils._initialize_tables is not made:
            real.append(utils._initialize_tables)
            utils._initialize_tables = made
        return own(runs)

    def made(engine):
        path = engine.url.database if engine.url.get_backend_name() == "sqlite" else None
        if not path:
            real[0](engine)
            return
        with FileLock(f"{kept}.lock"):
            if kept.exists():
                _copy_database(kept, path)
            else:
                real[0](engine)
                _copy_database(path, kept)

    real = []
    mlflow_store.connect = client
    yield
    mlflow_store.connect = own


def _copy_database(source, target):
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)


@pytest.fixture(scope="session", autouse=True)
def _no_peers():
    """Tables have no rows of peers unless a test asks for them, and a forest has nine trees."""
    with pytest.MonkeyPatch.context() as patch:
        for name, preset in PRESETS.items():
            patch.setitem(PRESETS, name, replace(preset, peers=("none",)))
        patch.setattr(forest, "TREES", 9)
        yield


@pytest.fixture(autouse=True)
def _cheap_extras(request, monkeypatch):
    """A latency is of three windows, except where it is what is tested."""
    module = request.module.__name__.rpartition(".")[2]
    monkeypatch.setattr(costs, "UNSTEADY", float("inf"))  # machines that test are busy
    if module != "test_deployment":
        monkeypatch.setattr(deployment, "REPEATS", 3)
        monkeypatch.setattr(deployment, "WARM_UP", 1)


@pytest.fixture(autouse=True)
def _methods_as_before():
    """What a test registers, or breaks, is gone after it."""
    METHODS.load()
    entries, broken, modules = dict(METHODS._entries), dict(METHODS.import_errors), set(sys.modules)
    names = {id(registry): set(registry._entries) for registry in REGISTRIES}
    yield
    METHODS._entries, METHODS.import_errors, METHODS._duplicates = entries, broken, {}
    for registry in REGISTRIES:
        for name in set(registry._entries) - names.get(id(registry), set()):
            if not is_own(registry._registered_by[name]):
                registry.unregister(name)
    for name in set(sys.modules) - modules:
        if name.startswith(("mmkd_plugin_", "mmkd.baselines.")):
            del sys.modules[name]


def picture_size(path):
    """Width and height of a record's picture: a whole SVG file that draws something and shows no cut-off number."""
    root = ElementTree.parse(path).getroot()
    drawn = [element for element in root.iter() if element.tag.rpartition("}")[2] in ("path", "rect", "image")]
    assert len(drawn) > 2, "nothing is drawn"  # the background is a rectangle
    assert not any("nan" in value.split() for element in drawn for value in element.attrib.values())
    return float(root.get("width")), float(root.get("height"))


@pytest.fixture(name="picture_size")
def _picture_size():
    """`picture_size`, for tests of records."""
    return picture_size


def make_windows(path, n=96, channels=2, length=32, classes=3, subjects=6, seed=0, **more):
    """Write an `.npz` of sines whose frequency is the class, in noise; returns the path."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    time = np.arange(length) / length
    phase = rng.uniform(0, 2 * np.pi, (n, channels, 1))
    x = np.sin(2 * np.pi * (y[:, None, None] + 1) * time + phase) + 0.3 * rng.normal(size=(n, channels, length))
    arrays = {"x": x.astype(np.float32), "y": y} | ({"subject": np.arange(n) // classes % subjects} if subjects else {})
    np.savez(path, **{**arrays, **more})
    return path


@pytest.fixture
def windows_file():
    """`make_windows`, for tests that want files of their own."""
    return make_windows


@pytest.fixture(scope="session")
def sines(tmp_path_factory):
    """One small data file for all tests."""
    return make_windows(tmp_path_factory.mktemp("sines") / "sines.npz")


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    """One cache for all tests that do not test the cache, so that teachers of one spec are trained once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def tiny(sines, shared_cache):
    """Settings of `mmkd.run` for a unit of seconds, with validation windows that choose the epoch."""
    return {"data": sines, "epochs": 3, "image_size": 16, "epoch_rule": "val-best", "cache": shared_cache}


@pytest.fixture(scope="module")
def chromium():
    """Debian's Chromium without a window; where it is not there its tests are skipped. Nothing is downloaded."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test-browser")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium here: apt-get install chromium")
    with driver.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        yield browser
        browser.close()
