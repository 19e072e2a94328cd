"""How the branches of a student become one prediction. Each fusion is sized from a dry run of the branches.

`concat` joins embeddings and `attention` asks from one map at others; the rest are pairwise fusions of maps
(`MapFusion`), with the operators that also join the stages of a decoder (`freqfusion`, `carafe`).
"""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.core.errors import MmkdError
from mmkd.frequency import lift
from mmkd.methods.outputs import Outputs
from mmkd.nets.base import FUSIONS
from mmkd.nets.carafe import conv
from mmkd.nets.freqfusion import OPERATORS, Gate, Sum
from mmkd.nets.student import signal_of


@FUSIONS.register("concat")
class Concat(nn.Module):
    """The embeddings of all branches side by side, then a linear classifier."""

    def __init__(self, dry: Mapping[str, Outputs], classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(sum(branch.embedding.shape[1] for branch in dry.values()), classes)

    def forward(self, branches: Mapping[str, Outputs]) -> Outputs:
        """{modality: Outputs} to logits (B, K) and embedding (B, sum of D)."""
        embedding = torch.cat([branch.embedding for branch in branches.values()], dim=1)
        return Outputs(self.classifier(embedding), embedding)


@FUSIONS.register("attention")
class CrossAttention(nn.Module):
    """The signal asks the other views: cross-attention between deepest maps. Vaswani et al. 2017, arXiv:1706.03762.

    Positions of the signal branch's map (of the first branch where there is no `sig`) are the queries; positions of
    each other branch's map are keys and values; all are projected to the width of the signal's map; one head, scaled
    dot product. What is attended to is averaged over the queries and joins the signal's embedding before a linear
    classifier.

    Args:
        dry: outputs of one dry-run batch of the branches.
        classes: K.

    Raises:
        MmkdError: fewer than two branches, or a branch without maps.
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
        """{modality: Outputs} to logits, embedding, and attention {other modality: (B, Tq, Tk)} whose rows sum to 1."""
        queries = self.queries(positions(branches[self.signal])) / math.sqrt(self.width)
        parts = [branches[self.signal].embedding]
        attention = {}
        for modality, to_key, to_value in zip(self.others, self.keys, self.values, strict=True):
            place = positions(branches[modality])
            weight = attention[modality] = torch.softmax(queries @ to_key(place).transpose(1, 2), dim=2)
            parts.append((weight @ to_value(place)).mean(dim=1))
        embedding = torch.cat(parts, dim=1)
        return Outputs(self.classifier(embedding), embedding, attention=attention)


def check_views(name: str, dry: Mapping[str, Outputs]) -> None:
    """MmkdError unless there are two branches or more, each with maps."""
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
    """The deepest map (B, C, T) or (B, C, H, W) as positions (B, T or H W, C), row by row."""
    deepest = list(branch.features.values())[-1]
    return deepest.flatten(2).transpose(1, 2)


def has_time(modality: str) -> bool:
    """Whether the axes of a view are time: those of a persistence image (`pi`, `pi@acc`) are birth and persistence."""
    return modality.replace("@", ".").partition(".")[0] != "pi"


class MapFusion(nn.Module):
    """Maps joined pairwise, one after the other: signals first, then images such as `gaf`, then persistence images.

    The first of them leads (`sig`, where there is one). Where a view with time axes is an image, lines (B, C, T) become
    maps by `outer` (`mmkd.frequency.lift`) at the side S of the first such image; where all are lines, nothing is
    lifted. Every map passes a GroupNorm of one group when it comes in (ours: `outer` squares the scale). Then, with F
    the map fused so far and X the next view's deepest map,

    - `sum`, `gated`: F and X at the smaller of their sizes (averages), F <- relu(F + Q X), or the gate `Gate`;
    - an operator (`OPERATORS`): X is the coarse map L; the fine one H is F at twice the size of L; F <- relu(1x1
      convolution of [H', L_up]). Of the leading view not the deepest map enters but the deepest stage that has twice
      the positions of L along each axis (the largest one where none has): a finer stage, lifted to side 2 S. C' is a
      quarter of the channels of F, 8 at least.

    A persistence image shares no axis with F: its mean over positions joins, in `sum` by addition, in all others by
    the gate; where a subclass says `births_as_map`, it enters as L all the same. F has as many channels as the leading
    view's deepest map. The embedding is the mean of F over positions, a linear classifier follows; `classifier` of the
    outputs is None, since F is the map of no view.

    Args:
        dry: outputs of one dry-run batch of the branches.
        classes: K.

    Raises:
        MmkdError: fewer than two branches, a branch without maps, or an operator and no two views that it could join.
    """

    name: ClassVar[str]
    operator: ClassVar[str | None] = None
    births_as_map: ClassVar[bool] = False

    def __init__(self, dry: Mapping[str, Outputs], classes: int) -> None:
        super().__init__()
        check_views(self.name, dry)
        first = signal_of(dry)
        timed = [m for m in dry if has_time(m)]
        self.order = tuple(sorted(dry, key=lambda m: (m not in timed, dry[m].last_map.ndim > 3, m != first)))
        self.aligned = self.order if self.births_as_map or not timed else self.order[: len(timed)]
        if self.operator and len(self.aligned) < 2:
            raise MmkdError(
                f"--fusion {self.name} joins views whose axes are time, and of {'+'.join(dry)} only {timed[0]} has "
                f"them (a persistence image's are birth and persistence); use --student sig+gaf+pi, --fusion gated, or "
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
        if self.operator and modality in self.aligned:
            return Joined(self.operator, high, low, width, self.dims)
        return Sum(high, low, self.dims) if self.name == "sum" else Gate(high, low, self.dims)

    def _side(self, branches: Mapping[str, Outputs]) -> int:
        return 0 if self.image is None else max(branches[self.image].last_map.shape[2:])

    def fused_map(self, branches: Mapping[str, Outputs]) -> Tensor:
        """{modality: Outputs} to F, (B, C, T) or (B, C, H, W)."""
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
        """{modality: Outputs} to logits (B, K) and embedding (B, C)."""
        embedding = self.fused_map(branches).flatten(2).mean(dim=2)
        return Outputs(self.classifier(embedding), embedding)


class Joined(nn.Module):
    """An operator and a 1x1 convolution of its two outputs: (B, Ch, *2s), (B, Cl, *s) to (B, width, *2s)."""

    def __init__(self, operator: str, high: int, low: int, width: int, dims: int) -> None:
        super().__init__()
        self.operator = OPERATORS[operator](high, low, dims, compressed=max(8, width // 4))
        self.project = conv(dims, high + low, width, 1)

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        """The joined map."""
        joined: Tensor = self.project(torch.cat(self.operator(high, low), dim=1))
        return joined


def finer_stage(branch: Outputs, length: int) -> str:
    """The deepest stage with at least `length` positions along each axis; the largest one where none has."""
    sizes = {stage: min(m.shape[2:]) for stage, m in reversed(list(branch.features.items()))}
    return next((stage for stage, size in sizes.items() if size >= length), max(sizes, key=sizes.__getitem__))


def averaged(x: Tensor, size: Sequence[int]) -> Tensor:
    """A map (B, C, *any) at another size by averages, which repeat positions where it grows."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.adaptive_avg_pool1d(x, size[0]) if len(size) == 1 else F.adaptive_avg_pool2d(x, (size[0], size[1]))


@FUSIONS.register("sum")
class SumOfMaps(MapFusion):
    """Maps brought to one size and to the leading view's channels, added, ReLU; persistence images as their means."""

    name = "sum"


@FUSIONS.register("gated")
class GatedOfMaps(MapFusion):
    """Gated multimodal unit at each position. Arevalo et al. 2017, arXiv:1702.01992."""

    name = "gated"


@FUSIONS.register("carafe")
class CarafeOfMaps(MapFusion):
    """Coarser maps enlarged by CARAFE beside a finer stage of the signal. Wang et al., ICCV 2019, arXiv:1905.02188."""

    name = operator = "carafe"


@FUSIONS.register("freqfusion")
class FreqFusionOfMaps(MapFusion):
    """FreqFusion of a finer stage of the signal and the images of time. Chen et al., TPAMI 2024, arXiv:2408.12879."""

    name = operator = "freqfusion"


@FUSIONS.register("freqfusion-pi")
class FreqFusionOfBirths(MapFusion):
    """A control: FreqFusion of persistence images too, though their axes are birth and persistence, not time."""

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
