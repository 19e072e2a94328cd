"""Prompts over wavelet bands: masks of the places where a vector of channels meets the bands of a map.

FreeKD: Knowledge Distillation via Semantic Frequency Prompt. Zhang et al., CVPR 2024, https://arxiv.org/abs/2311.12079
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mmkd.frequency.wavelets import haar_bands, haar_join


def prompt_masks(prompts: Tensor, bands: Tensor) -> Tensor:
    """The masks sigmoid(p . sum over orientations of h) of the bands h of one level.

    Args:
        prompts: (M, C), a vector p for each of M tokens.
        bands: (B, C, O, *size).

    Returns:
        (B, M, *size), in (0, 1).
    """
    return torch.einsum("mc,bc...->bm...", prompts.to(bands.dtype), bands.sum(2)).sigmoid()


def prompted_map(x: Tensor, prompts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """A map whose bands are multiplied by the sum of their masks over tokens, and how alike these masks are.

    Args:
        x: (B, C, T) or (B, C, H, W).
        prompts: J + 1 times (M, C): of the low band, and of the high bands of the levels 1 to J.

    Returns:
        The map transformed back, of the size of x; and the sum over bands of `prompt_dice`.
    """
    low, high = haar_bands(x, len(prompts) - 1)
    changed = []
    dice = []
    for band, own in zip([low[:, :, None], *high], prompts, strict=True):
        masks = prompt_masks(own, band)
        changed.append(band * masks.sum(1)[:, None, None])
        dice.append(prompt_dice(masks))
    back = haar_join(changed[0][:, :, 0], changed[1:])
    for axis, length in enumerate(x.shape[2:], 2):
        back = back.narrow(axis, 0, length)
    return back, torch.stack(dice).sum()


def prompt_dice(masks: Tensor) -> Tensor:
    """How alike the masks (B, M, *size) of M tokens are, a scalar: 1 for equal masks, 0 of a single token.

    It is the mean of 2 <a, b> / (<a, a> + <b, b>) over windows and pairs of tokens.
    """
    flat = masks.flatten(2)
    products = flat @ flat.mT
    squares = products.diagonal(dim1=1, dim2=2)
    alike = 2 * products / (squares[:, :, None] + squares[:, None, :])
    count = masks.shape[1]
    pairs = ~torch.eye(count, dtype=torch.bool, device=masks.device)
    return alike[:, pairs].mean() if count > 1 else alike.new_zeros(())
