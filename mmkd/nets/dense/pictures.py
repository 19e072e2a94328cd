"""Dense networks of pictures of signals: they read a picture of a window and label the time steps of the window."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from mmkd.core.errors import MmkdError
from mmkd.core.registry import kind_of
from mmkd.methods.outputs import Outputs
from mmkd.nets.base import Shape
from mmkd.nets.dense.layers import Head

MAPS = 16
"""Maps that the dense network of a picture puts out, in the place of classes."""


def check_picture(modality: str, shape: Shape) -> None:
    """Check that it is known which axes of a picture are times of the window.

    Args:
        modality: the name of the view.
        shape: (C, H, W) of the picture.

    Raises:
        MmkdError: it is not, or the axis of time does not reach the ends of the window.
    """
    kind = kind_of(modality)
    if kind == "stft":
        raise MmkdError(
            f"{modality}: the segments of a spectrogram do not reach the ends of a window, whose every time step has a "
            f"label; use cwt"
        )
    if kind not in ("pi", "cwt") and shape[1] != shape[2]:
        raise MmkdError(
            f"{modality}: a picture of {shape[1]} x {shape[2]} has no two axes of time, and every time step has a "
            f"label; use sig, gaf, mtf, rp or cwt"
        )


def to_line(maps: Tensor, kind: str) -> Tensor:
    """Bring maps of a picture to a line along the time of the window.

    Args:
        maps: (B, C, H, W).
        kind: of the picture. Rows and columns of most kinds are times: moment i is seen at entry (i, i), and against
            all others in row i and column i. Only the columns of a scalogram (`cwt`) are times. A persistence image
            (`pi`) has no axis of time, and says one thing of the whole window.

    Returns:
        (B, C, 1) of `pi`; (B, C, W) means over rows of `cwt`; else (B, 2 C, W): the diagonal, and the mean of row i and
        column i.
    """
    if kind == "pi":
        return maps.mean((2, 3), keepdim=True)[:, :, 0]
    if kind == "cwt":
        return maps.mean(2)
    crossing = (maps.mean(3) + maps.mean(2)) / 2
    return torch.cat([maps.diagonal(dim1=2, dim2=3), crossing], dim=1)


class StepsOfPicture(nn.Module):
    """A dense network that reads a picture of a window and labels the steps of the window.

    The dense network of images puts out `MAPS` maps of the picture's size instead of classes. They are brought to a
    line (`to_line`), normalised (GroupNorm, one group for the diagonal and one for the means) and rectified; a 1x1
    convolution gives logits, which are interpolated linearly to the steps. This is an addition of this project.

    Features are those of the dense network, and the line as the last decoder map, which `classifier` reads.

    Args:
        backbone: maps (B, *shape) to outputs with logits (B, MAPS, H, W).
        modality: the name of the view.
        shape: (C, H, W) of the picture.
        classes: number of classes K.
        steps: T, the number of time steps of a window.

    Raises:
        MmkdError: as for `check_picture`.
    """

    def __init__(self, backbone: nn.Module, modality: str, shape: Shape, classes: int, steps: int) -> None:
        super().__init__()
        check_picture(modality, shape)
        self.kind = kind_of(modality)
        self.steps = steps
        self.backbone = backbone
        parts = 1 if self.kind in ("pi", "cwt") else 2
        self.norm = nn.GroupNorm(parts, parts * MAPS)
        self.head = Head((parts * MAPS, steps), parts * MAPS, classes)

    def forward(self, x: Tensor) -> Outputs:
        """Map (B, C, H, W) to outputs with logits (B, K, T)."""
        inner: Outputs = self.backbone(x)
        line = torch.relu(self.norm(to_line(inner.logits, self.kind)))
        outputs: Outputs = self.head([line], [line], (self.steps,))
        number = 1 + sum(stage.startswith("decoder") for stage in inner.features)
        return replace(outputs, embedding=inner.embedding, features={**inner.features, f"decoder{number}": line})
