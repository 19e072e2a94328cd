"""Students with several branches that label every time step: dense networks, and a fusion of their lines."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmkd.core.errors import MmkdError, did_you_mean
from mmkd.core.registry import kind_of
from mmkd.methods.outputs import Outputs
from mmkd.nets import build_dense, canonical_fusion
from mmkd.nets.base import STAGE_FUSIONS, Shape, dry_run
from mmkd.nets.dense.layers import Head, conv_bn_relu, resize, stage_join
from mmkd.nets.dense.pictures import MAPS, StepsOfPicture, check_picture
from mmkd.nets.stage_fusions import JOINS
from mmkd.nets.student import MultiBranch, signal_of
from mmkd.specs.fusion_names import kind_of_fusion

ATTENTION = "attention"
"""The fusion of branches that is none of decoder stages."""


def check_branch_fusion(name: str) -> None:
    """Check that a fusion can join the branches of a student that labels every time step.

    Raises:
        MmkdError: It is neither `attention` nor a stage fusion.
    """
    if name == ATTENTION:
        return
    kind = kind_of_fusion(name)
    if kind not in STAGE_FUSIONS:
        names = [ATTENTION, *STAGE_FUSIONS]
        raise MmkdError(
            f"--fusion {name}: branches that label every time step are joined by one of {', '.join(sorted(names))}"
            f"{did_you_mean(kind, names)}"
        )
    canonical_fusion(STAGE_FUSIONS, name)


class Attended(nn.Module):
    """Cross-attention from each position of a line to those of another. Vaswani et al. 2017, arXiv:1706.03762.

    One head with scaled dot products; the attended values are concatenated with the line.

    Args:
        high: channels of the line that asks.
        low: channels of the line that is attended to.
    """

    def __init__(self, high: int, low: int) -> None:
        super().__init__()
        self.channels = 2 * high
        self.query = nn.Linear(high, high, bias=False)
        self.key = nn.Linear(low, high, bias=False)
        self.value = nn.Linear(low, high)

    def forward(self, high: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, high, T) and (B, low, S) to (B, 2 high, T), and the attention (B, T, S), whose rows sum to 1."""
        source = low.transpose(1, 2)
        query = self.query(high.transpose(1, 2)) / math.sqrt(high.shape[1])
        weights = torch.softmax(query @ self.key(source).transpose(1, 2), dim=2)
        return torch.cat([high, (weights @ self.value(source)).transpose(1, 2)], dim=1), weights


class LineFusion(nn.Module):
    """Join the last maps of the branches, lines along time, and label every step.

    The signal's line leads (if there is no `sig`, that of the first branch that sees time), and keeps its length and
    channels. One
    after the other, the lines of the other branches are joined with it, and a convolution of kernel 3 with batch
    normalisation and ReLU follows. `sum`, `gated` and `concat` interpolate the other line to the length of the leading
    one; `attention` attends to its positions; all other stage fusions (`carafe`, `freqfusion`, ...) enlarge it by two,
    from half of that length. A line of one position, as a persistence image has, says the same to every step;
    `attention` concatenates it.

    The embedding is the mean of the fused line over time.

    Args:
        name: `attention`, or a name in `STAGE_FUSIONS`.
        dry: modality -> outputs of a dry run of the branch.
        classes: number of classes K.
    """

    def __init__(self, name: str, dry: Mapping[str, Outputs], classes: int) -> None:
        super().__init__()
        check_branch_fusion(name)
        self.lead = signal_of(modality for modality in dry if kind_of(modality) != "pi")
        self.others = tuple(modality for modality in dry if modality != self.lead)
        self.halved = kind_of_fusion(name) not in (*JOINS, ATTENTION)
        width = dry[self.lead].last_map.shape[1]
        steps = dry[self.lead].logits.shape[2]
        self.joins = nn.ModuleList()
        self.mixes = nn.ModuleList()
        for modality in self.others:
            low, length = dry[modality].last_map.shape[1:]
            if name == ATTENTION and length > 1:
                join: nn.Module = Attended(width, low)
            else:
                join = stage_join("concat" if name == ATTENTION else name, width, low, 1)
            self.joins.append(join)
            self.mixes.append(conv_bn_relu(1, int(join.channels), width, 3))  # type: ignore[arg-type]
        self.head = Head((width, steps), width, classes)

    def forward(self, branches: Mapping[str, Outputs]) -> Outputs:
        """Map {modality: Outputs} to logits (B, K, T), embedding and, of `attention`, {modality: (B, T', S)}."""
        line = branches[self.lead].last_map
        attention = {}
        for modality, join, mix in zip(self.others, self.joins, self.mixes, strict=True):
            other = branches[modality].last_map
            if isinstance(join, Attended):
                joined, attention[modality] = join(line, other)
            else:
                length = line.shape[2]
                joined = join(line, fitted(other, (length + 1) // 2 if self.halved else length))
            line = mix(joined)
        outputs: Outputs = self.head([line], [line], branches[self.lead].logits.shape[2:])
        return Outputs(outputs.logits, line.mean(2), attention=attention)


def fitted(line: Tensor, length: int) -> Tensor:
    """Bring a line (B, C, S) to a length: by averages where it shrinks, linearly where it grows."""
    if line.shape[2] > length:
        return nn.functional.adaptive_avg_pool1d(line, length)
    return resize(line, (length,))


def make_branch(
    net: str, modality: str, shape: Shape, classes: int, steps: int, fusion: str | None = None
) -> nn.Module:
    """A network of one view that labels every time step, initialised from torch's current random seed.

    Args:
        net: a name in `DENSE`.
        modality: the name of the view.
        shape: (C, T) of a signal, or (C, H, W) of a picture of it.
        classes: number of classes K.
        steps: T, the number of time steps of a window.
        fusion: of the stages of its decoder, as for `build_dense`.

    Returns:
        A module that maps (B, *shape) to outputs with logits (B, K, T).

    Raises:
        MmkdError: As for `build_dense`; or it is not known which axes of a picture are times.
    """
    if len(shape) == 2:
        return build_dense(net, shape, classes, fusion)
    check_picture(modality, shape)
    return StepsOfPicture(build_dense(net, shape, MAPS, fusion), modality, shape, classes, steps)


def build_dense_student(
    net: str, shapes: Mapping[str, Shape], classes: int, steps: int, fusion: str = "concat"
) -> MultiBranch:
    """A student with a branch for each modality, which labels every time step.

    Args:
        net: the dense network of every branch.
        shapes: modality -> shape of a sample.
        classes: number of classes K.
        steps: T, the number of time steps of a window.
        fusion: of the branches, as for `LineFusion`.

    Raises:
        MmkdError: As for `make_branch`; or there is no such fusion, or no branch sees the time of the window.
    """
    if all(kind_of(modality) == "pi" for modality in shapes):
        raise MmkdError(
            f"--student {'+'.join(shapes)}: persistence images have no axis of time, and every time step has a "
            f"label; add sig or gaf"
        )
    branches = {modality: make_branch(net, modality, shape, classes, steps) for modality, shape in shapes.items()}
    dry = {modality: dry_run(branch, shapes[modality]) for modality, branch in branches.items()}
    return MultiBranch(branches, LineFusion(fusion, dry, classes))
