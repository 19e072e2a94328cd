"""What the training loop calls: a mapping of views to `Outputs`, from one view or from a branch a modality."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from torch import Tensor, nn

from mmkd.core.errors import MmkdError
from mmkd.methods.outputs import Outputs


def signal_of(modalities: Iterable[str]) -> str:
    """The modality that leads a fusion: `sig`, or the first where there is none."""
    known = list(modalities)
    return "sig" if "sig" in known else known[0]


def _view(views: Mapping[str, Tensor], modality: str) -> Tensor:
    if modality not in views:
        raise MmkdError(f"the network reads the view {modality!r}; the batch has {', '.join(views) or 'none'}")
    return views[modality]


class SingleView(nn.Module):
    """A teacher, or a student of one modality: the backbone on its own view; other views are left alone."""

    def __init__(self, modality: str, backbone: nn.Module) -> None:
        super().__init__()
        self.modality = modality
        self.backbone = backbone

    def forward(self, views: Mapping[str, Tensor]) -> Outputs:
        """{modality: (B, ...)} to the backbone's outputs."""
        outputs: Outputs = self.backbone(_view(views, self.modality))
        return outputs


class MultiBranch(nn.Module):
    """A student with a backbone and a head a modality, and a fusion that gives the prediction.

    Logits, embedding and attention are the fusion's; `branches` holds each branch's own outputs in the order of the
    modalities; `features` are those of the signal branch (of the first where there is no `sig`), so that a method that
    knows nothing of branches finds a signal student; `classifier` is None, since the fused classifier reads no map.
    """

    def __init__(self, branches: Mapping[str, nn.Module], fusion: nn.Module) -> None:
        super().__init__()
        self.modalities = tuple(branches)
        # a module's name may hold no dot, a modality's may
        self.branches = nn.ModuleDict({self._key(m): branch for m, branch in branches.items()})
        self.fusion = fusion

    @staticmethod
    def _key(modality: str) -> str:
        return "view_" + modality.replace(".", "_")

    def forward(self, views: Mapping[str, Tensor]) -> Outputs:
        """{modality: (B, ...)} to fused outputs that carry the branches' outputs."""
        branches = {m: self.branches[self._key(m)](_view(views, m)) for m in self.modalities}
        fused: Outputs = self.fusion(branches)
        return replace(fused, features=branches[signal_of(branches)].features, branches=branches)
