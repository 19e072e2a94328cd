"""What results say over data sets: changes on each set, ranks, and whether a row is better than another. No torch.

`scores.regime_scores` reads lines of results into a regime. Here rows of it are compared: on a set paired by seed, over
sets by Wilcoxon's signed-rank test with Holm's correction and by ranks, as far as the number of sets carries it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mmkd.comparison.gap import t_interval
from mmkd.core.refusal import Refusal
from mmkd.metrics import pairs as st
from mmkd.metrics.crossed import crossed_interval
from mmkd.results.scores import Case, RegimeScores, Row

LEVEL = 0.95
LEAST_SUBJECTS = 5
"""Test subjects from which an interval is over subjects and seeds."""
FEW_NAMES = 3
"""Sets up to which they are named; of more their number is said."""


@dataclass(frozen=True)
class SetChange:
    """A row's score minus that of another on one set; above 0 the row is better.

    Attributes:
        mean: over seeds, of the scores on all test windows.
        centre: what the interval is of: the same where it is over seeds; over subjects the mean in which each test
            subject weighs the same.
        low, high: 95 % interval; None of one seed without subjects.
        seeds, subjects: how many are in the interval; no subjects: by Student's t over seeds.
    """

    mean: float
    centre: float
    low: float | None
    high: float | None
    seeds: int
    subjects: int = 0

    @property
    def answer(self) -> str:
        """ "better" or "worse" where interval and mean are on one side of 0, "open" where not, "" without interval."""
        if self.low is None or self.high is None:
            return ""
        if self.low > 0 and self.mean > 0:
            return "better"
        return "worse" if self.high < 0 and self.mean < 0 else "open"

    @property
    def over(self) -> str:
        """`9 test subjects and 5 seeds`, what the interval is over."""
        seeds = f"{self.seeds} seed{'' if self.seeds == 1 else 's'}"
        return f"{self.subjects} test subjects and {seeds}" if self.subjects else seeds


def set_change(row: Row, base: Row, case: Case, sign: int = 1) -> SetChange | Refusal:
    """A row against another on one set, by the seeds that both have.

    The interval is the pigeonhole bootstrap over test subjects and seeds where both rows have scores of five subjects
    or more, else by Student's t over seeds.

    Args:
        sign: -1 of a score that is better when lower.
    """
    own, other = row.on(case), base.on(case)
    seeds = sorted(own.keys() & other.keys())
    if not seeds:
        return Refusal("no seed in common")
    differences = [sign * (own[seed] - other[seed]) for seed in seeds]
    mean = float(np.mean(differences))
    a, b = row.by_subject(case), base.by_subject(case)
    cells = {cell: sign * (a[cell] - b[cell]) for cell in a.keys() & b.keys() if cell[0] in seeds}
    subjects = sorted({subject for _, subject in cells})
    if len(subjects) >= LEAST_SUBJECTS:
        drawn = sorted({seed for seed, _ in cells})
        table = np.array([[cells.get((seed, subject), np.nan) for seed in drawn] for subject in subjects])
        low, high = crossed_interval(table)
        return SetChange(mean, float(np.nanmean(table)), low, high, len(drawn), len(subjects))
    ends = t_interval(differences, LEVEL)
    return SetChange(mean, mean, ends[0], ends[1], len(seeds))


@dataclass(frozen=True)
class OverSets:
    """A row against a base over sets: `pair` has p; `better`, `worse` and `open` count sets by their own intervals.

    Attributes:
        mean: of the changes on the sets, each set weighs the same.
        low, high: 95 % bootstrap interval of that mean over sets; None of one set.
    """

    pair: st.Against
    mean: float
    low: float | None
    high: float | None
    better: int
    worse: int
    open: int

    @property
    def intervals(self) -> int:
        """Sets on which there is an interval."""
        return self.better + self.worse + self.open

    @property
    def answer(self) -> str:
        """ "better", "worse", "open", or "" where the number of sets carries no test."""
        if self.pair.p_holm is None:
            return ""
        if self.pair.p_holm >= st.ALPHA:
            return "open"
        return "better" if self.pair.wins > self.pair.losses else "worse"


@dataclass(frozen=True)
class Rank:
    """A mean rank over sets, 1 is best, with its 95 % interval by the bootstrap over sets."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Standing:
    """How the rows of a regime stand over some of its sets.

    Attributes:
        sets: data sets, each of which weighs the same whatever its number of students.
        against_student, against_control: row -> its test; p adjusted by Holm within each.
        ranks: row -> rank; or why there are none.
        diagram: of the critical difference; or why there is none.
        best: the row with the best mean rank, or where there are none the best mean change; "" where there is none.
        alike: the rows that are not told apart from it, itself among them; `told_by` says how. None, and why, where
            there are too few sets for any row to be told apart.
        left_out: row -> why it is not ranked.
        seeds: data set -> the seeds that ranks are of, the first ones of the student alone there.
    """

    sets: tuple[str, ...]
    control: str
    against_student: Mapping[str, OverSets]
    against_control: Mapping[str, OverSets]
    ranks: Mapping[str, Rank] | Refusal
    diagram: st.Diagram | Refusal
    best: str
    alike: frozenset[str]
    told_by: str | Refusal
    left_out: Mapping[str, str] = field(default_factory=dict)
    seeds: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def standing(regime: RegimeScores, sets: Sequence[str], rows: Sequence[Row], control: str = "") -> Standing:
    """The rows over sets, against the student alone and against one control.

    Args:
        sets: names of data sets.
        rows: those that are compared; the student alone and the control are added.
        control: name of a row, or of its method; "" where none is chosen.
    """
    student = regime.student
    held = regime.find(control) if control else None
    every = list(dict.fromkeys([*([student] if student else []), *([held] if held else []), *rows]))
    against_student = against_all(regime, every, student, sets)
    against_control = against_all(regime, every, held, sets)
    whole = _complete(regime, every, sets)
    kept, ranked = whole.sets, whole.rows
    table = _table(regime, whole) if kept else {}
    ranks = mean_ranks(table, kept) if table else Refusal(_why_none(regime, sets, kept))
    best, alike, told_by = _best(ranked, kept, len(sets), table, ranks)
    return Standing(
        tuple(kept),
        held.name if held else "",
        against_student,
        against_control,
        ranks,
        st.diagram(table) if table else Refusal("no data set on which rows are complete"),
        best,
        alike,
        told_by,
        whole.left_out,
        {name: tuple(sorted({seed for case in _cases(regime, name) for seed in whole.seeds[case]})) for name in kept},
    )


