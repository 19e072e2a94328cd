"""Attention over the 3x3 neighbourhood of each position, a channel at a time.

Stand-Alone Self-Attention in Vision Models. Ramachandran et al., NeurIPS 2019, https://arxiv.org/abs/1906.05909, as it
is used by Frequency Attention for Knowledge Distillation (WACV 2024): with the query from a deeper map.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.core.errors import MmkdError


class LocalAttention(nn.Module):
    """(B, C, H, W), and a query of the same shape, -> (B, C, H, W).

    Weights are the softmax, over the nine positions, of the channel's own product q * k (no sum over channels, no
    scaling); keys and values come from the zero-padded map. The first half of the key's channels gets a learned offset
    for each row of the window, the second half one for each column.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.query, self.key, self.value = (nn.Conv2d(channels, channels, 1, bias=False) for _ in range(3))
        self.row = nn.Parameter(torch.randn(channels // 2, 3))
        self.column = nn.Parameter(torch.randn(channels - channels // 2, 3))
        for conv in (self.query, self.key, self.value):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor, query: Tensor | None = None) -> Tensor:
        """Attend from `query` (x itself when None) to the neighbourhoods of x.

        Raises:
            MmkdError: maps of other channels, or a query of another shape than x.
        """
        query = x if query is None else query
        if x.ndim != 4 or x.shape[1] != self.channels or query.shape != x.shape:
            raise MmkdError(
                f"LocalAttention was made for maps (B, {self.channels}, H, W) of one shape and got x {tuple(x.shape)} "
                f"and a query {tuple(query.shape)}; resize the query to x"
            )
        b, c, h, w = x.shape
        offset = torch.cat([self.row[:, :, None].expand(-1, 3, 3), self.column[:, None, :].expand(-1, 3, 3)])

        def windows(m: Tensor) -> Tensor:  # the 1x1 convolutions have no bias, so padding after them is padding before
            return F.unfold(m, kernel_size=3, padding=1).view(b, c, 9, h * w)

        keys = windows(self.key(x)) + offset.reshape(1, c, 9, 1)
        weights = (self.query(query).view(b, c, 1, h * w) * keys).softmax(dim=2)
        y: Tensor = (weights * windows(self.value(x))).sum(dim=2).view(b, c, h, w)
        return y
