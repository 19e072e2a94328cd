"""Frequency attention beside its published formulation, written plainly."""

from collections.abc import Iterator
from functools import partial

import torch
from pairs import Row, pairs
from torch import Tensor, nn

from mmkd.frequency import FrequencyAttention
from mmkd.training.step_threads import on_threads

BATCH = 64
MAPS = ((16, 64), (32, 32), (64, 16), (8, 64))
"""Side and channels: the stages of a WRN16-1 on images of 64 x 64, and one small map."""


class Published(nn.Module):
    """Full complex spectrum, shift, mask, one product of channels a frequency, and back; beside a 1x1 convolution."""

    def __init__(self, channels: int, side: int, cutoff: float = 0.1) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.rand(channels, channels, side, side, dtype=torch.complex64) / channels**2)
        self.local = nn.Conv2d(channels, channels, 1)
        self.rates = nn.Parameter(torch.full((2,), 0.5))
        radius, middle = int(cutoff * (side // 2)), side // 2
        mask = torch.ones(side, side)
        mask[middle - radius : middle + radius, middle - radius : middle + radius] = 0
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.fft2(x, norm="ortho")
        product = torch.einsum("bihw,iohw->bohw", spectrum, self.filter)
        shifted = torch.fft.fftshift(product, dim=(-2, -1)) * self.mask
        back = torch.fft.ifft2(torch.fft.ifftshift(shifted, dim=(-2, -1)), norm="ortho").real
        return self.rates[0] * back + self.rates[1] * self.local(x)


def step(module: nn.Module, x: Tensor, upstream: Tensor) -> None:
    """Forward and backward, gradients of the input and of every parameter."""
    module.zero_grad(set_to_none=True)
    x.grad = None
    module(x).backward(upstream)


def rows(rounds: int) -> Iterator[Row]:
    """One a map."""
    for side, channels in MAPS:
        torch.manual_seed(0)
        theirs = Published(channels, side)
        local = theirs.local
        assert local.bias is not None
        ours = FrequencyAttention.from_reference(
            theirs.filter, local.weight, local.bias, theirs.rates[0], theirs.rates[1]
        )
        x = torch.randn(BATCH, channels, side, side, requires_grad=True)
        upstream = torch.randn(BATCH, channels, side, side)
        grads = []
        for module in (theirs, ours):
            y = module(x)
            step(module, x, upstream)
            assert x.grad is not None
            grads.append((y.detach(), x.grad.clone()))
        gap = max(float((a - b).abs().max()) for a, b in zip(*grads, strict=True))
        assert gap < 1e-5, f"frequency attention differs from the published formulation by {gap}"
        repeat = max(1, min(8, 4096 // side**2))
        with on_threads(1):  # of more the peer, which has more operations, would wait longer after each
            times = pairs(partial(step, ours, x, upstream), partial(step, theirs, x, upstream), rounds, repeat=repeat)
        yield Row(
            f"FAM forward + backward, {channels} channels, {side} x {side}, batch {BATCH}, 1 thread",
            "the published formulation",
            times.faster,
            3.0 if side >= 16 else 1.0,
            note=f"largest difference of output and input gradient {gap:.0e}",
        )
