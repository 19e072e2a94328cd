"""Whatever a user passes from Python, the message is one short line: no arrays, tables or long texts are printed."""

import inspect
import re

import numpy as np
import pytest
import torch

import mmkd
from mmkd import MmkdError
from mmkd.core.text import one_line, shown
from mmkd.data import load_dataset, load_file
from mmkd.units.request import Request

LONGEST = 500


class Loud:
    """An object whose text is long and has many lines."""

    def __repr__(self):
        return "loud\n" * 1000


class Broken:
    def __repr__(self):
        raise RuntimeError("no text")


def table():
    import pandas

    return pandas.DataFrame(np.random.default_rng(0).normal(size=(40, 12)))


X = np.random.default_rng(0).normal(size=(40, 2, 64))
THINGS = {
    "array": X,
    "labels": np.arange(40) % 2,
    "tensor": torch.from_numpy(X),
    "list": X.tolist(),
    "dict": {"x": X, "y": np.arange(40)},
    "tuple": (X, np.arange(40)),
    "dict of lists": {f"name {i}": X.tolist() for i in range(50)},
    "text": "x" * 100_000,
    "lines": "one\ntwo\n" * 10_000,
    "bytes": b"\0" * 100_000,
    "set": set(range(10_000)),
    "number": 10**400,
    "loud": Loud(),
    "broken": Broken(),
    "class": Loud,
}


@pytest.fixture(params=[*THINGS, "table"])
def thing(request):
    return table() if request.param == "table" else THINGS[request.param]


def refused(call, *args, **kwargs):
    with pytest.raises(MmkdError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message, message[:300]
    assert len(message) <= LONGEST, message[:300]
    return message


RUN = [name for name in inspect.signature(mmkd.run).parameters if name not in ("settings", "device")]


@pytest.mark.parametrize(
    "name", [*RUN, "device", "epochs", "task", "folds", "split", "student_net", "nan", "temperature"]
)
def test_no_argument_of_run_is_printed_whole(thing, name, tmp_path, sines):
    settings = {"method": "kd", "data": sines, "student": "sig", "runs": tmp_path, "existing": "only", name: thing}
    if name == "dataset":
        del settings["data"]
    message = refused(mmkd.run, **settings)
    assert re.search(name.removesuffix("s").replace("_", "[-_]"), message) or "unknown" in message


def test_data_in_memory_is_told_to_become_a_file(tmp_path):
    for data in (X, {"x": X, "y": np.arange(40)}, table(), torch.from_numpy(X), [X]):
        message = refused(mmkd.run, "student", data=data, runs=tmp_path / "runs")
        assert "np.savez('mine.npz', x=x, y=y)" in message
        assert len(message) < 250
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "call",
    [
        load_file,
        load_dataset,
        mmkd.load_student,
        mmkd.METHODS.get,
        lambda thing: Request(thing, data=thing),
        lambda thing: mmkd.load_student("runs/1a2b3c4d", plugin=thing),
    ],
)
def test_nothing_else_prints_it_either(thing, call):
    refused(call, thing)


def test_shown_is_short_and_says_what_it_is(thing):
    text = shown(thing)
    assert "\n" not in text
    assert len(text) <= 300


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (X, "ndarray of shape (40, 2, 64)"),
        (torch.zeros(3, 4), "Tensor of shape (3, 4)"),
        ({"x": X}, "{'x': ndarray of shape (40, 2, 64)}"),
        ("a", "'a'"),
        (np.float64(2.5), "2.5"),
        (np.int64(3), "3"),
        ([1, "b", None], "[1, 'b', None]"),
    ],
)
def test_shown_by_example(value, text):
    assert shown(value) == text


@pytest.mark.parametrize("longest", [20, 60, 100, 200, 400])
def test_a_long_line_is_cut_in_the_middle(longest):
    text = "start of it " + "x" * 1000 + " end"
    line = one_line(text, longest)
    assert len(line) == longest
    assert line.startswith("start of")
    assert line.endswith("end")
    assert " ... " in line
    assert one_line(text[:longest], longest) == text[:longest]
