"""Frequency attention: a learned filter a frequency beside a 1x1 convolution.

Frequency Attention for Knowledge Distillation. Pham et al., WACV 2024, https://arxiv.org/abs/2403.05894
"""

import math
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from mmkd.core.errors import MmkdError, unknown
from mmkd.frequency.bases import Transform, filter_in_basis
from mmkd.frequency.masks import Mask, high_pass, warn_idle
from mmkd.frequency.spectrum import balanced, filter_real, fold, half_mask, symmetrise

Init = Literal["balanced", "reference"]


class FrequencyAttention(nn.Module):
    """g_global * Re(IFFT(mask * K * FFT(x))) + g_local * conv1x1(x), from (B, C_in, H, W) to (B, C_out, H, W).

    K is one complex C_in x C_out matrix a frequency, so the global branch is a circular convolution with a kernel of
    the map's own size; the mask makes it a high-pass. Both gains are free and start at 0.5. Only the half spectrum is
    stored, as the real parameter `filter` (H, W // 2 + 1, C_in, C_out, 2); transforms run in float32 (float64 for a
    float64 input) also under autocast.

    Differs from the published code in the initialisation: there real and imaginary part of K are uniform in [0, 1) over
    C_in * C_out, which makes the global branch start 30 to 500 times smaller than the local one, so that for many steps
    the module is a 1x1 convolution, and leaves a fixed positive mean in every filter. `init="balanced"` draws K centred
    and with E abs(K)^2 = 1 / C_in, so that the unmasked global branch has the mean square of its input, as a linear
    layer of variance 1 / C_in has; `init="reference"` is the published one.

    `transform` (ours) puts another orthonormal basis in the place of the Fourier one: `dct` or `haar`, see
    `mmkd.frequency.bases`; all levels of Haar, any side. K is then a real C_in x C_out matrix for each basis function,
    `filter` is (H, W, C_in, C_out) and starts N(0, 1 / C_in), or at the real part of the published start. It has the
    free numbers that a Fourier filter has, but is no circular convolution: a moved input gives no moved output.

    Args:
        in_channels, out_channels: C_in, C_out.
        size: (H, W) in samples, or one number for a square.
        mask: high-pass by name, see `mmkd.frequency.high_pass`; `reference` is the published code's, which removes
            nothing below 20 samples an axis at the published cutoff. The class warns once (`IdleMaskWarning`) when that
            is so.
        cutoff: in [0, 1] of the Nyquist frequency.
        init: `balanced` or `reference`.
        use_global, use_local: switch a branch off (ablations); at least one stays on.
        bias: whether the 1x1 convolution has one; a BatchNorm right after the module would undo it.
        quiet: do not warn of an idle mask (for a caller that warns of many sizes at once).
        transform: `fft`, `dct` or `haar`; the latter two do not have the mask `reference`.

    Raises:
        MmkdError: an argument out of range, or a mask that the transform does not have; or, when called, an input of
            other than (B, C_in, H, W).
    """

    dims: ClassVar[int] = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: int | tuple[int, ...],
        mask: Mask = "reference",
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
            raise unknown("init", init, ("balanced", "reference"))
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
            kept = half_mask(full_mask) if transform == "fft" else full_mask
            if not (kept == 1).all():
                self.kept = kept.to(torch.get_default_dtype()).view(*kept.shape, *(1,) * (self.filter.ndim - kept.ndim))
            self.rate_global = nn.Parameter(torch.full((1,), 0.5))
        self.local: nn.Module | None = None
        self.rate_local: nn.Parameter | None = None
        if use_local:
            self.local = (nn.Conv1d, nn.Conv2d)[self.dims - 1](in_channels, out_channels, kernel_size=1, bias=bias)
            self.rate_local = nn.Parameter(torch.full((1,), 0.5))

    def _start(self, mask: Tensor) -> Tensor:
        """The filter before training."""
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
        cutoff: float = 0.1,
        mask: Mask = "reference",
    ) -> Self:
        """The module with the weights of the published code; equal to it in value and gradient.

        Args:
            filter: (C_in, C_out, H, W) complex, the full spectrum; numpy array or tensor, as all of them.
            conv_weight, conv_bias: (C_out, C_in, 1, 1) and (C_out,) of the local branch.
            rate_global, rate_local: the two gains, one number each.

        Raises:
            MmkdError: shapes that do not belong together.
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
        module = cls(c_in, c_out, tuple(size), mask, cutoff, quiet=True).to(full.real.dtype)
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
        """The filter as it acts, masked: Hermitian (H, W // 2 + 1, C_in, C_out, 2), or real (H, W, C_in, C_out).

        Raises:
            MmkdError: the module has no global branch.
        """
        if self.filter is None:
            raise MmkdError(f"{type(self).__name__} was made with use_global=False and has no filter")
        p = self.filter.to(dtype)
        p = symmetrise(p, self.size[-1]) if self.transform == "fft" else p
        return p if self.kept is None else p * self.kept.to(dtype)

    def global_branch(self, x: Tensor) -> Tensor:
        """The masked filter alone, without its gain: (B, C_in, H, W) -> (B, C_out, H, W), of the type of x."""
        return self._filtered(x, torch.ones(1, device=x.device), None)

    def _filtered(self, x: Tensor, gain: Tensor, matrix: Tensor | None) -> Tensor:
        """The filter times `gain` plus `matrix` (C_in, C_out) at every frequency, in float32 or float64."""
        if self.filter is None:
            raise MmkdError(f"{type(self).__name__} was made with use_global=False and has no filter")
        with torch.autocast(x.device.type, enabled=False):
            to = torch.float64 if x.dtype == torch.float64 else torch.float32
            kept = None if self.kept is None else self.kept.to(to)
            matrix = None if matrix is None else matrix.to(to)
            if self.transform == "fft":
                return filter_real(x.to(to), self.filter.to(to), gain.to(to), kept, matrix).to(x.dtype)
            h = self.filter.to(to) * (gain.to(to) if kept is None else gain.to(to) * kept)
            return filter_in_basis(x.to(to), self.transform, h if matrix is None else h + matrix).to(x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 2 + self.dims or tuple(x.shape[1:]) != (self.in_channels, *self.size):
            wanted = ", ".join(map(str, (self.in_channels, *self.size)))
            raise MmkdError(
                f"{type(self).__name__} was made for (B, {wanted}) and got {tuple(x.shape)}; resize the input or make "
                f"it for this size"
            )
        if self.rate_global is None:
            only: Tensor = self.local(x)  # type: ignore[misc]
            return self.rate_local * only  # type: ignore[operator]
        if self.rate_local is None:
            return self._filtered(x, self.rate_global, None)
        local = cast("nn.Conv2d", self.local)  # the same matrix at every frequency: both branches are one filter
        y = self._filtered(x, self.rate_global, self.rate_local * local.weight.flatten(1).T)
        return (
            y if local.bias is None else y + (self.rate_local * local.bias).view(1, -1, *(1,) * self.dims).to(y.dtype)
        )

    def extra_repr(self) -> str:
        shown = "x".join(map(str, self.size))
        return (
            f"{self.in_channels}, {self.out_channels}, size={shown}, mask={self.mask!r}, cutoff={self.cutoff:g}, "
            f"transform={self.transform!r}"
        )


class FrequencyAttention1d(FrequencyAttention):
    """`FrequencyAttention` along time: (B, C_in, T) -> (B, C_out, T), filter (T // 2 + 1, C_in, C_out, 2), size T.

    Not in the paper. One cutoff removes about ten times the share of a line that it removes of a plane.
    """

    dims: ClassVar[int] = 1


def as_tensor(x: Any) -> Tensor:
    """A number, a numpy array (read-only ones too) or a tensor as a tensor without history."""
    return x.detach() if isinstance(x, Tensor) else torch.from_numpy(np.array(x))
