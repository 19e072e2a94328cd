"""Stage fusions: how a decoder joins a fine with a coarse feature map.

An operator (CARAFE, FreqFusion and variants) enlarges the coarse map, and a join makes one map of two maps of one size.
`STAGE_FUSIONS` has all combinations that are offered, by name, and those of plugins.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mmkd.core.errors import MmkdError
from mmkd.nets.base import STAGE_FUSIONS
from mmkd.nets.carafe import Carafe, check_pair, conv, enlarge
from mmkd.nets.freqfusion import (
    AttentiveDwtFusion,
    AttentiveFreqFusion,
    DwtFusion,
    FreqFusion,
    SeparableFusion,
)
from mmkd.nets.fusion_options import chosen_fusion
from mmkd.specs.fusion_names import kind_of_fusion


class Nearest(nn.Module):
    """Enlarge the coarse map by the nearest position; nothing is learned.

    Args:
        high_channels: Ch, channels of the fine map.
        low_channels: Cl, channels of the coarse map.
        dims: number of axes, 1 or 2.
    """

    def __init__(self, high_channels: int, low_channels: int, dims: int) -> None:
        super().__init__()
        self.channels = (high_channels, low_channels)
        self.dims = dims

    def forward(self, high: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
        """Return `high` (B, Ch, *fine) as it is, and `low` (B, Cl, *coarse) as (B, Cl, *fine).

        Raises:
            MmkdError: Channels or ranks differ from those of the module, or `high` is the smaller map.
        """
        check_pair("nearest", high, low, self.channels, self.dims)
        return high, enlarge(low, high.shape[2:])


class Sum(nn.Module):
    """The first map plus a 1x1 convolution of the second: (B, Ch, ...), (B, Cl, ...) -> (B, Ch, ...).

    The second map may have a single position.

    Args:
        high_channels: Ch.
        low_channels: Cl.
        dims: number of axes, 1 or 2.
        bias: whether the convolution has a bias. A normalisation after the sum would cancel it.
    """

    def __init__(self, high_channels: int, low_channels: int, dims: int, bias: bool = True) -> None:
        super().__init__()
        self.channels = high_channels
        self.project = conv(dims, low_channels, high_channels, 1)
        if not bias:
            self.project.register_parameter("bias", None)

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        """Add both maps."""
        total: Tensor = high + self.project(low)
        return total


class Gate(nn.Module):
    """Gated multimodal unit at every position. Arevalo et al. 2017, arXiv:1702.01992.

    z tanh(P high) + (1 - z) tanh(Q low), where z is the sigmoid of a 1x1 convolution of both maps, for each channel and
    position. (B, Ch, ...), (B, Cl, ...) -> (B, outputs, ...). The second map may have a single position, whose values
    then gate all positions.

    Args:
        high_channels: Ch.
        low_channels: Cl.
        dims: number of axes, 1 or 2.
        outputs: channels of the result; None for Ch.
    """

    def __init__(self, high_channels: int, low_channels: int, dims: int, outputs: int | None = None) -> None:
        super().__init__()
        self.channels = outputs or high_channels
        self.high, self.high_gate = (conv(dims, high_channels, self.channels, 1) for _ in range(2))
        self.low = conv(dims, low_channels, self.channels, 1)
        self.low_gate = conv(dims, low_channels, self.channels, 1)

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        """Compute the gated mean of both maps."""
        z = torch.sigmoid(self.high_gate(high) + self.low_gate(low))
        mean: Tensor = z * torch.tanh(self.high(high)) + (1 - z) * torch.tanh(self.low(low))
        return mean


class Concat(nn.Module):
    """Concatenate the channels of both maps: (B, Ch, ...), (B, Cl, ...) -> (B, Ch + Cl, ...)."""

    def __init__(self, high_channels: int, low_channels: int, dims: int) -> None:
        super().__init__()
        self.channels = high_channels + low_channels

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        """Concatenate both maps."""
        return torch.cat([high, low], dim=1)


class StageFusion(nn.Module):
    """Join a fine and a coarse stage of a decoder to one map of `channels` channels at the finer size.

    Args:
        operator: maps (high, low) to two maps of the finer size.
        join: maps these two to one map.
    """

    def __init__(self, operator: nn.Module, join: Sum | Gate | Concat) -> None:
        super().__init__()
        self.operator = operator
        self.join = join
        self.channels = join.channels

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        """Map (B, Ch, *fine) and (B, Cl, *coarse) to (B, channels, *fine), for any sizes with fine >= coarse.

        Raises:
            MmkdError: Channels or ranks differ from those of the module, or `high` is the smaller map.
        """
        joined: Tensor = self.join(*self.operator(high, low))
        return joined


OPERATORS: Mapping[str, Callable[..., nn.Module]] = {
    "carafe": Carafe,
    "freqfusion": FreqFusion,
    "freqfusion-attention": AttentiveFreqFusion,
    "dwt": DwtFusion,
    "dwt-attention": AttentiveDwtFusion,
    "dsconv": SeparableFusion,
}
"""Operators by name: `factory(Ch, Cl, dims, **options)` returns a module (high, low) -> (high', low at high's size)."""


def biasless_sum(high_channels: int, low_channels: int, dims: int) -> Sum:
    """The fine map plus a 1x1 convolution of the coarse one, without bias."""
    return Sum(high_channels, low_channels, dims, bias=False)


JOINS: Mapping[str, Callable[[int, int, int], Sum | Gate | Concat]] = {
    "sum": biasless_sum,
    "gated": Gate,
    "concat": Concat,
}
"""Joins by name: `factory(Ch, Cl, dims)` returns a module that maps two maps of one size to one map."""


def stage_fusion(name: str, high_channels: int, low_channels: int, dims: int, **options: object) -> nn.Module:
    """Create the module that joins a fine with a coarse stage of a decoder.

    `sum`, `gated` and `concat` enlarge the coarse map by the nearest position. The other ones of mmkd concatenate the
    outputs of their operator. The sum has no bias, because the decoder normalises its stages.

    Args:
        name: a name in `STAGE_FUSIONS`, with its options where it has some, such as `freqfusion:bands=3`.
        high_channels: Ch, channels of the fine map.
        low_channels: Cl, channels of the coarse map.
        dims: 1 for signals (B, C, T), 2 for images (B, C, H, W).
        options: more of the operator, such as `compressed` or `padding`.

    Returns:
        A module (B, Ch, *fine), (B, Cl, *coarse) -> (B, channels, *fine), with the attribute `channels`.

    Raises:
        MmkdError: The name or an option is unknown, or options are given for a fusion without any.
    """
    factory, named = chosen_fusion(STAGE_FUSIONS, name)
    if options and kind_of_fusion(name) not in OPERATORS:
        raise MmkdError(f"stage fusion {name!r} has no options, and {', '.join(options)} was given")
    module: nn.Module = factory(high_channels, low_channels, dims, **named, **options)
    return module


class ByOperator:
    """A stage fusion that concatenates the outputs of an operator.

    Args:
        operator: a name in `OPERATORS`.

    Attributes:
        Config: the options of the operator that `--fusion` takes; None if there are none.
    """

    def __init__(self, operator: str) -> None:
        self.operator = operator
        self.Config: Any = getattr(OPERATORS[operator], "Config", None)

    def __call__(self, high_channels: int, low_channels: int, dims: int, **options: object) -> StageFusion:
        """Create the stage fusion; `options` are those of the operator."""
        operator = OPERATORS[self.operator](high_channels, low_channels, dims, **options)
        return StageFusion(operator, Concat(high_channels, low_channels, dims))


def _by_join(name: str, high_channels: int, low_channels: int, dims: int) -> StageFusion:
    return StageFusion(Nearest(high_channels, low_channels, dims), JOINS[name](high_channels, low_channels, dims))


for _name in JOINS:
    STAGE_FUSIONS.register(_name)(partial(_by_join, _name))
for _name in OPERATORS:
    STAGE_FUSIONS.register(_name)(ByOperator(_name))
