"""What equal tuning tries of an option."""

from dataclasses import dataclass

import pytest

from mmkd import Options, Range, option
from mmkd.core.options import recorded
from mmkd.core.ranges import in_words, tuned_in


@dataclass(frozen=True)
class Sample(Options):
    temperature: float = option(4.0, "softening", gt=0, tune=Range(1, 16, log=True))
    schedule: str = option("constant", "over the epochs", tune=("constant", "linear:1:0"))
    pairs: str = option("fused", "which logits")


def test_a_range_is_uniform_on_its_scale():
    assert [Range(0, 1).at(u) for u in (0, 0.25, 1)] == [0, 0.25, 1]
    assert [Range(0.01, 100, log=True).at(u) for u in (0, 0.25, 0.5, 1)] == [0.01, 0.1, 1, 100]
    assert Range(1, 3).at(1 / 3) == 1.67
    assert Range(1.23456, 2).at(0) == 1.23456  # not below its end by rounding


@pytest.mark.parametrize("ends", [(2, 2), (3, 2), (0, float("inf")), (float("nan"), 1)])
def test_a_range_without_numbers_is_refused(ends):
    with pytest.raises(ValueError, match="has no numbers"):
        Range(*ends)


def test_no_log_scale_from_zero():
    with pytest.raises(ValueError, match="begin above 0"):
        Range(0, 2, log=True)


def test_ranges_stand_on_options_and_in_no_key():
    assert tuned_in(Sample) == {"temperature": Range(1, 16, log=True), "schedule": ("constant", "linear:1:0")}
    assert [in_words(tune) for tune in tuned_in(Sample).values()] == ["1 to 16, log scale", "constant or linear:1:0"]
    assert recorded(Sample()) == {"temperature": 4.0, "schedule": "constant", "pairs": "fused"}
