"""Schedules: their values, and the texts that are none."""

import math

import pytest

from mmkd import METHODS, MmkdError
from mmkd.methods.schedules import Schedule


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("constant", (1, 1, 1, 1, 1)),
        ("linear:8,2", (8, 6.5, 5, 3.5, 2)),
        ("cosine:0,1", (0, (1 - math.sqrt(0.5)) / 2, 0.5, (1 + math.sqrt(0.5)) / 2, 1)),
        ("step:1,0,0.5", (1, 1, 0, 0, 0)),
    ],
)
def test_values_over_the_epochs(text, values):
    schedule = Schedule.parse(text, "weight-schedule")
    assert [schedule.at(share) for share in (0, 0.25, 0.5, 0.75, 1)] == pytest.approx(list(values))


@pytest.mark.parametrize(
    "text", ["", "liner:1,2", "linear", "linear:1", "linear:1,2,3", "step:1,0", "step:1,0,2", "linear:-1,2"]
)
@pytest.mark.parametrize("option", ["weight_schedule", "temperature_schedule"])
def test_other_texts_are_refused_and_the_forms_named(text, option):
    with pytest.raises(MmkdError, match=f"{option.replace('_', '-')} .*linear:A,B"):
        METHODS.get("kd")(**{option: text})


@pytest.mark.parametrize("text", ["linear:nan,1", "linear:1,inf", "linear:a,b", "constant:1"])
def test_values_are_finite_numbers(text):
    with pytest.raises(MmkdError, match="values are finite"):
        Schedule.parse(text, "weight-schedule")


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(MmkdError, match="a temperature is from 0.01 to 100"):
        METHODS.get("kd")(temperature_schedule="linear:4,0")
