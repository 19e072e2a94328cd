"""Light Hamburger decoder: a low-rank reconstruction of the map. Geng et al., ICLR 2021, arXiv:2109.04553.

As in the code of SegNeXt (arXiv:2209.08575): the three coarser maps are joined at the size of the finest of them, a
1x1 convolution, a non-negative matrix factorisation between two more, a shortcut, a last 1x1 convolution; gradients
through all steps of the factorisation.

Different from it: the first bases are drawn once, when the network is built, and stored with it, where the code draws
them anew in every pass, also in evaluation, so that a score is a random number; as many steps in evaluation as in
training (the code has one more); no more bases than half the number of positions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.nets.dense.layers import TopDown, conv_fan_out

TINY = 1e-6
"""Keeps denominators of the factorisation above 0."""


def factorise(x: Tensor, bases: Tensor, steps: int) -> Tensor:
    """Reconstruct a map by non-negative matrix factorisation. Lee and Seung, NeurIPS 2000.

    Shares H = softmax over the bases of X^T W; `steps` times the multiplicative updates of H, then W; once more H.

    Args:
        x: X >= 0, (B, C, N).
        bases: first W >= 0, (C, R), or (B, C, R) for each sample.
        steps: number of updates.

    Returns:
        W H^T, (B, C, N), of rank R or less.
    """
    across = x.transpose(1, 2)
    shares = (across @ bases).softmax(dim=2)

    def update(shares: Tensor, bases: Tensor) -> Tensor:
        return shares * (across @ bases) / (shares @ (bases.mT @ bases) + TINY)

    for _ in range(steps):
        shares = update(shares, bases)
        bases = bases * (x @ shares) / (bases @ (shares.mT @ shares) + TINY)
    return bases @ update(shares, bases).mT


class Factorisation(nn.Module):
    """`factorise` from bases that are drawn from torch's current seed, uniform in [0, 1), each of norm 1.

    Args:
        channels: C.
        rank: number of bases R; of a map with N positions max(1, N // 2) are used, if these are fewer.
        steps: number of updates.
        eval_steps: the same in evaluation; None for `steps`. Published are 6 and 7.
    """

    bases: Tensor

    def __init__(self, channels: int, rank: int, steps: int = 6, eval_steps: int | None = None) -> None:
        super().__init__()
        self.register_buffer("bases", F.normalize(torch.rand(channels, rank), dim=0))
        self.steps = steps
        self.eval_steps = steps if eval_steps is None else eval_steps

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, ...) >= 0 to the same shape."""
        flat = x.flatten(2)
        bases = self.bases[..., : max(1, flat.shape[2] // 2)]
        return factorise(flat, bases, self.steps if self.training else self.eval_steps).reshape(x.shape)


class Hamburger(nn.Module):
    """The light Hamburger decoder without its classifier.

    Args:
        dims: number of axes, 1 or 2.
        widths: channels of each map, the finest first.
        channels: channels h of the decoder.
        rank: number of bases R.
        groups: number of groups of channels that are normalised together, each of h / groups.
        steps: as for `Factorisation`.
        eval_steps: as for `Factorisation`.
        fusion: a name in `STAGE_FUSIONS` that joins the maps, as in the decoder that the authors of FreqFusion released
            (arXiv:2408.12879); None for interpolation and concatenation.
    """

    def __init__(
        self,
        dims: int,
        widths: Sequence[int],
        channels: int = 256,
        *,
        rank: int = 16,
        groups: int = 32,
        steps: int = 6,
        eval_steps: int | None = None,
        fusion: str | None = None,
    ) -> None:
        super().__init__()
        self.channels = channels

        def normalised(inputs: int) -> nn.Sequential:
            return nn.Sequential(conv_fan_out(dims, inputs, channels, bias=False), nn.GroupNorm(groups, channels))

        self.joins = TopDown(fusion, widths, dims)
        self.squeeze = normalised(self.joins.channels)
        self.lower = conv_fan_out(dims, channels, channels)
        self.factorisation = Factorisation(channels, rank, steps, eval_steps)
        self.upper = normalised(channels)
        self.align = normalised(channels)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map (B, width, ...) each, the finest first, to (B, channels, ...) with the positions of the finest."""
        x = torch.relu(self.squeeze(self.joins(maps)))
        x = torch.relu(x + self.upper(self.factorisation(torch.relu(self.lower(x)))))
        return torch.relu(self.align(x))
