"""The forms in which a student is exported: names, options and functions. Imports neither torch nor numpy."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from mmkd.core.errors import MmkdError, unknown_name
from mmkd.core.extras import how_to_install
from mmkd.core.options import Options, option
from mmkd.core.text import shown
from mmkd.tasks.base import import_function

if TYPE_CHECKING:
    from mmkd.deploy.job import ExportJob, Written

FEWEST = 16
"""Training windows that ranges are measured on, at least."""
USUAL = 512
"""How many are taken where nobody says how many."""


@dataclass(frozen=True)
class Calibration(Options):
    """Options of targets in integers: on which training windows the ranges of activations are measured."""

    calibration_windows: int | None = option(
        None, f"training windows that ranges are measured on; default: {USUAL}, or all if there are fewer", ge=FEWEST
    )
    calibration_seed: int = option(0, "seed by which they are drawn", ge=0)


@dataclass(frozen=True)
class COptions(Calibration):
    """Options of C source."""

    standardise: Literal["float", "int"] = option(
        "float", "what the first step of C source reads: raw windows in float32, or in int16 without any floating point"
    )


@dataclass(frozen=True)
class Target:
    """One form of export.

    Attributes:
        name: the value of `--to`.
        text: one line for the help.
        function: `module:function` of what writes the files, imported when it is asked for; see `write`.
        files: the names of the files that it writes.
        Config: its options.
        packages: modules beyond those of mmkd that it needs, which the extra `extra` installs.
    """

    name: str
    text: str
    function: str
    files: tuple[str, ...]
    Config: type[Options] = Options
    packages: tuple[str, ...] = ()
    extra: str = ""

    def check_installed(self) -> None:
        """Raise MmkdError if a package that it needs is not installed."""
        missing = [name for name in self.packages if find_spec(name) is None]
        if missing:
            raise MmkdError(f"--to {self.name}: {missing[0]} is not installed; {how_to_install(self.extra)}")

    def write(self, job: "ExportJob") -> "Written":
        """Write `files` into the folder of the job, which is moved to its place if nothing is raised.

        Raises:
            MmkdError: the student cannot be written in this form, or what was written does not do what it does.
        """
        written: Written = import_function(self.function)(job)
        return written


TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target(
            "onnx",
            "raw windows in, probabilities out, float32",
            "mmkd.deploy.onnx_file:export_onnx",
            ("student.onnx",),
            packages=("onnx", "onnxscript", "onnxruntime"),
            extra="onnx",
        ),
        Target(
            "onnx-int8",
            "the same in int8, calibrated on training windows and measured beside float32",
            "mmkd.deploy.onnx_int8:export_int8",
            ("student-int8.onnx",),
            Calibration,
            packages=("onnx", "onnxscript", "onnxruntime"),
            extra="onnx",
        ),
        Target(
            "c",
            "C99 for a microcontroller: raw windows in, class and logits out, a network in integers without heap",
            "mmkd.deploy.c.target:export_c",
            ("student.h", "student.c", "main.c", "Makefile"),
            COptions,
        ),
    )
}
"""Every target by name."""


def get_target(name: object) -> Target:
    """The target of this name.

    Raises:
        MmkdError: there is none.
    """
    if not isinstance(name, str):
        raise MmkdError(f"to = {shown(name)} is not a text; give one of {', '.join(TARGETS)}")
    if name not in TARGETS:
        raise unknown_name("target", name, TARGETS)
    return TARGETS[name]
