"""Every method trains with the networks, images, optimiser and augmentations of the presets `standard` and `full`."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mmkd import METHODS
from mmkd.tasks import presets
from mmkd.training.student import run_unit
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import expand
from mmkd.units.request import Request

pytestmark = pytest.mark.filterwarnings("ignore:.*mask.*:UserWarning")
NAMES = [name for name in METHODS if "classification" in METHODS.get(name).tasks]
STEPS = 3
"""In three parts, which `mst-distill` needs."""


@pytest.fixture(scope="module")
def worn(tmp_path_factory):
    """A few windows of one sensor, long enough for images of 64 x 64, with augmentations of their own."""
    rng = np.random.default_rng(0)
    y = np.arange(24) % 3
    time = np.arange(64) / 64
    phase = rng.uniform(0, 2 * np.pi, (24, 3, 1))
    x = np.sin(2 * np.pi * (y[:, None, None] + 1) * time + phase) + 0.3 * rng.normal(size=(24, 3, 64))
    card = {"channels": np.array(list("abc")), "triads": np.array(["wrist=a,b,c"])}
    card["augment"] = np.array(["rotate:20", "gain:0.1"])
    path = tmp_path_factory.mktemp("worn") / "worn.npz"
    np.savez(path, x=x.astype(np.float32), y=y, **card)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Records and cache of all tests here, so that each teacher is trained once."""
    return tmp_path_factory.mktemp("presets")


def run(name, preset, path, folder, monkeypatch):
    """The unit of a method after a few steps in batches of four, and its record; all its numbers are finite."""
    monkeypatch.setattr(presets, "STEPS_A_PART", 1)
    method = METHODS.get(name)
    settings = {"steps": STEPS, "batch_size": 4, "fusion": ("attention" if "attention" in method.needs else "concat",)}
    if preset == "full":
        settings["lr"] = 0.05  # the published one; for batches of four the preset has less
    if method.distils:
        settings["teacher_steps"] = 2
    if name == "timedistill":  # lines alone
        settings["teachers"] = ("sig",)
    if name in ("pseudo-label", "self-training"):  # of windows without a label
        settings["labelled_windows"] = 4
    ((spec, data),) = expand(Request(methods=(name,), data=str(path), preset=preset, **settings))
    assert spec.student == ("sig", "gaf", "pi")
    assert spec.training.epochs == STEPS
    record = run_unit(spec, data, Workspace(folder / "runs", cache_folder=folder / "cache"))
    scores = record.result["metrics"]["test"]
    assert [key for key, value in scores.items() if isinstance(value, float) and not np.isfinite(value)] == []
    weights = load_file(record.folder / "student.safetensors")
    assert [key for key, value in weights.items() if not torch.isfinite(value.float()).all()] == []
    return spec


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_standard(name, worn, folder, monkeypatch):
    spec = run(name, "standard", worn, folder, monkeypatch)
    assert set(spec.teachers.values()) <= {"WRN16-1-window"}
    assert spec.student_net == "tiny"
    assert spec.views["gaf"]["range"] == "train"
    assert (spec.training.augment, spec.training.augment_copies) == (("rotate:20", "gain:0.1"), 4)
    assert spec.data.epoch_rule == "last"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_full(name, worn, folder, monkeypatch):
    spec = run(name, "full", worn, folder, monkeypatch)
    assert set(spec.teachers.values()) <= {"WRN16-3"}
    assert spec.student_net == "WRN16-1"
    assert spec.views["gaf"]["size"] == 64
    for training in filter(None, (spec.training, spec.teacher_training)):
        assert (training.optimizer, training.lr, training.schedule) == ("sgd", 0.05, "steps")
