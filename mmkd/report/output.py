"""Writes the files of a comparison, each whole, and removes those of an earlier one."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from mmkd.core.errors import MmkdError
from mmkd.store.files import temporary_folder

FIGURES = "figures/index.json"  # path of each figure -> title, caption, checksum
FIGURE = r"figures/[^/\\]*[^/\\.][^/\\]*/[^/\\]+\.svg"


def write_files(out: Path, files: Mapping[str, str]) -> None:
    """Write all files into a folder, each whole, by a rename; earlier tsml files and figures are removed.

    Raises:
        MmkdError: the folder cannot be written; what was there before is as it was.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        earlier = earlier_figures(out)
        with temporary_folder(out) as new:
            for name, text in files.items():
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                (new / name).write_text(text, encoding="utf-8", newline="")
            for name in files:
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(new / name, out / name)
        for path in out.glob("tsml/*/Predictions/*/testResample*.csv"):
            if str(path.relative_to(out)) not in files:
                path.unlink()
        for name in earlier - set(files):
            (out / name).unlink()
    except OSError as error:
        raise MmkdError(f"--out {out}: {error.strerror or error}; name another folder") from error


def earlier_figures(out: Path) -> set[str]:
    """The figures in a folder that its index names and that nobody has changed."""
    try:
        index = json.loads((out / FIGURES).read_text(encoding="utf-8"))
        hashes = {str(name): entry["sha256"] for name, entry in index.items() if re.fullmatch(FIGURE, str(name))}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return set()
    paths = {name: out / name for name in hashes if (out / name).is_file()}
    return {name for name, path in paths.items() if hashlib.sha256(path.read_bytes()).hexdigest() == hashes[name]}
