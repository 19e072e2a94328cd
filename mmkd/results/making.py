"""Results from records: which records are of the protocol, and their lines."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmkd.comparison.compare import why_unusable
from mmkd.comparison.parts import is_part_of_another
from mmkd.comparison.predictions import with_current_scores
from mmkd.core.errors import MmkdError, describe_error
from mmkd.core.text import shown
from mmkd.metrics.registry import METRICS
from mmkd.results.columns import Line
from mmkd.results.fitting import Difference, describe, differences
from mmkd.results.lines import subject_accuracies, unit_lines
from mmkd.results.naming import row_names
from mmkd.results.protocol import Protocol, Regime
from mmkd.store.record import Record
from mmkd.store.travelling import SUFFIX, TravellingRecord, read_travelling
from mmkd.units.costs import share_costs


@dataclass(frozen=True)
class Made:
    """The lines of a regime.

    Attributes:
        units: how many records they are of.
        sha256: data set -> checksum of its content, as the records have it.
        left_out: one line for each reason why records are not among them.
    """

    regime: str
    lines: list[Line] = field(default_factory=list)
    units: int = 0
    sha256: Mapping[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def record_files(protocol: Protocol) -> dict[str, list[Path]]:
    """Regime -> its files of records, `records/REGIME.jsonl` and `records/REGIME-*.jsonl`.

    The longest name counts: `C-views.jsonl` is of the regime `C-views` and not of `C`, and `A-dev.jsonl` of the suite
    `A-dev.toml`, which is of no regime.

    Raises:
        MmkdError: a file has the name of no regime and no suite.
    """
    found: dict[str, list[Path]] = {name: [] for name in protocol.regimes}
    suites = [path.stem for path in protocol.folder.glob("*.toml")]
    for path in sorted(protocol.records.glob(f"*{SUFFIX}")):
        known = [*protocol.regimes, *suites]
        names = [name for name in known if path.stem == name or path.stem.startswith(f"{name}-")]
        if not names:
            raise MmkdError(f"{path}: it has the name of no regime (regimes: {', '.join(protocol.regimes)})")
        longest = max(names, key=len)
        owner = next(
            (own.name for own in protocol.regimes.values() if longest in (s.stem for s in own.suites)), longest
        )
        if owner in found:
            found[owner].append(path)
    return found


def make_results(protocol: Protocol) -> list[Made]:
    """The lines of all regimes, of the records in the folder of the protocol.

    Raises:
        MmkdError: a file of records or a suite is malformed.
    """
    made = []
    for name, paths in record_files(protocol).items():
        records: Mapping[str, TravellingRecord] = read_travelling(paths, "records") if paths else {}
        made.append(make_lines(list(records.values()), protocol, protocol.regimes[name], verified=True))
    return made


def make_lines(records: Sequence[Record], protocol: Protocol, regime: Regime, verified: bool) -> Made:
    """The lines of those records that are of a regime and of its methods."""

    def why_not(record: Record) -> str:
        return _in_words(differences(record, protocol, regime, methods=True))

    kept, left_out = sort_out(records, why_not)
    return lines_of(kept, row_names(kept, regime), protocol, regime, verified, left_out)


def lines_of(
    records: Sequence[Record],
    names: Mapping[str, str],
    protocol: Protocol,
    regime: Regime,
    verified: bool,
    left_out: Sequence[str] = (),
) -> Made:
    """The lines of records that are known to be of a regime.

    Args:
        names: key -> the name of its row.
    """
    subjects = subject_accuracies(records)
    lines: list[Line] = []
    for record in share_costs(map(with_current_scores, records)):
        own = subjects.get(record.key, {})
        lines += unit_lines(record, names[record.key], protocol, regime, own, verified)
    unknown = dict.fromkeys(line.metric for line in lines if line.metric not in METRICS)
    lines = [line for line in lines if line.metric not in unknown]
    seen: dict[tuple[object, ...], Line] = {}
    for line in lines:
        if seen.setdefault(line.identity, line) is not line:
            raise MmkdError(
                f"regime {regime.name}: units {seen[line.identity].key} and {line.key} have one name, {line.row!r}, on "
                f"{line.dataset}, seed {line.seed}; remove one of the two from the records"
            )
    sha256: dict[str, str] = {}
    notes = [*left_out, *_left_out_metrics(list(unknown))]
    for record in records:
        data = record.spec.data
        if sha256.setdefault(data.name, data.sha256) != data.sha256:
            notes.append(f"regime {regime.name}: records of {data.name} are of two versions of its content")
    return Made(regime.name, lines, len(records), dict(sorted(sha256.items())), list(dict.fromkeys(notes)))


def sort_out(records: Iterable[Record], why_not: Callable[[Record], str]) -> tuple[list[Record], list[str]]:
    """The records that count, and one line for each reason why others do not.

    Records of the selection phase and of folds are left out without a word: they have no test scores.

    Args:
        why_not: why a record does not count, in words; empty if it does.
    """
    kept: list[Record] = []
    reasons: dict[str, list[str]] = {}
    for record in sorted(records, key=lambda record: record.key):
        if is_part_of_another(record):
            continue
        try:
            why = why_unusable(record) or why_not(record)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            why = f"its values are not those of a unit ({describe_error(error)})"
        if why:
            reasons.setdefault(why, []).append(record.key)
        else:
            kept.append(record)
    lines = [
        f"{len(keys)} record{'s' * (len(keys) > 1)} left out: {why} ({'the first ' * (len(keys) > 1)}{keys[0]})"
        for why, keys in reasons.items()
    ]
    return kept, lines


def _left_out_metrics(names: Sequence[str]) -> list[str]:
    """One line on metrics that no table of mmkd has: of a plugin, or details of a task such as `onset_hits_qrs`."""
    if len(names) < 2:
        return [f"metric {shown(name)} is left out: mmkd's tables have none of this name" for name in names]
    first = ", ".join(map(shown, names[:3]))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return [f"metrics {first}{more} are left out: mmkd's tables have none of these names"]


def _in_words(found: Sequence[Difference]) -> str:
    return "; ".join(map(describe, found))
