"""The names of rows: a method, or a teacher, and the options in which units of one name differ, as in tables."""

from collections.abc import Sequence

from mmkd.comparison.identity import (
    Settings,
    as_key,
    flat,
    making_settings,
    method_names,
    most_usual,
    teacher_name,
    teacher_settings,
)
from mmkd.comparison.length import training_settings
from mmkd.core.text import shorten
from mmkd.results.protocol import Regime
from mmkd.specs.unit import TeacherSpec, UnitSpec
from mmkd.store.record import Record
from mmkd.units.methods import ALONE, status_of
from mmkd.units.names import variant_names


def kind_of(record: Record) -> str:
    """The kind of the row of a record, one of `columns.KINDS`."""
    if record.kind in ("teacher", "reference"):
        return {"teacher": "teacher", "reference": "peer"}[record.kind]
    method = record.unit.method
    if method == ALONE:
        return "student"
    return "control" if status_of(method, record.result) == "control" else "method"


def method_of(record: Record) -> str:
    """The registered name of a unit's method; of a teacher its network, of a peer its name."""
    return record.spec.net if isinstance(record.spec, TeacherSpec) else record.spec.method


def student_of(record: Record, regime: Regime) -> str:
    """The modalities of a student or peer, such as "sig+gaf"; of a teacher its own.

    In a regime whose students have several networks, or fusions, that of a student stands behind them: "sig mamba".
    """
    spec = record.spec
    if isinstance(spec, TeacherSpec):
        return spec.modality
    names = ["+".join(spec.student)]
    if isinstance(spec, UnitSpec):
        names += [spec.student_net] * regime.has_several_nets
        names += [str(spec.fusion)] * (regime.has_several_fusions and spec.fusion is not None)
    return " ".join(names)


def row_names(records: Sequence[Record], regime: Regime) -> dict[str, str]:
    """Key -> the name of its row, of all records of a regime, so that a row has one name on all data sets.

    It is the method with the options in which its units differ, as `mmkd.compare` has it; of a teacher its modality and
    network, with "best epoch" where that was chosen on windows left out of its training. Where units of one name, data
    set, student and seed are left, what tells them apart is added.
    """
    names = method_names([record for record in records if isinstance(record.spec, UnitSpec)])
    for record in records:
        spec = record.spec
        if isinstance(spec, TeacherSpec):
            names[record.key] = teacher_name(record) + " best epoch" * (spec.data.epoch_rule == "val-best")
        elif not isinstance(spec, UnitSpec):
            names[record.key] = spec.method
    places: dict[tuple[str, str, str, int], list[Record]] = {}
    for record in records:
        place = record.spec.data.name, student_of(record, regime), names[record.key], record.spec.seed
        places.setdefault(place, []).append(record)
    differing: dict[str, dict[str, None]] = {}
    for (_, _, name, _), members in places.items():
        if len(members) > 1:
            differing.setdefault(name, {}).update(dict.fromkeys(_differing([_making(record) for record in members])))
    named = [(names[r.key], {key: _making(r).get(key) for key in differing.get(names[r.key], ())}) for r in records]
    texts = variant_names(named, most_usual(named))
    return {record.key: shorten(text) for record, text in zip(records, texts, strict=True)}


def _differing(members: Sequence[Settings]) -> list[str]:
    """The settings in which these differ."""
    keys = dict.fromkeys(key for settings in members for key in settings)
    return [key for key in keys if len({as_key(settings.get(key)) for settings in members}) > 1]


def _making(record: Record) -> Settings:
    """How a unit, its teachers, or a teacher were made."""
    spec = record.spec
    if isinstance(spec, TeacherSpec):
        return teacher_settings(record)
    if not isinstance(spec, UnitSpec):
        return {"revision": getattr(spec, "revision", 1)}
    return {**flat({"student": training_settings(spec.training)}), **making_settings(record)}
