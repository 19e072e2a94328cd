"""Networks that the training loop calls: they map {modality: view} to `Outputs`."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from torch import Tensor, nn

from mmkd.core.errors import MmkdError
from mmkd.core.registry import without_rate
from mmkd.methods.outputs import Outputs


def signal_of(modalities: Iterable[str]) -> str:
    """Return the modality that leads a fusion: `sig`, at whichever rate, or the first one if there is no `sig`."""
    known = list(modalities)
    return next((name for name in known if without_rate(name) == "sig"), known[0])


def _view(views: Mapping[str, Tensor], modality: str) -> Tensor:
    if modality not in views:
        raise MmkdError(f"the network reads the view {modality!r}; the batch has {', '.join(views) or 'none'}")
    return views[modality]


class SingleView(nn.Module):
    """A network of one view: a teacher, or a student of one modality. It ignores all other views.

    Args:
        modality: the name of the view.
        backbone: maps (B, *shape) to `Outputs`.
    """

    def __init__(self, modality: str, backbone: nn.Module) -> None:
        super().__init__()
        self.modality = modality
        self.backbone = backbone

    def forward(self, views: Mapping[str, Tensor]) -> Outputs:
        """Map {modality: (B, ...)} to the outputs of the backbone.

        Raises:
            MmkdError: The view is missing.
        """
        outputs: Outputs = self.backbone(_view(views, self.modality))
        return outputs


class MultiBranch(nn.Module):
    """A student with one backbone for each modality, and a fusion that makes the prediction.

    Logits, embedding and attention of its outputs are those of the fusion, and `branches` holds the outputs of each
    branch in the order of the modalities. `features` are those of the signal branch (the first branch if there is no
    `sig`), so that a method that does not use branches sees a signal student. `classifier` is None, because the
    classifier of the fusion does not read a feature map.

    Args:
        branches: modality -> backbone.
        fusion: maps {modality: Outputs} to `Outputs`.
    """

    def __init__(self, branches: Mapping[str, nn.Module], fusion: nn.Module) -> None:
        super().__init__()
        self.modalities = tuple(branches)
        # names of modules must not contain dots, names of modalities may
        self.branches = nn.ModuleDict({self._key(m): branch for m, branch in branches.items()})
        self.fusion = fusion

    @staticmethod
    def _key(modality: str) -> str:
        return "view_" + modality.replace(".", "_")

    def named_views(self) -> Iterator[tuple[str, nn.Module]]:
        """Each modality with its backbone."""
        return ((modality, self.branches[self._key(modality)]) for modality in self.modalities)

    def forward(self, views: Mapping[str, Tensor]) -> Outputs:
        """Map {modality: (B, ...)} to fused outputs, which contain the outputs of the branches.

        Raises:
            MmkdError: A view is missing.
        """
        branches = {m: self.branches[self._key(m)](_view(views, m)) for m in self.modalities}
        fused = self.fusion(branches)
        if not isinstance(fused, Outputs):
            name = type(self.fusion).__name__
            raise MmkdError(f"the fusion (class {name}) returned {type(fused).__name__}; return mmkd.Outputs")
        return replace(fused, features=branches[signal_of(branches)].features, branches=branches)
