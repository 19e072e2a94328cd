"""Records that are parts of others and no rows of tables: of folds of the training part, and of students that teach."""

from mmkd.core.errors import MmkdError
from mmkd.specs.unit import UnitSpec
from mmkd.store.record import Record


def is_part_of_another(record: Record) -> bool:
    """Whether a record was made for another one, or for a choice between some.

    It is tested in a fold of the training part; or it is a student under a training seed that is not the unit's, see
    `Method.likes`.
    """
    return is_like(record) or _is_in_fold(record)


def is_like(record: Record) -> bool:
    """Whether a record is of a student that was trained alone for another unit, under another training seed."""
    try:
        return isinstance(record.spec, UnitSpec) and record.spec.training_seed is not None
    except (MmkdError, KeyError, TypeError, ValueError, AttributeError):  # of another version, or damaged
        return False


def is_tried(record: Record) -> bool:
    """Whether a record is of a configuration that equal tuning tried."""
    try:
        return isinstance(record.spec, UnitSpec) and bool(record.spec.tuning)
    except (MmkdError, KeyError, TypeError, ValueError, AttributeError):
        return False


def _is_in_fold(record: Record) -> bool:
    try:
        return bool(record.spec.data.inner_fold)
    except (MmkdError, KeyError, TypeError, ValueError, AttributeError):
        return False


def is_of_selection(record: Record) -> bool:
    """Whether a record is one of the selection phase, or of a teacher that leaves out a fold of the training part."""
    return _is_in_fold(record) and not is_like(record)
