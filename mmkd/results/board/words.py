"""Numbers and lists as the board says them."""

from collections.abc import Mapping, Sequence

from mmkd.results.standing import SetChange

POINTS = 100


def points(value: float | None) -> str:
    """A difference of shares in points, `+1.2`; empty of none."""
    return "" if value is None else f"{POINTS * value:+z.1f}"


def interval(low: float | None, high: float | None) -> str:
    """` [+0.3, +2.1]`, in points; empty without ends."""
    return "" if low is None or high is None else f" [{points(low)}, {points(high)}]"


def change_words(change: SetChange) -> str:
    """A change on a set in full."""
    text = f"{points(change.mean)} points"
    if change.low is None:
        return f"{text}, {change.over}, no interval"
    inner = f"{points(change.centre)}{interval(change.low, change.high)}"
    told = {"better": "better", "worse": "worse", "open": "not told apart"}[change.answer]
    each = ", each subject weighs the same" if change.subjects else ""
    return f"{text}; {told}: 95 % interval {inner} over {change.over}{each}"


def count(number: int, noun: str) -> str:
    """`1 set`, `3 sets`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def span(least: int, most: int) -> str:
    """`3`, or `1 to 3`."""
    return str(most) if least == most else f"{least} to {most}"


def listed(names: Sequence[str], most: int = 8) -> str:
    """`a, b and c`; of many the first and how many more."""
    shown = list(names)
    if len(shown) > most + 1:
        shown = [*shown[:most], f"{len(shown) - most} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else ""


def seeds_text(seeds: Sequence[int]) -> str:
    """`seed 0`, `seeds 0, 1 and 2`."""
    return f"seed{'' if len(seeds) == 1 else 's'} {listed([str(seed) for seed in seeds])}"


def rank_seeds(seeds: Mapping[str, Sequence[int]]) -> str:
    """The seeds of ranks by set: `seeds 0 and 1 on each`; where sets have others `the first 3 to 5 seeds of each`."""
    if not seeds:
        return "no seed"
    if len({tuple(own) for own in seeds.values()}) < 2:
        return f"{seeds_text(next(iter(seeds.values())))} on each"
    counts = [len(own) for own in seeds.values()]
    if max(counts) == 1:
        return "the first seed of each"
    return f"the first {span(min(counts), max(counts))} seeds of each"


def p_text(p: float | None) -> str:
    """`0.012`, `< 0.001`; empty of none."""
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
