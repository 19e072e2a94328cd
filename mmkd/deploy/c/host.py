"""Compile and run the source of a student with this machine's C compiler."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.text import one_line

COMPILER = "cc"
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Os")
SECONDS = 300


def has_compiler() -> bool:
    """Whether there is a C compiler, `cc`."""
    return shutil.which(COMPILER) is not None


def run_tool(command: Sequence[str | Path], **settings: Any) -> "subprocess.CompletedProcess[bytes]":
    """Run a program to its end.

    Raises:
        MmkdError: it fails or takes more than `SECONDS`; the message has the first line of what it says.
    """
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, timeout=SECONDS, **settings)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MmkdError(f"{command[0]} failed: {one_line(str(error))}") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip() or "no message"
        raise MmkdError(f"{command[0]} failed with code {done.returncode}: {one_line(said)}")
    return done


def compile_host(folder: Path, program: Path, flags: Sequence[str] = ()) -> None:
    """Compile `student.c` and `main.c` of a folder into a program, without a warning.

    Raises:
        MmkdError: the compiler refuses them.
    """
    run_tool([COMPILER, *FLAGS, *flags, "-o", program, folder / "main.c", folder / "student.c"])


def run_host(program: Path, windows: NDArray[Any], classes: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The class (n,) and the logits (n, classes) that the program gives for each window of its own type.

    Raises:
        MmkdError: the program fails.
    """
    done = run_tool([program], input=np.ascontiguousarray(windows).tobytes())
    rows = [[int(word) for word in line.split()[: 1 + classes]] for line in done.stdout.splitlines()]
    if len(rows) != len(windows):
        raise MmkdError(f"{program.name} printed {len(rows)} lines for {len(windows)} windows")
    table = np.array(rows, np.int64).reshape(-1, 1 + classes)
    return table[:, 0], table[:, 1:].astype(np.int32)
