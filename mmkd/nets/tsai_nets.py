"""Networks of tsai as backbones for signals: https://timeseriesai.github.io/tsai (the extra `tsai`).

A module of tsai is imported only when its network is built: `tsai.all` imports everything, and some networks need a
working torchvision, which a CPU build of torch often lacks. All names are listed always; building a network that cannot
be loaded raises an error with the reason.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any, Literal

from torch import Tensor, nn

from mmkd.core.errors import MmkdError, describe_error
from mmkd.core.extras import how_to_install
from mmkd.methods.outputs import Outputs
from mmkd.nets.base import BACKBONES, Shape, check_shape
from mmkd.nets.lines import as_rows, take_rows

Layout = Literal["channels-first", "channels-last", "per-variable"]


@dataclass(frozen=True)
class Recipe:
    """How to build one network of tsai and read its outputs.

    Attributes:
        module: the name of its module in `tsai.models`.
        stages: dotted paths of the blocks whose outputs become stage1, stage2, ..., from shallow to deep.
        cam: whether the last linear layer reads the mean of the last stage, so that its weight gives class activation
            maps.
        layout: of the outputs of the blocks: (B, C, T), (B, T, C), or (B * variables, T, C), which is averaged over the
            variables.
        reader: dotted path of the layer whose input is the embedding; "" for the last linear layer.
        minimum: the smallest window length in samples.
        rows: whether it trains on images of one row (`mmkd.nets.lines`), where that is faster.
        unused: dotted path of a block that the forward pass never calls. It is removed, because its parameters would
            not be trained.
        options: (window length, number of classes) -> arguments of the constructor.
    """

    module: str
    stages: tuple[str, ...] = ()
    cam: bool = False
    layout: Layout = "channels-first"
    reader: str = ""
    minimum: int = 8
    rows: bool = False
    unused: str = ""
    options: Callable[[int, int], Mapping[str, Any]] = field(default=lambda window, classes: {})


def _sized(window: int, classes: int) -> Mapping[str, Any]:
    return {"seq_len": window}


def _patchtst(window: int, classes: int) -> Mapping[str, Any]:
    """The paper's network for classification (arXiv:2211.14730), without the reversible norm, which rescales logits."""
    size = {"n_layers": 3, "n_heads": 16, "d_model": 128, "d_ff": 256, "dropout": 0.2}
    return {"seq_len": window, "pred_dim": classes, "revin": False, **size}


def _layers(encoder: str) -> tuple[str, ...]:
    return tuple(f"{encoder}.layers.{n}" for n in range(3))


CONV = ("convblock1", "convblock2", "convblock3")
CONV_PLUS = tuple(f"backbone.{block}" for block in CONV)
RECIPES = {
    "ConvTranPlus": Recipe("ConvTranPlus", ("backbone.embed_layer2", "backbone"), cam=True, options=_sized),
    "FCN": Recipe("FCN", CONV, cam=True),
    "FCNPlus": Recipe("FCNPlus", CONV_PLUS, cam=True),
    "InceptionTime": Recipe(
        "InceptionTime",
        ("inceptionblock.inception.1", "inceptionblock.inception.4", "inceptionblock"),
        cam=True,
        rows=True,
    ),
    "LSTM_FCN": Recipe("RNN_FCN", CONV, options=_sized),
    "LSTM_FCNPlus": Recipe("RNN_FCNPlus", CONV_PLUS, options=_sized),
    "MLP": Recipe("MLP", options=_sized),
    "MLSTM_FCN": Recipe("RNN_FCN", CONV, options=_sized),
    "PatchTST": Recipe(
        "PatchTST",
        _layers("model.backbone"),
        layout="per-variable",
        minimum=16,
        unused="model.revin_layer",
        options=_patchtst,
    ),
    "ResCNN": Recipe("ResCNN", ("block1", "block3", "block4"), cam=True),
    "gMLP": Recipe("gMLP", ("model.1", "model.3", "model"), cam=True, layout="channels-last", options=_sized),
}
"""The networks that need only tsai and torch."""

NEED_TORCHVISION = {
    "InceptionTimePlus": Recipe(
        "InceptionTimePlus", ("backbone.0.inception.1", "backbone.0.inception.4", "backbone"), cam=True
    ),
    "OmniScaleCNN": Recipe("OmniScaleCNN", ("net.0", "net.1", "net.2"), cam=True, options=_sized),
    "ResNet": Recipe("ResNet", ("resblock1", "resblock2", "resblock3"), cam=True),
    "TST": Recipe("TST", _layers("encoder"), layout="channels-last", options=_sized),
    "TSTPlus": Recipe("TSTPlus", _layers("backbone.encoder"), layout="channels-last", options=_sized),
    "XceptionTime": Recipe("XceptionTime", ("block",), reader="head.3"),
}
"""The networks that need torchvision too. TCN and XCM are left out: they cannot be copied or stored without pickle."""


