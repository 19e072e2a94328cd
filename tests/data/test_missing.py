"""What was done about missing values is said."""

import numpy as np
import pytest

from mmkd.data import load_file
from mmkd.units.understood import understand_data


@pytest.mark.parametrize(
    ("windows", "nan", "words"),
    [
        ([3], "drop", "; 1 window with missing values left out; "),
        ([3, 4, 9], "drop", "; 3 windows with missing values left out; "),
        ([3, 4], "impute", "; missing values filled in 2 windows; "),
        ([], "impute", "2 classes; split by subject"),
    ],
)
def test_how_many_windows_had_missing_values_is_said(tmp_path, windows, nan, words):
    x = np.random.default_rng(0).standard_normal((40, 2, 64)).astype(np.float32)
    x[windows, 1, 5:9] = np.nan
    np.savez(tmp_path / "hr.npz", x=x, y=np.arange(40) % 2, subject=np.arange(40) // 4)
    data = understand_data(load_file(tmp_path / "hr.npz", nan))
    assert words in data.text
    assert data.warnings == ()
