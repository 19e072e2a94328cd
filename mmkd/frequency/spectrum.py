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
    nothing to disagree on. In one dimension it drops the imaginary part of those bins. It is an orthogonal projection,
    so that it is its own adjoint.

    Args:
        p: (*size[:-1], width // 2 + 1, C_in, C_out, 2).
        width: W, the length of the last axis in samples.
    """
    return _symmetrise(p.clone(), width)


def _symmetrise(p: Tensor, width: int) -> Tensor:
    """`symmetrise` in place."""
    axis = p.ndim - 4
    sign = p.new_tensor([1.0, -1.0])
    for number in {0, width // 2} if width % 2 == 0 else {0}:
        column = p.select(axis, number)
        column.copy_((column + sign * reversed_frequencies(column, tuple(range(axis)))) / 2)
    return p


def balanced(c_in: int, c_out: int, size: tuple[int, ...]) -> Tensor:
    """P with E abs(P)^2 = 1 / c_in everywhere: the spectrum of a circular kernel drawn N(0, 1 / c_in) in space."""
    kernel = torch.randn(*size, c_in, c_out) / math.sqrt(c_in)
    spectrum = torch.fft.rfftn(kernel, dim=tuple(range(len(size))), norm="ortho")
    return torch.view_as_real(spectrum).contiguous()


def filter_real(x: Tensor, p: Tensor, gain: Tensor, kept: Tensor | None = None, matrix: Tensor | None = None) -> Tensor:
    """irfft(H * rfft(x)) with H = gain * kept * symmetrise(P) + matrix: a circular convolution of all channels.

    The product is one complex matrix product a frequency. The gradients are written out: that for x is the circular
    correlation, so that it takes one real transform each way, where differentiating step by step would take a full
    complex one, and each pass over H is made once.

    Args:
        x: (B, C_in, *size), float32 or float64; all others of the same type.
        p: (*size[:-1], W // 2 + 1, C_in, C_out, 2).
        gain: one number.
        kept: (*size[:-1], W // 2 + 1, 1, 1, 1), the mask; None keeps everything.
        matrix: (C_in, C_out), the same real matrix at every frequency: a 1x1 convolution.

    Returns:
        (B, C_out, *size); it can be differentiated once.
    """
    y: Tensor = _Filter.apply(x, p, gain, kept, matrix)  # type: ignore[no-untyped-call]
    return y


def _to_spectrum(x: Tensor) -> Tensor:
    """(B, C, *size) -> (frequencies, B, C), complex."""
    spectrum = torch.fft.rfftn(x, dim=tuple(range(2, x.ndim)), norm="ortho")
    left: Tensor = spectrum.flatten(2).permute(2, 0, 1).contiguous()
    return left


def _to_space(product: Tensor, size: tuple[int, ...]) -> Tensor:
    """Complex (frequencies, B, C) -> (B, C, *size)."""
    grid = product.permute(1, 2, 0).reshape(*product.shape[1:], *size[:-1], half(size[-1]))
    y: Tensor = torch.fft.irfftn(grid, s=size, dim=tuple(range(2, grid.ndim)), norm="ortho")
    return y


class _Filter(torch.autograd.Function):
    """`filter_real` with its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: Tensor, gain: Tensor, kept: Tensor | None, matrix: Tensor | None) -> Tensor:
        size = tuple(x.shape[2:])
        c_in, c_out = p.shape[-3:-1]
        h = _symmetrise(p * gain if kept is None else p * (kept * gain), size[-1]).view(-1, c_in, c_out, 2)
        if matrix is not None:
            h[..., 0] += matrix
        right = torch.view_as_complex(h)
        left = _to_spectrum(x)
        ctx.save_for_backward(left, right, p, gain, kept)
        ctx.has_matrix = matrix is not None
        return _to_space(torch.bmm(left, right), size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        left, right, p, gain, kept = ctx.saved_tensors
        width = grad.shape[-1]
        upstream = _to_spectrum(grad)
        grad_x = grad_p = grad_gain = grad_matrix = None
        if ctx.needs_input_grad[0]:
            grad_x = _to_space(torch.bmm(upstream, right.mH), tuple(grad.shape[2:]))
        if any(ctx.needs_input_grad[1:]):
            flat = torch.view_as_real(torch.bmm(left.mH, upstream))
            h = flat.view(p.shape)
            paired = half(width) - (1 if width % 2 else 2)  # columns whose partners are not stored count twice
            if paired > 0:
                h.narrow(p.ndim - 4, 1, paired).mul_(2)
            if ctx.has_matrix:
                grad_matrix = flat[..., 0].sum(0)
            h = _symmetrise(h if kept is None else h.mul_(kept), width)
            grad_gain = torch.dot(h.flatten(), p.flatten()).reshape(gain.shape)
            grad_p = h.mul_(gain)
        return grad_x, grad_p, grad_gain, None, grad_matrix
