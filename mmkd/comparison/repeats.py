"""What the rows of a group have one value of: each seed, or of a single seed each fold.

Folds of one cut are one group. What counts is then, of each seed, the mean over its folds (macro over folds); where
there is one seed only, the folds themselves are the values.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from mmkd.comparison.identity import fold_of
from mmkd.comparison.rows import Row
from mmkd.comparison.units import Unit, mean_over_folds, unit_metrics
from mmkd.core.text import shorten
from mmkd.store.record import Record

FOLDS_SHARE = "folds share training data, so their values are not independent"


class Repeats:
    """Seeds and folds of the units of a group.

    Attributes:
        folds: test subjects, or (k, K) of a stratified fold -> name of the fold, in order; empty where the test part is
            the data set's own.
    """

    def __init__(self, members: Sequence[Record]) -> None:
        self.seeds = sorted({record.spec.seed for record in members})
        folds = dict(sorted((fold_of(record) for record in members), key=lambda fold: _natural_order(fold[1])))
        self.folds = {subjects: name for subjects, name in folds.items() if subjects}

    @property
    def by(self) -> Literal["seed", "fold"]:
        """What a row has one value of."""
        return "fold" if self.folds and len(self.seeds) == 1 else "seed"

    def units(self, records: Sequence[Record], notes: dict[str, None]) -> dict[int, Unit]:
        """Units by seed; in folds by a number that counts the folds of one seed after the other."""
        units: dict[int, Unit] = {}
        for record in records:
            seed = number = record.spec.seed
            subjects, name = fold_of(record)
            fold = 0
            if seed not in self.seeds or (self.folds and subjects not in self.folds):
                notes[f"{record.key} has another seed or fold than the unit that it taught; left out"] = None
                continue
            if self.folds:
                fold = list(self.folds).index(subjects) + 1
                number = self.seeds.index(seed) * len(self.folds) + fold
            if number in units:
                notes[f"unit {record.key} is a second one of seed {seed}{', ' * bool(name)}{name}; left out"] = None
                continue
            units[number] = Unit(record.key, seed, unit_metrics(record), record, fold)
        return units

    def whole_seeds(self, units: Mapping[int, Unit]) -> dict[int, dict[int, Unit]]:
        """Seed -> its units, by their numbers; without seeds that have no value because they lack folds."""
        by_seed: dict[int, dict[int, Unit]] = {}
        for number, unit in sorted(units.items()):
            by_seed.setdefault(unit.seed, {})[number] = unit
        if self.by == "fold" or not self.folds:
            return by_seed
        return {seed: own for seed, own in by_seed.items() if len(own) == len(self.folds)}

    def merge_folds(self, rows: Sequence[Row], notes: dict[str, None]) -> None:
        """Replace the units of rows: by the mean of each seed over its folds, or of a single seed by its folds.

        A seed that lacks folds has no mean.
        """
        if self.by == "fold":
            notes["one seed: n and ± are over its folds, and changes are paired by fold"] = None
            notes[f"{FOLDS_SHARE}: spread and intervals are too narrow, tests are optimistic"] = None
        else:
            notes["the value of a seed is the mean over its folds; n and ± are over seeds"] = None
        for row in rows:
            self._merge(row, notes)

    def _merge(self, row: Row, notes: dict[str, None]) -> None:
        names = list(self.folds.values())
        by_seed: dict[int, list[Unit]] = {}
        for _, unit in sorted(row.units.items()):
            by_seed.setdefault(unit.seed, []).append(unit)
        partial = {seed: units for seed, units in by_seed.items() if len(units) < len(names)}
        row.incomplete = tuple(f"seed {seed}: {len(units)} of {len(names)} folds" for seed, units in partial.items())
        if self.by == "fold":
            row.units = {unit.fold: unit for units in by_seed.values() for unit in units}
        else:
            row.units = {seed: mean_over_folds(units) for seed, units in by_seed.items() if seed not in partial}
        for seed, units in partial.items():
            folds = {unit.fold for unit in units}
            missing = ", ".join(name for number, name in enumerate(names, 1) if number not in folds)
            effect = "its mean is of these alone" if self.by == "fold" else "left out"
            part = f"{row.prefix}{row.name}, seed {seed}: {len(folds)} of {len(names)} folds"
            notes[f"incomplete: {part}, without {shorten(missing, 100)}; {effect}"] = None


def _natural_order(name: str) -> list[tuple[str, int]]:
    """What sorts names by the numbers in them."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", name)]
