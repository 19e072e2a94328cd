"""What rules of the protocol decided, without a test window: sets with room, and the controls to be held against."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmkd.core.errors import MmkdError
from mmkd.core.text import shown
from mmkd.data.cards import read_toml

FILE = "decisions.toml"


@dataclass(frozen=True)
class Gap:
    """Best teacher minus student alone in the selection phase, as a share; low, high: its 90 % interval, if stated."""

    mean: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Decisions:
    """The decisions of one regime.

    Attributes:
        teachable: the sets with room; None where it is not decided.
        best_control: the control that was best in the selection phase; "" where none is chosen.
        controls: row of a control -> its change there, as a share.
        tried: tuned method -> the scores of its configurations on the development sets, the default first.
    """

    teachable: frozenset[str] | None = None
    best_control: str = ""
    gaps: Mapping[str, Gap] = field(default_factory=dict)
    controls: Mapping[str, float] = field(default_factory=dict)
    tried: Mapping[str, Sequence[float]] = field(default_factory=dict)


def read_decisions(folder: Path, protocol: str = "") -> dict[str, Decisions]:
    """Regime -> its decisions; empty where there is no decisions.toml.

    Args:
        protocol: the title of the protocol that they are to be of; "" for any.

    Raises:
        MmkdError: the file is malformed, or of another protocol.
    """
    path = folder / FILE
    if not os.path.lexists(path):
        return {}
    table = read_toml(path, "decisions")
    regimes = table.get("regimes", table)
    if not isinstance(regimes, dict):
        raise MmkdError(f"{path}: regimes = {shown(regimes)} is no table")
    if protocol and table.get("protocol", protocol) != protocol:
        made = "python -m mmkd.results decide makes it anew"
        raise MmkdError(f"{path}: it is of protocol {shown(table['protocol'])}, and this is {protocol}; {made}")
    if wrong := [name for name, own in regimes.items() if regimes is not table and not isinstance(own, dict)]:
        raise MmkdError(f"{path}, {wrong[0]}: {shown(regimes[wrong[0]])} is no table")
    return {str(name): _decisions(own, f"{path}, {name}") for name, own in regimes.items() if isinstance(own, dict)}


def read_tried(folder: Path) -> dict[str, Sequence[float]]:
    """Method -> the scores of its configurations, of the files that `--tune --freeze FOLDER` has written.

    Files without them, which are older, are passed over.

    Raises:
        MmkdError: a file is malformed.
    """
    found: dict[str, Sequence[float]] = {}
    for path in sorted(folder.glob("*.toml")):
        values = read_toml(path, "tuned")
        scores = values.get("scores", [])
        if not isinstance(scores, list) or not all(type(own) in (int, float) and math.isfinite(own) for own in scores):
            raise MmkdError(f"{path}: scores = {shown(scores)} are no numbers")
        if scores:
            found[path.stem] = [float(own) for own in scores]
    return found


def _decisions(table: Mapping[str, Any], where: str) -> Decisions:
    teachable, control, gaps = table.get("teachable"), table.get("best_control", ""), table.get("gaps", {})
    if teachable is not None and not (isinstance(teachable, list) and all(isinstance(n, str) for n in teachable)):
        raise MmkdError(f"{where}: teachable = {shown(teachable)} is no list of names")
    if teachable is not None and len(set(teachable)) < len(teachable):
        raise MmkdError(f"{where}: teachable = {shown(teachable)} has a name twice")
    if not isinstance(control, str):
        raise MmkdError(f"{where}: best_control = {shown(control)} is no name")
    if not isinstance(gaps, dict):
        raise MmkdError(f"{where}: gaps = {shown(gaps)} is no table")
    controls = table.get("controls", {})
    if not isinstance(controls, dict):
        raise MmkdError(f"{where}: controls = {shown(controls)} is no table")
    own = {str(name): _gap(value, f"{where}, gap of {name}") for name, value in gaps.items()}
    changes = {str(name): _gap(value, f"{where}, change of {name}").mean for name, value in controls.items()}
    return Decisions(None if teachable is None else frozenset(teachable), control, own, changes)


def _gap(value: Any, where: str) -> Gap:
    """A number, or a table with mean, low and high."""
    table = value if isinstance(value, dict) else {"mean": value}
    numbers = [table.get(name, table.get(other)) for name, other in (("mean", "gap"), ("low", "low"), ("high", "high"))]
    if not all(
        number is None or (isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number))
        for number in numbers
    ):
        raise MmkdError(f"{where}: {shown(value)} is no number, nor a table with mean, low and high")
    if numbers[0] is None:
        raise MmkdError(f"{where}: {shown(value)} has no mean")
    mean, low, high = (None if number is None else float(number) for number in numbers)
    assert mean is not None
    ends = [-1.0 if low is None else low, 1.0 if high is None else high]
    if max(map(abs, (mean, *ends))) > 1 or ends[0] > ends[1]:
        raise MmkdError(f"{where}: {shown(value)}: a difference of shares is between -1 and 1, and low not above high")
    return Gap(mean, low, high)
