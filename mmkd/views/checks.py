"""A check of somebody else's modality on a few windows, before views of all windows are made."""

import json
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError, describe_error
from mmkd.core.registry import kind_of
from mmkd.views.base import MODALITIES, Modality
from mmkd.views.channels import ChannelSubset, make_modality


def check_modality(name: str, config: Mapping[str, Any], windows: NDArray[np.float32]) -> None:
    """Check that a modality does with these windows what a modality does; what is wrong is said in one line.

    Args:
        name: such as `gaf`, or `gaf@gyro` for a channel group.
        windows: (n, C, W), a few training windows, n >= 1.

    Raises:
        MmkdError: it fails; its view is not float32 of the promised shape, or not finite; or the view of a window
            changes with the other windows, from call to call, or after its fitted state is stored and loaded.
    """
    title = f"modality {name!r} (class {MODALITIES.get(kind_of(name)).__name__})"
    try:
        with warnings.catch_warnings():  # numpy's, also in the threads of `transform`; what comes of it is looked at
            warnings.simplefilter("ignore", RuntimeWarning)
            problem = _find_problem(name, config, windows)
    except MmkdError:
        raise
    except Exception as error:  # somebody else's class may raise anything
        raise MmkdError(f"{title} fails on windows {windows.shape}: {describe_error(error)}") from error
    if problem:
        raise MmkdError(f"{title}: {problem}")


def _in_one_chunk(modality: Modality, windows: NDArray[np.float32], view: NDArray[np.float32]) -> NDArray[np.float32]:
    """The view of windows that are transformed in one chunk; `view` itself where the class makes no chunks.

    How many windows are a chunk depends on the machine, so that the result must not.
    """
    inner = modality
    if isinstance(modality, ChannelSubset):
        inner = modality.inner
        windows = windows[:, modality.channels]
    if type(inner)._transform_chunk is Modality._transform_chunk:
        return view
    out = np.empty_like(view)
    inner._transform_chunk(windows.astype(np.float64), out)
    return out


def _find_problem(name: str, config: Mapping[str, Any], windows: NDArray[np.float32]) -> str:
    modality = make_modality(name, config)
    shape = modality.shape(*windows.shape[1:])
    sizes = isinstance(shape, tuple) and all(isinstance(n, int) and n > 0 for n in shape)
    if not sizes or len(shape) not in (2, 3):
        return f"shape returned {shape!r}; it must be (C, T) or (C, H, W)"
    given = windows.copy()
    modality.fit(given)
    first = modality.transform(given)
    expected = (len(windows), *shape)
    if not isinstance(first, np.ndarray) or first.dtype != np.float32 or first.shape != expected:
        found = f"{first.dtype} {first.shape}" if isinstance(first, np.ndarray) else type(first).__name__
        return f"transform returned {found}; it must be float32 {expected}"
    if not np.array_equal(given, windows):
        return "transform or fit changes the windows that it is given; copy them first"
    if not np.isfinite(first).all():
        return "its view of training windows holds NaN or infinity"
    if not np.array_equal(modality.transform(given), first):
        return "its view of the same windows is another one each time; draw nothing at random"
    out = np.full(expected, np.nan, np.float32)
    modality.transform(given, out)
    if not np.array_equal(out, first):
        return "transform does not write its view into the array `out`"
    alone = np.concatenate([modality.transform(given[n : n + 1]) for n in range(len(given))])
    views = (first, _in_one_chunk(modality, given, first))
    if not all(np.allclose(view, alone, rtol=1e-4, atol=1e-5) for view in views):
        return "its view of a window depends on the other windows; only fit may look at several"
    loaded = make_modality(name, config)
    loaded.load_state(json.loads(json.dumps(modality.state())))
    if not np.allclose(loaded.transform(given), first, rtol=1e-4, atol=1e-5):
        return "its view is another one after its state is stored and loaded; name what fit learns in _fitted_names"
    return ""
