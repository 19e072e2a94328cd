"""What a network has of its teachers: the sums that all measures of fidelity are made of, from predictions on record.

Predictions do not travel with records (see `store.travelling`); these sums do, so that measures are the same elsewhere.
Of windows without subjects only the totals travel: sums of single windows would be predictions. Intervals by the
bootstrap then cannot be made elsewhere, and say so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.comparison.predictions import JointPrediction
from mmkd.core.text import LONGEST_NAME
from mmkd.metrics.fidelity import SINGLE, Floats, pair_sums

MOST_TRAVELLING = 64
"""Subjects or recordings whose sums travel; of more only the totals do."""
DRAWN = ("subject", "recording", "window")


@dataclass(frozen=True)
class NetworkPair:
    """A network beside its teachers, on the same test windows.

    Attributes:
        agreement: share of samples where both predict the same class; of teachers without a joint prediction the mean
            over them.
        of: what the rows of `sums` are of, one of `DRAWN`; names: (S,) of them, None where the only row is the total.
        sums: (S, 9 + 2 K), see `metrics.fidelity.pair_sums`; None where the teachers have no joint prediction.
    """

    agreement: float
    of: str = "window"
    names: NDArray[Any] | None = None
    sums: Floats | None = None

    @property
    def classes(self) -> int:
        """K, one more than the highest class that occurs."""
        return 0 if self.sums is None else (self.sums.shape[1] - SINGLE) // 2

    def aligned(self, names: NDArray[Any] | None, classes: int) -> Floats:
        """The sums of these subjects, zero where it has none of one, and of so many classes; without names in all."""
        assert self.sums is not None
        wide = np.zeros((len(self.sums), SINGLE + 2 * classes))
        wide[:, :SINGLE] = self.sums[:, :SINGLE]
        for part, start in enumerate((SINGLE, SINGLE + self.classes)):
            place = SINGLE + part * classes
            wide[:, place : place + self.classes] = self.sums[:, start : start + self.classes]
        if names is None or self.names is None:
            total: Floats = wide.sum(0, keepdims=True)
            return total
        placed = np.zeros((len(names), wide.shape[1]))
        placed[:, np.isnan(wide).any(0)] = np.nan  # distances that are not known
        placed[np.searchsorted(names, self.names)] = wide
        return placed

    def to_json(self) -> dict[str, Any]:
        """What travels of it."""
        values: dict[str, Any] = {"agreement": self.agreement}
        if self.sums is None:
            return values
        names = [str(name) for name in self.names] if self.of != "window" and self.names is not None else []
        keeps = 0 < len(names) <= MOST_TRAVELLING and all(len(name) <= LONGEST_NAME for name in names)
        sums = self.sums if keeps else self.sums.sum(0, keepdims=True)
        rows = [[_number(value) for value in row] for row in sums.tolist()]
        return values | {"of": self.of, "sums": rows} | ({"names": names} if keeps else {})

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "NetworkPair":
        """What `to_json` made.

        Raises:
            KeyError, TypeError, ValueError: it did not make this.
        """
        agreement = values["agreement"]
        if isinstance(agreement, bool) or not isinstance(agreement, int | float) or not 0 <= agreement <= 1:
            raise ValueError("an agreement that is none")
        if "sums" not in values:
            return cls(float(agreement))
        of, names = values["of"], values.get("names")
        sums = np.array([[np.nan if value is None else value for value in row] for row in values["sums"]], np.float64)
        counts = np.delete(sums, slice(SINGLE - DISTANCES, SINGLE), axis=1)
        if of not in DRAWN or sums.ndim != 2 or sums.shape[1] <= SINGLE or (sums.shape[1] - SINGLE) % 2:
            raise ValueError("sums of a wrong form")
        if not np.isfinite(counts).all() or (counts < 0).any() or np.isinf(sums).any() or not counts[:, 0].sum():
            raise ValueError("sums that are none")
        if names is None:
            return cls(float(agreement), of, None, sums.sum(0, keepdims=True))
        if len(names) != len(sums) or not all(isinstance(n, str) and len(n) <= LONGEST_NAME for n in names):
            raise ValueError("names that do not fit")
        ordered = np.array(names)
        if (ordered[1:] <= ordered[:-1]).any():
            raise ValueError("names out of order")
        return cls(float(agreement), of, ordered, sums)


DISTANCES = 4
"""The last of the sums that do not belong to a class: they are no counts."""


def pair_of(network: JointPrediction, taught: JointPrediction, agreement: float) -> NetworkPair:
    """The sums of a network beside its teachers, of the same windows."""
    if len(taught.predicted) > 1:
        return NetworkPair(agreement)
    known = network.true >= 0
    groups = min((network.groups, taught.groups), key=lambda own: DRAWN.index(own.of if own else "window"))
    number = np.zeros(len(known), np.int64) if groups is None else groups.number
    cluster = np.broadcast_to(number.reshape(-1, *[1] * (known.ndim - 1)), known.shape)[known]
    predicted = (network.predicted[0], taught.predicted[0])
    classes = 1 + int(max(network.true.max(), *(one.max() for one in predicted)))
    names = None if groups is None else groups.names
    sums = pair_sums(
        network.true[known], taught.answers, network.answers, classes, cluster, 1 if names is None else len(names)
    )
    return NetworkPair(agreement, "window" if groups is None else groups.of, names, sums)


def teachers_id(records: Sequence[Any]) -> str:
    """The name of a set of teachers, by their keys and the epochs of their weights."""
    return "+".join(sorted(f"{record.key}@{record.epoch}" for record in records))


def _number(value: float) -> int | float | None:
    if np.isnan(value):
        return None
    return int(value) if value == int(value) else value
