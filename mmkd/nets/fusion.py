"""How the branches of a student become one prediction. Each fusion is sized from a dry run of the branches."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..errors import MmkdError
from ..method import Outputs
from .base import FUSIONS
from .student import signal_of


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
        if len(dry) < 2:
            raise MmkdError(
                "--fusion attention joins two or more views; use --student sig+gaf+pi, or --fusion concat for one view"
            )
        for modality, branch in dry.items():
            if not branch.features:
                raise MmkdError(
                    f"--fusion attention reads feature maps, and the {modality} branch has none; "
                    f"use --fusion concat, or another backbone such as WRN16-1 or small"
                )
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
        parts, attention = [branches[self.signal].embedding], {}
        for modality, to_key, to_value in zip(self.others, self.keys, self.values, strict=True):
            place = positions(branches[modality])
            weight = attention[modality] = torch.softmax(queries @ to_key(place).transpose(1, 2), dim=2)
            parts.append((weight @ to_value(place)).mean(dim=1))
        embedding = torch.cat(parts, dim=1)
        return Outputs(self.classifier(embedding), embedding, attention=attention)


def positions(branch: Outputs) -> Tensor:
    """The deepest map (B, C, T) or (B, C, H, W) as positions (B, T or H W, C), row by row."""
    deepest = list(branch.features.values())[-1]
    return deepest.flatten(2).transpose(1, 2)
