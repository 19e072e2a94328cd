"""Checks of what a network puts out for random views, before it is trained; each problem is one line."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmkd.core.errors import MmkdError, describe_error
from mmkd.methods.outputs import Outputs


def run_twice(title: str, network: nn.Module, views: Mapping[str, Tensor]) -> Outputs:
    """The outputs of a network in evaluation mode, which must be the same whenever it is run.

    Args:
        title: the network in words, for messages.
        views: modality -> (B, ...).

    Raises:
        MmkdError: The network fails, or gives other logits the second time.
    """
    first, second = (run_once(title, network, views) for _ in range(2))
    known = isinstance(first.logits, Tensor) and isinstance(second.logits, Tensor)
    if known and not torch.equal(first.logits.nan_to_num(), second.logits.nan_to_num()):
        raise MmkdError(
            f"{title} gives other logits for the same views each time; use dropout, noise and running "
            "statistics so that nothing is random in evaluation mode"
        )
    return first


@torch.no_grad()
def run_once(title: str, network: nn.Module, views: Mapping[str, Tensor]) -> Outputs:
    """The outputs of a network.

    Raises:
        MmkdError: The network fails, or returns something other than `Outputs`.
    """
    try:
        outputs = network(views)
    except MmkdError:
        raise
    except Exception as error:  # somebody else's network may raise anything
        raise MmkdError(f"{title} fails on random views: {describe_error(error)}") from error
    if not isinstance(outputs, Outputs):
        raise MmkdError(f"{title} returned {type(outputs).__name__}; return mmkd.Outputs")
    return outputs


def check_outputs(title: str, outputs: Outputs, shape: tuple[int, ...]) -> None:
    """Check types, shapes and values of the outputs of a network for random views.

    Args:
        title: the network in words, for messages.
        shape: of its logits: (B, K), (B, K, T) or (B, K, H, W).

    Raises:
        MmkdError: They are not those of a network; the message names the first one that is wrong.
    """
    batch, classes = shape[:2]
    _check(title, "logits", outputs.logits, shape)
    _check(title, "embedding", outputs.embedding, (batch, None))
    for what, maps in (("features", outputs.features), ("attention", outputs.attention)):
        if not isinstance(maps, Mapping):
            raise MmkdError(f"{title}: {what} is {type(maps).__name__}; it must be a mapping of names to tensors")
    for name, value in outputs.features.items():
        axes = value.ndim if isinstance(value, Tensor) and value.ndim in (3, 4) else 3
        _check(title, f"feature map {name!r}", value, (batch, *[None] * (axes - 1)))
    for name, value in outputs.attention.items():
        _check(title, f"attention {name!r}", value, (batch, None, None))
        if not torch.allclose(value.sum(-1), torch.ones_like(value.sum(-1)), atol=1e-3):
            raise MmkdError(f"{title}: the rows of attention {name!r} do not sum to 1")
    if outputs.classifier is not None:
        if not outputs.features:
            raise MmkdError(f"{title}: it has a classifier of feature maps, and no features; leave it None")
        _check(title, "classifier", outputs.classifier, (classes, outputs.last_map.shape[1]))


def _check(title: str, what: str, value: Any, shape: tuple[int | None, ...]) -> None:
    """Check that a value is a tensor of finite floating-point numbers of this shape; None stands for any size."""
    if not isinstance(value, Tensor):
        raise MmkdError(f"{title}: {what} is {type(value).__name__}; it must be a tensor")
    sizes = tuple(value.shape)
    fits = len(sizes) == len(shape) and all(wanted in (None, size) for size, wanted in zip(sizes, shape, strict=True))
    if not fits or not value.numel():
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise MmkdError(f"{title}: {what} has shape {sizes} for random views; it must be ({wanted})")
    if not value.is_floating_point():
        raise MmkdError(f"{title}: {what} holds {value.dtype}; it must hold floating-point numbers")
    if not torch.isfinite(value).all():
        raise MmkdError(f"{title}: {what} holds NaN or infinity for random views")