def _why_none(regime: RegimeScores, sets: Sequence[str], kept: Sequence[str]) -> str:
    """Why no row is complete on some sets."""
    if regime.student is None:
        return "there is no student alone"
    if not sets:
        return "there is no such set"
    if not kept:
        return "on no set do half of the rows have the first seed of the student alone"
    return "no row has the same seeds as most others on all of the sets"


def against_all(
    regime: RegimeScores, rows: Sequence[Row], base: Row | None, sets: Sequence[str]
) -> dict[str, OverSets]:
    """Each row against one, over the sets that both have; p adjusted by Holm over the rows that could be tested."""
    return _against(regime, rows, base, sets, st.corrected)


def against_each(
    regime: RegimeScores,
    rows: Sequence[Row],
    base: Row | None,
    sets: Sequence[str],
    family: Mapping[str, OverSets],
) -> dict[str, OverSets]:
    """The same, but p of each row is adjusted as if it alone stood among the rows of a family."""
    known = [test.pair for test in family.values()]
    return _against(regime, rows, base, sets, lambda pairs: [st.corrected([*known, pair])[-1] for pair in pairs])


def _against(
    regime: RegimeScores,
    rows: Sequence[Row],
    base: Row | None,
    sets: Sequence[str],
    correct: Callable[[Sequence[st.Against]], Sequence[st.Against]],
) -> dict[str, OverSets]:
    if base is None:
        return {}
    found = {row.name: changes_by_set(regime, row, base, sets) for row in rows if row is not base}
    found = {name: changes for name, changes in found.items() if changes}
    family = []
    for name, changes in found.items():
        means = [float(np.mean([each.mean for each in of_set])) for of_set in changes.values()]
        family.append(st.against(name, base.name, means, [0.0] * len(means)))
    tests = {}
    for pair in correct(family):
        answers = [each.answer for of_set in found[pair.first].values() for each in of_set]
        means = [float(np.mean([each.mean for each in of_set])) for of_set in found[pair.first].values()]
        low, high = st.bootstrap_interval(means)[:2] if len(means) > 1 else (None, None)
        better, worse = (answers.count(answer) for answer in ("better", "worse"))
        rest = answers.count("open")
        tests[pair.first] = OverSets(pair, float(np.mean(means)), low, high, better, worse, rest)
    return tests


