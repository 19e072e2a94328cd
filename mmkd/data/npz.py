"""Open an `.npz` file of the user's. Nothing is unpickled; a damaged file is an error."""

import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError, did_you_mean


def npz_names(path: Path) -> frozenset[str]:
    """The names of the arrays in an `.npz` file; none if the file cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(name.removesuffix(".npy") for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return frozenset()


def read_arrays(
    path: Path,
    known: Sequence[str],
    example: str,
    is_known: Callable[[str], bool] | None = None,
    meant: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` file; labels and names in bytes are read as texts in UTF-8.

    Args:
        known: the names that it may have.
        example: the arguments of `np.savez` after the file, for messages, such as "x=..., y=...".
        is_known: whether it may have an array of this name, if there are more than those of `known`.
        meant: a name that users try, in small letters -> the known one.

    Raises:
        MmkdError: the file is damaged or no `.npz` file, contains pickled objects, or has an unknown array, or names
            in bytes that are no text.
    """
    try:
        with path.open("rb") as stream:
            magic = stream.read(6)
        if magic[:2] != b"PK" or not zipfile.is_zipfile(path):
            kind = "a bare array" if magic == b"\x93NUMPY" else "something else, or cut off"
            raise MmkdError(f"not an .npz file but {kind}; save it with np.savez(file, {example})")
        with np.load(path, allow_pickle=False) as z:
            for name in z.files:
                if not (name in known if is_known is None else is_known(name)):
                    hint = did_you_mean(meant.get(name.lower(), name), known)
                    raise MmkdError(f"unknown array {name!r}{hint}; it may hold {', '.join(known)}")
            arrays = {name: decode_texts(name, z[name]) for name in z.files}
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            raise ValueError("a member that is no array")
    except MmkdError:
        raise
    except Exception as error:  # NumPy and zipfile raise about ten kinds for damaged bytes
        if "pickle" in str(error).lower():
            raise MmkdError("holds pickled objects, which are never loaded; save plain number or text arrays") from None
        raise MmkdError(f"not an intact .npz file ({' '.join(str(error).split()) or type(error).__name__})") from None
    return arrays


def decode_texts(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Labels or names in bytes as texts; any other array as it is."""
    if not isinstance(array, np.ndarray) or array.dtype.kind != "S" or array.ndim > 1:
        return array
    try:
        return np.char.decode(array, "utf-8")
    except UnicodeDecodeError:
        raise MmkdError(
            f"{name} holds bytes ({array.dtype}) that are not UTF-8 text; save texts, decoded with "
            f"np.char.decode({name}, ENCODING)"
        ) from None
