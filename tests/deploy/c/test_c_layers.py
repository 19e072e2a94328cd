"""A student as a list of plain layers: the same logits, and what has no C form is refused with its reason."""

import numpy as np
import pytest
import torch
from torch import nn

from mmkd.core.errors import MmkdError
from mmkd.deploy.c import extract as extraction
from mmkd.deploy.c.extract import extract
from mmkd.deploy.c.layers import Add, Affine, Concat, Conv, Input, Mean, Network, convolve, fold, run_layers, separate
from mmkd.methods.outputs import Outputs
from mmkd.nets.ensemble import Ensemble
from mmkd.views.channels import make_modality


def logits_of(network, windows):
    *_, (_, logits) = run_layers(network, windows)
    return logits[:, :, 0]


@pytest.mark.parametrize("net", ["tiny", "micro", "small", "WRN16-1", "small-window"])
@pytest.mark.parametrize("branches", [1, 2])
def test_the_layers_give_the_logits_of_the_student(made, net, branches):
    student = made.student(net, None if branches == 1 else made.two)
    windows = made.windows(20, seed=3)
    with torch.no_grad():
        expected = student(student.views(windows)).logits.numpy()
    network = extract(student)
    np.testing.assert_allclose(logits_of(network, windows), expected, atol=2e-5, rtol=2e-5)
    assert sum(isinstance(layer, Input) for layer in network.layers) == branches


def test_an_offset_of_the_data_is_part_of_the_centre(made):
    offset = [5.0, -1.0, 100.0, 0.0, 2.0]
    plain, moved = made.student("micro"), made.student("micro", offset=offset)
    windows = made.windows(5)
    np.testing.assert_allclose(
        logits_of(extract(moved), windows + np.array(offset)[:, None]), logits_of(extract(plain), windows), atol=1e-9
    )


def test_batch_norms_and_relus_are_folded(made):
    kinds = [type(layer) for layer in extract(made.student("tiny")).layers]
    assert Affine not in kinds  # a batch norm follows each pointwise convolution
    layers = extract(made.student("micro")).layers
    alone = [layer for layer in layers if isinstance(layer, Affine)]
    assert len(alone) == 4  # before each block and at the end: sums are read by a shortcut too, or are no convolution
    assert all(layer.relu for layer in alone)
    assert [layer.relu for layer in layers if isinstance(layer, Conv)].count(True) == 3


def test_a_linear_layer_may_follow_another(made):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(5, 8, 4, stride=3, padding=2, dilation=2, groups=1)
            self.grouped = nn.Conv1d(8, 12, 3, groups=4)
            self.pool = nn.AvgPool1d(3, 2)
            self.every = nn.AdaptiveAvgPool1d(1)
            self.head = nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.ReLU(), nn.Dropout(), nn.Linear(7, 3))

        def forward(self, views):
            x = self.pool(torch.relu(self.grouped(self.conv(views["sig"]))))
            logits = self.head(self.every(x))
            return Outputs(logits, logits)

    student = made.model(Two(), made.signals({"sig": None}))
    windows = made.windows(6)
    with torch.no_grad():
        expected = student(student.views(windows)).logits.numpy()
    network = extract(student)
    np.testing.assert_allclose(logits_of(network, windows), expected, atol=2e-5)
    assert [type(layer) for layer in network.layers] == [Input, Conv, Conv, Mean, Mean, Conv, Conv]


