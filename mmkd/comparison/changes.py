"""What a row changes against a control, how much of the gap to the teachers it closes, and what it costs in time."""

from collections.abc import Sequence

from mmkd.comparison.rows import STUDENT_ONLY, Row, common_repeats
from mmkd.comparison.units import on_one_machine
from mmkd.core.refusal import Refusal
from mmkd.metrics.pairs import Paired, gap_closed, paired


def enter_changes(
    students: Sequence[Row], teachers: Sequence[Row], control: str, has_gap: bool, notes: dict[str, None]
) -> None:
    """Enter change, gap and time of each student.

    Args:
        teachers: the rows that `Row.teachers` numbers.
        control: the method that changes are measured against.
        has_gap: whether teachers have the score that is compared.
    """
    alone_rows = [row for row in students if row.base == STUDENT_ONLY]
    controls = [row for row in students if row.base == control]
    if not controls:
        notes[f"no unit of {control!r} among these records: no change is shown"] = None
    if not alone_rows and control != STUDENT_ONLY:
        notes["no student alone among these records: neither gap nor training time is shown"] = None
    for row in students:
        other = nearest(row, controls)
        alone = nearest(row, alone_rows)
        if other is not None and other is not row:
            row.control = other.name
            row.change = change(row, other)
        if alone is not None and alone is not row:
            if has_gap and row.is_student:
                row.gap = gap(row, alone, [teachers[number] for number in row.teachers])
            if row.is_student:
                row.time = time_ratio(row, alone)
    if len(controls) > 1:
        notes[f"{len(controls)} rows of {control!r}: each other row against the one nearest in its options"] = None


def nearest(row: Row, controls: Sequence[Row]) -> Row | None:
    """The control whose settings agree in most with the row's; the row itself where it is one."""
    if any(row is control for control in controls):
        return row

    def agreement(control: Row) -> int:
        return sum(row.settings.get(name) == value for name, value in control.settings.items())

    def reads_all(control: Row) -> bool:  # of detectors, some of which are no networks: the one that reads all channels
        return "@" not in str(control.settings.get("student", ""))

    return max(controls, key=lambda control: (agreement(control), reads_all(control)), default=None)


def change(row: Row, control: Row) -> Paired | Refusal:
    """Score of a row minus that of another, paired by seed, or fold."""
    repeats = common_repeats(row, control)
    pairs = zip(row.scores(repeats), control.scores(repeats), strict=True)
    return paired([own - other for own, other in pairs])


def gap(row: Row, alone: Row, teachers: Sequence[Row]) -> float | Refusal:
    """Share of the gap to the best of a row's own teachers, by its mean over the seeds, or folds, that all have."""
    if not teachers:
        return Refusal("it has no teacher on record")
    repeats = common_repeats(row, alone, *teachers)
    best = max((teacher.scores(repeats) for teacher in teachers), key=sum)
    return gap_closed(alone.scores(repeats), best, row.scores(repeats))


def time_ratio(row: Row, alone: Row) -> float | Refusal:
    """Training time over that of the student alone, of the units that both did on one kind of machine."""
    pairs = [(row.units[repeat], alone.units[repeat]) for repeat in common_repeats(row, alone)]
    comparable = [pair for pair in pairs if on_one_machine(pair)]
    own = sum(unit.metrics["seconds"] for unit, _ in comparable)
    base = sum(unit.metrics["seconds"] for _, unit in comparable)
    if not base:
        return Refusal("not trained on the same machine with the same threads as the student alone")
    return own / base
