"""A view of a tensor: what `transform` makes of an array, on the tensor's device and differentiable."""

from typing import TYPE_CHECKING

import numpy as np

from mmkd.core.errors import MmkdError
from mmkd.views.base import Modality
from mmkd.views.gaf import GAF
from mmkd.views.persistence import PersistenceImage
from mmkd.views.signal import Signal
from mmkd.views.tensor_fields import gramian_field
from mmkd.views.tensor_images import persistence_image

if TYPE_CHECKING:
    from torch import Tensor


def tensor_view(modality: Modality, windows: "Tensor") -> "Tensor":
    """The view of windows (N, C, W), a tensor (N, *shape(C, W)) on their device, differentiable.

    It equals `modality.transform` to 1e-5, which serves arrays and is quicker on a CPU.

    Args:
        modality: `sig`, `gaf` or `pi`, fitted where it is to be fitted.
        windows: finite floating-point numbers; they are not checked, because that would wait for the device.

    Raises:
        MmkdError: the modality is another one, or not fitted, or the windows have a wrong shape.

    >>> import torch
    >>> tensor_view(GAF(size=2), torch.rand(5, 3, 10, requires_grad=True)).shape
    torch.Size([5, 3, 2, 2])
    """
    import torch

    if not isinstance(windows, torch.Tensor) or windows.ndim != 3 or not windows.is_floating_point():
        raise MmkdError("tensor_view takes a floating-point tensor (N, C, W); arrays go to the modality's transform")
    channels, length = windows.shape[1:]
    modality.shape(channels, length)
    modality._check_fitted(channels)

    def constant(values: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> "Tensor":
        return torch.from_numpy(values).to(windows.device)

    if type(modality) is GAF:
        limits = None
        if modality.fitted:
            limits = constant(modality._get_fitted("low")), constant(modality._get_fitted("high"))
        return gramian_field(windows, modality.options.size, modality.options.method, limits)
    if type(modality) is PersistenceImage:
        low, high, top, divide = (constant(values) for values in modality.axes(channels))
        options = modality.options
        return persistence_image(
            windows,
            options.size,
            birth_low=low,
            birth_high=high,
            persistence_high=top,
            sigma=options.sigma,
            sigma_pixels=options.sigma_pixels,
            levels=options.levels,
            essential=options.essential,
            min_persistence=options.min_persistence,
            divide="image" if options.scale == "image" else divide,
        )
    if type(modality) is Signal:
        mean, std = (constant(modality._get_fitted(name))[:, None] for name in ("mean", "std"))
        scaled = torch.where(std > 0, (windows - mean) / torch.where(std > 0, std, 1), 0)
        return scaled if windows.dtype == torch.float64 else scaled.float()
    raise MmkdError(f"tensor_view has sig, gaf and pi; {modality.name} is of arrays alone: use its transform")
