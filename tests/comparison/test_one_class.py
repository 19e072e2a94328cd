"""A network that predicts one class for all windows is said to."""

import numpy as np
import pytest

from mmkd.comparison.predictions import one_class_note
from mmkd.store.record import Record

TRUE = np.arange(12) % 3


@pytest.fixture
def made(tmp_path):
    def make(number: int, predicted, true=TRUE) -> Record:
        folder = tmp_path / str(number)
        folder.mkdir()
        np.savez(folder / "predictions.npz", window=np.arange(len(true)), true=true, predicted=predicted)
        return Record(folder, {"key": str(number), "files": {}})

    return make


def test_units_that_predict_one_class(made, tmp_path):
    diverged, sound = made(0, np.full(12, 2)), made(1, TRUE[::-1])
    words = "one class is predicted for all test windows"
    assert one_class_note("kd", [diverged]) == [f"kd: {words}; did the training diverge, or hardly begin?"]
    (line,) = one_class_note("kd", [diverged, sound])
    assert line.startswith(f"kd: {words} in 1 of 2 units;")
    assert one_class_note("kd", [sound]) == []
    assert one_class_note("kd", [Record(tmp_path / "none", {"key": "none"})]) == []


def test_where_there_is_one_class_alone_or_steps_have_labels(made):
    assert one_class_note("kd", [made(0, np.ones(12, int), np.ones(12, int))]) == []
    assert one_class_note("kd", [made(1, np.ones((4, 3), int), TRUE.reshape(4, 3))]) == []
