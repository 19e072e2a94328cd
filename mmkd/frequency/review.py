"""Knowledge review with frequency attention: the deep stages of a student help the shallow ones.

Frequency Attention for Knowledge Distillation. Pham et al., WACV 2024, https://arxiv.org/abs/2403.05894, after
Distilling Knowledge via Knowledge Review. Chen et al., CVPR 2021, https://arxiv.org/abs/2104.09044
"""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.core.errors import MmkdError
from mmkd.frequency.attention import FrequencyAttention, as_tensor
from mmkd.frequency.local import LocalAttention
from mmkd.frequency.path import Head, embedding

REFERENCE_NAMES = {
    "conv1_x.": "embed.",
    "conv1.": "embed_residual.",
    "conv2.1.": "norm.",
    **{f"att_conv.{name}_conv.": f"attend.{name}." for name in ("query", "key", "value")},
}
"""Starts of names in the published code's review block, and ours."""


class ReviewBlock(Head):
    """One block of knowledge review: a student's map and the residual of the deeper block to a predicted map.

    x (B, C_s, *any) and the residual y (B, C_y, *any) come to `width` channels (1x1 convolution, BatchNorm, ReLU, left
    out where they have as many); y is resized to x; x <- local attention (query y, key and value x) -> nearest resize
    to `size`, and this x is handed on; frequency attention -> BatchNorm (-> ReLU) predicts the teacher's map. For
    maps only.

    Args:
        in_channels, width, out_channels: C_s, channels in the middle, C_t.
        size: (H, W) of the teacher's map.
        deeper: C_y, channels of the residual; None for the deepest block, which fuses nothing.
        rectify: with a last ReLU (the paper's, whose targets have no negative values).
        filter: as for `FrequencyPath`.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        out_channels: int,
        size: tuple[int, ...],
        deeper: int | None = None,
        *,
        rectify: bool = True,
        **filter: Any,
    ) -> None:
        super().__init__(size, rectify)
        self.embed = nn.Identity() if in_channels == width else embedding(in_channels, width, 2)
        self.embed_residual = nn.Identity() if deeper in (None, width) else embedding(int(deeper or 0), width, 2)
        self.attend = None if deeper is None else LocalAttention(width)
        self._finish(width, out_channels, **filter)

    @classmethod
    def from_reference(cls, state: Mapping[str, Any], cutoff: float = 0.1) -> Self:
        """The block with the weights of the published code; in training and in evaluation equal to it.

        Args:
            state: name -> numpy array or tensor: `conv1_x` and, where the block fuses, `conv1` (of the residual) with
                their BatchNorms, `att_conv`, and `conv2` with the frequency attention and its BatchNorm. The bias of
                its 1x1 convolution goes into the BatchNorm's running mean.

        Raises:
            MmkdError: a tensor that is missing.
        """
        given = {name: as_tensor(value) for name, value in state.items()}
        missing = [name for name in ("conv2.0.weights1_real", "conv2.0.w0.weight") if name not in given]
        if missing:
            raise MmkdError(f"ReviewBlock.from_reference: the state has no {missing[0]!r}")
        attention = FrequencyAttention.from_reference(
            torch.complex(given["conv2.0.weights1_real"], given["conv2.0.weights1_imag"]),
            given["conv2.0.w0.weight"],
            given["conv2.0.w0.bias"],
            given["conv2.0.rate1"],
            given["conv2.0.rate2"],
            cutoff,
        )
        width = attention.in_channels
        out_channels = attention.out_channels
        ins = given["conv1_x.0.weight"].shape[1] if "conv1_x.0.weight" in given else width
        fuses = "att_conv.rel_h" in given
        deeper = (given["conv1.0.weight"].shape[1] if "conv1.0.weight" in given else width) if fuses else None
        block = cls(ins, width, out_channels, attention.size, deeper, cutoff=cutoff)
        own = {f"attention.{name}": value for name, value in attention.state_dict().items() if name != "local.bias"}
        for name, value in given.items():
            for theirs, ours in REFERENCE_NAMES.items():
                if name.startswith(theirs):
                    own[name.replace(theirs, ours, 1)] = value
        if fuses:
            own |= {
                "attend.row": given["att_conv.rel_h"].flatten(1),
                "attend.column": given["att_conv.rel_w"].flatten(1),
            }
        own["norm.running_mean"] = own["norm.running_mean"] - given["conv2.0.rate2"] * given["conv2.0.w0.bias"]
        block.load_state_dict(own)
        return block

    def forward(self, x: Tensor, residual: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Predicted map (B, C_t, *size) and the residual for the next block (B, width, *size).

        Raises:
            MmkdError: a residual for the deepest block, or none for another.
        """
        if (residual is None) != (self.attend is None):
            raise MmkdError("a ReviewBlock takes a residual when it was made with `deeper`, and only then")
        x = self.embed(x)
        if self.attend is not None:
            query = self.embed_residual(residual)
            x = self.attend(x, F.interpolate(query, size=x.shape[2:], mode="nearest"))
        x = self._resized(x)
        return self._predicted(x), x
