"""What the statistics of a regime say, a sentence each. No number here is written by hand."""

from collections.abc import Mapping, Sequence

import numpy as np

from mmkd.core.refusal import Refusal
from mmkd.core.text import capital
from mmkd.metrics import pairs as st
from mmkd.metrics.registry import METRICS
from mmkd.results.board.regime import STUDENTS, TAUGHT, BoardRegime
from mmkd.results.board.words import count, listed, points
from mmkd.results.standing import OverSets, Standing, against_all, can_tell
from mmkd.units.methods import CONTROL, own_statuses

SINGLE = "of each set by itself, not corrected for their number"
LEAST_SEEDS = 3
"""Seeds of each method from which it is said that one is better nowhere: intervals over two nearly always hold 0."""
Answer = tuple[str, str]
"""A question, and its answer in a sentence or two."""


def answers(regime: BoardRegime) -> list[Answer]:
    """The questions of a regime, the most important first, and their answers; one that cannot be given says why."""
    if regime.scores.student is None:
        return [("Which methods help?", "There is no student alone on record here, so no change can be given.")]
    found = [("Is there anything to teach?", _room(regime))]
    room = "with room" if regime.decisions.teachable is not None else ""
    none = not regime.with_room
    whole = none or (regime.is_split and not _can_tell(regime, regime.room) and _can_tell(regime, regime.all_sets))
    if whole:  # what cannot be answered over the sets with room alone does not stand first
        found += _first(regime, regime.all_sets, regime.scores.datasets, regime.kinds_of_sets)
        found += _again(regime, regime.room, room, "And where there is room?")
    else:
        found += _first(regime, regime.room, regime.with_room, room)
    if regime.without_room and (regime.undecided or not none):
        found += _again(regime, regime.no_room, "without room", "And where there is no room?", teacher=False)
    if regime.is_split and not whole:
        found += _again(regime, regime.all_sets, regime.kinds_of_sets, "And over all sets?")
    return found + _units(regime)


def _can_tell(regime: BoardRegime, standing: Standing) -> bool:
    """Whether a test over the sets could show that a method is better than the student alone at all."""
    return can_tell(standing.against_student, [row.name for row in regime.methods])


def _room(regime: BoardRegime) -> str:
    """How many sets a teacher has something to give on."""
    if regime.decisions.teachable is None:
        return (
            "Which sets have room is not decided here (no gaps of the selection phase on record), so all sets stand "
            "together: where the teacher is no better than the student, a change says little of a method."
        )
    known = regime.decisions.gaps
    gaps = [known[name].mean for name in regime.with_room if name in known]
    middle = (
        f"; there the best teacher leads by {points(float(np.median(gaps)))} points of accuracy (median)"
        if gaps
        else ""
    )
    total = len(regime.scores.datasets)
    open_ones = f" On {len(regime.undecided)} it is not decided." if regime.undecided else ""
    return f"On {len(regime.with_room)} of {count(total, 'set')} there is room{middle}.{open_ones}"


def _methods(regime: BoardRegime, standing: Standing, which: str) -> tuple[dict[str, OverSets], str]:
    """The tests of the ranked methods over some sets, and how many sets these are: `7 sets with room`."""
    names = [row.name for row in regime.methods if row.name in standing.against_student]
    tests = {name: standing.against_student[name] for name in names}
    most = max((test.pair.n for test in tests.values()), default=0)
    return tests, count(most, "set") + (f" {which}" if which else "")


def _first(regime: BoardRegime, standing: Standing, names: Sequence[str], which: str) -> list[Answer]:
    """All answers over the sets that are spoken of first.

    Args:
        names: the sets; which: what stands behind their number.
    """
    tests, sets = _methods(regime, standing, which)
    if not tests:
        why = "No ranked method (verified, with its defaults) has results here"
        if any(row.on(case) for row in regime.methods for case in regime.cases if case.dataset in names):
            why = "No method has a seed in common with the student alone here, so no change can be given"
        return [("Which methods help?", f"{why}."), *_peers(regime, tests, names, which)]
    never = _never(regime, tests, sets)
    return [
        ("Which methods help?", _gain(regime, standing, tests, sets)),
        *([("Which never do?", never)] if never else []),
        ("Is it the teacher?", _teacher(regime, standing, list(tests), sets)),
        *_peers(regime, tests, names, which),
    ]


def _again(regime: BoardRegime, standing: Standing, which: str, question: str, teacher: bool = True) -> list[Answer]:
    """The same over other sets, in one answer; none without methods there."""
    tests, sets = _methods(regime, standing, which)
    if not tests:
        return []
    text = _gain(regime, standing, tests, sets)
    return [(question, f"{text} {_teacher(regime, standing, list(tests), sets, True)}" if teacher else text)]


