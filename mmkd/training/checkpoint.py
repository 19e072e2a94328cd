"""Where a training stood after its last whole epoch, in one file, so that a process that was killed goes on from there.

The file is the SHA-256 of what follows and a safetensors file; it is written beside and renamed. One that is damaged,
or was written by other code or another version of PyTorch, counts as none: the training begins anew.
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
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from mmkd.core.errors import DamageWarning

DIGEST = hashlib.sha256().digest_size


class Checkpoint:
    """The file of one training.

    Args:
        path: of the file; its folder is made when it is first written. One process at a time writes it: whoever has the
            lock of what is trained.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.beside = path.with_name(f".{path.name}")

    def save(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Replace what is there. Where the disk has no room the training goes on without, with a warning."""
        held, places = _packed(tensors)
        said = json.dumps({"facts": facts, "made by": made_by(), "places": places}, allow_nan=False)
        content = save(held, {"said": said})
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.beside.write_bytes(hashlib.sha256(content).digest() + content)
            os.replace(self.beside, self.path)
        except OSError as error:
            with suppress(OSError):
                self.beside.unlink(missing_ok=True)
            warnings.warn(
                f"{self.path.parent}: {error.strerror or error}; a training that is killed will begin anew",
                DamageWarning,
                stacklevel=2,
            )

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What was saved last; None where there is nothing to go on from."""
        try:
            content = self.path.read_bytes()
            if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
                return None
            length = int.from_bytes(content[DIGEST : DIGEST + 8], "little")
            header = json.loads(content[DIGEST + 8 : DIGEST + 8 + length])
            said = json.loads(header["__metadata__"]["said"])
            if said["made by"] != made_by():
                return None
            return _unpacked(load(content[DIGEST:]), said["places"]), said["facts"]
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            return None

    def remove(self) -> None:
        """Called when what the training was for is in its place."""
        for path in (self.path, self.beside):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _packed(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, list[tuple[str, list[int]]]]]:
    """All tensors of a type as one, which is written much faster; and their names and shapes, in order."""
    parts: dict[str, list[Tensor]] = {}
    places: dict[str, list[tuple[str, list[int]]]] = {}
    for name, tensor in tensors.items():
        parts.setdefault(str(tensor.dtype), []).append(tensor.detach().reshape(-1).cpu())
        places.setdefault(str(tensor.dtype), []).append((name, list(tensor.shape)))
    return {kind: torch.cat(each) for kind, each in parts.items()}, places


def _unpacked(held: Mapping[str, Tensor], places: Mapping[str, list[tuple[str, list[int]]]]) -> dict[str, Tensor]:
    found = {}
    for kind, each in places.items():
        sizes = [prod(shape) for _, shape in each]
        for (name, shape), part in zip(each, torch.split(held[kind], sizes), strict=True):
            found[name] = part.reshape(shape).clone()
    return found


def source_files() -> list[Path]:
    """Every source file of this package and of its methods, in a fixed order: what may shape a training."""
    import mmkd
    import mmkd.baselines

    folders = [*mmkd.__path__, *mmkd.baselines.__path__]
    return [path for folder in folders for path in sorted(Path(folder).rglob("*.py"))]


@lru_cache(maxsize=1)
def made_by() -> str:
    """Hash of the code that trains, ours and that of methods, and of PyTorch's version."""
    found = hashlib.sha256(torch.__version__.encode())
    for path in source_files():
        found.update(path.read_bytes())
    return found.hexdigest()
