"""Networks, built by name and sized from the shape of a sample.

Backbones read one view, dense networks label every position of a view, and fusions join the branches of a student. All
of them return `Outputs`. How they are trained is not decided here, but in `training/`.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from mmkd.core.errors import MmkdError, describe_error, did_you_mean
from mmkd.core.registry import Registry
from mmkd.nets.base import BACKBONES, DENSE, FUSIONS, STAGE_FUSIONS, Shape, dry_run
from mmkd.nets.fusion_options import canonical_fusion, chosen_fusion, described_options
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
    "canonical_fusion",
    "check_dense_fusion",
    "count_parameters",
    "described_options",
    "signal_of",
]


def build_backbone(name: str, shape: Shape, classes: int) -> nn.Module:
    """Build the backbone `name`, initialised from torch's current random seed.

    Args:
        name: a name in `BACKBONES`.
        shape: (C, T) or (C, H, W) of one sample.
        classes: number of classes K.

    Returns:
        A module that maps (B, *shape) to `Outputs`.

    Raises:
        MmkdError: The name is unknown, the network cannot read this shape, or it cannot be loaded here.
    """
    return _build(BACKBONES, name, shape, classes, ())


def build_dense(name: str, shape: Shape, classes: int, fusion: str | None = None) -> nn.Module:
    """Build the dense network `name`, which labels every position, initialised from torch's current random seed.

    Args:
        name: a name in `DENSE`.
        shape: (C, T) or (C, H, W) of one sample.
        classes: number of classes K.
        fusion: a name in `STAGE_FUSIONS`, with its options where it has some, which replaces the network's own way of
            joining a coarse with a fine map; None for the network as it is.

    Returns:
        A module that maps (B, *shape) to `Outputs` with logits (B, K, T) or (B, K, H, W).

    Raises:
        MmkdError: As for `build_backbone`; or the fusion is unknown, or the network joins no two maps.
    """
    options = {}
    if fusion is not None:
        check_dense_fusion(name, fusion)
        options["fusion"] = fusion
    return _build(DENSE, name, shape, classes, tuple(shape[1:]), **options)


def check_dense_fusion(name: str, fusion: str) -> None:
    """Check that `fusion` is a stage fusion with its options, and that the dense network `name` accepts one.

    Raises:
        MmkdError: It does not.
    """
    DENSE.get(name)
    chosen_fusion(STAGE_FUSIONS, fusion)
    accepting = [network for network in DENSE if "fusion" in inspect.signature(DENSE.get(network)).parameters]
    if name not in accepting:
        raise MmkdError(
            f"--fusion {fusion}: dense network {name!r} joins no coarser with a finer map; use one of "
            f"{', '.join(accepting)}, or no --fusion"
        )


def _build(
    registry: Registry[Callable[[Shape, int], nn.Module]],
    name: str,
    shape: Shape,
    classes: int,
    positions: Shape,
    **options: Any,
) -> nn.Module:
    """Build a network and run it once on two samples, whose logits must be (2, K, *positions).

    Args:
        registry: where the name is looked up.
        name: the name of the network.
        shape: (C, T) or (C, H, W) of one sample.
        classes: number of classes K.
        positions: expected shape of the logits after (2, K).
        options: passed on to the factory.
    """
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
    if outputs.logits.shape != (2, classes, *positions):
        expected = f", which should be {(2, classes, *positions)}" if positions else ""
        raise MmkdError(
            f"{registry.kind} {name!r} gives logits {tuple(outputs.logits.shape)} for a batch of 2 and {classes} "
            f"classes{expected}"
        )
    return net


def build_teacher(name: str, modality: str, shape: Shape, classes: int) -> SingleView:
    """Build a network of one view: a teacher, or a student of one modality. Errors as for `build_backbone`.

    Args:
        name: a name in `BACKBONES`.
        modality: the name of the view.
        shape: (C, T) or (C, H, W) of one sample of the view.
        classes: number of classes K.
    """
    return SingleView(modality, build_backbone(name, shape, classes))


def build_student(
    name: str | Mapping[str, str], shapes: Mapping[str, Shape], classes: int, fusion: str = "concat"
) -> SingleView | MultiBranch:
    """Build a student with one branch for each modality, or a network of a single view if there is one modality.

    Args:
        name: the backbone of every branch, or {modality: backbone}.
        shapes: modality -> (C, T) or (C, H, W) of one sample.
        classes: number of classes K.
        fusion: a name in `FUSIONS`, with its options where it has some, such as `freqfusion:bands=3`.

    Raises:
        MmkdError: As for `build_backbone`; or a modality is missing or unknown, or the fusion cannot join these
            branches.
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
    make_fusion, options = chosen_fusion(FUSIONS, fusion)
    if len(shapes) == 1 and fusion == "concat":
        ((modality, shape),) = shapes.items()
        return build_teacher(names[modality], modality, shape, classes)
    branches = {m: build_backbone(names[m], shape, classes) for m, shape in shapes.items()}
    dry = {m: dry_run(branch, shapes[m]) for m, branch in branches.items()}
    try:
        return MultiBranch(branches, make_fusion(dry, classes, **options))
    except MmkdError:
        raise
    except Exception as error:  # somebody else's fusion may raise anything
        raise MmkdError(f"fusion {fusion!r} cannot join {', '.join(shapes)}: {describe_error(error)}") from error


def count_parameters(net: nn.Module) -> int:
    """Count the numbers in a network's parameters, trained or frozen."""
    return sum(p.numel() for p in net.parameters())
