"""Which epoch of the teachers taught: what stands in their rows, and what is said of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mmkd.specs.unit import Spec, UnitSpec
from mmkd.store.record import Record

EPOCHS = {
    ("last",): "teachers: scores of their last epoch, with which they taught",
    ("best",): "teachers: scores of their best epoch on validation, with which they taught",
    ("best", "last"): "teachers: a row for each epoch with which they taught, the last or the best on validation",
}
"""Epochs of the rows of teachers -> what is to be known of them."""


@dataclass(frozen=True)
class Taught:
    """The teachers of one row.

    Attributes:
        epoch: with which they taught, "best" or "last"; empty if the best epoch of each is its last.
        asked: the epochs that units asked for.
        records: with the scores of that epoch.
    """

    epoch: str
    asked: tuple[str, ...]
    records: Sequence[Record]


def by_epoch(taught: Iterable[tuple[str, Record, str]]) -> list[Taught]:
    """Teachers in rows.

    Args:
        taught: of each teacher what those of one row have in common, its record, and an epoch with which it taught;
            repeats do not count.
    """
    groups: dict[str, dict[str, dict[str, Record]]] = {}
    for identity, record, epoch in taught:
        groups.setdefault(identity, {}).setdefault(epoch, {})[record.key] = record
    rows = []
    for epochs in groups.values():
        alike = {key: record for records in epochs.values() for key, record in records.items()}
        if all(record.has_one_epoch for record in alike.values()):
            rows.append(Taught("", tuple(epochs), list(alike.values())))
            continue
        for epoch, records in epochs.items():
            rows.append(Taught(epoch, (epoch,), [record.at_epoch(epoch) for record in records.values()]))
    return rows


def epoch_notes(epochs: Iterable[str]) -> list[str]:
    """A line on the epochs of these rows; none if no teacher has two."""
    different = tuple(sorted(set(epochs) - {""}))
    return [EPOCHS[different]] if different in EPOCHS else []


def validation_notes(specs: Iterable[Spec], teachers: Mapping[str, Record]) -> list[str]:
    """A line on teachers that have validation windows of their own, where students have none."""
    own = [spec for spec in specs if isinstance(spec, UnitSpec) and spec.teacher_validation]
    if not own:
        return []
    methods = ", ".join(dict.fromkeys(spec.method for spec in own))
    keys = [spec.teacher(modality).key for spec in own for modality in spec.teachers]
    counts = [teachers[key].data.get("windows") or {} for key in keys if key in teachers]
    sizes = " or ".join(dict.fromkeys(f"{part.get('validation')} windows" for part in counts))
    return [f"teachers of {methods}: {sizes or 'some windows'} that the student trains on chose their epoch instead"]


FEW_ERRORS = 0.01
"""Share of the training windows below which a correction of the teachers' errors does next to nothing."""


def few_errors_notes(specs: Iterable[Spec], teachers: Mapping[str, Record]) -> list[str]:
    """A line on rows with the option `teacher_errors` whose teachers are wrong on almost no training window."""
    lines: dict[str, None] = {}
    for spec in specs:
        how = spec.options.get("teacher_errors", "keep") if isinstance(spec, UnitSpec) else "keep"
        if how == "keep" or not isinstance(spec, UnitSpec):
            continue
        keys = [spec.teacher(modality).key for modality in spec.teachers]
        fits = [teachers[key].result.get("training_fit") or {} for key in keys if key in teachers]
        shares = [epoch["wrong"] for fit in fits for epoch in fit.values() if "wrong" in epoch]
        if shares and max(shares) < FEW_ERRORS:
            lines[
                f"teacher-errors {how}: the teachers of {spec.method} are wrong on less than {FEW_ERRORS:.0%} of the "
                f"training windows, so that the option changes next to nothing"
            ] = None
    return list(lines)
