"""Tables in files of arrays: NumPy, MATLAB, HDF5. Nothing is unpickled."""

import warnings
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.extras import how_to_install
from mmkd.data.npz import read_arrays
from mmkd.data.recorded.tables import Table, Wanted, columns_of_arrays, select

RATES = ("rate_hz", "rate", "fs", "sfreq", "sampling_rate", "sample_rate", "hz")
"""Names of a single number that is taken for samples a second."""


def read_npz_table(path: Path, wanted: Wanted) -> Table:
    """Read an `.npz` file: arrays (T,) by their names, or (T, C) with the names in `channels`.

    Raises:
        MmkdError: the file is damaged, holds pickled objects, or lacks columns.
    """
    arrays = read_arrays(path, (), "t=..., acc_x=..., label=...", is_known=lambda name: True)
    return _table(arrays, wanted)


def read_npy_table(path: Path, wanted: Wanted) -> Table:
    """Read an `.npy` file: an array (T, C), whose columns are called 0, 1, ...; or records with names.

    Raises:
        MmkdError: the file is damaged, holds pickled objects, or lacks columns.
    """
    with path.open("rb") as stream:
        if stream.read(6) != b"\x93NUMPY":
            raise MmkdError("not an intact .npy file; save it with np.save")
    try:
        array = np.load(path, allow_pickle=False)
    except Exception as error:  # NumPy raises several kinds for damaged bytes
        if "pickle" in str(error).lower():
            raise MmkdError("holds pickled objects, which are never loaded") from None
        raise MmkdError(f"not an intact .npy file ({' '.join(str(error).split())[:120]})") from None
    if array.dtype.names:
        return select({name: array[name].reshape(-1) for name in array.dtype.names}, wanted)
    if array.ndim not in (1, 2) or not array.size:
        raise MmkdError(f"it holds an array of shape {array.shape}; it must be (T,) or (T, C)")
    table = array.reshape(len(array), -1)
    table = table if table.shape[0] >= table.shape[1] else table.T
    return select({str(number): table[:, number] for number in range(table.shape[1])}, wanted)


def read_mat(path: Path, wanted: Wanted) -> Table:
    """Read a MATLAB file: variables (T, 1) by their names, or (T, C); version 7.3 as HDF5.

    Raises:
        MmkdError: the file is damaged, or lacks columns.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path, squeeze_me=True)
    except NotImplementedError:
        return read_hdf5(path, wanted)
    except (MatReadError, ValueError, OSError, TypeError, IndexError, KeyError, EOFError) as error:
        raise MmkdError(f"not an intact .mat file ({' '.join(str(error).split())[:120]})") from None
    arrays = {name: np.asarray(value) for name, value in content.items() if not name.startswith("__")}
    return _table({name: array for name, array in arrays.items() if array.dtype.names is None}, wanted)


def read_hdf5(path: Path, wanted: Wanted) -> Table:
    """Read an HDF5 file: data sets (T,) or (T, C) by their path, or by its last part where that is clear.

    Raises:
        MmkdError: h5py is not installed, the file is damaged, or lacks columns.
    """
    h5py = need("h5py")
    found: dict[str, NDArray[Any]] = {}

    def visit(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or item.ndim > 2:
            return
        if item.dtype.kind == "V" and not item.dtype.names:
            return
        text = h5py.check_string_dtype(item.dtype) is not None
        values = np.asarray(item.asstr()[()] if text else item[()])
        if values.dtype.names:
            found.update({f"{name}/{field}": values[field] for field in values.dtype.names})
        else:
            found[name] = values

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise MmkdError(f"not an intact HDF5 file ({' '.join(str(error).split())[:120]})") from None
    last = [name.rpartition("/")[2] for name in found]
    arrays = {end if last.count(end) == 1 else name: found[name] for name, end in zip(found, last, strict=True)}
    return _table(arrays, wanted)


def _table(arrays: Mapping[str, NDArray[Any]], wanted: Wanted) -> Table:
    rates = [float(arrays[name].reshape(-1)[0]) for name in RATES if name in arrays and _is_rate(arrays[name])]
    return select(columns_of_arrays(arrays), wanted, rate_hz=rates[0] if rates else None)


def _is_rate(array: NDArray[Any]) -> bool:
    return array.size == 1 and array.dtype.kind in "iuf" and float(array.reshape(-1)[0]) > 0


def need(package: str) -> Any:
    """A package of the extra `formats`.

    Raises:
        MmkdError: it is not installed; the message says how to.
    """
    try:
        with warnings.catch_warnings():  # wfdb's use of pandas is behind the times
            warnings.simplefilter("ignore")
            return import_module(package)
    except ImportError:
        raise MmkdError(f"this format needs {package}, which is not installed: {how_to_install('formats')}") from None
