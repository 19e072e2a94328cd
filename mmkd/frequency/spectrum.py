"""Filters of real signals and maps on half a spectrum: the result of a full complex filter for half of the work.

For a complex filter K, a real mask M and a real x, `Re(IFFT(M K FFT(x)))` depends only on the Hermitian part
`H(f) = (M(f) K(f) + conj(M(-f) K(-f))) / 2` and is equal to `irfft(H_half * rfft(x))`, where H_half is the half
spectrum of H. Here H is written as `S(f) P(f)` with S(f) = (M(f) + M(-f)) / 2, which also holds for an asymmetric mask.
P is stored as a real tensor (..., W // 2 + 1, C_in, C_out, 2) with real and imaginary part last, so that gradient
clipping, weight averaging and safetensors work.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def half(n: int) -> int:
    """Number of bins in the half spectrum of a real axis of n samples."""
    return n // 2 + 1


def reversed_frequencies(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Return x(-f) for a spectrum x(f) on the full grid of the axes `dims`."""
    return x.flip(dims).roll((1,) * len(dims), dims) if dims else x


def half_mask(mask: Tensor) -> Tensor:
    """S, the symmetric part of a full mask (*size), on the half spectrum (*size[:-1], W // 2 + 1)."""
    axes = tuple(range(mask.ndim))
    return ((mask + reversed_frequencies(mask, axes)) / 2)[..., : half(mask.shape[-1])]


def fold(full: Tensor, mask: Tensor) -> Tensor:
    """Compute P from a full filter; differentiable.

    Where an asymmetric mask keeps only one of f and -f, P is taken from that one; where it keeps neither, P is the
    Hermitian part. P is Hermitian on the columns that hold both frequencies of a pair.

    Args:
        full: (C_in, C_out, *size) complex.
        mask: (*size).

    Returns:
        (*size[:-1], W // 2 + 1, C_in, C_out, 2).
    """
    space = tuple(range(2, full.ndim))
    mask = mask.to(full.real)
    back = reversed_frequencies(full, space).conj()
    mask_back = reversed_frequencies(mask, tuple(range(mask.ndim)))
    total = mask + mask_back
    weight, weight_back = (torch.where(total > 0, m / total.clamp_min(1e-30), 0.5) for m in (mask, mask_back))
    hermitian = weight * full + weight_back * back
    return torch.view_as_real(hermitian[..., : half(full.shape[-1])].permute(*space, 0, 1).resolve_conj().contiguous())


def symmetrise(p: Tensor, width: int) -> Tensor:
    """Make the columns that hold both frequencies of a pair (f, -f) Hermitian: the first one and, for even W, the last.

    Inverse real transforms of different devices handle a non-Hermitian column differently; this makes the result the
    same everywhere. In one dimension it removes the imaginary part of these bins. It is an orthogonal projection, and
    so its own adjoint.

    Args:
        p: (*size[:-1], W // 2 + 1, C_in, C_out, 2).
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
    """Draw P with E abs(P)^2 = 1 / c_in: the spectrum of a circular kernel with entries from N(0, 1 / c_in)."""
    kernel = torch.randn(*size, c_in, c_out) / math.sqrt(c_in)
    spectrum = torch.fft.rfftn(kernel, dim=tuple(range(len(size))), norm="ortho")
    return torch.view_as_real(spectrum).contiguous()


def filter_real(x: Tensor, p: Tensor, gain: Tensor, mask: Tensor | None = None, matrix: Tensor | None = None) -> Tensor:
    """Compute irfft(H * rfft(x)) with H = gain * mask * symmetrise(P) + matrix, a circular convolution of all channels.

    The forward pass is one complex matrix product for each frequency. The backward pass is written by hand: the
    gradient for x is a circular correlation, which takes one real transform each way where automatic differentiation
    would take a complex one, and H is passed over only once.

    Args:
        x: (B, C_in, *size), float32 or float64; all other tensors have the same dtype.
        p: (*size[:-1], W // 2 + 1, C_in, C_out, 2).
        gain: one number.
        mask: (*size[:-1], W // 2 + 1, 1, 1, 1); None for no mask.
        matrix: (C_in, C_out), added at every frequency: a 1x1 convolution. None for no such term.

    Returns:
        (B, C_out, *size); it can be differentiated once.
    """
    y: Tensor = _Filter.apply(x, p, gain, mask, matrix)  # type: ignore[no-untyped-call]
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
    """`filter_real` and its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: Tensor, gain: Tensor, mask: Tensor | None, matrix: Tensor | None) -> Tensor:
        size = tuple(x.shape[2:])
        c_in, c_out = p.shape[-3:-1]
        h = _symmetrise(p * gain if mask is None else p * (mask * gain), size[-1]).view(-1, c_in, c_out, 2)
        if matrix is not None:
            h[..., 0] += matrix
        right = torch.view_as_complex(h)
        left = _to_spectrum(x)
        ctx.save_for_backward(left, right, p, gain, mask)
        ctx.has_matrix = matrix is not None
        return _to_space(torch.bmm(left, right), size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        left, right, p, gain, mask = ctx.saved_tensors
        width = grad.shape[-1]
        upstream = _to_spectrum(grad)
        grad_x = grad_p = grad_gain = grad_matrix = None
        if ctx.needs_input_grad[0]:
            grad_x = _to_space(torch.bmm(upstream, right.mH), tuple(grad.shape[2:]))
        if any(ctx.needs_input_grad[1:]):
            flat = torch.view_as_real(torch.bmm(left.mH, upstream))
            h = flat.view(p.shape)
            paired = half(width) - (1 if width % 2 else 2)  # columns that also stand for unstored partners
            if paired > 0:
                h.narrow(p.ndim - 4, 1, paired).mul_(2)
            if ctx.has_matrix:
                grad_matrix = flat[..., 0].sum(0)
            h = _symmetrise(h if mask is None else h.mul_(mask), width)
            grad_gain = torch.dot(h.flatten(), p.flatten()).reshape(gain.shape)
            grad_p = h.mul_(gain)
        return grad_x, grad_p, grad_gain, None, grad_matrix
