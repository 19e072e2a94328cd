"""Quantisation-aware training: rounding is that of int8, gradients pass through it, and nothing of it stays behind."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmkd import METHODS
from mmkd.core.progress import Progress
from mmkd.nets import build_student
from mmkd.specs.unit import Training
from mmkd.training.data import TrainingData
from mmkd.training.loop import train
from mmkd.training.rounding import as_int8, round_activation, round_weight
from mmkd.training.teacher_outputs import NoTeachers


def as_whole_numbers(values):
    """The slow way, value by value, in Python: what int8 with a step and a zero point holds."""
    low, high = min(min(values), 0.0), max(max(values), 0.0)
    step = (high - low) / 255 or 1.0
    zero = max(-128, min(127, round(-128 - low / step)))
    return [(max(-128, min(127, round(v / step) + zero)) - zero) * step for v in values]


@pytest.mark.parametrize("shift", [-3.0, 0.0, 5.0])
def test_activations_are_multiples_of_one_step_and_zero_is_exact(shift):
    torch.manual_seed(0)
    x = torch.randn(3, 4, 5, dtype=torch.float64) + shift
    rounded = round_activation(x)
    assert np.allclose(rounded.flatten(), as_whole_numbers(x.flatten().tolist()), atol=1e-12)
    step = (max(x.max().item(), 0) - min(x.min().item(), 0)) / 255
    assert (rounded - x).abs().max() <= 0.75 * step
    assert round_activation(torch.tensor([-1.0, 0.0, 0.7]))[1] == 0
    assert torch.equal(round_activation(torch.zeros(4)), torch.zeros(4))


def test_weights_have_a_step_for_each_output_channel():
    torch.manual_seed(0)
    weight = torch.randn(4, 3, 5, dtype=torch.float64) * torch.tensor([1.0, 10.0, 0.01, 0.0])[:, None, None]
    rounded = round_weight(weight)
    for own, out in zip(weight, rounded, strict=True):
        step = own.abs().max().item() / 127 or 1.0
        expected = [round(v / step) * step for v in own.flatten().tolist()]
        assert np.allclose(out.flatten(), expected, atol=1e-12)
        assert len(torch.unique(torch.round(out / step))) <= 255


def test_a_layer_computes_with_rounded_values_and_its_gradient_is_that_at_them():
    torch.manual_seed(0)
    layer = nn.Conv1d(2, 3, 3, stride=2, padding=1).double()
    x = torch.randn(4, 2, 9, dtype=torch.float64, requires_grad=True)
    with as_int8(layer):
        y = layer(x)
    values = x.detach(), layer.weight.detach()
    read = round_activation(values[0]).requires_grad_()
    weight = round_weight(values[1]).requires_grad_()
    expected = F.conv1d(read, weight, layer.bias, stride=2, padding=1)
    assert torch.equal(y, expected)
    assert not torch.equal(y, layer(x))
    up = torch.randn_like(y)
    own = torch.autograd.grad(y, (x, layer.weight), up)
    other = torch.autograd.grad(expected, (read, weight), up)
    assert all(torch.allclose(a, b, atol=1e-14) for a, b in zip(own, other, strict=True))


def test_nothing_stays_behind_not_even_after_an_error():
    torch.manual_seed(0)
    network = build_student("micro", {"sig": (2, 32)}, 3).eval()
    x = {"sig": torch.randn(5, 2, 32)}
    before = network(x).logits
    with as_int8(network):
        rounded = network(x).logits
    with as_int8(network, enabled=False):
        assert torch.equal(network(x).logits, before)
    with pytest.raises(ZeroDivisionError), as_int8(network):
        1 / 0  # noqa: B018
    assert torch.equal(network(x).logits, before)
    assert 0 < (rounded - before).abs().max() < 0.2 * before.abs().max()
    assert not any("forward" in module.__dict__ for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())


def test_what_residual_blocks_add_is_rounded_too():
    network = build_student("micro", {"sig": (2, 32)}, 3).eval()
    seen = {}

    def keep(name):
        return lambda module, inputs, output: seen.update({name: output.detach().clone()})

    with as_int8(network):
        for name, module in network.named_modules():
            if name.endswith(("stem", "conv2", "shortcut")) or type(module).__name__ == "Block":
                module.register_forward_hook(keep(name))  # after those of `as_int8`
        network({"sig": torch.randn(8, 2, 32)})
    assert len(seen) == 1 + 3 + 3 + 2  # stem, blocks, their last convolutions, the shortcuts of two
    for name, values in seen.items():
        assert len(torch.unique(values)) <= 256, name


@pytest.fixture
def windows():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = (rng.normal(size=(60, 2, 32)) + y[:, None, None]).astype(np.float32)
    return TrainingData({"sig": x}, y, np.arange(60), np.arange(0), "abc", torch.device("cpu"))


def trained(windows, qat):
    torch.manual_seed(0)
    return train(
        build_student("micro", {"sig": (2, 32)}, 3),
        METHODS.get("student")(qat=qat),
        windows,
        NoTeachers(),
        training=Training(epochs=4, batch_size=16),
        seed=0,
        label="student",
        progress=Progress(),
    )


def test_the_last_part_of_a_training_is_rounded_and_the_first_is_not(windows):
    plain, half, whole = (trained(windows, qat).history for qat in (0.0, 0.5, 1.0))
    losses = [[row["loss"] for row in history] for history in (plain, half, whole)]
    assert losses[0][:2] == losses[1][:2] != losses[2][:2]
    assert losses[0][2:] != losses[1][2:]
    assert all(own[-1] < own[0] for own in losses)
