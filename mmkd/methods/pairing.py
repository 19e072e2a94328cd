"""Which part of the student is compared with which teacher, and which stages of the two networks are compared."""

from collections.abc import Iterable

from torch import Tensor

from mmkd.core.registry import without_rate
from mmkd.methods.outputs import Outputs

STAGE_GROUPS = ("encoder", "decoder")
"""Prefixes of the stage names of networks that label every time step."""


def paired_branch(student: Outputs, modality: str, pairs: str = "same") -> Outputs:
    """Return the part of the student that is trained to follow the teacher of `modality`.

    A student without branches is returned as it is.

    Args:
        student: outputs of the student.
        modality: the modality of the teacher.
        pairs: "same" for the branch of the same modality, or the signal branch if the student has no such branch;
            "all" for the signal branch; "fused" for the whole student, as it is deployed. The signal branch is `sig`,
            or the first branch if there is no `sig`. A branch of a slower sensor, such as `gaf@25Hz`, is one of the
            same modality.
    """
    if not student.branches or pairs == "fused":
        return student
    name = same_branch(student.branches, modality) if pairs == "same" else ""
    return student.branches[name or same_branch(student.branches, "sig") or next(iter(student.branches))]


def same_branch(branches: Iterable[str], modality: str) -> str:
    """The name of the branch of a modality, at its rate or, if there is none, at another; empty if there is none.

    >>> same_branch(["sig@25Hz", "gaf@25Hz"], "gaf"), same_branch(["sig", "gaf@acc"], "gaf")
    ('gaf@25Hz', '')
    """
    names = list(branches)
    return modality if modality in names else next((name for name in names if without_rate(name) == modality), "")


def matched_stages(student: Outputs, teacher: Outputs, stages: str = "all") -> list[tuple[str, str]]:
    """Pair the stages of two networks, starting from the deepest.

    If one network has more stages than the other, its shallowest stages are left out. If both networks name their
    stages `encoder*` and `decoder*`, encoder stages are paired with encoder stages and decoder stages with decoder
    stages.

    Args:
        student: outputs of a branch, or of a student without branches.
        teacher: outputs of a teacher.
        stages: "all", "deep" (the two deepest pairs) or "last" (the deepest pair).

    Returns:
        (student stage, teacher stage) names, the deepest pair first.

    >>> import torch
    >>> def outputs(*stages): return Outputs(torch.zeros(1), torch.zeros(1), dict.fromkeys(stages, torch.zeros(1)))
    >>> matched_stages(outputs("a", "b"), outputs("x", "y", "z"))
    [('b', 'z'), ('a', 'y')]
    """
    student_names = list(student.features)
    teacher_names = list(teacher.features)
    groups = [
        ([s for s in student_names if s.startswith(prefix)], [t for t in teacher_names if t.startswith(prefix)])
        for prefix in STAGE_GROUPS
    ]
    if not all(s and t for s, t in groups):
        groups = [(student_names, teacher_names)]
    names = [pair for s, t in reversed(groups) for pair in zip(reversed(s), reversed(t), strict=False)]
    return names[: {"all": len(names), "deep": 2, "last": 1}[stages]]


def matched_maps(student: Outputs, teacher: Outputs, stages: str = "all") -> list[tuple[Tensor, Tensor]]:
    """Return the feature maps (student, teacher) of `matched_stages`, the deepest pair first.

    Feature maps of other stages are not accessed, so that they need not be loaded.
    """
    return [(student.features[s], teacher.features[t]) for s, t in matched_stages(student, teacher, stages)]
