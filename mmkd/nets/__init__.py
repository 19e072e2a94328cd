"""Networks: backbones that read one view, fusions of several, and what the training loop calls (views to `Outputs`)."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from mmkd.core.errors import MmkdError, describe_error, did_you_mean, unknown_name
from mmkd.core.registry import Registry
from mmkd.nets.base import BACKBONES, DENSE, FUSIONS, Shape, dry_run
from mmkd.nets.freqfusion import STAGE_FUSIONS
from mmkd.nets.student import MultiBranch, SingleView, signal_of

__all__ = [
    "BACKBONES",
    "DENSE",
    "FUSIONS",
    "STAGE_FUSIONS",
    "MultiBranch",
    "Shape",
    "SingleView",
    "build_backbone",
    "build_dense",
    "build_student",
    "build_teacher",
    "check_dense_fusion",
    "count_parameters",
    "signal_of",
]


def build_backbone(name: str, shape: Shape, classes: int) -> nn.Module:
    """The backbone `name` for samples of `shape`, initialised from torch's current seed.

    Args:
        name: a name of `BACKBONES`.
        shape: one sample's (C, T) or (C, H, W).
        classes: K.

    Returns:
        A module that maps (B, *shape) to `Outputs`.

    Raises:
        MmkdError: no such name, a shape that the net cannot read, or a net that does not load here.
    """
    return _build(BACKBONES, name, shape, classes, ())


def build_dense(name: str, shape: Shape, classes: int, fusion: str | None = None) -> nn.Module:
    """The dense network `name`, which labels every position; arguments and errors of `build_backbone`.

    Args:
        fusion: a name of `STAGE_FUSIONS`, for the places where the network joins a coarser with a finer map; None for
            the network's own form.

    Returns:
        A module that maps (B, *shape) to `Outputs` with logits (B, K, T), or (B, K, H, W).

    Raises:
        MmkdError: also an unknown fusion, or a network that joins no two maps.
    """
    options = {}
    if fusion is not None:
        check_dense_fusion(name, fusion)
        options["fusion"] = fusion
    return _build(DENSE, name, shape, classes, tuple(shape[1:]), **options)


def check_dense_fusion(name: str, fusion: str) -> None:
    """MmkdError unless `fusion` is a stage fusion and the factory of the dense network `name` has such a parameter."""
    DENSE.get(name)
    if fusion not in STAGE_FUSIONS:
        raise unknown_name("fusion of decoder stages", fusion, STAGE_FUSIONS)
    taking = [each for each in DENSE if "fusion" in inspect.signature(DENSE.get(each)).parameters]
    if name not in taking:
        raise MmkdError(
            f"--fusion {fusion}: dense network {name!r} joins no coarser with a finer map; use one of "
            f"{', '.join(taking)}, or no --fusion"
        )


def _build(
    registry: Registry[Callable[[Shape, int], nn.Module]],
    name: str,
    shape: Shape,
    classes: int,
    labelled: Shape,
    **options: Any,
) -> nn.Module:
    """A network that was tried on two samples: its logits must be (2, K, *labelled); `options` go to its factory."""
    factory: Callable[..., nn.Module] = registry.get(name)
    if len(shape) not in (2, 3) or min(shape) < 1 or classes < 1:
        raise MmkdError(f"{registry.kind} {name!r}: a sample is (C, T) or (C, H, W), not {shape}; classes {classes}")
    try:
        net = factory(shape, classes, **options)
        outputs = dry_run(net, shape)
    except MmkdError:
        raise
    except Exception as error:  # somebody else's network may raise anything
        raise MmkdError(
            f"{registry.kind} {name!r} cannot read samples of shape {shape}: {describe_error(error)}; use another "
            f"{registry.kind} ({registry.how})"
        ) from error
    if outputs.logits.shape != (2, classes, *labelled):
        positions = f", which should be {(2, classes, *labelled)}" if labelled else ""
        raise MmkdError(
            f"{registry.kind} {name!r} gives logits {tuple(outputs.logits.shape)} for a batch of 2 and {classes} "
            f"classes{positions}"
        )
    return net


def build_teacher(name: str, modality: str, shape: Shape, classes: int) -> SingleView:
    """A network of one view, teacher or signal-only student; arguments and errors of `build_backbone`."""
    return SingleView(modality, build_backbone(name, shape, classes))


def build_student(
    name: str | Mapping[str, str], shapes: Mapping[str, Shape], classes: int, fusion: str = "concat"
) -> SingleView | MultiBranch:
    """A student with one branch a modality, or of a single view where there is one modality.

    Args:
        name: the backbone of every branch, or {modality: backbone}.
        shapes: modality -> one sample's shape.
        classes: K.
        fusion: a name of `FUSIONS`.

    Raises:
        MmkdError: as `build_backbone`; no or unknown modalities; a fusion that cannot join these branches.
    """
    if not shapes:
        raise MmkdError("a student needs at least one modality, for example --student sig")
    names = {m: name if isinstance(name, str) else name.get(m, "") for m in shapes}
    extra = [] if isinstance(name, str) else [m for m in name if m not in shapes]
    for modality in extra:
        raise MmkdError(
            f"a backbone is named for {modality!r}, which the student does not read{did_you_mean(modality, shapes)} "
            f"(it reads {', '.join(shapes)})"
        )
    for modality in [m for m, n in names.items() if not n]:
        raise MmkdError(f"no backbone is named for the student's {modality!r}; add for example {modality}=small")
    make_fusion = FUSIONS.get(fusion)
    if len(shapes) == 1 and fusion == "concat":
        ((modality, shape),) = shapes.items()
        return build_teacher(names[modality], modality, shape, classes)
    branches = {m: build_backbone(names[m], shape, classes) for m, shape in shapes.items()}
    dry = {m: dry_run(branch, shapes[m]) for m, branch in branches.items()}
    return MultiBranch(branches, make_fusion(dry, classes))


def count_parameters(net: nn.Module) -> int:
    """How many numbers a network's parameters have, trained or frozen."""
    return sum(p.numel() for p in net.parameters())