def _peers(regime: BoardRegime, methods: Mapping[str, OverSets], names: Sequence[str], which: str) -> list[Answer]:
    """How classifiers without a network stand beside the student alone and the best method on some sets."""
    tests = against_all(regime.scores, regime.scores.of("peer"), regime.scores.student, names)
    if not tests:
        return []
    most = max(test.pair.n for test in tests.values())
    sets = count(most, "set") + (f" {which}" if which else "")
    ordered = sorted(tests, key=lambda name: -tests[name].mean)
    told = []
    for name in ordered:
        own = tests[name]
        notes = [f"on {own.pair.n}"] * (own.pair.n < most) + ["not told apart from it"] * (own.answer == "open")
        told.append(f"{name} {points(own.mean)}{f' ({listed(notes)})' if notes else ''}")
    text = f"Over {sets}, in points against the student alone: {listed(told)}"
    if methods:
        whole = max(test.pair.n for test in methods.values())
        best = max((name for name in methods if methods[name].pair.n == whole), key=lambda name: methods[name].mean)
        where = f", over {count(whole, 'set')}" if whole != most else ""
        text += f"; the largest change of a method is {points(methods[best].mean)} ({_with_seeds(regime, best)}{where})"
    text += "."
    known = [regime.scores.student.cost("parameters", case) for case in regime.cases] if regime.scores.student else []
    if weights := sorted({int(number) for number in known if number is not None}):
        least, largest = f"{weights[0]:,}", f"{weights[-1]:,}"
        text += f" The student has {least if least == largest else f'{least} to {largest}'} weights."
    return [("And without a network?", text)]


def _units(regime: BoardRegime) -> list[Answer]:
    """How changes on sets that are split by subject stand beside those on the others."""
    sets = [name for name in regime.scores.datasets if name in regime.plan.subject_sets]
    shown = {row.name for row in [*regime.compared, *regime.scores.of("peer")]}
    found = {name: own for name, own in regime.by_units.items() if name in shown}
    if not sets or not found:
        return []
    total = count(len(sets), "set")
    others = len(regime.scores.datasets) - len(sets)
    if others:
        kinds = [regime.methods, [row for row in regime.compared if row.kind == "control"], regime.scores.of("peer")]
        whole = {name for name, own in found.items() if (own.subject_sets, own.other_sets) == (len(sets), others)}
        names = [name for rows in kinds for name in _leading(regime, [row.name for row in rows if row.name in whole])]
        told = [f"{name} {points(found[name].on_subjects)} ({points(found[name].on_others)})" for name in names]
        both = [own.turns for own in found.values() if own.subject_sets and own.other_sets]
        text = f"On the {total} split by subject (on the other {others}), in points: {listed(told)}"
        text = text if told else f"No row has results on all of the {total} split by subject and the other {others}"
        if both:
            verb = "changes" if 1 in (sum(both), len(both)) else "change"
            where = " with results on both" if len(both) < len(found) else ""
            text += f"; {sum(both)} of {count(len(both), 'row')}{where} {verb} sign between them"
        text += "."
    else:
        text = f"{_all(len(sets))} here {_are(len(sets))} split by subject."
    alone = (
        f"{total} {'proves' if len(sets) == 1 else 'prove'} nothing by {'itself' if len(sets) == 1 else 'themselves'}"
    )
    if regime.decisions.teachable is not None:
        alone = f"There is room on {sum(name in regime.with_room for name in sets)} of the {len(sets)}, and {alone}"
    text += f" {alone}."
    return [("And for people who are new?", text)]


def _leading(regime: BoardRegime, names: Sequence[str]) -> list[str]:
    """The row with the largest mean over all sets, and that of the rows with most seeds; of rows that have all sets."""
    known = regime.by_units
    means = {
        name: (own.on_subjects or 0.0) * own.subject_sets + (own.on_others or 0.0) * own.other_sets
        for name in names
        if (own := known.get(name)) is not None
    }
    if not means:
        return []
    seeds = {name: regime.paired_seeds(row)[1] for name in means if (row := regime.scores.find(name)) is not None}
    most = max(seeds.values())
    best = max(means, key=lambda name: means[name])
    return list(dict.fromkeys([best, max((n for n in means if seeds[n] == most), key=lambda name: means[name])]))


