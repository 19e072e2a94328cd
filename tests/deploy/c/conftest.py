"""Signal students that nobody trained, with batch norms that have seen something."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from mmkd.deploy.c.extract import extract
from mmkd.deploy.c.quantise import choose_units, measure_ranges, quantise
from mmkd.nets import build_student
from mmkd.training.student_model import StudentModel
from mmkd.views.channels import ChannelSubset
from mmkd.views.signal import Signal

CHANNELS = 5
WINDOW = 40
NAMES = ("walking", "sitting", "lying")


def random_windows(number, seed=0):
    """Windows whose channels differ in mean and width."""
    generator = np.random.default_rng(seed)
    x = np.cumsum(generator.standard_normal((number, CHANNELS, WINDOW)), axis=2)
    return (x * np.array([1, 0.1, 20, 3, 1])[:, None] + np.array([0, 9.8, -300, 1, 0])[:, None]).astype(np.float32)


def as_model(network, modalities, names=NAMES, **settings):
    return StudentModel(network, modalities, classes=names, channels=CHANNELS, window=WINDOW, **settings)


def signals(groups):
    """Fitted views of channels: {"sig": None} reads all of them."""
    windows = random_windows(30)
    made = {name: Signal() if chosen is None else ChannelSubset(Signal(), chosen) for name, chosen in groups.items()}
    return {name: modality.fit(windows) for name, modality in made.items()}


def student_of(net, groups=None, fusion="concat", seed=0, **settings):
    """An untrained student of signals."""
    groups = {"sig": None} if groups is None else groups
    views = signals(groups)
    shapes = {name: view.shape(CHANNELS, WINDOW) for name, view in views.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_student(net, shapes, len(NAMES), fusion)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d):
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
                nn.init.normal_(module.running_mean)
                nn.init.uniform_(module.running_var, 0.5, 2)
            elif isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.normal_(module.bias)
    return as_model(network, views, **settings)


TWO = {"sig@a": [0, 1, 2], "sig@b": [4, 3]}


@pytest.fixture(scope="session")
def made():
    """What makes such students and windows."""
    return SimpleNamespace(
        student=student_of, model=as_model, signals=signals, windows=random_windows, names=NAMES, two=TWO
    )


@pytest.fixture(scope="session")
def models():
    """Integer models of untrained students: one of each kind of layer, by name."""
    found = {}
    for name, net, groups in (("tiny", "tiny", None), ("micro", "micro", TWO), ("small", "small", None)):
        network = extract(student_of(net, groups))
        windows = random_windows(64)
        for standardise in ("float", "int"):
            units = choose_units(windows) if standardise == "int" else None
            found[f"{name}-{standardise}"] = quantise(
                network, measure_ranges(network, windows), (CHANNELS, WINDOW), units
            )
    return found
