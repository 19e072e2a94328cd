"""Which part of the student meets which teacher, and which stages."""

import torch

from mmkd import Outputs
from mmkd.methods.pairing import matched_maps, matched_stages, paired_branch


def network(*stages, **branches):
    return Outputs(
        torch.zeros(1, 2), torch.zeros(1, 2), {s: torch.full((1, 1), len(s)) for s in stages}, None, {}, branches
    )


def test_stages_are_matched_from_the_deepest():
    assert matched_stages(network("a", "b"), network("x", "y", "z")) == [("b", "z"), ("a", "y")]
    assert matched_stages(network("a", "b", "c"), network("x")) == [("c", "x")]
    three = network("a", "b", "c"), network("x", "y", "z")
    assert matched_stages(*three, "deep") == [("c", "z"), ("b", "y")]
    assert matched_stages(*three, "last") == [("c", "z")]
    ((own, other),) = matched_maps(network("a", "bb"), network("x", "yyy"), "last")
    assert (own.item(), other.item()) == (2, 3)


def test_encoders_meet_encoders():
    own = network("encoder1", "encoder2", "decoder1")
    other = network("encoder1", "encoder2", "encoder3", "decoder1", "decoder2")
    assert matched_stages(own, other) == [("decoder1", "decoder2"), ("encoder2", "encoder3"), ("encoder1", "encoder2")]


def test_a_teacher_meets_the_branch_of_its_modality():
    sig, gaf = network(), network()
    student = network(gaf=gaf, sig=sig)
    assert paired_branch(student, "gaf") is gaf
    assert paired_branch(student, "pi") is sig, "the signal branch where there is none of the modality"
    assert paired_branch(student, "gaf", "all") is sig
    assert paired_branch(student, "gaf", "fused") is student
    assert paired_branch(network(gaf=gaf), "pi") is gaf, "the first one where there is no signal"
    alone = network("a")
    assert paired_branch(alone, "gaf") is alone
