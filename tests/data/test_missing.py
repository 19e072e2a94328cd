"""Missing values are filled or left out, and said."""

import numpy as np
import pytest

from mmkd.data import load_file
from mmkd.units.understood import understand_data


@pytest.fixture
def save(tmp_path):
    """Saves 40 windows of 2 channels of noise about 100, some values changed; returns the path and the array."""

    def make(change):
        x = (np.random.default_rng(0).standard_normal((40, 2, 64)) + 100).astype(np.float32)
        change(x)
        path = tmp_path / "hr.npz"
        np.savez(path, x=x, y=np.arange(40) % 2, test=np.arange(40) >= 28)
        return path, x

    return make


def test_a_sensor_that_is_missing_in_whole_windows_has_its_mean_of_the_training_windows(save):
    """It was 0, a value that the sensor never has."""

    def change(x):
        x[:10, 1] = np.nan
        x[35, 1] = np.inf
        x[20:, 1] += 50

    path, x = save(change)
    data = load_file(path, "impute")
    mean = x[10:28, 1].mean(dtype=np.float64)
    np.testing.assert_allclose(data.x[:10, 1], mean, rtol=1e-6)
    np.testing.assert_allclose(data.x[35, 1], mean, rtol=1e-6)
    np.testing.assert_array_equal(data.x[:, 0], x[:, 0])
    assert data.warnings == (
        f"channels without any value, filled with their mean: channel_1 in 11 windows (mean {mean:.4g})",
    )
    assert "; 704 missing values in 11 windows filled; test part as in the file" in understand_data(data).text


def test_a_record_with_zeros_is_not_taken_for_one_with_means(save):
    def hole(x):
        x[3, 1, 5:60] = np.nan

    def whole(x):
        x[3, 1] = np.nan

    path, _ = save(hole)
    dropped, filled = load_file(path, "drop"), load_file(path, "impute")
    assert dropped.sha256 == filled.sha256
    assert filled.warnings == ()
    path, _ = save(whole)
    dropped, filled = load_file(path, "drop"), load_file(path, "impute")
    assert dropped.sha256 != filled.sha256
    assert "; 1 window with missing values left out; " in understand_data(dropped).text


def test_a_channel_without_any_training_value_is_zero(save):
    def change(x):
        x[:, 1] = np.nan

    path, _ = save(change)
    data = load_file(path, "impute")
    assert (data.x[:, 1] == 0).all()
    assert any("constant in whole windows: channel_1 in 40 of 40" in line for line in understand_data(data).warnings)


def test_without_missing_values_nothing_is_said(save):
    path, x = save(lambda x: None)
    data = load_file(path, "impute")
    assert (data.missing, data.warnings) == ("", ())
    np.testing.assert_array_equal(data.x, x)
