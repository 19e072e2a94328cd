"""Mamba for dense labels: bidirectional selective state spaces (S6), in plain PyTorch.

S6 is from Gu and Dao 2023, arXiv:2312.00752. Both directions in one block, with shared projections in and out, are from
Vision Mamba, Zhu et al. 2024, arXiv:2401.09417. Additions of this project: the size, the stem (signals keep every
second position, images every fourth along each axis), and a linear classifier on the normalised last map. An image is
read row by row, forwards and backwards. On a CPU this is slower than convolutions with as many parameters.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.methods.outputs import Outputs
from mmkd.nets.base import DENSE, Shape
from mmkd.nets.dense.layers import Head

SERIAL = 1 << 13
"""With this many numbers a step or more, a single chunk is fastest on a CPU, because arithmetic outweighs calls."""


def _recurrence(decay: Tensor, drive: Tensor, backwards: bool, chunk: int) -> Tensor:
    """Compute h_t = decay_t h_{t-1} + drive_t, or its transpose g_t = decay_{t+1} g_{t+1} + drive_t, without gradients.

    All chunks are computed at the same time, step by step, each from a zero state. Then the final state of each chunk
    is carried into the next one. This takes chunk + T / chunk steps instead of T. Decays are only multiplied, never
    divided by, so that a product that underflows to 0 does no harm.
    """
    length = drive.shape[1]
    count = -(-length // chunk)
    step = -1 if backwards else 1
    if count == 1:
        state = drive.clone(memory_format=torch.contiguous_format)
        for t in range(length - 2, -1, -1) if backwards else range(1, length):
            state[:, t].addcmul_(decay[:, t + 1 if backwards else t], state[:, t - step])
        return state
    shape = (drive.shape[0], count * chunk, *drive.shape[2:])
    state = drive.new_zeros(shape)
    passed = drive.new_ones(shape)
    state[:, :length] = drive
    passed[:, : length - 1 if backwards else length] = decay[:, 1:] if backwards else decay
    split = (drive.shape[0], count, chunk, *drive.shape[2:])
    state = state.view(split)
    passed = passed.view(split)
    for t in range(chunk - 2, -1, -1) if backwards else range(1, chunk):
        state[:, :, t].addcmul_(passed[:, :, t], state[:, :, t - step])
        passed[:, :, t].mul_(passed[:, :, t - step])  # the decays between the neighbour's end and t
    for c in range(count - 2, -1, -1) if backwards else range(1, count):
        state[:, c].addcmul_(passed[:, c], state[:, c - step, 0 if backwards else -1].unsqueeze(1))
    return state.flatten(1, 2)[:, :length]


class _Scan(torch.autograd.Function):
    """The recurrence with gradients: its gradient is the transposed recurrence, whose gradient is the recurrence."""

    @staticmethod
    def forward(ctx: Any, decay: Tensor, drive: Tensor, backwards: bool, chunk: int) -> Tensor:
        state = _recurrence(decay, drive, backwards, chunk)
        ctx.save_for_backward(decay, state)
        ctx.backwards = backwards
        ctx.chunk = chunk
        return state

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        decay, state = ctx.saved_tensors
        adjoint: Tensor = _Scan.apply(decay, grads[0], not ctx.backwards, ctx.chunk)  # type: ignore[no-untyped-call]
        early, late = (adjoint, state) if ctx.backwards else (state, adjoint)
        first = torch.zeros_like(late[:, :1])  # the first decay meets no state
        return torch.cat([first, late[:, 1:] * early[:, :-1]], dim=1), adjoint, None, None


def scan(decay: Tensor, drive: Tensor, chunk: int | None = None) -> Tensor:
    """Compute the linear recurrence h_t = decay_t h_{t-1} + drive_t along axis 1, from h_0 = drive_0; differentiable.

    Args:
        decay: (B, T, ...).
        drive: (B, T, ...).
        chunk: number of steps in a chunk, which are computed in sequence before chunks are joined. None for about
            sqrt(T), or for T on a CPU if a step has many numbers.

    Returns:
        (B, T, ...), the states h.
    """
    length = drive.shape[1]
    if chunk is None:
        serial = drive.device.type == "cpu" and drive[:, 0].numel() >= SERIAL
        chunk = length if serial else math.isqrt(length - 1) + 1
    states: Tensor = _Scan.apply(decay, drive, False, chunk)  # type: ignore[no-untyped-call]
    return states


def selective_scan(x: Tensor, step: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor) -> Tensor:
    """Compute the outputs of a selective state space model with N states for each of D channels.

    h_t = exp(step_t a) h_{t-1} + step_t b_t x_t and y_t = c_t h_t + skip x_t.

    The input term uses the simple (Euler) discretisation of the authors' code instead of the paper's zero-order hold.

    Args:
        x: (B, T, D).
        step: (B, T, D), positive.
        a: (D, N), negative.
        b: (B, T, N).
        c: (B, T, N).
        skip: (D,).

    Returns:
        (B, T, D), the outputs y.
    """
    states = scan(torch.exp(step.unsqueeze(3) * a), (step * x).unsqueeze(3) * b.unsqueeze(2))
    return (states @ c.unsqueeze(3)).squeeze(3) + skip * x


class S6(nn.Module):
    """Causal depthwise convolution of kernel 4, SiLU, selective scan with step, b and c read off the input.

    Args:
        channels: D.
        states: N of each channel.
    """

    def __init__(self, channels: int, states: int = 16) -> None:
        super().__init__()
        self.rank = math.ceil(channels / 32)
        self.states = states
        self.conv = nn.Conv1d(channels, channels, 4, groups=channels)
        self.select = nn.Linear(channels, self.rank + 2 * states, bias=False)
        self.step = nn.Linear(self.rank, channels)
        self.log_a = nn.Parameter(torch.log(torch.arange(1, states + 1.0)).repeat(channels, 1))
        self.skip = nn.Parameter(torch.ones(channels))
        nn.init.uniform_(self.step.weight, -(self.rank**-0.5), self.rank**-0.5)
        steps = torch.exp(torch.empty(channels).uniform_(math.log(1e-3), math.log(1e-1)))
        with torch.no_grad():  # so that softplus gives steps of 0.001 to 0.1 at first
            self.step.bias.copy_(steps + torch.log(-torch.expm1(-steps)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to the same shape; a position sees itself and those before it."""
        x = F.silu(self.conv(F.pad(x.transpose(1, 2), (3, 0)))).transpose(1, 2)
        step, b, c = self.select(x).split([self.rank, self.states, self.states], dim=2)
        return selective_scan(x, F.softplus(self.step(step)), -torch.exp(self.log_a), b, c, self.skip)


