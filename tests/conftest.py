"""One thread for all tests: on small tensors a second costs more than it gives, and results do not hang on it."""

import shutil
import sys

import numpy as np
import pytest
import torch

from mmkd import METHODS

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_stray_settings(monkeypatch):
    """Variables of the caller's shell change no test; MMKD_DATA is what the tests marked `data` read, and stays."""
    for name in ("MMKD_CACHE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _methods_as_before():
    """What a test registers, or breaks, is gone after it."""
    METHODS.load()
    entries, broken, modules = dict(METHODS._entries), dict(METHODS.broken), set(sys.modules)
    yield
    METHODS._entries, METHODS.broken, METHODS._contested = entries, broken, {}
    for name in set(sys.modules) - modules:
        if name.startswith(("mmkd_plugin_", "mmkd.baselines.")):
            del sys.modules[name]


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
    """Settings of `mmkd.run` for a unit of seconds."""
    return {"data": sines, "epochs": 3, "image_size": 16, "cache": shared_cache}


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
