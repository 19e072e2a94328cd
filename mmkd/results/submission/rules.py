"""What the lines of a file of results say together: each thing once, rows that are whole, and what is odd in them."""

from collections.abc import Iterator, Mapping, Sequence

from mmkd.results.columns import Line
from mmkd.results.submission.reading import Problems
from mmkd.results.submission.values import Known

Numbered = Sequence[tuple[int, Line]]
"""(number of a line in its file, the line)."""
SAME_UNIT = ("extra_data", "key", "commit", "machine")
"""Columns that all lines of one unit have in common."""


def joint_problems(lines: Numbered, known: Known, problems: Problems) -> None:
    """Add a sentence for each line that contradicts another one, and for each set that a row has no score on."""
    _repeats(lines, problems)
    _contradictions(lines, problems)
    _borrowed_keys(lines, known, problems)
    for number, row, dataset, metric, has in _scored(lines, known):
        if not has:
            problems.add(number, f"row {row!r} has no {metric} of all test windows of {dataset}")


def missing_seeds(lines: Numbered, known: Known, problems: Problems) -> None:
    """Add a sentence for each row that is not whole.

    A row must have the metric of its regime for every seed of the protocol, on each data set that it is on.
    """
    for number, row, dataset, metric, has in _scored(lines, known):
        lacking = [str(seed) for seed in known.protocol.seeds if seed not in has]
        if has and lacking:
            seeds = f"seed{'s' * (len(lacking) > 1)} {', '.join(lacking)}"
            problems.add(number, f"row {row!r} lacks {metric} of all test windows of {dataset} for {seeds}")


def _scored(lines: Numbered, known: Known) -> Iterator[tuple[int, str, str, str, set[int]]]:
    """Of each row on a data set: (its first line, row, data set, metric of the regime, seeds with that metric)."""
    groups: dict[tuple[str, str, str, str], list[tuple[int, Line]]] = {}
    for number, line in lines:
        groups.setdefault((line.regime, line.dataset, line.student, line.row), []).append((number, line))
    for (regime, dataset, _, row), members in groups.items():
        metric = known.protocol.regimes[regime].metric
        has = {line.seed for _, line in members if line.metric == metric and not line.subject}
        yield members[0][0], row, dataset, metric, has


def _repeats(lines: Numbered, problems: Problems) -> None:
    seen: dict[tuple[object, ...], int] = {}
    for number, line in lines:
        first = seen.setdefault(line.identity, number)
        if first != number:
            problems.add(number, f"it is of the same unit, subject and metric as line {first}")


def _contradictions(lines: Numbered, problems: Problems) -> None:
    """Lines of one unit, and units of one row, must say the same of themselves."""
    said: dict[tuple[str, ...], tuple[int, str]] = {}
    for number, line in lines:
        unit = line.regime, line.dataset, line.student, line.row, str(line.seed)
        for what, place, values in (
            ("unit", unit, {name: getattr(line, name) for name in SAME_UNIT}),
            ("row", (line.row,), {"method": line.method}),
        ):
            for name, value in values.items():
                first, text = said.setdefault((what, *place, name), (number, str(value)))
                if text != str(value):
                    problems.add(number, f"{name} {str(value).lower()} of the same {what} is another in line {first}")


def _borrowed_keys(lines: Numbered, known: Known, problems: Problems) -> None:
    """A key names one unit: not one of the protocol's, and not two of the file; of each key the first line is told."""
    taken = {
        line.key: f"{line.row!r} in {known.protocol.version}"
        for regime in {line.regime for _, line in lines}
        for line in known.lines(regime)
        if line.key
    }
    units: dict[str, tuple[tuple[str, ...], int]] = {}
    told: set[str] = set()
    for number, line in lines:
        if not line.key or line.key in told:
            continue
        unit = line.regime, line.dataset, line.student, line.row, str(line.seed)
        first, at = units.setdefault(line.key, (unit, number))
        if line.key in taken:
            told.add(line.key)
            problems.add(number, f"key {line.key} is that of {taken[line.key]}; a unit has a key of its own, or none")
        elif first != unit:
            told.add(line.key)
            problems.add(
                number, f"key {line.key} is that of another unit in line {at}; a unit has a key of its own, or none"
            )


def notes_of(lines: Numbered, known: Known) -> list[str]:
    """What a reader should know of results that have the right form."""
    rows: dict[tuple[str, str], list[Line]] = {}
    for _, line in lines:
        rows.setdefault((line.regime, line.row), []).append(line)
    notes = []
    for (regime, row), members in rows.items():
        what = f"regime {regime}, {row!r}"
        notes += [f"{what}: {text}" for text in (*_incomplete(regime, members, known), *_odd(regime, members, known))]
    return notes


def _incomplete(regime: str, lines: Sequence[Line], known: Known) -> list[str]:
    """The students of data sets that a row lacks."""
    wanted = [
        (dataset, student)
        for dataset in known.protocol.regimes[regime].datasets
        for student in known.students[regime, dataset]
    ]
    has = {(line.dataset, line.student) for line in lines}
    several = known.protocol.regimes[regime].has_several_nets or known.protocol.regimes[regime].has_several_fusions
    missing = [place for place in wanted if place not in has]
    lacking = [f"{dataset} {student}" if several else dataset for dataset, student in missing]
    if not lacking:
        return []
    return [f"incomplete: {len(wanted) - len(lacking)} of {len(wanted)}; it lacks {', '.join(lacking)}"]


def _odd(regime: str, lines: Sequence[Line], known: Known) -> list[str]:
    """Scores that are rarely true: perfect everywhere, the same under every seed, or those of another row."""
    metric = known.protocol.regimes[regime].metric
    by_place: dict[tuple[str, str], dict[int, float]] = {}
    for line in lines:
        if line.metric == metric and not line.subject:
            by_place.setdefault((line.dataset, line.student), {})[line.seed] = line.value
    accuracies = [line.value for line in lines if line.metric in ("accuracy", metric) and not line.subject]
    notes = []
    if accuracies and all(value == 1 for value in accuracies):
        notes.append("every score is exactly 1: were test windows, or their labels, among the training windows?")
    elif max(map(len, by_place.values()), default=0) > 1 and all(
        len(set(own.values())) == 1 for own in by_place.values()
    ):
        notes.append("the scores are the same under every seed: does the seed reach the training?")
    notes += _copies(regime, by_place, known)
    return notes


def _copies(regime: str, by_place: Mapping[tuple[str, str], Mapping[int, float]], known: Known) -> list[str]:
    def copied(own: Mapping[tuple[str, str], Mapping[int, float]]) -> bool:
        """Whether it has all of these data sets, and the same score wherever both have a seed."""
        pairs = [
            [(value, own.get(place, {}).get(seed)) for seed, value in scores.items() if seed in own.get(place, {})]
            for place, scores in by_place.items()
        ]
        return bool(pairs) and all(found and all(value == other for value, other in found) for found in pairs)

    version = known.protocol.version
    return [
        f"every score is that of {row!r} in {version}, of the seeds that both have"
        for row, own in known.scores(regime).items()
        if copied(own)
    ]
