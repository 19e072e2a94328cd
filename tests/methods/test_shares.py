"""Shares of teachers: they sum to 1, whatever numbers were given."""

import pytest

from mmkd.methods.shares import teacher_shares


def test_shares_sum_to_one():
    assert teacher_shares("equal", ["sig", "gaf", "pi"]) == pytest.approx(dict.fromkeys(("sig", "gaf", "pi"), 1 / 3))
    assert teacher_shares("gaf=1,sig=3", ["sig", "gaf"]) == {"sig": 0.75, "gaf": 0.25}
    assert teacher_shares("sig=0.5, gaf=0.25, pi=0.25", ["sig", "gaf", "pi"]) == {"sig": 0.5, "gaf": 0.25, "pi": 0.25}
    assert teacher_shares("sig=0,gaf=0.2", ["sig", "gaf"]) == {"sig": 0.0, "gaf": 1.0}
    assert list(teacher_shares("gaf=1,sig=3", ["sig", "gaf"])) == ["sig", "gaf"], "in the order of the teachers"