def _all(number: int) -> str:
    return {1: "The one set", 2: "Both sets"}.get(number, f"All {number} sets")


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _by_mean(tests: Mapping[str, OverSets], names: Sequence[str]) -> list[str]:
    """`kd (+1.2)`, the largest change first; `kd (+1.2, on 6)` of one that has fewer sets than others."""
    most = max((test.pair.n for test in tests.values()), default=0)
    few = {name: f", on {test.pair.n}" if test.pair.n < most else "" for name, test in tests.items()}
    ordered = sorted(names, key=lambda name: -tests[name].mean)
    return [f"{name} ({points(tests[name].mean)}{few[name]})" for name in ordered]


def _with_seeds(regime: BoardRegime, name: str) -> str:
    """`kd`; of a row of fewer seeds than others `freekd, 1 seed`."""
    row = regime.scores.find(name)
    few = regime.few_seeds(row) if row is not None else ""
    return f"{name}, {few}" if few else name


def _gain(regime: BoardRegime, standing: Standing, tests: Mapping[str, OverSets], sets: str) -> str:
    """Which methods are better than the student alone."""
    total = count(len(tests), "method")
    best = max(tests, key=lambda name: tests[name].mean)
    most = max(test.pair.n for test in tests.values())
    on = f", on {count(tests[best].pair.n, 'set')}" if tests[best].pair.n < most else ""
    largest = f"The largest mean change is {points(tests[best].mean)} points ({_with_seeds(regime, best)}{on})"
    if round(100 * tests[best].mean, 1) < 0:
        largest = (
            f"None has a mean change above 0; the least loss is {largest.removeprefix('The largest mean change is ')}"
        )
    if not any(test.answer for test in tests.values()):
        if not any(test.intervals for test in tests.values()):
            return (
                f"{capital(sets)}: too few for a test (it needs {st.LEAST_DATA_SETS}), and "
                f"under one seed no set has an interval over seeds; those of the table are over the sets. {largest}."
            )
        counts = [f"{name} (on {test.better})" for name, test in sorted(tests.items(), key=_by_sets) if test.better]
        text = f"{capital(sets)}: too few for a test over sets (it needs {st.LEAST_DATA_SETS}). {largest}. "
        if counts:
            return f"{text}Better than the student alone on single sets, by intervals {SINGLE}: {listed(counts)}."
        score = METRICS.get(regime.scores.metric).label
        return f"{text}On no single set is any of {total} shown to be better than the student alone in {score}."
    better = _by_mean(tests, [name for name, test in tests.items() if test.answer == "better"])
    worse = _by_mean(tests, [name for name, test in tests.items() if test.answer == "worse"])
    text = f"Over {sets}, "
    if better:
        verb = "is" if len(better) == 1 else "are"
        text += f"{len(better)} of {total} {verb} better than the student alone, in points: {listed(better)}"
    else:
        text += f"none of {total} is shown to be better than the student alone"
    text += f"; worse: {listed(worse)}" if worse else ""
    text += f" (Wilcoxon signed-rank, Holm, {st.ALPHA})."
    family = sum(test.pair.p_holm is not None for test in standing.against_student.values())
    need = st.least_data_sets(family)
    if not better and not worse and most < need:
        text += f" With {count(family, 'row')} tested ({total}, {count(family - len(tests), 'control')}) {need} sets "
        text += "would be needed before any could be."
    return text if better else f"{text} {largest}."


def _by_sets(item: tuple[str, OverSets]) -> tuple[int, float]:
    return -item[1].better, -item[1].mean


def _never(regime: BoardRegime, tests: Mapping[str, OverSets], sets: str) -> str:
    """Which methods are better nowhere; empty where some have so few seeds that this could not be seen."""
    fewest = min(regime.paired_seeds(row)[0] for row in regime.methods if row.name in tests)
    if fewest < LEAST_SEEDS or not all(test.intervals == test.pair.n for test in tests.values()):
        return ""
    never = [name for name, test in tests.items() if not test.better and test.answer != "better"]
    if not never or len(never) == len(tests):
        return ""
    verb = "is" if len(never) == 1 else "are"
    if max(test.pair.n for test in tests.values()) == 1:
        return f"{listed(never, 12)} {verb} not shown to be better than the student alone on the {sets}."
    where = f"on none of the {sets}, even by intervals {SINGLE}"
    return f"{listed(never, 12)} {verb} shown to be better than the student alone {where}."


