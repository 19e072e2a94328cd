"""What `python -m mmkd.data` does: fetch original files, make of them what readers take, look at what there is."""

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
from mmkd.data.cards import PREPARED, Card, card_checksums, prepared_sha256, present
from mmkd.data.fetch import Tick, checksum_of, download, unpack
from mmkd.data.load import load_dataset, reader_folder, with_tsv
from mmkd.data.originals import CONVERTERS

Say = Callable[[str], None]


def fetch(card: Card, root: str | Path | None, tick: Tick, say: Say) -> None:
    """Download the original files of a data set into the data folder, or say that all is there.

    Raises:
        MmkdError: a file is missing that cannot be downloaded: which one, and where it belongs; or as `download`.
    """
    folder = reader_folder(card, root)
    card = with_tsv(card, folder)
    if present(card, folder):
        card_checksums(card, folder)
        say(f"{card.name}: all files are in {folder}, and they are what the card names")
        return
    missing = [raw for raw in card.raw if not raw.get("url") and not (folder / raw["file"]).is_file()]
    if missing or not card.raw:
        names = [raw["file"] for raw in missing] or [name for name in card.sha256 if not (folder / name).is_file()]
        raise MmkdError(
            f"data set {card.name!r} cannot be downloaded from here; put {', '.join(names)} into {folder}: it is "
            f"{card.source.get('where', 'described nowhere')}; home: {card.source.get('home', 'unknown')}"
        )
    for raw in card.raw:
        path, expected = folder / raw["file"], raw.get("sha256", "")
        if path.is_file():
            found = checksum_of(path, expected)
            say(f"{card.name}: {path} is there")
        else:
            found = download(raw["url"], path, expected, tick)
            say(f"{card.name}: {path} has come from {raw['url']}")
        how = "as its card says" if expected else "which no card can vouch for"
        say(f"{card.name}: its sha256 is {found}, {how}; next: python -m mmkd.data prepare {card.name}")


def prepare(card: Card, root: str | Path | None, given: Path | None, say: Say) -> None:
    """Make the file that the reader takes from the original files.

    Args:
        given: an archive or folder with the original files; None: the archive that `fetch` downloads.

    Raises:
        MmkdError: the originals are not there, or not what they should be; nothing is left behind.
    """
    folder = reader_folder(card, root)
    ready = with_tsv(card, folder)
    if present(ready, folder) and given is None:
        card_checksums(ready, folder)
        say(f"{card.name}: {', '.join(ready.sha256)} in {folder}: there, and checked")
        return
    if not card.prepare and card.reader != "archive":
        raise MmkdError(
            f"data set {card.name!r}: nothing makes {', '.join(card.sha256)} here; put it into {folder}: it is "
            f"{card.source.get('where', 'described nowhere')}"
        )
    converter = card.prepare.get("converter", "")
    if card.prepare and converter not in CONVERTERS:
        raise unknown_name("converter", str(converter), CONVERTERS)
    originals = given or folder / card.raw[0]["file"]
    if not originals.exists():
        raise MmkdError(
            f"data set {card.name!r}: {originals} is missing; python -m mmkd.data fetch {card.name} gets it, or name "
            f"the archive or its folder with --originals"
        )
    with _scratch(folder) as scratch:
        _prepare(card, folder, originals, scratch, say)


def _prepare(card: Card, folder: Path, originals: Path, scratch: Path, say: Say) -> None:
    unpacked, checksum = originals, ""
    if originals.is_file():
        own = [raw.get("sha256", "") for raw in card.raw if folder / raw["file"] == originals]
        checksum = checksum_of(originals, own[0] if own else "")
        unpacked = scratch / "unpacked"
        unpacked.mkdir()
        unpack(originals, unpacked)
    if not card.prepare:
        _take(card, folder, unpacked, say)
        return
    options = {name: value for name, value in card.prepare.items() if name != "converter"}
    try:
        arrays = CONVERTERS[card.prepare["converter"]](unpacked, **options)
    except MmkdError as error:
        raise MmkdError(f"data set {card.name!r}: {originals}: {error}") from None
    except TypeError as error:
        raise MmkdError(f"data set {card.name!r}: card.toml, [prepare]: {error}") from None
    (target,) = (folder / name for name in card.sha256)
    np.savez(scratch / "prepared.npz", **arrays)  # type: ignore[arg-type]
    made = checksum_of(scratch / "prepared.npz", "")
    said = {"sha256": made, "prepare": dict(card.prepare), "originals": originals.name, "originals_sha256": checksum}
    (scratch / "said.json").write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(scratch / "prepared.npz", target)
    os.replace(scratch / "said.json", target.with_name(target.name + PREPARED))
    shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items() if array.ndim)
    same = ", the very file that the card names" if made == card.sha256[next(iter(card.sha256))] else ""
    damaged = f"; {arrays['damaged']} damaged entries were left out" if "damaged" in arrays else ""
    say(f"{card.name}: made {target}{same}: {shapes}{damaged}")


def _take(card: Card, folder: Path, unpacked: Path, say: Say) -> None:
    """The files of an archive's set, `.ts` or `.tsv`, out of its unpacked folder."""
    for suffix in (".ts", ".tsv"):
        names = [Path(name).with_suffix(suffix) for name in card.sha256]
        found = [next(iter(sorted(unpacked.rglob(name.name))), None) for name in names]
        if None not in found:
            for name, path in zip(names, found, strict=True):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(shutil.copyfile(str(path), unpacked.with_name("copy")), folder / name)
            say(f"{card.name}: took {', '.join(str(name) for name in names)}")
            return
    wanted = " and ".join(Path(name).name for name in card.sha256)
    raise MmkdError(f"data set {card.name!r}: there are no files {wanted} (or .tsv) among the originals")


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder beside the data, gone on the way out."""
    scratch = folder / f".preparing-{uuid4().hex}"
    try:
        scratch.mkdir(parents=True)
        yield scratch
    except OSError as error:
        raise MmkdError(f"{error.filename or folder}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def check(card: Card, root: str | Path | None) -> dict[str, Any]:
    """What a data set's files hold, read as a run would read them.

    Raises:
        MmkdError: they are not there, not what the card names, or cannot be trained on.
    """
    folder = reader_folder(card, root)
    ready = with_tsv(card, folder)
    sums = card_checksums(ready, folder)
    found: dict[str, Any] = {"name": card.name, "task": card.task, "files": sums, "prepared_here": False}
    found["prepared_here"] = any(sums[name] == prepared_sha256(ready, folder / name) for name in sums)
    data = load_dataset(card.name, root, "impute")
    counts = {}
    for part, chosen in (("training", ~data.test), ("test", data.test)):
        y = data.y[chosen]
        of_classes = np.bincount(y[y >= 0], minlength=len(data.classes)).tolist()
        counts[part] = {"windows": len(y), "of_classes": dict(zip(data.classes, of_classes, strict=True))}
        if data.subject is not None:
            counts[part]["subjects"] = np.unique(data.subject[chosen]).tolist()
    return found | {
        "windows": list(data.x.shape),
        "rate_hz": data.rate_hz,
        "channels": list(data.channels),
        "groups": {name: [data.channels[k] for k in members] for name, members in data.groups.items()},
        "sha256": data.sha256,
        "parts": counts,
    }
