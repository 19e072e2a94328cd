"""Records made ready to travel: with the scores that they lack, and with what predictions say beside other records."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from mmkd.comparison.compare import Comparison, why_unusable
from mmkd.comparison.predictions import missing_scores, with_current_scores
from mmkd.core.errors import MmkdError
from mmkd.metrics.registry import checksum_field
from mmkd.store.record import Record
from mmkd.store.travelling import TravellingRecord, line_of, travelling


def travelling_records(records: Iterable[Record], comparison: Comparison | None = None) -> list[TravellingRecord]:
    """The records without predictions, weights, pictures and windows, one of each key; without unusable ones.

    Args:
        comparison: of these records; what it computed from their predictions travels with them.
    """
    usable = {record.key: record for record in records if not why_unusable(record)}
    functional: dict[str, dict[str, Any]] = {}
    for group in comparison.groups if comparison is not None else ():
        for key, facts in group.functional.items():
            for name, own in facts.items():
                functional.setdefault(key, {}).setdefault(name, {}).update(own)
    return [travelling(_with_all_scores(record), functional.get(key, {})) for key, record in usable.items()]


def _with_all_scores(record: Record) -> Record:
    """The record with the scores that can be computed from its predictions, which do not travel."""
    record = replace(record, replaced={})
    try:
        current = with_current_scores(record)
        metrics = {part: dict(scores) for part, scores in current.metrics.items()}
        metrics["test"] |= missing_scores(record)
        if record.kind == "teacher" and (last := record.at_epoch("last")).epoch == "last":
            metrics["test_last"] |= missing_scores(last)
    except (KeyError, TypeError, ValueError, AttributeError, MmkdError):  # it is left out of tables, too
        return record
    checksums = checksum_field().get("metric_sha256", {})
    own = {**(record.result.get("metric_sha256") or {}), **checksums}
    used = {name: checksum for name, checksum in own.items() if name in metrics["test"]}
    return replace(record, result={**record.result, "metrics": metrics, **({"metric_sha256": used} if used else {})})


def compact_records(comparison: Comparison) -> str:
    """The records of a comparison and of its phases, as the lines of a file that `--records` reads."""
    records = travelling_records([*comparison.records, *comparison.parts], comparison)
    return "".join(f"{line_of(record)}\n" for record in sorted(records, key=lambda record: record.key))
