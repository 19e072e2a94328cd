"""Views as part of a graph: what a modality's `transform` makes of raw windows, in float32 and with fixed tensors.

`tensor_view` computes in float64 where it must; a device has float32. So each view first takes away what is large and
the same in all samples (the training mean, the least value of the window), which float32 does exactly enough.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmkd.data.resampling import resample_windows
from mmkd.views.base import Modality
from mmkd.views.channels import ChannelSubset
from mmkd.views.gaf import GAF, ROUNDING, segment_bounds
from mmkd.views.image import Image
from mmkd.views.rates import Resampled
from mmkd.views.signal import Signal


def view_graph(modality: Modality, channels: int, length: int) -> nn.Module | None:
    """A module that maps raw windows (B, C, W), float32, to the view (B, *shape); None where a graph has no such view.

    The tolerance is that of float32: 2e-5 of a GAF, whose values are in [-1, 1], and of a signal in deviations.

    Args:
        modality: fitted where it is to be fitted.
    """
    if isinstance(modality, ChannelSubset):
        inner = view_graph(modality.inner, len(modality.channels), length)
        return None if inner is None else nn.Sequential(Channels(modality.channels, channels), inner)
    if isinstance(modality, Resampled):
        resample = Resample(length, modality.from_hz, modality.rate_hz)
        inner = view_graph(modality.inner, channels, resample.matrix.shape[1])
        return None if inner is None else nn.Sequential(resample, inner)
    make: Callable[..., nn.Module] | None = {Signal: SignalGraph, Image: ImageGraph, GAF: GAFGraph}.get(type(modality))
    return None if make is None else make(modality, channels, length)


def _halves(values: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
    """Numbers as the sum of two of float32, (C, 1) each: `x - high` is exact where x is near, `- low` adds the rest."""
    high = values.astype(np.float32)
    low = (values - high).astype(np.float32)
    return torch.from_numpy(high)[:, None], torch.from_numpy(low)[:, None]


class Channels(nn.Module):
    """Some channels of windows, in their order."""

    def __init__(self, chosen: list[int], channels: int) -> None:
        super().__init__()
        self.every = chosen == list(range(channels))
        self.chosen: Tensor
        self.register_buffer("chosen", torch.tensor(chosen))

    def forward(self, x: Tensor) -> Tensor:
        return x if self.every else x.index_select(1, self.chosen)


class Resample(nn.Module):
    """Windows at another rate: the filter of `data.resampling` is linear, so that it is a matrix (W, W')."""

    def __init__(self, length: int, from_hz: float, to_hz: float) -> None:
        super().__init__()
        matrix = resample_windows(np.eye(length)[None], from_hz, to_hz)[0]
        self.matrix: Tensor
        self.of_ones: Tensor
        self.register_buffer("matrix", torch.from_numpy(matrix))
        self.register_buffer("of_ones", torch.from_numpy(matrix.sum(0, dtype=np.float64).astype(np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        first = x[..., :1]  # what all samples share does not go through the product, whose rounding grows with it
        return first * self.of_ones + (x - first) @ self.matrix


class SignalGraph(nn.Module):
    """`Signal`: each channel minus its training mean, over its training deviation."""

    def __init__(self, modality: Signal, channels: int, length: int) -> None:
        super().__init__()
        state = {name: np.array(values) for name, values in modality.state().items()}
        std = state["std"]
        inverse = np.divide(1, std, out=np.zeros_like(std), where=std > 0)
        self.high: Tensor
        self.low: Tensor
        self.inverse: Tensor
        for name, values in zip(("high", "low"), _halves(state["mean"]), strict=True):
            self.register_buffer(name, values)
        self.register_buffer("inverse", torch.from_numpy(inverse.astype(np.float32))[:, None])

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.high - self.low) * self.inverse


class ImageGraph(SignalGraph):
    """`Image`: the same of pixels, as an image."""

    def __init__(self, modality: Image, channels: int, length: int) -> None:
        super().__init__(modality, channels, length)
        self.size = modality.shape(channels, length)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).reshape(-1, *self.size)


class Averages(nn.Module):
    """Means over S segments of (nearly) equal length, (..., W) to (..., S); a product where S does not divide W."""

    def __init__(self, length: int, size: int) -> None:
        super().__init__()
        self.length, self.size = length, size
        bounds = segment_bounds(length, size)
        matrix = np.zeros((length, size), np.float32)
        for number, (start, stop) in enumerate(pairwise(bounds)):
            matrix[start:stop, number] = 1 / (stop - start)
        self.matrix: Tensor
        if length % size:
            self.register_buffer("matrix", torch.from_numpy(matrix))

    def forward(self, x: Tensor) -> Tensor:
        if self.length == self.size:
            return x
        if self.length % self.size:
            return x @ self.matrix
        return x.reshape(*x.shape[:-1], self.size, self.length // self.size).mean(-1)


class GAFGraph(nn.Module):
    """`GAF`: averages, then the scaling to [-1, 1], then the field; a constant window is scaled to -1."""

    def __init__(self, modality: GAF, channels: int, length: int) -> None:
        super().__init__()
        self.difference = modality.options.method == "difference"
        self.fitted = modality.fitted
        self.averages = Averages(length, modality.options.size)
        self.high: Tensor
        self.low: Tensor
        self.span: Tensor
        self.flat: Tensor
        if self.fitted:
            low, top = (np.array(modality.state()[name]) for name in ("low", "high"))
            flat = top - low < ROUNDING * np.maximum(1, np.maximum(np.abs(low), np.abs(top)))
            for name, values in zip(("high", "low"), _halves(low), strict=True):
                self.register_buffer(name, values)
            span = np.where(flat, 1, top - low).astype(np.float32)
            self.register_buffer("span", torch.from_numpy(span)[:, None])
            self.register_buffer("flat", torch.from_numpy(flat)[:, None])

    def forward(self, x: Tensor) -> Tensor:
        if self.fitted:
            above = self.averages(x - self.high - self.low)
            rest, span, flat = self.span - above, self.span, self.flat
        else:
            least = x.amin(-1, keepdim=True)  # the field is that of a shifted window
            above = self.averages(x - least)
            low, top = above.amin(-1, keepdim=True), above.amax(-1, keepdim=True)
            above, rest, span = above - low, top - above, top - low
            flat = span < ROUNDING * torch.maximum((least + low).abs(), (least + top).abs()).clamp(min=1)
            span = torch.where(flat, 1.0, span)
        above, rest = (above / span).clamp(0, 1), (rest / span).clamp(0, 1)
        cosine = torch.where(flat, -1.0, above - rest)
        sine = torch.where(flat, 0.0, 2 * (above * rest).sqrt())
        if self.difference:
            return sine[..., :, None] * cosine[..., None, :] - cosine[..., :, None] * sine[..., None, :]
        return cosine[..., :, None] * cosine[..., None, :] - sine[..., :, None] * sine[..., None, :]
