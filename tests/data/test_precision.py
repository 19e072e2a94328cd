"""Offsets beside which float32 cannot hold the variation of values: they are subtracted before the cast, and said."""

import hashlib
import warnings
from hashlib import sha256

import numpy as np
import pytest

import mmkd
from mmkd.bench import main
from mmkd.data import load_file
from mmkd.data.checksums import file_sha256

RNG = np.random.default_rng(0)
Y = np.arange(40) % 2
T = np.arange(64)
WAVE = np.sin(2 * np.pi * T * (1 + Y[:, None, None]) / 16) + 0.1 * RNG.standard_normal((40, 2, 64))
OFFSET = np.array([0.0, 1e9])


def save(path, x, **more):
    np.savez(path, x=x, y=Y, **more)
    return path


@pytest.mark.parametrize("kind", [np.float64, np.int64])
def test_an_offset_is_subtracted_before_the_cast(tmp_path, kind):
    x = (np.round(100 * WAVE) + OFFSET[:, None]).astype(kind)
    data = load_file(save(tmp_path / "own.npz", x))
    assert data.offset[0] == 0
    assert abs(data.offset[1] - 1e9) < 200
    np.testing.assert_array_equal(data.x, (x.astype(np.float64) - np.array(data.offset)[:, None]).astype(np.float32))
    assert data.x[:, 1].std() == pytest.approx(x[:, 1].std(), rel=1e-6)
    assert data.warnings[0].startswith("offsets that float32 cannot hold were subtracted: channel_1 1000000")
    content = hashlib.sha256((tmp_path / "own.npz").read_bytes()).hexdigest()
    plain = hashlib.sha256(content.encode()).hexdigest()
    assert data.sha256 != plain, "older records of this file are of other windows"
    path = save(tmp_path / "small.npz", WAVE)
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_file(path).sha256 == hashlib.sha256(content.encode()).hexdigest()


@pytest.mark.parametrize(
    "x",
    [WAVE, WAVE.astype(np.float32) + 1e9, WAVE * 1e-30, WAVE + 9.81, WAVE * 0 + 5e8, np.where(WAVE > 1, 1e30, WAVE)],
)
def test_other_values_are_left_as_they_are(tmp_path, x):
    data = load_file(save(tmp_path / "own.npz", x))
    np.testing.assert_array_equal(data.x, x.astype(np.float32))
    assert (data.offset, data.warnings) == (None, ())


def test_records_of_data_without_its_offset_are_not_taken_for_those_with(tmp_path):
    """Older versions read the same file, and lost the variation of its values: the checksum is another one."""
    path, other = save(tmp_path / "own.npz", WAVE + OFFSET[:, None]), save(tmp_path / "small.npz", WAVE)
    for file, has_offset in ((path, True), (other, False)):
        of_the_file = sha256(file_sha256(file).encode()).hexdigest()
        assert (load_file(file).sha256 != of_the_file) == has_offset


def test_the_offset_is_not_found_in_test_windows(tmp_path):
    x = WAVE + OFFSET[:, None]
    test = np.arange(40) >= 30
    one = load_file(save(tmp_path / "own.npz", x, test=test)).offset
    x[test, 1] += 100
    assert load_file(save(tmp_path / "own.npz", x, test=test)).offset == one


def test_a_student_takes_raw_windows(tmp_path, capsys):
    x = WAVE + OFFSET[:, None]
    path = save(tmp_path / "own.npz", x)
    flags = ["--student", "sig", "--epochs", "2", "--quiet", "--runs", str(tmp_path / "runs")]
    with warnings.catch_warnings(action="always"):
        assert main(["--method", "student", "--data", str(path), *flags]) == 0
    assert "warning: own.npz: offsets that float32 cannot hold were subtracted" in capsys.readouterr().err
    (record,) = (tmp_path / "runs").glob("*/predictions.npz")
    with np.load(record) as z:
        found = mmkd.load_student(record.parent).predict_proba(x[z["window"]])
        np.testing.assert_allclose(found, z["probabilities"], atol=1e-5)
