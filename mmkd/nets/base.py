"""The registries of backbones, dense networks and fusions, and checks that all networks share."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import torch
from torch import nn

from mmkd.core.errors import MmkdError
from mmkd.core.registry import Registry, not_callable
from mmkd.methods.outputs import Outputs

Shape = tuple[int, ...]
"""The shape of one sample: (C, T) for a signal, (C, H, W) for an image."""


def _built_in(*modules: str) -> Callable[[Registry[Any]], None]:
    def discover(registry: Registry[Any]) -> None:
        for module in modules:
            import_module(f"{__package__}.{module}")

    return discover


BACKBONES: Registry[Callable[[Shape, int], nn.Module]] = Registry(
    "backbone",
    "python -m mmkd.bench --list backbones",
    _built_in("wrn", "light", "tsai_nets"),
    not_callable,
    "mmkd.backbones",
)
"""Backbones by name: `factory(shape, classes)` returns a module that maps one view (B, *shape) to `Outputs`."""

DENSE: Registry[Callable[[Shape, int], nn.Module]] = Registry(
    "dense network", "python -m mmkd.bench --list dense", _built_in("dense"), not_callable, "mmkd.dense"
)
"""Networks that label every position: `factory(shape, classes)` returns a module that maps (B, *shape) to `Outputs`
with logits (B, K, *shape[1:]).

A factory may have a third parameter `fusion`, None or a name in `STAGE_FUSIONS` with its options, if the decoder joins
coarse with fine maps."""

FUSIONS: Registry[Callable[[Mapping[str, Outputs], int], nn.Module]] = Registry(
    "fusion", "python -m mmkd.bench --list fusions", _built_in("fusion"), not_callable, "mmkd.fusions"
)
"""Fusions by name: `factory(dry_run, classes)` returns a module that maps {modality: Outputs} to fused `Outputs`.

A factory with options has an attribute `Config` (`nets.fusion_options`) and takes them as keyword arguments."""


STAGE_FUSIONS: Registry[Callable[..., nn.Module]] = Registry(
    "stage fusion", "", _built_in("stage_fusions"), not_callable, "mmkd.stage_fusions"
)
"""Stage fusions by name: `factory(Ch, Cl, dims)`, for maps of dims = 1 or 2 axes, returns a module that maps a fine map
(B, Ch, *fine) and a coarse map (B, Cl, *coarse) to one map (B, channels, *fine); it has the attribute `channels`.
Options as for `FUSIONS`."""


def check_shape(name: str, shape: Shape, *, images: bool = True, minimum: int = 1) -> None:
    """Check that a backbone can read samples of this shape.

    Args:
        name: the name of the backbone, for the message.
        shape: (C, T) or (C, H, W) of one sample.
        images: whether the backbone reads images.
        minimum: the smallest T, H and W.

    Raises:
        MmkdError: It cannot.
    """
    if len(shape) == 3 and not images:
        raise MmkdError(
            f"backbone {name!r} reads signals (C, T) only, not images {shape}; use WRN16-1 or small for that modality"
        )
    if min(shape[1:]) < minimum:
        size = f"{shape[1]} samples" if len(shape) == 2 else f"{shape[1]} x {shape[2]}"
        needed = f"windows of {minimum} samples" if len(shape) == 2 else f"images of {minimum} x {minimum}"
        raise MmkdError(
            f"backbone {name!r} needs {needed} or more, not {size}; take longer windows or larger images, or another "
            f"backbone ({BACKBONES.how})"
        )


@torch.no_grad()
def dry_run(net: nn.Module, shape: Shape, batch: int = 2) -> Outputs:
    """Run a network on `batch` samples of zeros in evaluation mode; its batch statistics do not change.

    Args:
        net: maps (B, *shape) to `Outputs`.
        shape: (C, T) or (C, H, W) of one sample.
        batch: number of samples B.

    Raises:
        MmkdError: The network returned something other than `Outputs`.
    """
    training = net.training
    net.eval()
    try:
        outputs = net(torch.zeros(batch, *shape))
    finally:
        net.train(training)
    if not isinstance(outputs, Outputs):
        raise MmkdError(f"{type(net).__name__} returned {type(outputs).__name__}; a backbone returns mmkd.Outputs")
    return outputs
