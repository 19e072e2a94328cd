"""Units of the selection phase, and of teachers that leave out a fold of the training part."""

from dataclasses import replace

from mmkd.specs.unit import UnitSpec


def in_fold(spec: UnitSpec, number: int, folds: int) -> UnitSpec:
    """The unit in one fold of its training part: it is tested there, and its teachers do not see it either.

    Args:
        number: of the fold, from 1.
        folds: number of folds.
    """
    return replace(
        spec, data=replace(spec.data, inner_fold=(number, folds)), teacher_validation=0.0, teacher_targets="fitted"
    )
