"""Keys: what JSON has no value for is said in one line."""

from pathlib import Path

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.core.keys import digest


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Path("x"), r"options\.odd = .*Path.* cannot be kept in a record"),
        (float("inf"), r"options\.odd = inf \(float\) cannot be kept"),
        ([1, {"a": np.float32(0.5)}], r"options\.odd\.1\.a = .*0\.5.* \(float32\) cannot be kept"),
        ({1: 2, "a": 3}, r"options\.odd = .* \(dict\) cannot be kept"),
    ],
)
def test_a_value_that_no_record_can_hold_is_named(value, words):
    with pytest.raises(MmkdError, match=words):
        digest({"kind": "student", "options": {"fine": 1, "odd": value}})
