"""Multiply-accumulates of a network."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def count_macs(network: nn.Module, views: Mapping[str, Tensor]) -> int:
    """Multiply-accumulates of one forward pass: half the floating-point operations, rounded.

    Fused recurrent layers and attention are switched off meanwhile, because the counter does not see them.
    """
    counter = FlopCounterMode(display=False, custom_mapping=dict(FOURIER))
    with unfused_layers(), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        network.eval()(views)
    return round(counter.get_total_flops() / 2)


@contextmanager
def unfused_layers() -> Iterator[None]:
    """Without oneDNN's recurrent layers and PyTorch's fused transformer layers."""
    mkldnn: Any = torch.backends.mkldnn
    mha = torch.backends.mha
    enabled = mkldnn.enabled
    fused = mha.get_fastpath_enabled()
    mkldnn.enabled = False
    mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        mkldnn.enabled = enabled
        mha.set_fastpath_enabled(fused)


def _fourier(points: Sequence[int], axes: Sequence[int], real: bool) -> int:
    """Floating-point operations of transforms of this shape over some of its axes."""
    n = math.prod(points[axis] for axis in axes)
    operations = 5 * math.prod(points) * math.log2(max(n, 1))
    return round(operations / 2 if real else operations)


def _complex(x: Sequence[int], dim: Sequence[int], *_: Any, **__: Any) -> int:
    return _fourier(x, dim, False)


def _from_real(x: Sequence[int], dim: Sequence[int], *_: Any, **__: Any) -> int:
    return _fourier(x, dim, True)


def _to_real(x: Sequence[int], dim: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
    return _fourier(out_shape, dim, True)


_aten = torch.ops.aten
FOURIER: Mapping[Any, Callable[..., int]] = {
    _aten._fft_c2c: _complex,
    _aten._fft_r2c: _from_real,
    _aten._fft_c2r: _to_real,
}