def can_tell(tests: Mapping[str, OverSets], names: Iterable[str]) -> bool:
    """Whether any of these rows has sets enough for a test to tell it apart, corrected over all that are tested."""
    family = {name: test.pair for name, test in tests.items() if test.pair.p_holm is not None}
    most = max((family[name].n for name in names if name in family), default=0)
    return most > 0 and most >= st.least_data_sets(len(family))


def changes_by_set(regime: RegimeScores, row: Row, base: Row, sets: Sequence[str]) -> dict[str, list[SetChange]]:
    """Set -> the changes of its students; a set without a common seed is left out.

    Of a row that has students which most rows have (`usual_cases`) these alone count, so that means are of the same
    students.
    """
    found: dict[str, dict[Case, SetChange]] = {}
    for case in regime.cases:
        change = set_change(row, base, case, regime.sign) if case.dataset in sets else None
        if isinstance(change, SetChange):
            found.setdefault(case.dataset, {})[case] = change
    usual = {name: [own[case] for case in own if case in regime.usual_cases] for name, own in found.items()}
    return {name: usual[name] or list(own.values()) for name, own in found.items()}


@dataclass(frozen=True)
class _Whole:
    """Rows that have the same seeds on the same sets.

    Attributes:
        seeds: case -> the seeds.
        left_out: row -> what it lacks of them.
    """

    sets: Sequence[str] = ()
    rows: Sequence[Row] = ()
    seeds: Mapping[Case, Sequence[int]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


def _complete(regime: RegimeScores, rows: Sequence[Row], sets: Sequence[str]) -> _Whole:
    """The sets on which at least half of the rows have some seeds, and the rows that have these on all of those sets.

    The seeds are the first ones of the student alone: as many as leave the sets that ranks need, else most sets.
    """
    student = regime.student
    if student is None:
        return _Whole()
    most = max((len(student.on(case)) for case in regime.cases if case.dataset in sets), default=0)
    tries = [_with_seeds(regime, student, rows, sets, number) for number in range(most, 0, -1)]
    return max(tries, key=lambda whole: min(len(whole.sets), st.LEAST_FOR_DIAGRAM), default=_Whole())


def _with_seeds(regime: RegimeScores, student: Row, rows: Sequence[Row], sets: Sequence[str], number: int) -> _Whole:
    """The sets and rows that have the first `number` seeds of the student alone."""
    cases = {name: _cases(regime, name) for name in sets}
    wanted = {case: sorted(student.on(case))[:number] for own in cases.values() for case in own}

    def has(row: Row, name: str) -> bool:
        return all(wanted[case] and row.on(case).keys() >= set(wanted[case]) for case in cases[name])

    kept = [name for name in sets if cases[name] and 2 * sum(has(row, name) for row in rows) >= len(rows)]
    left_out = {}
    for row in rows:
        where = [name for name in kept if not has(row, name)]
        if where:
            seeds = {
                seed for name in where for case in cases[name] for seed in wanted[case] if seed not in row.on(case)
            }
            left_out[row.name] = _missing(sorted(seeds), where, len(kept))
    return _Whole(kept, [row for row in rows if row.name not in left_out], wanted, left_out)


def _cases(regime: RegimeScores, dataset: str) -> list[Case]:
    """A set with each of its students that most rows have."""
    return [case for case in regime.cases if case.dataset == dataset and case in regime.usual_cases]


def _missing(seeds: Sequence[int], where: Sequence[str], sets: int) -> str:
    """`seed 1 is missing on ECG200`; of more than a few sets how many, of all sets none."""
    text = f"seed {seeds[0]} is missing" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))} are missing"
    if len(where) == sets:
        return text
    return f"{text} on {', '.join(where) if len(where) <= FEW_NAMES else f'{len(where)} of {sets} sets'}"