class Block(nn.Module):
    """x + out(silu(gate) (forwards(y) + backwards(y))), with y and gate linear in the normalised x, twice as wide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inward, self.outward = (nn.Linear(i, o, bias=False) for i, o in ((width, 4 * width), (2 * width, width)))
        self.forwards = S6(2 * width)
        self.backwards = S6(2 * width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to the same shape."""
        y, gate = self.inward(self.norm(x)).chunk(2, dim=2)
        both = self.forwards(y) + self.backwards(y.flip(1)).flip(1)
        out: Tensor = x + self.outward(both * F.silu(gate))
        return out


class Mamba(nn.Module):
    """Features `encoder1..n`, the map after each block, and `decoder1`, the last of them normalised; one resolution.

    Args:
        shape: one sample's (C, T) or (C, H, W).
        classes: K.
        width: channels between the blocks.
        blocks: how many.
    """

    def __init__(self, shape: Shape, classes: int, width: int = 32, blocks: int = 3) -> None:
        super().__init__()
        self.stem: nn.Module = (
            nn.Conv1d(shape[0], width, 5, 2, 2) if len(shape) == 2 else nn.Conv2d(shape[0], width, 7, 4, 3)
        )
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.head = Head(shape, width, classes)

    def forward(self, x: Tensor) -> Outputs:
        """(B, C, T) or (B, C, H, W) to outputs with logits (B, K, T) or (B, K, H, W)."""
        size = x.shape[2:]
        y = self.stem(x)
        grid = y.shape[2:]
        y = y.flatten(2).transpose(1, 2)
        maps = []
        for block in self.blocks:
            y = block(y)
            maps.append(y)
        maps.append(self.norm(y))
        maps = [m.transpose(1, 2).reshape(*m.shape[::2], *grid) for m in maps]
        outputs: Outputs = self.head(maps[:-1], maps[-1:], size)
        return outputs


@DENSE.register("mamba")
def mamba(shape: Shape, classes: int) -> nn.Module:
    """Three bidirectional Mamba blocks of 32 channels: a small student. arXiv:2312.00752."""
    return Mamba(shape, classes)
