"""Quantisation-aware training: a student that computes as if its weights and activations were int8.

The scheme is that of `python -m mmkd.export --to c`. Weights have one step for each output channel, symmetric, with the
largest at 127; activations one step and zero point for a tensor, from its smallest to its largest value in the batch, 0
included. Rounded are the weights and inputs of convolutions and linear layers and, of the wide residual networks, what
residual blocks add up. Gradients pass straight through the rounding (Bengio et al. 2013, arXiv:1308.3432), as in Jacob
et al. 2018, arXiv:1712.05877; unlike there, ranges are those of the batch, so that a network has no state of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.nets.wrn import Block, WideResNet

HIGHEST = 127
LEVELS = 255


def round_weight(weight: Tensor) -> Tensor:
    """Weights (O, ...) as int8 holds them: whole multiples of largest / 127, for each of the O output channels."""
    fixed = weight.detach()
    step = fixed.flatten(1).abs().amax(1) / HIGHEST
    step = torch.where(step > 0, step, 1.0).reshape(-1, *(1,) * (weight.dim() - 1))
    return torch.round(fixed / step) * step + (weight - fixed)  # the second term is 0, and carries the gradient


def round_activation(x: Tensor) -> Tensor:
    """Values of any shape as int8 holds them, with one step and zero point for all; 0 stays exactly 0."""
    fixed = x.detach()
    low, high = fixed.amin().clamp_max(0), fixed.amax().clamp_min(0)
    step = (high - low) / LEVELS
    step = torch.where(step > 0, step, 1.0)
    zero = torch.round(-128 - low / step).clamp(-128, HIGHEST)
    whole = torch.clamp(torch.round(fixed / step) + zero, -128, HIGHEST)
    return (whole - zero) * step + (x - fixed)


def _convolution(module: nn.Conv1d | nn.Conv2d, x: Tensor) -> Tensor:
    y: Tensor = module._conv_forward(round_activation(x), round_weight(module.weight), module.bias)
    return y


def _linear(module: nn.Linear, x: Tensor) -> Tensor:
    return F.linear(round_activation(x), round_weight(module.weight), module.bias)


def _round_output(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return round_activation(output)


def _added(network: nn.Module) -> Iterator[nn.Module]:
    """The modules whose outputs a residual block adds, and the blocks."""
    for module in network.modules():
        if isinstance(module, WideResNet):
            yield module.stem
        elif isinstance(module, Block):
            yield module.conv2
            yield module
            if module.shortcut is not None:
                yield module.shortcut


@contextmanager
def as_int8(network: nn.Module, enabled: bool = True) -> Iterator[None]:
    """A context in which a network rounds as above in its forward passes; its parameters stay as they are.

    Args:
        enabled: False changes nothing.
    """
    changed = []
    handles = []
    try:
        for module in network.modules() if enabled else ():
            if isinstance(module, nn.Conv1d | nn.Conv2d):
                module.forward = partial(_convolution, module)  # type: ignore[method-assign]
            elif isinstance(module, nn.Linear):
                module.forward = partial(_linear, module)  # type: ignore[method-assign]
            else:
                continue
            changed.append(module)
        handles = [module.register_forward_hook(_round_output) for module in _added(network)] if enabled else []
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module in changed:
            del module.forward