def _table(regime: RegimeScores, whole: _Whole) -> dict[str, list[float]]:
    """Row -> its score on each set, higher is better: the mean over students and seeds."""

    def score(row: Row, name: str) -> float:
        cases = _cases(regime, name)
        return float(np.mean([np.mean([row.on(case)[seed] for seed in whole.seeds[case]]) for case in cases]))

    return {row.name: [regime.sign * score(row, name) for name in whole.sets] for row in whole.rows}


def mean_ranks(table: Mapping[str, Sequence[float]], sets: Sequence[str]) -> dict[str, Rank] | Refusal:
    """Mean ranks of rows over sets, from best to worst, with intervals by the bootstrap over sets; from 10 sets on.

    Args:
        table: row -> score on each set, higher is better; equal scores share the mean of their ranks.
    """
    from scipy.stats import rankdata

    if len(sets) < st.LEAST_FOR_DIAGRAM:
        which = f"{len(sets)} data set{'' if len(sets) == 1 else 's'}"
        return Refusal(f"{which}: ranks are given from {st.LEAST_FOR_DIAGRAM} on")
    if len(table) < 2:
        return Refusal("fewer than two rows that are complete")
    scores = np.round(np.array(list(table.values())), 12)
    ranks = rankdata(-scores, axis=0)
    found = {
        name: Rank(float(own.mean()), *st.bootstrap_interval(own)[:2]) for name, own in zip(table, ranks, strict=True)
    }
    return dict(sorted(found.items(), key=lambda each: each[1].mean))


def _best(
    rows: Sequence[Row],
    sets: Sequence[str],
    total: int,
    table: Mapping[str, Sequence[float]],
    ranks: Mapping[str, Rank] | Refusal,
) -> tuple[str, frozenset[str], str | Refusal]:
    """The best row, those that are not told apart from it, and how that was told, or why it cannot be.

    Args:
        sets: those on which rows are complete, of `total`.
    """
    if not table:
        return "", frozenset(), ranks if isinstance(ranks, Refusal) else Refusal("")
    ordered = sorted(table, key=lambda name: -float(np.mean(table[name]))) if isinstance(ranks, Refusal) else ranks
    best = next(iter(ordered))
    others = [row for row in rows if row.name != best]
    need = st.least_data_sets(len(others))
    if len(sets) < need:
        there = f"there {'is' if total == 1 else 'are'} {total}"
        if len(sets) < total:
            there = f"most rows have the same seeds on {len(sets)} of {total}"
        return best, frozenset(), Refusal(f"with {len(rows)} rows the test needs {need} sets, and {there}")
    family = st.corrected([st.against(best, row.name, table[best], table[row.name]) for row in others])
    alike = [pair.second for pair in family if pair.p_holm is None or pair.p_holm >= st.ALPHA]
    told_by = f"Wilcoxon's signed-rank test over {len(sets)} sets, Holm, {st.ALPHA}"
    return best, frozenset([best, *alike]), told_by


def best_on(regime: RegimeScores, case: Case, rows: Sequence[Row]) -> tuple[str, frozenset[str]]:
    """The row with the best mean score on one set, and those whose interval of the difference to it holds 0.

    Of rows that have as many seeds there as any, as means over other seeds do not stand beside each other. Of many rows
    some will seem worse by chance: nothing is corrected here.
    """
    most = max((len(row.on(case)) for row in rows), default=0)
    known = [row for row in rows if most and len(row.on(case)) == most]
    if not known:
        return "", frozenset()
    means = {row.name: regime.sign * float(np.mean(list(row.on(case).values()))) for row in known}
    best = max(known, key=lambda row: means[row.name])
    alike = [row.name for row in known if means[row.name] == means[best.name]]
    for row in known:
        change = set_change(best, row, case, regime.sign) if row.name not in alike else None
        if isinstance(change, SetChange) and change.answer == "open":
            alike.append(row.name)
    return best.name, frozenset(alike)
