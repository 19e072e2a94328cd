"""Which files are read, and how."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from mmkd.core.errors import MmkdError
from mmkd.core.text import shorten, shown
from mmkd.data.recorded.array_tables import read_hdf5, read_mat, read_npy_table, read_npz_table
from mmkd.data.recorded.medical import read_edf, read_wfdb
from mmkd.data.recorded.tables import Table, Wanted
from mmkd.data.recorded.text_tables import read_csv, read_parquet

FORMATS: Mapping[str, Callable[[Path, Wanted], Table]] = {
    **dict.fromkeys((".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz"), read_csv),
    **dict.fromkeys((".parquet", ".pq"), read_parquet),
    ".npz": read_npz_table,
    ".npy": read_npy_table,
    ".mat": read_mat,
    ".hea": read_wfdb,
    ".edf": read_edf,
    **dict.fromkeys((".h5", ".hdf5", ".hdf"), read_hdf5),
}
"""Suffix of a file -> its reader. A WFDB record is named by its header."""
BESIDE = (".dat", ".atr")
"""Suffixes of files that belong to a WFDB header; such a file stands for the header beside it."""


def suffix_of(path: Path) -> str:
    """The suffix that says the format, in small letters; with the one before `.gz`."""
    ends = [end.lower() for end in path.suffixes]
    return "".join(ends[-2:]) if ends[-1:] == [".gz"] else "".join(ends[-1:])


def find_recordings(names: Sequence[str]) -> list[Path]:
    """The files of these names, each once; of a folder those of a known format below it, sorted.

    Raises:
        MmkdError: a name is no file or folder, a folder has no such file, a file has an unknown format, or two files
            have the same content.
    """
    found: dict[Path, Path] = {}
    for name in names:
        path = Path(name)
        try:
            is_folder, is_file = path.is_dir(), path.is_file()
        except (OSError, ValueError):
            is_folder = is_file = False
        if is_folder:
            inside = sorted(p for p in path.rglob("*") if p.is_file() and suffix_of(p) in FORMATS)
            inside = [p for p in inside if not any(part.startswith(".") for part in p.relative_to(path).parts)]
            if not inside:
                raise MmkdError(f"{name}: no file in this folder is of a format that is read ({_known()})")
        elif is_file:
            inside = [path.with_suffix(".hea") if suffix_of(path) in BESIDE else path]
            if suffix_of(path) not in (*FORMATS, *BESIDE):
                raise MmkdError(f"{name}: {suffix_of(path) or 'no'} suffix; what is read is {_known()}")
            if not inside[0].is_file():
                raise MmkdError(f"{name}: its header {inside[0].name} is missing")
        else:
            raise MmkdError(f"{shown(name)}: no such file or folder")
        for file in inside:
            found.setdefault(file.resolve(), file)
    _refuse_copies(found.values())
    return list(found.values())


def _refuse_copies(files: Iterable[Path]) -> None:
    """Refuse files of the same content, whose windows would be on both sides of a split."""
    by_size: dict[int, list[Path]] = {}
    for file in files:
        if suffix_of(file) != ".hea":  # a header says little, and may be that of several records
            by_size.setdefault(file.stat().st_size, []).append(file)
    seen: dict[str, Path] = {}
    for file in (file for same in by_size.values() if len(same) > 1 for file in same):
        try:
            mark = sha256(file.read_bytes()).hexdigest()
        except OSError as error:
            raise MmkdError(f"{file}: {error.strerror or error}") from None
        if mark in seen:
            raise MmkdError(f"{file} has the same content as {seen[mark]}; leave one of them out")
        seen[mark] = file


def read_recording(path: Path, wanted: Wanted) -> Table:
    """Read the table of a file.

    Raises:
        MissingColumns: it lacks columns.
        MmkdError: it is damaged or of another form, or a package is missing. The message names the file.
    """
    try:
        return FORMATS[suffix_of(path)](path, wanted)
    except MmkdError as error:
        raise type(error)(f"{shorten(str(path), 100)}: {error}") from None
    except OSError as error:
        raise MmkdError(f"{shorten(str(path), 100)}: {error.strerror or error}") from None


def _known() -> str:
    return ", ".join(FORMATS)