def naive_convolution(layer, x):
    outputs, inputs, taps = layer.weight.shape
    length = (x.shape[1] + 2 * layer.padding - layer.dilation * (taps - 1) - 1) // layer.stride + 1
    result = np.zeros((outputs, length))
    for o in range(outputs):
        group = o // (outputs // layer.groups)
        for t in range(length):
            total = layer.bias[o]
            for i in range(inputs):
                for k in range(taps):
                    position = t * layer.stride - layer.padding + k * layer.dilation
                    if 0 <= position < x.shape[1]:
                        total += layer.weight[o, i, k] * x[group * inputs + i, position]
            result[o, t] = total
    return result


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"), [(1, 0, 1, 1), (2, 3, 1, 2), (3, 4, 2, 4), (1, 9, 3, 1)]
)
def test_a_convolution_is_its_formula(stride, padding, dilation, groups):
    generator = np.random.default_rng(0)
    weight, bias = generator.standard_normal((8, 4 // groups, 5)), generator.standard_normal(8)
    layer = Conv(("x",), "y", weight, bias, stride, padding, dilation, groups)
    x = generator.standard_normal((2, 4, 17))
    for window, result in zip(x, convolve(layer, x), strict=True):
        np.testing.assert_allclose(result, naive_convolution(layer, window), atol=1e-12)


def test_a_layer_that_is_read_twice_is_not_folded():
    one = np.ones(2)
    conv = Conv(("x",), "y", np.ones((2, 2, 1)), np.zeros(2))
    relu = Affine(("y",), "z", one, np.zeros(2), relu=True)
    head = Add(("y", "z"), "sum")
    shapes = dict.fromkeys(("x", "y", "z", "sum"), (2, 3))
    view = Input("x", (0, 1), np.zeros(2), one)
    assert fold(Network((view, conv, relu, head), shapes)).layers == (view, conv, relu, head)
    folded = fold(Network((view, conv, relu), shapes))
    assert [(type(layer), layer.output) for layer in folded.layers] == [(Input, "x"), (Conv, "z")]
    assert folded.layers[1].relu
    assert set(folded.shapes) == {"x", "z"}


def test_parts_of_a_concatenation_are_made_for_it_alone():
    view = Input("x", (0, 1), np.zeros(2), np.ones(2))
    conv = Conv(("x",), "y", np.ones((2, 2, 1)), np.zeros(2))
    joined = Concat(("x", "y", "y"), "z")
    network = Network((view, conv, joined), {"x": (2, 3), "y": (2, 3), "z": (6, 3)})
    apart = separate(network)
    assert [type(layer) for layer in apart.layers] == [Input, Conv, Affine, Affine, Affine, Concat]
    assert len(set(apart.layers[-1].inputs)) == 3
    windows = np.random.default_rng(0).standard_normal((4, 2, 3))
    *_, (_, expected) = run_layers(network, windows)
    *_, (_, found) = run_layers(apart, windows)
    np.testing.assert_array_equal(found, expected)


class Head(nn.Module):
    """A network of one function of the signal."""

    def __init__(self, function):
        super().__init__()
        self.conv = nn.Conv1d(5, 3, 3)
        self.linear = nn.Linear(3, 3)
        self.function = function

    def forward(self, views):
        logits = self.function(self, views["sig"])
        return Outputs(logits, logits)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda net, x: torch.sigmoid(net.conv(x)).mean(2), "sigmoid.*no C form"),
        (lambda net, x: net.conv(x).mean(2), "not those of a linear layer"),
        (lambda net, x: net.linear((net.conv(x) * 2).mean(2)), "mul.*no C form"),
        (lambda net, x: net.linear(net.conv(x).amax(2)), "amax.*no C form"),
        (lambda net, x: net.linear((net.conv(x) + 1).mean(2)), "computes with 1, which has no C form"),
        (lambda net, x: net.linear(net.conv(x).flip(2).mean(2)), "flip.*no C form"),
        (lambda net, x: net.linear(net.conv(x).transpose(1, 2)[:, :3].mean(2)), "transpose.*no C form"),
        (lambda net, x: net.linear(net.conv(x).mean(1)[:, :3]), "only means over all positions"),
        (lambda net, x: net.linear(x.new_tensor(float(x.sum())) * net.conv(x).mean(2)), "cannot be traced"),
    ],
)
def test_layers_without_a_c_form_are_refused(made, function, reason):
    student = made.model(Head(function), made.signals({"sig": None}))
    with pytest.raises(MmkdError, match=reason) as caught:
        extract(student)
    assert "\n" not in str(caught.value)
    assert "--to onnx" in str(caught.value)


def test_students_of_images_of_other_rates_and_tasks_and_ensembles_are_refused(made):
    windows = made.windows(30)
    with pytest.raises(MmkdError, match=r"a layer .*, which has no C form"):
        extract(made.student("wrn-attn"))
    small = made.student("small")
    gaf = made.model(small.network, {"gaf": make_modality("gaf", {})})
    with pytest.raises(MmkdError, match="reads gaf, an image of the signal"):
        extract(gaf)
    slower = make_modality("sig@10Hz", {"rate_hz": 10.0, "from_hz": 20.0}).fit(windows)
    with pytest.raises(MmkdError, match="sig@10Hz, which resamples.*--rate 10"):
        extract(made.model(small.network, {"sig@10Hz": slower}))
    with pytest.raises(MmkdError, match="this one labels steps: use --to onnx"):
        extract(made.student("small", dense=True))
    with pytest.raises(MmkdError, match="this one reads images: use --to onnx"):
        extract(made.student("small", grid=(5, 8)))
    with pytest.raises(MmkdError, match="an ensemble of networks"):
        extract(made.model(Ensemble([small.network]), small.modalities))


def test_layers_that_differ_from_the_student_are_refused(made, monkeypatch):
    getitem = extraction._Reader._getitem

    def other(self, node):
        layer = getitem(self, node)
        return Affine(layer.inputs, layer.output, layer.scale, layer.shift + 0.01)

    monkeypatch.setattr(extraction._Reader, "_getitem", other)
    with pytest.raises(MmkdError, match=r"differ from the student by .* of a logit; nothing is written"):
        extract(made.student("micro"))
