"""Attention over the 3x3 neighbourhood of each position, separately for each channel.

Stand-Alone Self-Attention in Vision Models. Ramachandran et al., NeurIPS 2019, https://arxiv.org/abs/1906.05909, in the
form that Frequency Attention for Knowledge Distillation (WACV 2024) uses: the query comes from a deeper map.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.core.errors import MmkdError


class LocalAttention(nn.Module):
    """Local attention from a query to a map, (B, C, H, W) both, -> (B, C, H, W).

    The weights are the softmax, over the nine positions of the neighbourhood, of the products q * k of each channel (no
    sum over channels, no scaling). Keys and values come from the map padded with zeros. A learned offset is added to
    the keys: one for each row of the neighbourhood in the first half of the channels, one for each column in the second
        half.

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
        """Attend from each position of `query` to the neighbourhood of the same position of x.

        Args:
            x: (B, C, H, W).
            query: (B, C, H, W); None for x itself.

        Raises:
            MmkdError: The number of channels differs, or the query has another shape than x.
        """
        query = x if query is None else query
        if x.ndim != 4 or x.shape[1] != self.channels or query.shape != x.shape:
            raise MmkdError(
                f"LocalAttention was made for maps (B, {self.channels}, H, W) of one shape and got x {tuple(x.shape)} "
                f"and a query {tuple(query.shape)}; resize the query to x"
            )
        b, c, h, w = x.shape
        offset = torch.cat([self.row[:, :, None].expand(-1, 3, 3), self.column[:, None, :].expand(-1, 3, 3)])

        def windows(m: Tensor) -> Tensor:  # the 1x1 convolutions have no bias, so that padding commutes with them
            return F.unfold(m, kernel_size=3, padding=1).view(b, c, 9, h * w)

        keys = windows(self.key(x)) + offset.reshape(1, c, 9, 1)
        weights = (self.query(query).view(b, c, 1, h * w) * keys).softmax(dim=2)
        y: Tensor = (weights * windows(self.value(x))).sum(dim=2).view(b, c, h, w)
        return y
