"""Maps of a network: Grad-CAM of one window, and the similarities of the windows of a batch.

Grad-CAM: Selvaraju et al., ICCV 2017, arXiv:1610.02391. Similarity is the cosine of embeddings, 1 on the diagonal. SP
(Tung and Mori, ICCV 2019, arXiv:1907.09682) uses flattened feature maps and divides by the norms of the rows of A A^T
instead; its maps show the same blocks at another scale.
"""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.methods.outputs import Outputs

MAX_WINDOWS = 48  # windows of the similarity maps
MAX_VIEW_VALUES = 1 << 15  # values of the stored view of the example window; if it has more, its first channels

Arrays = dict[str, NDArray[Any]]


def choose_windows(y: NDArray[np.int64], windows: NDArray[np.int64], count: int = MAX_WINDOWS) -> NDArray[np.int64]:
    """At most `count` of some windows, the same number of each class, evenly spaced, sorted by class.

    Args:
        y: (N,) classes of all windows.
        windows: (n,) indices of the windows to choose from.
    """
    classes = np.unique(y[windows])
    per_class = max(1, count // len(classes))
    return np.concatenate([evenly_spaced(windows[y[windows] == k], per_class) for k in classes[:count]])


def evenly_spaced(windows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """At most `count` of these indices, evenly spaced."""
    positions = np.linspace(0, len(windows) - 1, min(count, len(windows))).round()
    subset: NDArray[np.int64] = windows[positions.astype(np.int64)]
    return subset


def similarity(embedding: Tensor) -> NDArray[np.float16]:
    """Cosine similarity (B, B) of the rows of (B, ...)."""
    rows = F.normalize(embedding.detach().double().flatten(1))
    cosines: NDArray[np.float16] = (rows @ rows.T).numpy().astype(np.float16)
    return cosines


def compute_maps(
    network: nn.Module, example: Mapping[str, Tensor], batch: Mapping[str, Tensor], label: int
) -> tuple[Any, Any]:
    """Similarities of a batch and Grad-CAM of an example window, in evaluation mode.

    Args:
        example: modality -> view (1, ...) of the example window, for the views that the network reads.
        batch: modality -> views (B, ...) of the windows to compare.
        label: the class that Grad-CAM explains.

    Returns:
        Similarity (B, B); and Grad-CAM {modality: (W,) or (S, S)} of each branch with a feature map that the logits
        depend on. A network without branches has the name "".
    """
    network.eval()
    with torch.no_grad():
        similarities = similarity(network(batch).embedding)
    views = {name: view.clone().requires_grad_() for name, view in example.items()}
    with torch.enable_grad():
        outputs: Outputs = network(views)
        logit = outputs.logits[0, label]
        branches = outputs.branches or {"": outputs}
        cams = {}
        for name, branch in branches.items():
            view = views.get(name, next(iter(views.values())))
            cam = grad_cam(logit, branch, tuple(view.shape[2:]))
            if cam is not None:
                cams[name] = cam
    return similarities, cams


def grad_cam(logit: Tensor, branch: Outputs, size: tuple[int, ...]) -> NDArray[np.float16] | None:
    """Grad-CAM of the deepest feature map that a logit depends on, scaled to [0, 1].

    The channels of the map are summed; the weight of a channel is the mean over positions of the logit's derivative.
    Negative values become 0. Linear interpolation enlarges the result to the size of the view.

    Args:
        logit: of one class for one window.
        branch: the outputs for that window; their graph is kept.
        size: the size of the result.

    Returns:
        An array of this size, all 0 if no position supports the class; None if there is no such feature map.
    """
    for features in reversed(list(branch.features.values())):
        if features.ndim != 2 + len(size) or not features.requires_grad:
            continue
        gradients: tuple[Tensor | None, ...] = torch.autograd.grad(
            logit, features, retain_graph=True, allow_unused=True
        )
        gradient = gradients[0]
        if gradient is None:
            continue
        weight = gradient.flatten(2).mean(2)
        cam = torch.relu(torch.einsum("bc,bc...->b...", weight, features.detach()))
        mode = "linear" if len(size) == 1 else "bilinear"
        (enlarged,) = F.interpolate(cam[:, None], size, mode=mode, align_corners=False)[0]
        scaled: NDArray[np.float16] = (enlarged / enlarged.max().clamp(min=1e-30)).numpy().astype(np.float16)
        return scaled
    return None


def first_planes(view: NDArray[np.float32]) -> NDArray[np.float16]:
    """The view (C, ...) of one window with at most `MAX_VIEW_VALUES` values: its first channels."""
    planes = max(1, MAX_VIEW_VALUES // int(np.prod(view.shape[1:])))
    return np.clip(view[:planes], -6e4, 6e4).astype(np.float16)


def to_npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of an `.npz` file with these arrays."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **dict[str, Any](arrays))
    return stream.getvalue()
