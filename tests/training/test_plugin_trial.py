"""What a plugin's view, network or fusion does wrong is said before a training, in one line that names its class."""

import json

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.bench import main
from mmkd.core.plugins import load_plugin

NETWORK = """
import torch
from torch import nn
from mmkd import BACKBONES, Outputs

@BACKBONES.register("mine")
class Mine(nn.Module):
    "A network."

    def __init__(self, shape, classes):
        super().__init__()
        self.conv = nn.Conv1d(shape[0], 4, 3, padding=1)
        self.classify = nn.Linear(4, classes)

    def forward(self, x):
        map = torch.relu(self.conv(x))
        embedding = map.mean(2)
        logits = self.classify(embedding)
        return Outputs(logits, embedding, {"last": map}, self.classify.weight)
"""
FUSION = """
import torch
from torch import nn
from mmkd import FUSIONS, Outputs

@FUSIONS.register("mine")
class Mine(nn.Module):
    "The mean of the logits."

    def __init__(self, dry, classes):
        super().__init__()

    def forward(self, branches):
        logits = torch.stack([branch.logits for branch in branches.values()]).mean(0)
        embedding = torch.cat([branch.embedding for branch in branches.values()], 1)
        return Outputs(logits, embedding)
"""
VIEW = """
import numpy as np
from mmkd import MODALITIES, Modality

@MODALITIES.register("mine")
class Mine(Modality):
    "Windows over the largest value of the training windows."
    name = "mine"
    fitted = True
    _fitted_names = ("largest",)

    def shape(self, channels, length):
        return channels, length

    def fit(self, windows):
        largest = np.abs(windows).max((0, 2))
        return self._set_fitted(largest=largest)

    def _transform_chunk(self, x, out):
        out[:] = x / self._get_fitted("largest")[:, None]
"""
WEIGHT = "self.classify.weight"
RETURN = 'return Outputs(logits, embedding, {"last": map}, self.classify.weight)'
FUSED = "return Outputs(logits, embedding)"
WRONG = [
    (NETWORK, RETURN, "return logits", "returned Tensor"),
    (NETWORK, RETURN, "return Outputs(logits[:, :-1], embedding)", "gives logits (2, 2)"),
    (NETWORK, RETURN, "return Outputs(logits * float('nan'), embedding)", "(class Mine): logits holds NaN or infinity"),
    (NETWORK, RETURN, "return Outputs(logits, map)", "(class Mine): embedding has shape (4, 4, 32)"),
    (NETWORK, RETURN, "return Outputs(logits, embedding.tolist())", "embedding is list; it must be a tensor"),
    (NETWORK, RETURN, "return Outputs(logits, embedding.long())", "embedding holds torch.int64"),
    (NETWORK, RETURN, "return Outputs(logits, embedding, [map])", "features is list; it must be a mapping"),
    (NETWORK, RETURN, "return Outputs(logits, embedding, {'last': embedding})", "feature map 'last' has shape (4, 4)"),
    (NETWORK, RETURN, "return Outputs(logits, embedding, {'last': map[:1]})", "must be (4, any, any)"),
    (
        NETWORK,
        RETURN,
        "return Outputs(logits, embedding, {}, self.classify.weight)",
        "has a classifier of feature maps",
    ),
    (
        NETWORK,
        RETURN,
        "return Outputs(logits, embedding, {'last': map}, self.classify.weight.T)",
        "classifier has shape",
    ),
    (
        NETWORK,
        RETURN,
        "return Outputs(logits, embedding, attention={'a': map})",
        "attention 'a' do not sum to 1",
    ),
    (NETWORK, "logits = ", "logits = torch.randn(()) + ", "gives other logits for the same views each time"),
    (NETWORK, "embedding = map", "embedding = 1 / 0 * map", "ZeroDivisionError"),
    (NETWORK, "@BACKBONES", "1 / 0\n@BACKBONES", "--plugin "),
    (FUSION, FUSED, "return logits", "the fusion (class Mine) returned Tensor"),
    (FUSION, FUSED, "return Outputs(logits[:, 1:], embedding)", "fusion 'mine' (class Mine): logits has shape (4, 2)"),
    (FUSION, FUSED, "return Outputs(logits / 0 * 0, embedding)", "fusion 'mine' (class Mine): logits holds NaN"),
    (FUSION, "super().__init__()", "dry['gaff']", "fusion 'mine' cannot join sig, gaf: KeyError: 'gaff'"),
    (
        FUSION,
        "embedding = ",
        "embedding = branches['x'];",
        "(class Mine) fails on random views: KeyError",
    ),
    (VIEW, 'name = "mine"', "", "modality 'mine' is Mine, which lacks its name"),
    (VIEW, 'name = "mine"', 'name = "other"', "modality 'mine' calls itself 'other'"),
    (VIEW, "return channels, length", "return channels * length", "shape returned 64"),
    (VIEW, "return channels, length", "return channels, length + 1", "(class Mine) fails on windows"),
    (VIEW, "out[:] = x /", "out[:] = x / 0 *", "holds NaN or infinity"),
    (VIEW, "out[:] = x /", "out[:] = np.random.rand() + x /", "another one each time"),
    (VIEW, "out[:] = x /", "out[:] = x.mean() + x /", "depends on the other windows"),
    (VIEW, "        largest =", "        windows[:] = 0\n        largest =", "changes the windows that it is given"),
    (VIEW, 'self._get_fitted("largest")[:, None]', "self.largest", "is another one after its state is stored"),
    (VIEW, "(0, 2))", "(0, 2)); self.largest = largest[:, None]", ""),  # nothing is wrong
    (VIEW, "class Mine(Modality)", "class Mine", "modality 'mine' is Mine, which is no subclass of mmkd.Modality"),
]
FLAGS = {
    NETWORK: ("--student", "sig", "--student-net", "mine"),
    FUSION: ("--student", "sig+gaf", "--fusion", "mine", "--student-net", "small", "--image-size", "16"),
    VIEW: ("--student", "mine"),
}


