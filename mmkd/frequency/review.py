"""Knowledge review with frequency attention: deep stages of a student help to predict the maps of shallow ones.

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
"""Prefixes of parameter names in the published code's review block -> prefixes of ours."""


class ReviewBlock(Head):
    """One block of knowledge review: from a student's map and the residual of the deeper block to a predicted map.

    1. The map x (B, C_s, *any) and the residual y (B, C_y, *any) are projected to `width` channels (1x1 convolution,
       BatchNorm, ReLU), unless they have as many already.
    2. y is resized to the size of x, and x is replaced by local attention with query y and keys and values x.
    3. x is resized to `size` (nearest). This is the residual for the next block.
    4. Frequency attention, BatchNorm (and ReLU) predict the teacher's map.

    For maps of two axes only.

    Args:
        in_channels: C_s.
        width: channels of the residual.
        out_channels: C_t, channels of the teacher's map.
        size: (H, W) of the teacher's map.
        deeper: C_y, channels of the residual y; None for the deepest block, which has no residual.
        rectify: whether a ReLU comes last, as in the paper, whose targets have no negative values.
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
        """Create the block from weights of the published code; it is equal to that block in training and evaluation.

        Args:
            state: name -> numpy array or tensor. It holds `conv1_x` and, if the block has a residual, `conv1`, each
                with its BatchNorm; `att_conv`; and `conv2` with the frequency attention and its BatchNorm. The bias of
                its 1x1 convolution is moved into the running mean of the BatchNorm.
            cutoff: of the mask, which is `reference`.

        Raises:
            MmkdError: A tensor is missing.
        """
        tensors = {name: as_tensor(value) for name, value in state.items()}
        missing = [name for name in ("conv2.0.weights1_real", "conv2.0.w0.weight") if name not in tensors]
        if missing:
            raise MmkdError(f"ReviewBlock.from_reference: the state has no {missing[0]!r}")
        attention = FrequencyAttention.from_reference(
            torch.complex(tensors["conv2.0.weights1_real"], tensors["conv2.0.weights1_imag"]),
            tensors["conv2.0.w0.weight"],
            tensors["conv2.0.w0.bias"],
            tensors["conv2.0.rate1"],
            tensors["conv2.0.rate2"],
            cutoff=cutoff,
        )
        width = attention.in_channels
        out_channels = attention.out_channels
        in_channels = tensors["conv1_x.0.weight"].shape[1] if "conv1_x.0.weight" in tensors else width
        fuses = "att_conv.rel_h" in tensors
        deeper = (tensors["conv1.0.weight"].shape[1] if "conv1.0.weight" in tensors else width) if fuses else None
        block = cls(in_channels, width, out_channels, attention.size, deeper, mask="reference", cutoff=cutoff)
        own = {f"attention.{name}": value for name, value in attention.state_dict().items() if name != "local.bias"}
        for name, value in tensors.items():
            for theirs, ours in REFERENCE_NAMES.items():
                if name.startswith(theirs):
                    own[name.replace(theirs, ours, 1)] = value
        if fuses:
            own |= {
                "attend.row": tensors["att_conv.rel_h"].flatten(1),
                "attend.column": tensors["att_conv.rel_w"].flatten(1),
            }
        own["norm.running_mean"] = own["norm.running_mean"] - tensors["conv2.0.rate2"] * tensors["conv2.0.w0.bias"]
        block.load_state_dict(own)
        return block

    def forward(self, x: Tensor, residual: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Predict the teacher's map.

        Args:
            x: (B, C_s, *any), the student's map.
            residual: (B, C_y, *any), from the deeper block.

        Returns:
            The predicted map (B, C_t, *size), and the residual for the next block (B, width, *size).

        Raises:
            MmkdError: A residual is given to the deepest block, or none to another block.
        """
        if (residual is None) != (self.attend is None):
            raise MmkdError("a ReviewBlock takes a residual when it was made with `deeper`, and only then")
        x = self.embed(x)
        if self.attend is not None:
            query = self.embed_residual(residual)
            x = self.attend(x, F.interpolate(query, size=x.shape[2:], mode="nearest"))
        x = self._resized(x)
        return self._predicted(x), x
