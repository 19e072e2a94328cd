"""The commands of `python -m mmkd.data`: fetch original files, prepare them for the readers, and check the result."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from mmkd.core.errors import MmkdError, unknown_name
from mmkd.core.text import shorten
from mmkd.data.archives import unpack
from mmkd.data.cards import Card
from mmkd.data.checksums import PREPARED, files_exist, prepared_sha256, verify_checksums
from mmkd.data.converters import CONVERTERS
from mmkd.data.converters.base import Arrays
from mmkd.data.dataset import Dataset
from mmkd.data.downloads import ProgressCallback, download, verify_download
from mmkd.data.load import reader_folder, resolve_suffix
from mmkd.data.splits import Split
from mmkd.data.understood import series_facts

Log = Callable[[str], None]
"""Shows one line to the user."""


def fetch(card: Card, root: str | Path | None, on_progress: ProgressCallback, log: Log) -> None:
    """Download the original files of a data set into the data folder, unless the prepared files exist already.

    Args:
        root: the data folder; see `data_root`.

    Raises:
        MmkdError: a file is missing that cannot be downloaded (with where it belongs); or as `download`.
    """
    folder = reader_folder(card, root)
    card = resolve_suffix(card, folder)
    if files_exist(card, folder):
        verify_checksums(card, folder)
        log(f"{card.name}: all files are in {folder}, with the checksums of the card")
        return
    missing = [raw for raw in card.raw if not raw.get("url") and not (folder / raw["file"]).is_file()]
    if missing or not card.raw:
        names = [raw["file"] for raw in missing] or [name for name in card.sha256 if not (folder / name).is_file()]
        raise MmkdError(
            f"data set {card.name!r} cannot be downloaded from here; put {', '.join(names)} into {folder}: it is "
            f"{card.source.get('where', 'described nowhere')}; home: {card.source.get('home', 'unknown')}"
        )
    for raw in card.raw:
        path = folder / raw["file"]
        expected = raw.get("sha256", "")
        if path.is_file():
            checksum = verify_download(path, expected)
            log(f"{card.name}: {path} exists already")
        else:
            checksum = download(raw["url"], path, expected, on_progress)
            log(f"{card.name}: downloaded {path} from {raw['url']}")
        how = "as on its card" if expected else "which its card does not know"
        log(f"{card.name}: its sha256 is {checksum}, {how}; next: python -m mmkd.data prepare {card.name}")


def prepare(card: Card, root: str | Path | None, originals: Path | None, log: Log) -> None:
    """Make the file for the reader from the original files.

    Args:
        root: the data folder; see `data_root`.
        originals: an archive or folder with the original files; None for the archive that `fetch` downloads.

    Raises:
        MmkdError: the original files are missing, or not what they should be. Nothing is left behind then.
    """
    folder = reader_folder(card, root)
    ready = resolve_suffix(card, folder)
    if files_exist(ready, folder) and originals is None:
        verify_checksums(ready, folder)
        log(f"{card.name}: {', '.join(ready.sha256)} in {folder}: exists already, checksums verified")
        return
    if not card.prepare and card.reader != "archive":
        raise MmkdError(
            f"data set {card.name!r}: no converter makes {', '.join(card.sha256)}; put it into {folder}: it is "
            f"{card.source.get('where', 'described nowhere')}"
        )
    converter = card.prepare.get("converter", "")
    if card.prepare and converter not in CONVERTERS:
        raise unknown_name("converter", str(converter), CONVERTERS)
    if originals is None:
        originals = folder / card.raw[0]["file"]
    if not originals.exists():
        raise MmkdError(
            f"data set {card.name!r}: {originals} is missing; python -m mmkd.data fetch {card.name} gets it, or name "
            f"the archive or its folder with --originals"
        )
    with _temporary_folder(folder) as scratch:
        _prepare(card, folder, originals, scratch, log)


def _prepare(card: Card, folder: Path, originals: Path, scratch: Path, log: Log) -> None:
    unpacked = originals
    checksum = ""
    if originals.is_file():
        expected = [raw.get("sha256", "") for raw in card.raw if folder / raw["file"] == originals]
        checksum = verify_download(originals, expected[0] if expected else "")
        unpacked = scratch / "unpacked"
        unpacked.mkdir()
        unpack(originals, unpacked)
    if not card.prepare:
        _take_archive_files(card, folder, unpacked, log)
        return
    options = {name: value for name, value in card.prepare.items() if name != "converter"}
    try:
        arrays = CONVERTERS[card.prepare["converter"]](unpacked, **options)
    except MmkdError as error:
        raise MmkdError(f"data set {card.name!r}: {originals}: {error}") from None
    except TypeError as error:
        raise MmkdError(f"data set {card.name!r}: card.toml, [prepare]: {error}") from None
    if card.reader == "windows":  # --data takes such a file too
        arrays |= _facts(card)
    (target,) = (folder / name for name in card.sha256)
    np.savez(scratch / "prepared.npz", **arrays)  # type: ignore[arg-type]
    prepared_checksum = verify_download(scratch / "prepared.npz", "")
    provenance = {
        "sha256": prepared_checksum,
        "prepare": dict(card.prepare),
        "originals": originals.name,
        "originals_sha256": checksum,
    }
    (scratch / "provenance.json").write_text(json.dumps(provenance, indent=1) + "\n", encoding="utf-8")
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(scratch / "prepared.npz", target)
    os.replace(scratch / "provenance.json", target.with_name(target.name + PREPARED))
    shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items() if array.ndim)
    same = ", identical to the file of the card" if prepared_checksum == card.sha256[next(iter(card.sha256))] else ""
    damaged = f"; {arrays['damaged']} damaged entries were left out" if "damaged" in arrays else ""
    log(f"{card.name}: made {target}{same}: {shapes}{damaged}")
    for line in doubts(card, arrays):
        log(f"{card.name}: {line}")


def _facts(card: Card) -> Arrays:
    """What a file of windows says about itself, from its card; see `facts.read_facts`."""
    facts: Arrays = {"channels": np.array(card.channels)}
    if card.rate_hz:
        facts["rate_hz"] = np.array(card.rate_hz)
    if card.groups:
        facts["groups"] = np.array([f"{name}={','.join(members)}" for name, members in card.groups.items()])
    return facts


def doubts(card: Card, arrays: Arrays) -> Iterator[str]:
    """One line for each thing that suggests that the original files are not whole, or lack values."""
    names = ("subject", "win_subject", "seq_subject")
    subjects = next((len(np.unique(arrays[name])) for name in names if name in arrays), None)
    if subjects is not None and card.subjects is not None and subjects != card.subjects:
        yield f"{subjects} subjects are in these files, and {card.subjects} in the data set; is the folder whole?"
    for pieces, name in (("segment", "subject"), ("seq_trial", "seq_subject")):
        of = np.unique(arrays[name], return_counts=True)[1] if pieces in arrays else np.ones(1, int)
        if of.min() < of.max():
            yield f"its subjects have {of.min()} to {of.max()} recordings; is the folder whole?"
    x = arrays.get("x")
    if x is None or x.ndim != 2 or x.dtype.kind != "f":
        return
    missing = {card.channels[k]: int(np.isnan(x[:, k]).sum()) for k in range(x.shape[1]) if np.isnan(x[:, k]).any()}
    if missing:
        what = ", ".join(f"{name} at {count:,} of {len(x):,} samples" for name, count in missing.items())
        yield (
            f"without any value in a whole recording, and left so: {shorten(what, 150)}; --nan impute fills in "
            f"medians, --nan drop leaves these windows out"
        )


def _take_archive_files(card: Card, folder: Path, unpacked: Path, log: Log) -> None:
    """Copy the files of a set of an archive, `.ts` or `.tsv`, from its unpacked folder."""
    for suffix in (".ts", ".tsv"):
        names = [Path(name).with_suffix(suffix) for name in card.sha256]
        paths = [next(iter(sorted(unpacked.rglob(name.name))), None) for name in names]
        if None not in paths:
            for name, path in zip(names, paths, strict=True):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(shutil.copyfile(str(path), unpacked.with_name("copy")), folder / name)
            log(f"{card.name}: took {', '.join(str(name) for name in names)}")
            return
    wanted = " and ".join(Path(name).name for name in card.sha256)
    raise MmkdError(f"data set {card.name!r}: there are no files {wanted} (or .tsv) among the originals")


@contextmanager
def _temporary_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside the data."""
    scratch = folder / f".preparing-{uuid4().hex}"
    try:
        scratch.mkdir(parents=True)
        yield scratch
    except OSError as error:
        raise MmkdError(f"{error.filename or folder}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def check_files(card: Card, root: str | Path | None) -> dict[str, Any]:
    """The files of a data set with their checksums, and whether they were prepared here rather than by its authors.

    Raises:
        MmkdError: files are missing, or not those of the card.
    """
    folder = reader_folder(card, root)
    ready = resolve_suffix(card, folder)
    checksums = verify_checksums(ready, folder)
    prepared_here = any(checksums[name] == prepared_sha256(ready, folder / name) for name in checksums)
    return {"files": checksums, "prepared_here": prepared_here}


def summary(data: Dataset, split: Split) -> dict[str, Any]:
    """What is in a data set, in plain values: the windows of each part and class, or the series."""
    parts: dict[str, dict[str, Any]] = {}
    sets = {"training": split.train, "validation": split.validation, "test": split.test}
    for part, selected in sets.items() if data.series is None else ():
        if not len(selected):
            continue
        y = data.y[selected]
        counts = np.bincount(y[y >= 0], minlength=len(data.classes)).tolist()
        parts[part] = {"windows": len(y), "of_classes": dict(zip(data.classes, counts, strict=True))}
        if data.subject is not None:
            parts[part]["subjects"] = np.unique(data.subject[selected]).tolist()
    return {
        "name": data.name,
        "task": data.task,
        "windows": list(data.x.shape),
        "rate_hz": data.rate_hz,
        "channels": list(data.channels),
        "groups": {name: [data.channels[k] for k in members] for name, members in data.groups.items()},
        "sha256": data.sha256,
        "parts": parts,
        "series": [series_facts(series) for series in data.series.scored] if data.series else [],
    }
