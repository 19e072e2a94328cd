"""The way of one unit from the command to the loss: few calls deep, and nothing is done twice on it."""

import sys
from collections import Counter

import pytest

from mmkd import METHODS
from mmkd.bench import main
from mmkd.core import keys
from mmkd.data import splits
from mmkd.specs import unit
from mmkd.units import splits as unit_splits

MOST_FRAMES = 15


def frames():
    """Names of the calls of mmkd on the stack, the outermost first."""
    names = []
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] == "mmkd":
            names.append(frame.f_code.co_qualname if sys.version_info >= (3, 11) else frame.f_code.co_name)
        frame = frame.f_back
    return names[::-1]


@pytest.fixture
def bench(sines, tmp_path):
    def run(*args):
        fixed = ["--data", str(sines), "--epochs", "2", "--student", "sig", "--teachers", "sig", "--image-size", "16"]
        places = ["--runs", str(tmp_path / "runs"), "--cache", str(tmp_path / "cache"), "--quiet"]
        return main([*args, *fixed, *places])

    return run


def test_from_the_command_to_the_losses(bench, monkeypatch):
    seen = []
    method = METHODS.get("kd")
    losses = method.losses

    def watched(self, *args):
        seen.append(frames())
        return losses(self, *args)

    monkeypatch.setattr(method, "losses", watched)
    assert bench("--method", "kd") == 0
    in_training = [names for names in seen if "train_student" in names]
    assert in_training
    for names in in_training:
        assert names[0] == "main"
        assert len(names) + 1 <= MOST_FRAMES, names  # and `losses` itself


def test_a_split_is_cut_once(bench, monkeypatch):
    calls = []
    cut = unit_splits.split_windows
    monkeypatch.setattr(
        unit_splits, "split_windows", lambda data, seed, *rest: calls.append(seed) or cut(data, seed, *rest)
    )
    assert bench("--method", "student,kd", "--seeds", "0-1") == 0
    assert len(calls) == len(set(calls)) == 2


def test_a_key_is_hashed_once(bench, monkeypatch):
    hashed = Counter()
    digest = keys.digest

    def counted(values):
        key = digest(values)
        if isinstance(values, dict) and values.get("kind") in ("student", "teacher"):
            hashed[key] += 1
        return key

    monkeypatch.setattr(unit, "digest", counted)
    assert bench("--method", "kd") == 0
    assert len(hashed) == 3  # of the unit, its teacher, and its student alone
    assert set(hashed.values()) == {1}


def test_predictions_are_written_once(bench, monkeypatch):
    import numpy as np

    written = Counter()
    savez = np.savez

    def counted(file, **arrays):
        written[str(file)] += 1
        savez(file, **arrays)

    monkeypatch.setattr(np, "savez", counted)
    assert bench("--method", "kd") == 0
    predictions = [path for path in written if path.endswith("predictions.npz")]
    assert len(predictions) == 3  # of the student, of the teacher in the cache, and of the teacher's record
    assert set(written.values()) == {1}


def test_the_training_windows_of_a_split_are_hashed_once(monkeypatch, sines):
    from mmkd.data import load_file
    from mmkd.specs.data import DataSpec

    calls = []
    digest = keys.digest
    monkeypatch.setattr(splits.keys, "digest", lambda values: calls.append(1) or digest(values))
    data = load_file(sines)
    split = unit_splits.split_for(data, DataSpec(data.name, data.sha256), 0)
    assert split is unit_splits.split_for(data, DataSpec(data.name, data.sha256), 0)
    assert split.train_digest == split.train_digest
    assert len(calls) == 1
