"""Accuracy of single test subjects, from the sums that travel with records."""

import numpy as np

from mmkd.comparison.network_pairs import NetworkPair

SAMPLES, SAME, WRONG, SAME_IN_WRONG, BOTH_WRONG = range(5)
"""Columns of the sums of `metrics.fidelity.pair_sums`."""


def accuracies(pair: NetworkPair) -> tuple[dict[str, float], dict[str, float]]:
    """Subject -> accuracy of the student, and of the teacher; exact, because the sums are counts.

    The student is right where both are right, which is where they agree and the teacher is right, and where the teacher
    is wrong and the student is not.
    """
    assert pair.sums is not None
    assert pair.names is not None
    sums = pair.sums
    right = (sums[:, SAME] - sums[:, SAME_IN_WRONG]) + (sums[:, WRONG] - sums[:, BOTH_WRONG])
    taught = sums[:, SAMPLES] - sums[:, WRONG]
    names = [str(name) for name in pair.names]
    known = sums[:, SAMPLES] > 0
    own, of_teacher = (
        dict(zip(np.array(names)[known].tolist(), (counts[known] / sums[known, SAMPLES]).tolist(), strict=True))
        for counts in (right, taught)
    )
    return own, of_teacher
