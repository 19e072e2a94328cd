"""The checkpoint of a training: one file with its state after a whole epoch, so that it can be resumed.

The file is the SHA-256 of its content, followed by a safetensors file. It is written under another name and then
renamed. A file that is damaged, or that other code or another version of PyTorch wrote, is ignored: the training starts
anew.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from mmkd.core.errors import DamageWarning

DIGEST = hashlib.sha256().digest_size

Layout = Mapping[str, list[tuple[str, list[int]]]]
"""Name of a type -> name and shape of each tensor of this type, in order."""


class Checkpoint:
    """The checkpoint file of one training.

    Args:
        path: of the file. Its folder is created when it is first written. Only the process that holds the lock of the
            trained teacher or unit may write it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = path.with_name(f".{path.name}")

    def save(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Replace the file. If the disk is full, warn and let the training go on.

        Args:
            values: JSON values.
        """
        packed, layout = _pack(tensors)
        metadata = json.dumps({"values": values, "code": code_hash(), "layout": layout}, allow_nan=False)
        content = save(packed, {"mmkd": metadata})
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.temporary.write_bytes(hashlib.sha256(content).digest() + content)
            os.replace(self.temporary, self.path)
        except OSError as error:
            with suppress(OSError):
                self.temporary.unlink(missing_ok=True)
            warnings.warn(
                f"{self.path.parent}: {error.strerror or error}; no checkpoint: a training that is killed starts again",
                DamageWarning,
                stacklevel=2,
            )

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The tensors and values that were saved last; None if there is no usable file.

        A file that is whole and of this code, and has another form all the same, gives a `DamageWarning`.
        """
        try:
            content = self.path.read_bytes()
            if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
                return None
            length = int.from_bytes(content[DIGEST : DIGEST + 8], "little")
            header = json.loads(content[DIGEST + 8 : DIGEST + 8 + length])
            metadata = json.loads(header["__metadata__"]["mmkd"])
            if metadata["code"] != code_hash():
                return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        try:
            return _unpack(load(content[DIGEST:]), metadata["layout"]), metadata["values"]
        except Exception as error:  # safetensors and torch raise about ten kinds
            self.say_unusable(f"it lacks {error}" if isinstance(error, KeyError) else str(error))
            return None

    def say_unusable(self, why: str) -> None:
        """Give the `DamageWarning` that a file with the right checksum cannot be used."""
        reason = " ".join(why.split())[:160]
        warnings.warn(
            f"checkpoint {self.path} cannot be used ({reason}); its training starts again", DamageWarning, stacklevel=3
        )

    def remove(self) -> None:
        """Remove the file, when the result of the training has been written."""
        for path in (self.path, self.temporary):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _pack(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Layout]:
    """Join all tensors of a type to one, which is much faster to write; and their names and shapes."""
    parts: dict[str, list[Tensor]] = {}
    layout: dict[str, list[tuple[str, list[int]]]] = {}
    for name, tensor in tensors.items():
        parts.setdefault(str(tensor.dtype), []).append(tensor.detach().reshape(-1).cpu())
        layout.setdefault(str(tensor.dtype), []).append((name, list(tensor.shape)))
    return {dtype: torch.cat(flat) for dtype, flat in parts.items()}, layout


def _unpack(packed: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """The tensors that `_pack` joined."""
    tensors = {}
    for dtype, entries in layout.items():
        sizes = [prod(shape) for _, shape in entries]
        for (name, shape), flat in zip(entries, torch.split(packed[dtype], sizes), strict=True):
            tensors[name] = flat.reshape(shape).clone()
    return tensors


def source_files() -> list[Path]:
    """Every source file of this package and of its methods, in a fixed order: any of them may change a training."""
    import mmkd
    import mmkd.baselines

    folders = [*mmkd.__path__, *mmkd.baselines.__path__]
    return [path for folder in folders for path in sorted(Path(folder).rglob("*.py"))]


@lru_cache(maxsize=1)
def code_hash() -> str:
    """Hash of all source files, those of the methods included, and of PyTorch's version."""
    code = hashlib.sha256(torch.__version__.encode())
    for path in source_files():
        code.update(path.read_bytes())
    return code.hexdigest()
