"""Fusions: how the branches of a student become one prediction. Each fusion is sized from a dry run of the branches.

`concat` joins the embeddings, and `attention` attends from the map of one branch to the maps of the others. All others
join feature maps in pairs (`MapFusion`), with the operators that also join the stages of a decoder (`freqfusion`,
`carafe`).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.core.errors import MmkdError
from mmkd.frequency import lift
from mmkd.methods.outputs import Outputs
from mmkd.nets.base import FUSIONS
from mmkd.nets.carafe import conv
from mmkd.nets.stage_fusions import OPERATORS, Gate, Sum
from mmkd.nets.student import signal_of


@FUSIONS.register("concat")
class Concat(nn.Module):
    """Concatenate the embeddings of all branches, followed by a linear classifier."""

    def __init__(self, dry: Mapping[str, Outputs], classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(sum(branch.embedding.shape[1] for branch in dry.values()), classes)

    def forward(self, branches: Mapping[str, Outputs]) -> Outputs:
        """Map {modality: Outputs} to logits (B, K) and embedding (B, sum of D)."""
        embedding = torch.cat([branch.embedding for branch in branches.values()], dim=1)
        return Outputs(self.classifier(embedding), embedding)


@FUSIONS.register("attention")
class CrossAttention(nn.Module):
    """Cross-attention from the signal's map to the maps of other views. Vaswani et al. 2017, arXiv:1706.03762.

    Queries are the positions of the last map of the signal branch (of the first branch if there is no `sig`), keys and
    values are the positions of the last map of each other branch. All are projected to the width of the signal's map.
    There is one head with scaled dot products. The attended values are averaged over the queries and concatenated with
    the signal's embedding; a linear classifier follows.

    Args:
        dry: modality -> outputs of a dry run of the branch.
        classes: number of classes K.

    Raises:
        MmkdError: There are fewer than two branches, or a branch has no feature maps.
    """

    def __init__(self, dry: Mapping[str, Outputs], classes: int) -> None:
        super().__init__()
        check_views("attention", dry)
        self.signal = signal_of(dry)
        self.others = tuple(m for m in dry if m != self.signal)
        sizes = {m: positions(branch).shape[2] for m, branch in dry.items()}
        self.width = sizes[self.signal]
        self.queries = nn.Linear(self.width, self.width, bias=False)
        self.keys = nn.ModuleList(nn.Linear(sizes[m], self.width, bias=False) for m in self.others)
        self.values = nn.ModuleList(nn.Linear(sizes[m], self.width) for m in self.others)
        embedding = dry[self.signal].embedding.shape[1] + self.width * len(self.others)
        self.classifier = nn.Linear(embedding, classes)

    def forward(self, branches: Mapping[str, Outputs]) -> Outputs:
        """Map {modality: Outputs} to logits, embedding and attention.

        The attention is {other modality: (B, Tq, Tk)}, whose rows sum to 1.
        """
        queries = self.queries(positions(branches[self.signal])) / math.sqrt(self.width)
        parts = [branches[self.signal].embedding]
        attention = {}
        for modality, to_key, to_value in zip(self.others, self.keys, self.values, strict=True):
            source = positions(branches[modality])
            weight = torch.softmax(queries @ to_key(source).transpose(1, 2), dim=2)
            attention[modality] = weight
            parts.append((weight @ to_value(source)).mean(dim=1))
        embedding = torch.cat(parts, dim=1)
        return Outputs(self.classifier(embedding), embedding, attention=attention)


def check_views(name: str, dry: Mapping[str, Outputs]) -> None:
    """Check that there are two or more branches, and that each has feature maps.

    Raises:
        MmkdError: This is not so.
    """
    if len(dry) < 2:
        raise MmkdError(
            f"--fusion {name} joins two or more views; use --student sig+gaf+pi, or --fusion concat for one view"
        )
    for modality, branch in dry.items():
        if not branch.features:
            raise MmkdError(
                f"--fusion {name} reads feature maps, and the {modality} branch has none; "
                f"use --fusion concat, or another backbone such as WRN16-1 or small"
            )


def positions(branch: Outputs) -> Tensor:
    """Reshape the last map (B, C, T) or (B, C, H, W) to (B, T or H W, C), row by row."""
    deepest = list(branch.features.values())[-1]
    return deepest.flatten(2).transpose(1, 2)


def has_time(modality: str) -> bool:
    """Whether all axes of a view are time.

    Those of a persistence image (`pi`, `pi@acc`) are birth and persistence, one of a spectrogram is frequency.
    """
    return modality.replace("@", ".").partition(".")[0] not in {"pi", "stft", "cwt"}


class MapFusion(nn.Module):
    """Join the last feature maps of the branches, one after the other.

    The order is: signals, then images over time such as `gaf`, then those with another axis (`pi`, `stft`). The first
    view leads (`sig`, if there is one). If a view with time axes is an image, all lines (B, C, T) are turned into maps
    by `outer` (`mmkd.frequency.lift`) with the side S of the first such image. Every map passes a GroupNorm of one
    group first, because `outer` squares the scale (this is an addition of this project). Let F be the map fused so far
    and X the last map of the next view:

    - `sum` and `gated` average F and X to the smaller of their sizes. Then F <- relu(F + Q X), or the gate `Gate`.
    - A fusion with an `operator` (see `OPERATORS`) uses X as the coarse map L, and F at twice the size of L as the fine
      map H. Then F <- relu(1x1 convolution of [H', L_up]). Instead of the last map of the leading view it starts from
      the deepest stage with at least twice the positions of L along each axis (from the largest stage if there is
      none), lifted to the side 2 S. C' is a quarter of the channels of F, at least 8.

    A view of another axis shares no map with F. Its mean over positions is joined, by addition in `sum` and by the gate
    in all others. If a subclass sets `births_as_map`, it is used as L nevertheless.

    F has as many channels as the last map of the leading view. The embedding is the mean of F over positions, and a
    linear classifier follows. `classifier` of the outputs is None, because F is not the map of a view.

    Args:
        dry: modality -> outputs of a dry run of the branch.
        classes: number of classes K.

        options: of the operator, by the names in its `Config`.

    Raises:
        MmkdError: There are fewer than two branches, a branch has no feature maps, or the operator has no two views to
            join.
    """

    name: ClassVar[str]
    operator: ClassVar[str | None] = None
    births_as_map: ClassVar[bool] = False
    Config: ClassVar[Any] = None

    def __init_subclass__(cls) -> None:
        """Give a fusion the options of its operator, for `--fusion`."""
        super().__init_subclass__()
        if cls.operator and "Config" not in vars(cls):
            cls.Config = getattr(OPERATORS[cls.operator], "Config", None)

    def __init__(self, dry: Mapping[str, Outputs], classes: int, **options: Any) -> None:
        super().__init__()
        check_views(self.name, dry)
        self.options = options
        first = signal_of(dry)
        timed = [m for m in dry if has_time(m)]
        self.order = tuple(sorted(dry, key=lambda m: (m not in timed, dry[m].last_map.ndim > 3, m != first)))
        self.aligned = self.order if self.births_as_map or not timed else self.order[: len(timed)]
        if self.operator and len(self.aligned) < 2:
            raise MmkdError(
                f"--fusion {self.name} joins views whose axes are time, and of {'+'.join(dry)} only {timed[0]} has "
                f"them (a persistence image's are birth and persistence, one of a spectrogram's frequency); "
                f"use --student sig+gaf+pi, --fusion gated, or "
                f"the control --fusion freqfusion-pi"
            )
        images = [m for m in self.aligned if dry[m].last_map.ndim == 4]
        self.image = images[0] if images else None
        self.dims = 2 if images else 1
        lead = dry[self.order[0]]
        width = dry[self.order[0]].last_map.shape[1]
        self.stage = list(lead.features)[-1]
        if self.operator:
            coarse = dry[self.order[1]].last_map
            lifted = coarse.ndim < self.dims + 2
            self.stage = finer_stage(lead, 2 * (self._side(dry) if lifted else max(coarse.shape[2:])))
        channels = [lead.features[self.stage].shape[1], *(dry[m].last_map.shape[1] for m in self.order[1:])]
        self.norms = nn.ModuleList(nn.GroupNorm(1, c) for c in channels)
        self.joins = nn.ModuleList()
        for modality, low in zip(self.order[1:], channels[1:], strict=True):
            high = width if len(self.joins) else channels[0]
            self.joins.append(self._join(modality, high, low, width))
        self.classifier = nn.Linear(width, classes)

    def _join(self, modality: str, high: int, low: int, width: int) -> nn.Module:
        """Create the module that joins the map of `modality`, with `low` channels, to the map fused so far."""
        if self.operator and modality in self.aligned:
            return Joined(self.operator, high, low, width, self.dims, **self.options)
        return Sum(high, low, self.dims) if self.name == "sum" else Gate(high, low, self.dims)

    def _side(self, branches: Mapping[str, Outputs]) -> int:
        """The side S of the first image over time, 0 if there is none."""
        return 0 if self.image is None else max(branches[self.image].last_map.shape[2:])

    def fused_map(self, branches: Mapping[str, Outputs]) -> Tensor:
        """Map {modality: Outputs} to F, (B, C, T) or (B, C, H, W)."""
        side = self._side(branches)
        fused = branches[self.order[0]].features[self.stage]
        if fused.ndim < self.dims + 2:
            fused = lift(fused, "outer", side * (2 if self.operator else 1))
        fused = self.norms[0](fused)
        for modality, norm, join in zip(self.order[1:], self.norms[1:], self.joins, strict=True):
            x = branches[modality].last_map
            if modality not in self.aligned:
                mean = norm(x).flatten(2).mean(dim=2)
                fused = join(fused, mean.view(*mean.shape, *[1] * self.dims))
            else:
                x = norm(lift(x, "outer", side) if x.ndim < self.dims + 2 else x)
                if self.operator:
                    size = [2 * length for length in x.shape[2:]]
                else:
                    size = [min(pair) for pair in zip(fused.shape[2:], x.shape[2:], strict=True)]
                    x = averaged(x, size)
                fused = join(averaged(fused, size), x)
            if not isinstance(join, Gate):
                fused = torch.relu(fused)
        return fused

    def forward(self, branches: Mapping[str, Outputs]) -> Outputs:
        """Map {modality: Outputs} to logits (B, K) and embedding (B, C)."""
        embedding = self.fused_map(branches).flatten(2).mean(dim=2)
        return Outputs(self.classifier(embedding), embedding)


class Joined(nn.Module):
    """An operator, and a 1x1 convolution of its two outputs.

    Args:
        operator: a name in `OPERATORS`.
        high: channels of the fine map.
        low: channels of the coarse map.
        width: channels of the result.
        dims: number of axes, 1 or 2.
        options: of the operator.
    """

    def __init__(self, operator: str, high: int, low: int, width: int, dims: int, **options: Any) -> None:
        super().__init__()
        self.operator = OPERATORS[operator](high, low, dims, compressed=max(8, width // 4), **options)
        self.project = conv(dims, high + low, width, 1)

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        """Map (B, high, *fine) and (B, low, *coarse) to (B, width, *fine)."""
        joined: Tensor = self.project(torch.cat(self.operator(high, low), dim=1))
        return joined


def finer_stage(branch: Outputs, length: int) -> str:
    """Return the deepest stage with at least `length` positions along each axis, or else the largest stage."""
    sizes = {stage: min(m.shape[2:]) for stage, m in reversed(list(branch.features.items()))}
    return next((stage for stage, size in sizes.items() if size >= length), max(sizes, key=sizes.__getitem__))


def averaged(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bring a map (B, C, *any) to (B, C, *size) by adaptive averages, which repeat positions where the map grows."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.adaptive_avg_pool1d(x, size[0]) if len(size) == 1 else F.adaptive_avg_pool2d(x, (size[0], size[1]))


@FUSIONS.register("sum")
class SumOfMaps(MapFusion):
    """Add the maps at one size and with the channels of the leading view, then ReLU; persistence images as means."""

    name = "sum"


@FUSIONS.register("gated")
class GatedOfMaps(MapFusion):
    """Gated multimodal unit at each position. Arevalo et al. 2017, arXiv:1702.01992."""

    name = "gated"


@FUSIONS.register("carafe")
class CarafeOfMaps(MapFusion):
    """CARAFE of coarse maps, joined with a fine stage of the signal. Wang et al., ICCV 2019, arXiv:1905.02188."""

    name = operator = "carafe"


@FUSIONS.register("freqfusion")
class FreqFusionOfMaps(MapFusion):
    """FreqFusion of a fine stage of the signal with images over time. Chen et al., TPAMI 2024, arXiv:2408.12879."""

    name = operator = "freqfusion"


@FUSIONS.register("freqfusion-attention")
class FreqFusionAttentionOfMaps(MapFusion):
    """FreqFusion, then self-attention without parameters (notes of this project)."""

    name = operator = "freqfusion-attention"


@FUSIONS.register("freqfusion-pi")
class FreqFusionOfBirths(MapFusion):
    """A control: FreqFusion also of persistence images, whose axes are birth and persistence instead of time."""

    name = "freqfusion-pi"
    operator = "freqfusion"
    births_as_map = True


@FUSIONS.register("dwt")
class DwtOfMaps(MapFusion):
    """FreqFusion guided by a Haar transform (notes of this project)."""

    name = operator = "dwt"


@FUSIONS.register("dwt-attention")
class DwtAttentionOfMaps(MapFusion):
    """FreqFusion guided by a Haar transform, then self-attention without parameters (notes of this project)."""

    name = operator = "dwt-attention"


@FUSIONS.register("dsconv")
class SeparableOfMaps(MapFusion):
    """FreqFusion with depthwise separable encoders (notes of this project)."""

    name = operator = "dsconv"