def _teacher(regime: BoardRegime, standing: Standing, methods: Sequence[str], sets: str, again: bool = False) -> str:
    """Whether it is the teacher; `again`: below the same answer over other sets, whose words are not said twice."""
    if not regime.decisions.best_control:
        return "Not answered yet: which control was best in the selection phase is not on record."
    tests = {name: standing.against_control[name] for name in methods if name in standing.against_control}
    if not tests:
        if not standing.control:
            return (
                f"Not answered: {regime.decisions.best_control} has no ranked row here (verified, with its defaults)."
            )
        return f"Not answered: no method has a seed in common with {regime.decisions.best_control} here."
    control = standing.control if again else f"the control that was best in the selection phase, {standing.control}"
    over = "" if again else f" over {sets}"
    if not any(test.answer for test in tests.values()):
        single = [f"{name} (on {test.better})" for name, test in sorted(tests.items(), key=_by_sets) if test.better]
        found = (
            f"better on single sets, by intervals {SINGLE}: {listed(single)}"
            if single
            else "no method is shown to be better on any set"
        )
        return f"Against {control}: {found}; too few sets for a test over sets."
    better = _by_mean(tests, [name for name, test in tests.items() if test.answer == "better"])
    untaught = "" if again else _untaught(regime, standing)
    if not better:
        return (
            f"Not shown:{over} no method is better than {control}{_taught(regime, standing, methods, again)}.{untaught}"
        )
    verb = "is" if len(better) == 1 else "are"
    return f"{len(better)} of {len(tests)} {verb} better than {control}, in points: {listed(better)}.{untaught}"


def _untaught(regime: BoardRegime, standing: Standing) -> str:
    """The controls that no teacher teaches and that are better than the student alone; "" where there is none."""
    statuses = own_statuses()
    rows = [row for row in regime.compared if statuses.get(row.method) == CONTROL and row.method not in TAUGHT]
    tests = standing.against_student
    names = [row.name for row in rows if row.name in tests and tests[row.name].answer == "better"]
    found = listed(_by_mean(tests, names))
    return f" Controls without a teacher that are better than the student alone, in points: {found}." if names else ""


def _taught(regime: BoardRegime, standing: Standing, methods: Sequence[str], again: bool) -> str:
    """Of a control that is taught by the teacher too: what it learns, and how methods stand to the best that is not."""
    what = TAUGHT.get(regime.decisions.best_control.split()[0])
    if what is None:
        return ""
    text = "" if again else f", which learns {what}: that more of the teacher helps is not shown"
    other = regime.scores.find(regime.untaught_control) if regime.untaught_control else None
    tests = against_all(regime.scores, regime.compared, other, standing.sets) if other is not None else {}
    tests = {name: tests[name] for name in methods if name in tests}
    if other is None or not any(test.answer for test in tests.values()):
        return text
    better = _by_mean(tests, [name for name, test in tests.items() if test.answer == "better"])
    found = f"better, in points: {listed(better)}" if better else "no method is shown to be better either"
    who = other.name if again else f"{other.name}, the best of the controls that no teacher teaches,"
    return f"{text}; against {who} {found}"


def status(regime: BoardRegime) -> list[str]:
    """How much of what is planned there is, and what is missing."""
    have, want = regime.scores.datasets, regime.datasets
    verb = "has" if len(want) == 1 else "have"
    others = regime.scores.of("teacher", "peer")
    rows = regime.scores.of(*STUDENTS)
    students = " of students" if others and not rows else ""
    lines = [
        f"{len(have)} of {count(len(want), 'set')} {verb} results{students}, under "
        f"{count(len(regime.scores.seeds), 'seed')} of {len(regime.seeds)}; {count(len(rows), 'row')} of students."
    ]
    missing = [name for name in want if name not in have]
    if missing:
        lines.append(f"Without results{students} so far: {listed([regime.short(name) for name in missing], 20)}.")
    if students:
        lines.append(f"{count(len(others), 'row')} of teachers and peers: they are shown beside students.")
    counts = [number for row in rows for number in regime.seed_counts(row)]
    if rows and any(have < wanted for have, wanted in map(regime.runs, rows)):
        least, most = min(counts), max(counts)
        span = str(most) if least == most else f"{least} to {most}"
        lines.append(
            f"Rows have {span} of {count(len(regime.seeds), 'seed')} on a set: the column seeds says how many."
        )
    if rows and not any(row.tuned for row in rows):
        lines.append("No row is tuned: methods have the defaults that their papers or code give.")
    if regime.undecided:
        names = listed([regime.short(name) for name in regime.undecided], 20)
        lines.append(f"Room not decided, and so in no statistic over sets with room or without: {names}.")
    for standing, which in ((regime.room, "with room"), (regime.no_room, "without room")):
        if not (regime.without_room if which == "without room" else regime.with_room):
            continue
        which = which if regime.decisions.teachable is not None else "all"
        if isinstance(standing.ranks, Refusal) and regime.scores.datasets:
            lines.append(f"No ranks over the sets ({which}): {standing.ranks.why}.")
    return lines
