"""Frequency attention: one learned filter matrix for each frequency, beside a 1x1 convolution.

Frequency Attention for Knowledge Distillation. Pham et al., WACV 2024, https://arxiv.org/abs/2403.05894
"""

import math
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from mmkd.core.errors import MmkdError, unknown_name
from mmkd.frequency.bases import Transform, filter_in_basis
from mmkd.frequency.masks import Mask, high_pass, warn_idle
from mmkd.frequency.spectrum import balanced, filter_real, fold, half_mask, symmetrise

Init = Literal["balanced", "reference"]


class FrequencyAttention(nn.Module):
    """Frequency attention on maps, (B, C_in, H, W) -> (B, C_out, H, W). Pham et al., WACV 2024, arXiv:2403.05894.

    The output is g_global * Re(IFFT(mask * K * FFT(x))) + g_local * conv1x1(x). K has one complex C_in x C_out matrix
    for each frequency, so that the global branch is a circular convolution with a kernel as large as the map; the mask
    makes it a high-pass filter. Both gains are trained and start at 0.5. Only half of the spectrum is stored, as the
    real parameter `filter` (H, W // 2 + 1, C_in, C_out, 2). Transforms run in float32, also under autocast, or in
    float64 for a float64 input.

    The initialisation differs from the published code. There, real and imaginary parts of K are uniform in [0, 1) over
    C_in * C_out. The global branch then starts 30 to 500 times smaller than the local one, so that the module is a 1x1
    convolution for many steps, and every filter has a positive mean. With `init="balanced"` K is drawn with mean 0 and
    E abs(K)^2 = 1 / C_in, so that the global branch without mask has the mean square of its input, like a linear layer
    with weights of variance 1 / C_in. `init="reference"` is the published initialisation.

    The option `transform` is an addition of this project. It replaces the Fourier basis by another orthonormal basis,
    `dct` or `haar` (all levels, any size; see `mmkd.frequency.bases`). K then has one real C_in x C_out matrix for each
    basis function, and `filter` is (H, W, C_in, C_out). It starts as N(0, 1 / C_in), or with `init="reference"` as the
    real part of the published initialisation. Such a filter has as many parameters as a Fourier filter, but it is no
    circular convolution: it does not commute with shifts of the input.

    >>> import torch
    >>> module = FrequencyAttention(3, 4, (6, 9), mask="symmetric", cutoff=0.4)
    >>> module(torch.zeros(2, 3, 6, 9)).shape
    torch.Size([2, 4, 6, 9])

    Args:
        in_channels: C_in.
        out_channels: C_out.
        size: (H, W) in samples, or one number for a square map.
        mask: name of the high-pass mask, see `mmkd.frequency.high_pass`. `reference` is that of the published code,
            which removes nothing from maps below 20 samples an axis at the published cutoff; an `IdleMaskWarning` is
            then given once. `symmetric` removes at least the mean at every size.
        cutoff: of the mask, in [0, 1], where 1 is the Nyquist frequency.
        init: `balanced` or `reference`.
        use_global: whether there is a global branch (for ablations).
        use_local: whether there is a local branch (for ablations). At least one branch must be on.
        bias: whether the 1x1 convolution has a bias. A BatchNorm right after the module would cancel it.
        quiet: suppress the `IdleMaskWarning`, for a caller that warns once of all its modules.
        transform: `fft`, `dct` or `haar`. The mask `reference` exists only for `fft`.

    Raises:
        MmkdError: An argument is out of range, or the mask does not exist for the transform; in `forward`, the input is
            not (B, C_in, H, W).
    """

    dims: ClassVar[int] = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: int | tuple[int, ...],
        *,
        mask: Mask = "symmetric",
        cutoff: float = 0.1,
        init: Init = "balanced",
        use_global: bool = True,
        use_local: bool = True,
        bias: bool = True,
        quiet: bool = False,
        transform: Transform = "fft",
    ) -> None:
        super().__init__()
        self.size = (size,) * self.dims if isinstance(size, int) else tuple(size)
        if len(self.size) != self.dims or min(self.size) < 1 or in_channels < 1 or out_channels < 1:
            raise MmkdError(
                f"{type(self).__name__}({in_channels}, {out_channels}, size={size}): give positive numbers of channels "
                f"and {self.dims} positive side(s)"
            )
        if init not in ("balanced", "reference"):
            raise unknown_name("init", init, ("balanced", "reference"))
        if not use_global and not use_local:
            raise MmkdError(f"{type(self).__name__} has neither a global nor a local branch; leave one on")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.mask = mask
        self.cutoff = cutoff
        self.init = init
        self.transform = transform
        full_mask = high_pass(self.size, mask, cutoff, transform)
        self.filter: nn.Parameter | None = None
        self.rate_global: nn.Parameter | None = None
        self.kept: Tensor | None
        self.register_buffer("kept", None, persistent=False)
        if use_global:
            if not quiet:
                warn_idle([self.size], mask, cutoff, type(self).__name__, transform)
            self.filter = nn.Parameter(self._start(full_mask))
            half = half_mask(full_mask) if transform == "fft" else full_mask
            if not (half == 1).all():
                self.kept = half.to(torch.get_default_dtype()).view(*half.shape, *(1,) * (self.filter.ndim - half.ndim))
            self.rate_global = nn.Parameter(torch.full((1,), 0.5))
        self.local: nn.Module | None = None
        self.rate_local: nn.Parameter | None = None
        if use_local:
            self.local = (nn.Conv1d, nn.Conv2d)[self.dims - 1](in_channels, out_channels, kernel_size=1, bias=bias)
            self.rate_local = nn.Parameter(torch.full((1,), 0.5))

    def _start(self, mask: Tensor) -> Tensor:
        """Draw the initial filter."""
        channels = self.in_channels, self.out_channels
        if self.init == "balanced" and self.transform == "fft":
            return balanced(*channels, self.size)
        if self.init == "balanced":
            return torch.randn(*self.size, *channels) / math.sqrt(self.in_channels)
        if self.transform == "fft":
            real, imag = torch.rand(2, *channels, *self.size) / (self.in_channels * self.out_channels)
            return fold(torch.complex(real, imag), mask)
        return torch.rand(*self.size, *channels) / (self.in_channels * self.out_channels)

    @classmethod
    def from_reference(
        cls,
        filter: Any,
        conv_weight: Any,
        conv_bias: Any,
        rate_global: Any,
        rate_local: Any,
        *,
        cutoff: float = 0.1,
        mask: Mask = "reference",
    ) -> Self:
        """Create the module from weights of the published code; values and gradients are the same.

        All tensors may be numpy arrays.

        Args:
            filter: (C_in, C_out, H, W) complex, the full spectrum.
            conv_weight: (C_out, C_in, 1, 1), of the local branch.
            conv_bias: (C_out,), of the local branch.
            rate_global: the gain of the global branch, one number.
            rate_local: the gain of the local branch, one number.
            cutoff: as for the class.
            mask: as for the class.

        Raises:
            MmkdError: The shapes do not fit each other.
        """
        full = as_tensor(filter)
        full = full.to(torch.complex128 if full.dtype in (torch.complex128, torch.float64) else torch.complex64)
        weight = as_tensor(conv_weight)
        bias = as_tensor(conv_bias)
        if full.ndim != 2 + cls.dims or weight.shape[:2] != full.shape[1::-1] or weight.shape[:1] != bias.shape:
            axes = "C_in, C_out, H, W" if cls.dims == 2 else "C_in, C_out, T"
            raise MmkdError(
                f"from_reference: filter {tuple(full.shape)}, conv_weight {tuple(weight.shape)} and conv_bias "
                f"{tuple(bias.shape)} do not belong together; a filter is ({axes})"
            )
        c_in, c_out, *size = full.shape
        module = cls(c_in, c_out, tuple(size), mask=mask, cutoff=cutoff, quiet=True).to(full.real.dtype)
        state = {
            "filter": fold(full, high_pass(module.size, mask, cutoff)),
            "rate_global": as_tensor(rate_global).reshape(1),
            "rate_local": as_tensor(rate_local).reshape(1),
            "local.weight": weight.reshape(c_out, c_in, *(1,) * cls.dims),
            "local.bias": bias,
        }
        module.load_state_dict(state)
        return module

    def spectrum(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the effective filter, with the mask applied and without the gain.

        Returns:
            (H, W // 2 + 1, C_in, C_out, 2) for `fft`, Hermitian where a column holds both frequencies of a pair;
            (H, W, C_in, C_out) for `dct` and `haar`.

        Raises:
            MmkdError: The module has no global branch.
        """
        if self.filter is None:
            raise MmkdError(f"{type(self).__name__} was made with use_global=False and has no filter")
        p = self.filter.to(dtype)
        p = symmetrise(p, self.size[-1]) if self.transform == "fft" else p
        return p if self.kept is None else p * self.kept.to(dtype)

    def global_branch(self, x: Tensor) -> Tensor:
        """Apply only the masked filter, without its gain: (B, C_in, H, W) -> (B, C_out, H, W), in the dtype of x."""
        return self._filtered(x, torch.ones(1, device=x.device), None)

    def _filtered(self, x: Tensor, gain: Tensor, matrix: Tensor | None) -> Tensor:
        """Filter x with `gain` * filter + `matrix`, where `matrix` (C_in, C_out) is added at every frequency."""
        if self.filter is None:
            raise MmkdError(f"{type(self).__name__} was made with use_global=False and has no filter")
        with torch.autocast(x.device.type, enabled=False):
            dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
            mask = None if self.kept is None else self.kept.to(dtype)
            matrix = None if matrix is None else matrix.to(dtype)
            if self.transform == "fft":
                return filter_real(x.to(dtype), self.filter.to(dtype), gain.to(dtype), mask, matrix).to(x.dtype)
            matrices = self.filter.to(dtype) * (gain.to(dtype) if mask is None else gain.to(dtype) * mask)
            matrices = matrices if matrix is None else matrices + matrix
            return filter_in_basis(x.to(dtype), self.transform, matrices).to(x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 2 + self.dims or tuple(x.shape[1:]) != (self.in_channels, *self.size):
            shape = ", ".join(map(str, (self.in_channels, *self.size)))
            raise MmkdError(
                f"{type(self).__name__} was made for (B, {shape}) and got {tuple(x.shape)}; resize the input or make "
                f"it for this size"
            )
        if self.rate_global is None:
            y: Tensor = self.local(x)  # type: ignore[misc]
            return self.rate_local * y  # type: ignore[operator]
        if self.rate_local is None:
            return self._filtered(x, self.rate_global, None)
        # A 1x1 convolution is the same matrix at every frequency, so that one filter computes both branches.
        local = cast("nn.Conv2d", self.local)
        y = self._filtered(x, self.rate_global, self.rate_local * local.weight.flatten(1).T)
        return (
            y if local.bias is None else y + (self.rate_local * local.bias).view(1, -1, *(1,) * self.dims).to(y.dtype)
        )

    def extra_repr(self) -> str:
        size = "x".join(map(str, self.size))
        return (
            f"{self.in_channels}, {self.out_channels}, size={size}, mask={self.mask!r}, cutoff={self.cutoff:g}, "
            f"transform={self.transform!r}"
        )


class FrequencyAttention1d(FrequencyAttention):
    """`FrequencyAttention` along time: (B, C_in, T) -> (B, C_out, T).

    Not in the paper. `size` is T, and `filter` is (T // 2 + 1, C_in, C_out, 2). The same cutoff removes about ten times
    as large a share of a line's frequencies as of a map's.
    """

    dims: ClassVar[int] = 1


def as_tensor(x: Any) -> Tensor:
    """Convert a number, a numpy array (read-only too) or a tensor to a tensor without gradient history."""
    return x.detach() if isinstance(x, Tensor) else torch.from_numpy(np.array(x))
