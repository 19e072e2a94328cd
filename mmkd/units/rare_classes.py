"""What is said before a training of the classes that few of the labelled steps have."""

from collections.abc import Iterable

import numpy as np

from mmkd.core.registry import METHODS
from mmkd.data import Dataset, Split
from mmkd.specs.unit import UnitSpec
from mmkd.units.splits import split_for

RARE = 0.02
"""Share of the labelled training steps below which a class is rare."""
MOST_NAMED = 3
"""Rare classes that are named; of more, the rarest are."""
ADVICE = "--class-weights balanced makes rare classes count as much"


def notes_of_rare_classes(units: Iterable[tuple[UnitSpec, Dataset]]) -> list[str]:
    """A line for each data set with a label a step, of which a class is rare and cross-entropy is not weighted.

    Methods without cross-entropy, which take no weights, are passed over. The labels of the training windows of its
    first such unit are counted. Classes that have no label there are passed over: no weight helps them.

    Args:
        units: those that are to be trained.
    """
    first: dict[str, tuple[UnitSpec, Dataset]] = {}
    names = set()
    for spec, data in units:
        names.add(data.name)
        if data.form == "step" and not _weighted(spec):
            first.setdefault(data.name, (spec, data))
    lines = {name: describe_rare(data, split_for(data, spec.data, spec.seed)) for name, (spec, data) in first.items()}
    return [f"note: {f'{name}: ' * (len(names) > 1)}{line}; {ADVICE}" for name, line in lines.items() if line]


def describe_rare(data: Dataset, split: Split) -> str:
    """The classes that less than `RARE` of the labelled training steps have; empty if there are none.

    Such as 'class "change" has 1.8 % of the labelled steps'.

    Args:
        data: whose `y` is (N, W), -1 where no label is known.
    """
    labels = data.y[split.train]
    counts = np.bincount(labels[labels >= 0], minlength=len(data.classes))
    shares = counts / max(1, counts.sum())
    rare = [k for k in np.argsort(shares, kind="stable").tolist() if 0 < shares[k] < RARE]
    named = ", ".join(f'"{data.classes[k]}" ({_percent(shares[k])})' for k in rare[:MOST_NAMED])
    what = "pixels" if data.grid is not None else "steps"
    if not rare:
        return ""
    if len(rare) == 1:
        return f'class "{data.classes[rare[0]]}" has {_percent(shares[rare[0]])} of the labelled {what}'
    rarest = "such as " if len(rare) > MOST_NAMED else ""
    number = f"{len(rare)} of {len(data.classes)} classes"
    return f"{number} have each less than {100 * RARE:g} % of the labelled {what}: {rarest}{named}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _weighted(spec: UnitSpec) -> bool:
    """Whether the cross-entropy of the student counts classes or steps unequally, or there is none."""
    if not METHODS.get(spec.method).supervised_by_labels:
        return True
    return bool(spec.options.get("class_weights", "none") != "none" or spec.options.get("focal_gamma", 0) > 0)
