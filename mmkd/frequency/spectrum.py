"""Filters of real fields on half a spectrum: what a full complex filter does, in half the work, with real state.

Of a complex filter K under a real mask M, `Re(IFFT(M K FFT(x)))` of a real x sees only the Hermitian part
`H(f) = (M(f) K(f) + conj(M(-f) K(-f))) / 2`, and equals `irfft(H_half * rfft(x))` with H_half the half spectrum of H.
Here H is written as `S(f) P(f)` with S(f) = (M(f) + M(-f)) / 2, which holds for a lopsided mask too, and P is stored as
a real tensor (..., W // 2 + 1, C_in, C_out, 2): real and imaginary part last, safe for clipping, averaging and
safetensors.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def half(n: int) -> int:
    """How many frequencies of a real axis of n samples are independent."""
    return n // 2 + 1


def reversed_frequencies(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """x(-f) of x(f), on the full grid of `dims`."""
    return x.flip(dims).roll((1,) * len(dims), dims) if dims else x


def half_mask(mask: Tensor) -> Tensor:
    """S, the part of a full mask (*size) that a real field sees, on the half spectrum (..., W // 2 + 1)."""
    every = tuple(range(mask.ndim))
    return ((mask + reversed_frequencies(mask, every)) / 2)[..., : half(mask.shape[-1])]


def fold(full: Tensor, mask: Tensor) -> Tensor:
    """P of a full filter, differentiable: (C_in, C_out, *size) complex -> (*size[:-1], W // 2 + 1, C_in, C_out, 2).

    Where a lopsided mask keeps only one of f and -f, P is that one; where it keeps neither, P is the Hermitian part.
    Being Hermitian on the full grid, the result is so on the columns that hold both partners of a pair.
    """
    space = tuple(range(2, full.ndim))
    mask = mask.to(full.real)
    back = reversed_frequencies(full, space).conj()
    mask_back = reversed_frequencies(mask, tuple(range(mask.ndim)))
    seen = mask + mask_back
    weight, weight_back = (torch.where(seen > 0, m / seen.clamp_min(1e-30), 0.5) for m in (mask, mask_back))
    hermitian = weight * full + weight_back * back
    return torch.view_as_real(hermitian[..., : half(full.shape[-1])].permute(*space, 0, 1).resolve_conj().contiguous())


def symmetrise(p: Tensor, width: int) -> Tensor:
    """Make the columns that hold a pair (f, -f) twice Hermitian: the first and, for an even `width`, the last.

    Inverse real transforms disagree between devices on what a column says against its own partner; after this there is
    nothing to disagree on. In one dimension it drops the imaginary part of those bins.

    Args:
        p: (*size[:-1], width // 2 + 1, C_in, C_out, 2).
        width: W, the length of the last axis in samples.
    """
    axis = p.ndim - 4
    last = p.shape[axis] - (1 if width % 2 == 0 else 0)
    first, middle, end = p.narrow(axis, 0, 1), p.narrow(axis, 1, last - 1), p.narrow(axis, last, p.shape[axis] - last)
    sign = p.new_tensor([1.0, -1.0])

    def own(column: Tensor) -> Tensor:
        return (column + sign * reversed_frequencies(column, tuple(range(axis)))) / 2

    return torch.cat([own(first), middle, own(end)], dim=axis)


def balanced(c_in: int, c_out: int, size: tuple[int, ...]) -> Tensor:
    """P with E abs(P)^2 = 1 / c_in everywhere: the spectrum of a circular kernel drawn N(0, 1 / c_in) in space."""
    kernel = torch.randn(*size, c_in, c_out) / math.sqrt(c_in)
    return torch.view_as_real(torch.fft.rfftn(kernel, dim=tuple(range(len(size))), norm="ortho"))


def filter_real(x: Tensor, p: Tensor) -> Tensor:
    """irfft(P * rfft(x)): a circular convolution of all input with all output channels.

    The product at each frequency is written as one real matrix product of twice the width, [re, im] of the input times
    [[re, im], [-im, re]] of the filter: faster on a CPU than the complex one, and known to every backend. The gradient
    for x is the circular correlation, so that it takes one real transform each way, where differentiating step by step
    would take a full complex one.

    Args:
        x: (B, C_in, *size), float32 or float64.
        p: (*size[:-1], W // 2 + 1, C_in, C_out, 2), symmetrised, of the same type.

    Returns:
        (B, C_out, *size); it can be differentiated once.
    """
    y: Tensor = _Filter.apply(x, p)  # type: ignore[no-untyped-call]
    return y


def _to_spectrum(x: Tensor) -> Tensor:
    """(B, C, *size) -> (frequencies, B, 2 C), real and imaginary parts interleaved."""
    spectrum = torch.fft.rfftn(x, dim=tuple(range(2, x.ndim)), norm="ortho")
    return torch.view_as_real(spectrum.flatten(2).permute(2, 0, 1).contiguous()).flatten(2)


def _to_space(product: Tensor, size: tuple[int, ...]) -> Tensor:
    """(frequencies, B, 2 C) -> (B, C, *size)."""
    frequencies, b, double = product.shape
    spectrum = torch.view_as_complex(product.view(frequencies, b, double // 2, 2)).permute(1, 2, 0)
    grid = spectrum.reshape(b, double // 2, *size[:-1], half(size[-1]))
    y: Tensor = torch.fft.irfftn(grid, s=size, dim=tuple(range(2, grid.ndim)), norm="ortho")
    return y


class _Filter(torch.autograd.Function):
    """`filter_real` with its gradients written out."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: Tensor) -> Tensor:
        c_in, c_out = p.shape[-3:-1]
        flat = p.reshape(-1, c_in, c_out, 2)
        turned = torch.stack([-flat[..., 1], flat[..., 0]], dim=-1)  # i * P
        right = torch.stack([flat, turned], dim=2).view(-1, 2 * c_in, 2 * c_out)
        left = _to_spectrum(x)
        ctx.save_for_backward(left, right)
        ctx.p_shape = p.shape
        return _to_space(torch.bmm(left, right), tuple(x.shape[2:]))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        left, right = ctx.saved_tensors
        upstream = _to_spectrum(grad)
        grad_x = grad_p = None
        if ctx.needs_input_grad[0]:
            grad_x = _to_space(torch.bmm(upstream, right.transpose(1, 2)), tuple(grad.shape[2:]))
        if ctx.needs_input_grad[1]:
            c_in, c_out = ctx.p_shape[-3:-1]
            both = torch.bmm(left.transpose(1, 2), upstream).view(-1, c_in, 2, c_out, 2)
            real = both[:, :, 0, :, 0] + both[:, :, 1, :, 1]
            imag = both[:, :, 0, :, 1] - both[:, :, 1, :, 0]
            grad_p = torch.stack([real, imag], dim=-1).view(ctx.p_shape)
            # the inverse real transform counts a column twice where its partner is not stored
            alone = 1 if grad.shape[-1] % 2 else 2
            columns = half(grad.shape[-1]) - alone
            if columns > 0:
                grad_p.narrow(len(ctx.p_shape) - 4, 1, columns).mul_(2)
        return grad_x, grad_p
