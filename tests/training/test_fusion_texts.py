"""Fusions of branches with options: from the request to record, table and stored student; plugins with and without."""

import numpy as np
import pytest

import mmkd
from mmkd.bench import main
from mmkd.compare import main as compare
from mmkd.core.registry import REGISTRIES
from mmkd.data import load_file

PLUGIN = '''
"""The logits of the branches, added in other shares."""

from dataclasses import dataclass

import torch
from torch import nn

from mmkd import FUSIONS, Outputs
from mmkd.core.options import Options, option


@dataclass(frozen=True)
class ShareOptions(Options):
    first: float = option(0.5, "share of the first branch", ge=0, le=1)


@FUSIONS.register("shares")
class Shares(nn.Module):
    """Two branches with shares."""

    Config = ShareOptions

    def __init__(self, dry, classes, first):
        super().__init__()
        self.first = first

    def forward(self, branches):
        one, other = branches.values()
        embedding = torch.cat([one.embedding, other.embedding], 1)
        return Outputs(self.first * one.logits + (1 - self.first) * other.logits, embedding)


@FUSIONS.register("bare")
class Bare(Shares):
    """Two branches with equal shares."""

    Config = None

    def __init__(self, dry, classes):
        super().__init__(dry, classes, 0.5)
'''


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "shares.py"
    path.write_text(PLUGIN, encoding="utf-8")
    yield path
    for registry in REGISTRIES:
        for name in ("shares", "bare"):
            registry.unregister(name)


def small(tiny):
    return {**tiny, "epochs": 1, "epoch_rule": "last", "student": "sig+gaf", "student_net": "small"}


def check_stored(record, tiny):
    """The stored student gives the stored probabilities."""
    student = mmkd.load_student(record)
    with np.load(record.folder / "predictions.npz") as stored:
        found = student.predict_proba(load_file(tiny["data"]).x[stored["window"]])
        np.testing.assert_allclose(found, stored["probabilities"], atol=2e-3)
    return student


def test_a_fusion_with_options_from_request_to_stored_student(tiny, tmp_path, capsys):
    record = mmkd.run("student", fusion="freqfusion:gates=learned:bands=3", **small(tiny), runs=tmp_path / "runs")
    assert record.result["spec"]["fusion"] == "freqfusion:bands=3"
    (join,) = check_stored(record, tiny).network.fusion.joins
    assert join.operator.options.bands == 3
    again = mmkd.run("student", fusion="freqfusion:bands=3:kernels=5", **small(tiny), runs=tmp_path / "runs")
    assert again.key == record.key
    assert len(list((tmp_path / "runs").glob("*/result.json"))) == 1
    capsys.readouterr()
    assert compare(["--runs", str(tmp_path / "runs")]) == 0
    assert "freqfusion:bands=3" in capsys.readouterr().out


def test_a_plugins_options_and_its_code_are_in_keys(tiny, tmp_path, plugin):
    own = {**small(tiny), "runs": tmp_path / "runs", "plugin": str(plugin)}
    record = mmkd.run("student", fusion="shares:first=0.25", **own)
    assert record.result["spec"]["fusion"] == "shares:first=0.25"
    assert list(record.result["spec"]["sources"]) == ["fusion shares"]
    assert check_stored(record, tiny).network.fusion.first == 0.25


@pytest.mark.parametrize(
    ("fusion", "words"),
    [
        ("bare:first=0.5", "--fusion 'bare:first=0.5': bare has no options; leave out what follows it"),
        ("shares:first=2", "--fusion 'shares:first=2': first = 2.0 must be <= 1"),
        ("shares:last=2", "has no option 'last' (its options: first)"),
        ("gated:bands=3", "gated has no options"),
        ("concat,freqfusion:kernels=2", "kernels = 2: take odd sizes from 3 to 15"),
    ],
)
def test_wrong_texts_end_before_anything_is_written(fusion, words, sines, tmp_path, plugin, capsys):
    runs = tmp_path / "runs"
    flags = ["--student", "sig+gaf", "--fusion", fusion, "--plugin", str(plugin), "--runs", str(runs)]
    code = main(["--method", "student", "--data", str(sines), *flags])
    captured = capsys.readouterr()
    assert (code, captured.out, captured.err.count("\n")) == (2, "", 1), captured
    assert words in captured.err
    assert not runs.exists()
