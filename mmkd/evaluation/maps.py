"""What networks see in one window, and how alike they find the windows of a batch.

Grad-CAM: Selvaraju et al., ICCV 2017, arXiv:1610.02391. Similarity is the cosine of embeddings, 1 on the diagonal; that
of SP (Tung and Mori, ICCV 2019, arXiv:1907.09682) is of flattened maps and divides by the norms of rows of A A^T
instead, so that it shows the same blocks at another scale.
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

BATCH = 48  # windows of the similarity maps, at most
PLANES = 1 << 15  # values that are kept of one view of the example window: of many channels the first ones

Arrays = dict[str, NDArray[Any]]


def choose(y: NDArray[np.int64], windows: NDArray[np.int64], count: int = BATCH) -> NDArray[np.int64]:
    """At most `count` of the windows with these numbers, as many of each class, evenly spaced, sorted by class.

    Args:
        y: (N,) classes of all windows.
    """
    classes = np.unique(y[windows])
    each = max(1, count // len(classes))
    found = []
    for k in classes[:count]:
        members = windows[y[windows] == k]
        found.append(spaced(members, each))
    return np.concatenate(found)


def spaced(windows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """At most `count` of them, evenly spaced."""
    places = np.linspace(0, len(windows) - 1, min(count, len(windows))).round()
    found: NDArray[np.int64] = windows[places.astype(np.int64)]
    return found


def similarity(embedding: Tensor) -> NDArray[np.float16]:
    """Cosine similarity (B, B) of the rows of (B, ...)."""
    rows = F.normalize(embedding.detach().double().flatten(1))
    found: NDArray[np.float16] = (rows @ rows.T).numpy().astype(np.float16)
    return found


def look(network: nn.Module, example: Mapping[str, Tensor], batch: Mapping[str, Tensor], label: int) -> tuple[Any, Any]:
    """What a network makes of the views of an example window (1, ...) and of a batch (B, ...), in evaluation mode.

    Args:
        example, batch: the views that it reads, and no other.

    Returns:
        Similarity (B, B), and Grad-CAM of the class `label` {modality: (W,) or (S, S)} of each branch that has a map
        which the logits hang on; of a network without branches under the name "".
    """
    network.eval()
    with torch.no_grad():
        alike = similarity(network(batch).embedding)
    views = {name: view.clone().requires_grad_() for name, view in example.items()}
    with torch.enable_grad():
        outputs: Outputs = network(views)
        logit = outputs.logits[0, label]
        branches = outputs.branches or {"": outputs}
        found = {}
        for name, branch in branches.items():
            view = views.get(name, next(iter(views.values())))
            cam = grad_cam(logit, branch, tuple(view.shape[2:]))
            if cam is not None:
                found[name] = cam
    return alike, found


def grad_cam(logit: Tensor, branch: Outputs, size: tuple[int, ...]) -> NDArray[np.float16] | None:
    """Grad-CAM of the deepest map that a logit hangs on, at the size of the view, scaled to [0, 1].

    The map's channels are summed, each with the mean over positions of the logit's derivative as its weight; what is
    negative becomes 0. Linear interpolation enlarges it.

    Args:
        branch: outputs for one window, whose graph is kept.

    Returns:
        `size`, all 0 where nothing speaks for the class; None of a branch without such a map.
    """
    for features in reversed(list(branch.features.values())):
        if features.ndim != 2 + len(size) or not features.requires_grad:
            continue
        slopes: tuple[Tensor | None, ...] = torch.autograd.grad(logit, features, retain_graph=True, allow_unused=True)
        slope = slopes[0]
        if slope is None:
            continue
        weight = slope.flatten(2).mean(2)
        cam = torch.relu(torch.einsum("bc,bc...->b...", weight, features.detach()))
        mode = "linear" if len(size) == 1 else "bilinear"
        (large,) = F.interpolate(cam[:, None], size, mode=mode, align_corners=False)[0]
        scaled: NDArray[np.float16] = (large / large.max().clamp(min=1e-30)).numpy().astype(np.float16)
        return scaled
    return None


def some_planes(view: NDArray[np.float32]) -> NDArray[np.float16]:
    """The view of one window, of many channels the first ones."""
    planes = max(1, PLANES // int(np.prod(view.shape[1:])))
    return np.clip(view[:planes], -6e4, 6e4).astype(np.float16)


def packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The arrays as an `.npz` file."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **dict[str, Any](arrays))
    return stream.getvalue()
