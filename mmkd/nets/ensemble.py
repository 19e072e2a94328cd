"""Several networks as one, by the mean of their probabilities. Lakshminarayanan et al. 2017, arXiv:1612.01474."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.methods.outputs import Outputs


class Ensemble(nn.Module):
    """Maps views to logits alone: the logarithm of the mean of its members' probabilities.

    The members' embeddings and feature maps have nothing in common, so that there are none; the field `embedding` holds
    the logits.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, views: Mapping[str, Tensor]) -> Outputs:
        """The outputs for views {modality: (B, ...)}."""
        logarithms = torch.stack([F.log_softmax(member(views).logits, 1) for member in self.members])
        logits = torch.logsumexp(logarithms, 0) - torch.log(torch.tensor(float(len(self.members))))
        return Outputs(logits, logits)


class PeerStandIn(nn.Module):
    """Stands where a network is expected of a peer, whose logits are computed once and stored: it has no weights.

    Its logits are those of nobody; they have the shape that outputs of the peer have.
    """

    def __init__(self, modality: str, classes: int) -> None:
        super().__init__()
        self.modality = modality
        self.classes = classes

    def forward(self, views: Mapping[str, Tensor]) -> Outputs:
        """Logits (B, K) for views {modality: (B, ...)}."""
        x = views[self.modality].flatten(1).float()
        parts = torch.arange(1, self.classes + 1, device=x.device) * x.mean(1, keepdim=True)
        logits = torch.cos(parts + x.std(1, keepdim=True))
        return Outputs(logits, logits)
