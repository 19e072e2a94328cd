"""The statistics over data sets as lines of text."""

from collections.abc import Iterable

from mmkd.comparison.ranking import Ranking
from mmkd.core.refusal import Refusal
from mmkd.metrics import pairs as st
from mmkd.report.phrases import POINTS


def ranking_lines(ranking: Ranking) -> list[str]:
    """The statistics over data sets, a line each."""
    n = len(ranking.datasets)
    if n < 2:
        needed = f"{st.LEAST_DATA_SETS}, {_needed_for_pairs(ranking)} and {st.LEAST_FOR_DIAGRAM}"
        head = (
            f"Over data sets, {ranking.title}: tests, matrix and ranks need {needed} data sets; here is {n or 'none'}"
        )
        return [head, *_indented(ranking.notes)]
    lines = [f"Over {n} data sets, {ranking.title}: smallest attainable p {ranking.smallest:.3g}"]
    if ranking.tests and n >= st.LEAST_DATA_SETS and n < ranking.least:
        count = len(ranking.tests)
        lines.append(f"  {count} methods: after Holm's correction none can be significant below {ranking.least}")
    lines += [f"  {against_line(test)}" for test in ranking.tests if isinstance(test.test, st.SignedRank)]
    refused = {test.test.why for test in ranking.tests if isinstance(test.test, Refusal)}
    lines += [f"  not tested: {why}" for why in sorted(refused)]
    if isinstance(ranking.pairs, Refusal):
        lines.append(f"  no matrix of all pairs: {ranking.pairs.why}")
    else:
        lines.append("  all pairs:")
        lines += [f"    {against_line(pair)}" for pair in ranking.pairs]
    diagram = ranking.diagram
    if isinstance(diagram, Refusal):
        lines.append(f"  no critical-difference diagram: {diagram.why}")
    else:
        ranks = ", ".join(f"{name} {rank:.2f}" for name, rank in diagram.ranks.items())
        difference = f"critical difference {diagram.difference:.2f}, Friedman p {diagram.p:.3g}"
        lines.append(f"  mean ranks: {ranks}; {difference}")
    return [*lines, *_indented(ranking.notes)]


def _indented(texts: Iterable[str]) -> list[str]:
    return [f"  {text}" for text in texts]


def _needed_for_pairs(ranking: Ranking) -> int:
    methods = len(ranking.tests) + 1
    return st.least_data_sets(methods * (methods - 1) // 2)


def against_line(result: st.Against) -> str:
    """One method against another over the data sets."""
    text = f"{result.first} - {result.second}: {POINTS * result.mean:+z.1f} points, "
    text += f"{result.wins} won, {result.ties} tied, {result.losses} lost"
    if isinstance(result.test, st.SignedRank):
        text += f", p {result.test.p:.3g} ({result.test.how}), after Holm {result.p_holm:.3g}"
    return text