class TsaiBackbone(nn.Module):
    """A network of tsai whose intermediate outputs are recorded by hooks.

    The hooks are added and removed within `forward`, so that copies, pickles and checkpoints contain none.

    Args:
        net: the network of tsai.
        recipe: how to read it.
        classes: number of classes K.
    """

    def __init__(self, net: nn.Module, recipe: Recipe, classes: int) -> None:
        super().__init__()
        self.net = take_rows(net) if recipe.rows else net
        self.rows = recipe.rows
        self.stages = recipe.stages
        self.layout = recipe.layout
        linear = [name for name, m in net.named_modules() if isinstance(m, nn.Linear) and m.out_features == classes]
        self.reader = recipe.reader or linear[-1]
        self.cam = recipe.cam

    def forward(self, x: Tensor) -> Outputs:
        """Map (B, C, T) to outputs. The mean is taken of a network that predicts from each variable separately."""
        recorded: dict[str, Any] = {}
        reader = self.net.get_submodule(self.reader)
        handles = [reader.register_forward_pre_hook(lambda module, args: recorded.update(reader=args[0]))]
        for number, path in enumerate(self.stages, 1):
            hook = partial(_record, recorded, f"stage{number}")
            handles.append(self.net.get_submodule(path).register_forward_hook(hook))
        try:
            logits: Tensor = self.net(as_rows(x, self) if self.rows else x)
        finally:
            for handle in handles:
                handle.remove()
        embedding: Tensor = recorded.pop("reader")
        if embedding.dim() == 3:  # (B, variables, D), or (B, D, T) where the reader is a convolution
            embedding = embedding.mean(dim=1 if self.layout == "per-variable" else 2)
        if logits.dim() == 3:
            logits = logits.mean(dim=1)
        features = {stage: self._map(recorded[stage], x.shape[0]) for stage in sorted(recorded)}
        weight = reader.weight if self.cam else None
        return Outputs(logits, embedding, features, classifier=weight if isinstance(weight, Tensor) else None)

    def _map(self, out: Tensor | tuple[Tensor, ...], batch: int) -> Tensor:
        """Bring the output of a block to (B, C, T)."""
        x = out if isinstance(out, Tensor) else out[0]
        if self.layout == "per-variable":
            x = x.reshape(batch, -1, *x.shape[1:]).mean(dim=1)
        return x.flatten(2) if self.layout == "channels-first" else x.transpose(1, 2)


def _record(recorded: dict[str, Any], name: str, module: nn.Module, args: Any, out: Any) -> None:
    recorded[name] = out


def _build(name: str, recipe: Recipe, shape: Shape, classes: int) -> nn.Module:
    check_shape(name, shape, images=False, minimum=recipe.minimum)
    channels, window = shape
    # tsai and fastai use deprecated functions of torch and pandas, and change the warning filters
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        make = _load(name, recipe)
        net = make(channels, classes, **recipe.options(window, classes))
    if recipe.unused:
        parent, _, block = recipe.unused.rpartition(".")
        delattr(net.get_submodule(parent), block)
    return TsaiBackbone(net.cpu(), recipe, classes)  # some parameters are created on the default device


def _load(name: str, recipe: Recipe) -> Callable[..., nn.Module]:
    """Import the class `name` of tsai.

    Raises:
        MmkdError: tsai is not installed, or the module cannot be imported.
    """
    try:
        network: Callable[..., nn.Module] = getattr(import_module(f"tsai.models.{recipe.module}"), name)
    except Exception as error:  # a broken torchvision raises RuntimeError, a missing package ImportError
        if isinstance(error, ModuleNotFoundError) and error.name in ("tsai", "tsai.models"):
            raise MmkdError(f"backbone {name!r} is a network of tsai: {how_to_install('tsai')}") from None
        reason = describe_error(error)
        others = "InceptionTime, FCN, ResCNN or WRN16-1"
        if name in NEED_TORCHVISION:
            raise MmkdError(
                f"backbone {name!r} of tsai needs a torchvision that loads beside this torch ({reason}): "
                f"install the matching one, or use {others}"
            ) from error
        raise MmkdError(
            f"backbone {name!r} of tsai does not load here ({describe_error(error)}): use {others}"
        ) from error
    return network


def _factory(name: str, recipe: Recipe) -> Callable[[Shape, int], nn.Module]:
    def build(shape: Shape, classes: int) -> nn.Module:
        return _build(name, recipe, shape, classes)

    needs = "tsai and torchvision" if name in NEED_TORCHVISION else "tsai"
    maps = "" if recipe.stages else " no feature maps;"
    build.__doc__ = f"{name} of tsai, signals of {recipe.minimum} samples and more;{maps} needs {needs}."
    return build


for _name, _recipe in {**RECIPES, **NEED_TORCHVISION}.items():
    BACKBONES.register(_name)(_factory(_name, _recipe))