@pytest.mark.parametrize(("text", "old", "new", "words"), WRONG, ids=lambda value: value[:40].strip())
def test_it_is_one_line_and_nothing_is_written(text, old, new, words, sines, tmp_path, capsys):
    assert text.count(old) == 1
    if "self.largest" in new and words:  # what is learnt is not stored
        text = text.replace("(0, 2))", "(0, 2)); self.largest = largest[:, None]")
        text = text.replace("x, out):\n", "x, out):\n        self.__dict__.setdefault('largest', 1.0)\n")
    plugin = tmp_path / "mine.py"
    plugin.write_text(text.replace(old, new), encoding="utf-8")
    runs = tmp_path / "runs"
    flags = [*FLAGS[next(own for own in FLAGS if own.split("\n")[:8] == text.split("\n")[:8])]]
    common = ["--method", "student", "--data", str(sines), "--plugin", str(plugin), "--runs", str(runs)]
    if not words:
        assert main([*common, *flags, "--dry-run"]) == 0
        return
    assert main([*common, *flags]) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert err.count("\n") == 1
    assert out == ""
    assert not runs.exists() or not any(runs.rglob("*.*"))


@pytest.mark.parametrize("text", FLAGS, ids=["backbone", "fusion", "view"])
def test_what_is_right_is_trained(text, sines, tmp_path, capsys):
    plugin = tmp_path / "mine.py"
    plugin.write_text(text, encoding="utf-8")
    places = ["--runs", str(tmp_path / "runs"), "--cache", str(tmp_path / "cache")]
    own = ["--method", "student", "--data", str(sines), "--plugin", str(plugin), "--epochs", "1", "--quiet", "--json"]
    assert main([*own, *FLAGS[text], *places]) == 0
    (unit,) = json.loads(capsys.readouterr().out)
    assert unit["status"] == "done"


JOIN = """
import torch
from torch import nn
from torch.nn import functional as F
from mmkd import STAGE_FUSIONS

@STAGE_FUSIONS.register("mine")
class Mine(nn.Module):
    "The larger of both maps."

    def __init__(self, high_channels, low_channels, dims):
        super().__init__()
        self.channels = high_channels
        self.project = (nn.Conv1d if dims == 1 else nn.Conv2d)(low_channels, high_channels, 1)

    def forward(self, high, low):
        return torch.maximum(high, F.interpolate(self.project(low), high.shape[2:]))
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("", "", ""),
        ("        self.channels = high_channels\n", "", "attribute `channels` is the number of its channels"),
        ("self.channels = high_channels", "self.channels = 1 + high_channels", "(class Mine) returned (2, "),
        (", high.shape[2:])", ", scale_factor=3)", "(class Mine) fails on maps"),
        ("return torch", "return 'x' or torch", "(class Mine) returned str"),
    ],
)
def test_a_stage_fusion_is_tried_on_two_maps(old, new, words, tmp_path):
    from mmkd.nets import build_dense

    plugin = tmp_path / "mine.py"
    plugin.write_text(JOIN.replace(old, new) if old else JOIN, encoding="utf-8")
    load_plugin(plugin)
    if not words:
        assert build_dense("unet-small", (2, 32), 3, "mine") is not None
        return
    with pytest.raises(MmkdError) as error:
        build_dense("unet-small", (2, 32), 3, "mine")
    assert words in str(error.value)


METRIC = """
import numpy as np
from mmkd import METRICS, Metric

def recall(counts):
    return float(np.diag(counts).sum() / counts.sum())

METRICS.register("mine")(Metric("mine", "mine", forms=("window",), of_counts=recall))
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "counts.sum())",
            "counts.sum(1)[-1])",
            "gives inf for made-up classes of which one",
        ),
        ("return float", "return list('ab') or float", r"gives \['a', 'b'\] for made-up classes"),
        ("return float", "1 / 0; return float", "fails on made-up classes .* ZeroDivisionError"),
        ('Metric("mine"', 'Metric("other"', "calls itself 'other'"),
        ('Metric("mine", ', 'dict(forms="mine", x=', "SyntaxError|is dict|TypeError"),
    ],
)
def test_the_function_of_a_metric_is_tried_when_it_is_registered(old, new, words, tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(METRIC.replace(old, new), encoding="utf-8")
    with np.errstate(all="ignore"), pytest.raises(MmkdError, match=words):
        load_plugin(plugin)
