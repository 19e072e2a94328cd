"""A data set of arrays in memory: what is read of lists, tables and tensors, and the checksum of its content."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.text import LONGEST_NAME, printable, shown
from mmkd.data.dataset import Dataset, NanPolicy, resample_dataset, validate_dataset
from mmkd.data.npz import decode_texts
from mmkd.data.npz_windows import understand_arrays
from mmkd.data.own import check_nan_policy, understand_content

HASHED = (
    *("y", "subject", "test", "classes", "channels", "rate_hz", "recording", "start", "grid", "groups", "triads"),
    *("augment", "offset", "delineated"),
)
"""What the key of a data set in memory depends on, beside its values."""


def from_arrays(
    x: Any, y: Any, subject: Any, test: Any, channels: Any, rate_hz: Any, groups: Any, classes: Any, name: str
) -> Dataset:
    """The data set of arrays; see `Dataset.from_arrays`."""
    if not isinstance(name, str) or not name or name != printable(name) or len(name) > LONGEST_NAME:
        raise MmkdError(f"from_arrays: name {shown(name)} must be a text of one line, such as 'mine'")
    given = {"x": x, "y": y, "subject": subject, "test": test, "channels": channels, "rate_hz": rate_hz}
    given |= {"groups": _group_texts(groups), "classes": classes}
    try:
        arrays = {key: as_array(key, value) for key, value in given.items() if value is not None}
        data, _ = understand_content(name, understand_arrays(arrays, []))
    except MmkdError as error:
        raise MmkdError(f"from_arrays: {error}") from None
    if np.isfinite(data.x).all():  # else what becomes of missing values is said in `mmkd.run`
        validate_dataset(data)
    return replace(data, sha256=content_sha256(data))


def training_dataset(x: Any, y: NDArray[np.int64], classes: Sequence[str], subject: Any, **facts: Any) -> Dataset:
    """A data set whose windows are all for training: no score is read of any of them after it.

    Args:
        x: (N, C, W).
        y: (N,) class numbers; classes: K names.
        subject: (N,), or None.
        facts: channels, rate_hz, groups as `from_arrays` takes them.

    Raises:
        MmkdError: the arrays contradict each other.
    """
    given = {"x": x, "y": y, "test": np.zeros(len(y), bool), "classes": list(classes), "subject": subject, **facts}
    given["groups"] = _group_texts(given.get("groups"))
    arrays = {key: as_array(key, value) for key, value in given.items() if value is not None}
    data, _ = understand_content("windows", understand_arrays(arrays, []))
    data = replace(data, test_from="none")
    return replace(data, sha256=content_sha256(data))


def finish_dataset(data: Dataset, nan: NanPolicy, rate_hz: float) -> Dataset:
    """A data set in memory as a unit reads it: validated, resampled, under the checksum of what it holds now.

    Args:
        nan: what to do with missing values; see `validate_dataset`.
        rate_hz: the rate to which windows are resampled, see `resample_dataset`; 0 for that of the data set.

    Raises:
        MmkdError: it cannot be trained on.
    """
    check_nan_policy(data.grid, nan)
    data = validate_dataset(replace(data, sha256=content_sha256(data), splits={}), nan)
    data = replace(data, warnings=tuple(dict.fromkeys(data.warnings)))
    return resample_dataset(data, rate_hz) if rate_hz else data


def content_sha256(data: Dataset) -> str:
    """Checksum of all that a data set holds but its name and its labels' types: equal content has an equal one."""
    digest = sha256(f"windows {data.x.shape}".encode())
    digest.update(np.ascontiguousarray(data.x).data)
    for name in HASHED:
        value = getattr(data, name)
        plain = value.tolist() if isinstance(value, np.ndarray) else value
        if isinstance(plain, Mapping):
            plain = sorted(plain.items())
        digest.update(f"{name} {plain!r}".encode())
    return digest.hexdigest()


def as_array(name: str, value: Any) -> NDArray[Any]:
    """Whatever a user has, lists or columns of a table or a tensor, as an array of numbers or texts.

    Args:
        name: of the argument, for messages.

    Raises:
        MmkdError: it is ragged, sparse or masked, or holds other things than numbers and texts.
    """
    if not isinstance(value, np.ndarray) and hasattr(value, "toarray"):
        raise MmkdError(f"{name} is a sparse matrix ({type(value).__name__}); give {name}.toarray()")
    if np.ma.isMaskedArray(value) and np.ma.getmaskarray(value).any():
        raise MmkdError(f"{name} is an array with masked values; give {name}.filled(numpy.nan), or leave them out")
    try:
        array = np.asarray(value)
    except Exception as error:  # an object of the user's may raise anything
        if "inhomogeneous" in str(error):
            raise MmkdError(_ragged(name, value)) from None
        problem = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
        raise MmkdError(f"{name} cannot be read as an array ({problem}); give a NumPy array") from None
    if array.dtype.kind == "O":
        array = _without_objects(name, array)
    return decode_texts(name, array.astype(str) if array.dtype.kind == "T" else array)


def _ragged(name: str, value: Any) -> str:
    """Why lists of different lengths are no array."""
    lengths = sorted({np.shape(part)[-1] for part in value if _is_regular(part)})
    found = f", of {lengths[0]} to {lengths[-1]} values" if len(lengths) > 1 else ""
    return f"{name} holds parts of different lengths{found}; all windows need as many channels and samples: cut or pad"


def _is_regular(part: Any) -> bool:
    try:
        return np.ndim(part) > 0
    except ValueError:
        return False


def _without_objects(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """An array of Python objects as numbers or texts; None, NaN and NA among texts become a missing text."""
    values = array.reshape(-1).tolist()
    if any(np.ndim(value) for value in values if not isinstance(value, str | bytes | Mapping)):
        raise MmkdError(_ragged(name, values))
    missing = [value is None or bool(value != value) if not _is_na(value) else True for value in values]
    known = [value for value, is_missing in zip(values, missing, strict=True) if not is_missing]
    types = {type(value) for value in known}
    numbers = bool(known) and all(issubclass(kind, bool | int | float | np.number | np.bool_) for kind in types)
    if numbers and len({issubclass(kind, bool | np.bool_) for kind in types}) == 1:
        plain = np.array(known)
        if any(missing):
            plain = np.full(len(values), np.nan)
            plain[~np.array(missing)] = known
        return plain.reshape(array.shape)
    if known and types <= {str, np.str_} and name != "x":
        texts = ["nan" if is_missing else value for value, is_missing in zip(values, missing, strict=True)]
        return np.array(texts, str).reshape(array.shape)
    names = ", ".join(sorted(kind.__name__ for kind in types)) or "nothing but missing values"
    wanted = "numbers" if name == "x" else "numbers alone or texts alone"
    raise MmkdError(f"{name} holds {names}; it must hold {wanted}")


def _is_na(value: Any) -> bool:
    """Whether a value is the NA or NaT of pandas, which compare to nothing."""
    return type(value).__name__ in ("NAType", "NaTType")


def _group_texts(groups: Any) -> Any:
    """Channel groups as the texts that a file has."""
    if not isinstance(groups, Mapping):
        return groups
    texts = []
    for name, members in groups.items():
        members = [members] if isinstance(members, str) else members
        texts.append(f"{name}={','.join(map(str, members))}")
    return texts
