"""Which epoch of the teachers taught: what stands in their rows, and what is said of it."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

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


def by_epoch(taught: Iterable[tuple[Record, str]], identity: Callable[[Record], Hashable]) -> list[Taught]:
    """Teachers in rows.

    Args:
        taught: records of teachers, each with an epoch with which it taught; repeats do not count.
        identity: what teachers of one row have in common.
    """
    groups: dict[Hashable, dict[str, dict[str, Record]]] = {}
    for record, epoch in taught:
        groups.setdefault(identity(record), {}).setdefault(epoch, {})[record.key] = record
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


def validation_notes(units: Iterable[Record], teachers: Mapping[str, Record]) -> list[str]:
    """A line on teachers that have validation windows of their own, where students have none."""
    own = [record for record in units if getattr(record.spec, "teacher_validation", 0)]
    if not own:
        return []
    methods = ", ".join(dict.fromkeys(record.unit.method for record in own))
    counts = [teachers[key].data.get("windows") or {} for r in own for key in r.teachers.values() if key in teachers]
    sizes = " or ".join(dict.fromkeys(f"{part.get('validation')} windows" for part in counts))
    return [f"teachers of {methods}: {sizes or 'some windows'} that the student trains on chose their epoch instead"]
