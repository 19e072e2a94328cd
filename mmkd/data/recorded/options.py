"""What is asked of `python -m mmkd.data window`, checked before a file is read."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from mmkd.core.errors import MmkdError, unknown_name
from mmkd.core.options import shown
from mmkd.data.recorded.tables import Wanted
from mmkd.data.recorded.times import UNITS
from mmkd.data.recordings import Grid

Rule = Literal["majority", "last", "strict", "per-sample"]
Filling = Literal["refuse", "linear", "hold", "gap"]
Duplicates = Literal["refuse", "first", "mean"]
Backward = Literal["refuse", "split", "sort"]
Allowed = Literal["units", "stuck", "channels"]
SECONDS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
NONE = "none"
"""In place of a column: no label, or no subject."""


class Length(NamedTuple):
    """A length of time: seconds, or samples."""

    amount: float
    in_samples: bool

    def samples(self, rate_hz: float) -> int:
        """The nearest number of samples."""
        return round(self.amount if self.in_samples else self.amount * rate_hz)


def parse_length(flag: str, text: str, samples: bool = False) -> Length:
    """A length of time such as "2.56s", "200ms" or "1min"; if `samples` also a number of them.

    Raises:
        MmkdError: the text is something else, or not above 0.

    >>> parse_length("--window", "200ms"), parse_length("--window", "128", samples=True)
    (Length(amount=0.2, in_samples=False), Length(amount=128.0, in_samples=True))
    """
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(ms|s|min|h)?\s*", text)
    example = "2.56s, 200ms or a number of samples" if samples else "2.56s or 200ms"
    if match is None or (match[2] is None and not (samples and float(match[1]).is_integer())):
        raise MmkdError(f"{flag} {shown(text)}: it must be like {example}")
    amount = float(match[1]) * (SECONDS[match[2]] if match[2] else 1)
    if not 0 < amount < math.inf:
        raise MmkdError(f"{flag} {shown(text)}: it must be above 0")
    return Length(amount, match[2] is None)


def parse_rate(flag: str, text: str) -> float:
    """A rate in Hz.

    Raises:
        MmkdError: the text is no number above 0.
    """
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise MmkdError(f"{flag} {shown(text)}: it must be a number of Hz above 0")
    return rate


@dataclass(frozen=True)
class WindowOptions:
    """How recordings become windows.

    Attributes:
        channels: columns of numbers.
        label, subject: a column; `@file`, `@folder` or `@path:REGEX` (its group) of the path; or "none".
        recording: the same, or None: a file is a recording.
        time: the column of time stamps; None: every sample follows the one before.
        time_unit: of numbers in that column; None: found out.
        rate_hz: samples a second; None: found out.
        window, step: of the windows.
        label_rule: the label of a window, see `recordings.window_labels`; or "per-sample".
        grid: where windows begin, see `recordings.window_starts`.
        no_label: labels that stand for none.
        null: with "per-sample", the label that stands for none of the classes.
        max_gap: the longest step that is bridged; None: four periods.
        resample_hz: the rate of the windows; None: that of the recordings.
        groups: channel group -> its channels.
        missing: what is done about missing values in channels.
        duplicates, backward: what is done about stamps that repeat, with other values, or run backward.
        stuck: from when on a constant channel is told of; None: a window.
        allow: what is suspicious and yet wanted.
    """

    channels: tuple[str, ...]
    label: str
    subject: str
    window: Length
    step: Length
    recording: str | None = None
    time: str | None = None
    time_unit: str | None = None
    rate_hz: float | None = None
    label_rule: str = "majority"
    grid: str = "recording"
    no_label: tuple[str, ...] = ()
    null: str | None = None
    max_gap: Length | None = None
    resample_hz: float | None = None
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    missing: str = "refuse"
    duplicates: str = "refuse"
    backward: str = "refuse"
    stuck: Length | None = None
    allow: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        twice = [name for number, name in enumerate(self.channels) if name in self.channels[:number]]
        if not self.channels or "" in self.channels or twice:
            raise MmkdError(f"--channels: {f'{twice[0]!r} stands there twice' if twice else 'a name is empty'}")
        for flag, value, choices in (
            ("--label-rule", self.label_rule, get_args(Rule)),
            ("--grid", self.grid, get_args(Grid)),
            ("--missing", self.missing, get_args(Filling)),
            ("--duplicates", self.duplicates, get_args(Duplicates)),
            ("--backward", self.backward, get_args(Backward)),
            ("--time-unit", self.time_unit or UNITS[0], UNITS),
        ):
            if value not in choices:
                raise unknown_name(flag, value, choices)
        for name in self.allow:
            if name not in get_args(Allowed):
                raise unknown_name("--allow", name, get_args(Allowed))
        self._check_columns()
        self._check_groups()
        if self.time is None and (self.time_unit or self.max_gap):
            raise MmkdError(f"{'--time-unit' if self.time_unit else '--max-gap'} goes with --time COLUMN")
        if self.label == NONE and (self.no_label or self.label_rule != "majority" or self.grid != "recording"):
            raise MmkdError("--label none has no labels; leave --label-rule, --no-label and --grid out")
        if self.label_rule == "per-sample" and self.grid == "label":
            raise MmkdError("--grid label cuts windows of one label each; leave it out with --label-rule per-sample")
        if self.null is not None and self.label_rule != "per-sample":
            raise MmkdError("--null goes with --label-rule per-sample; of windows name it with --no-label")

    def _check_columns(self) -> None:
        columns = {"--label": self.label, "--subject": self.subject, "--recording": self.recording, "--time": self.time}
        for flag, column in columns.items():
            if column is not None and not column.strip():
                raise MmkdError(f"{flag}: the name is empty")
            if column in self.channels:
                raise MmkdError(f"{flag} {shown(column)} is among --channels too")
            if flag != "--time" and column and column.startswith("@") and column not in ("@file", "@folder"):
                _pattern(flag, column)
        if self.time is not None and self.time in (self.label, self.subject, self.recording):
            raise MmkdError(f"--time {shown(self.time)} is the column of labels or names too")
        if self.label == self.subject != NONE:
            raise MmkdError(f"--label and --subject are both {shown(self.label)}")

    def _check_groups(self) -> None:
        for name, members in self.groups:
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or (name in self.channels and members != (name,)):
                raise MmkdError(f"--groups: {shown(name)} must be letters, digits, _ and -, and no channel")
            unknown = [member for member in members if member not in self.channels]
            if unknown or len(set(members)) < len(members):
                what = f"{shown(unknown[0])} is not among --channels" if unknown else "a channel stands there twice"
                raise MmkdError(f"--groups {name}: {what}")
        if len({name for name, _ in self.groups}) < len(self.groups):
            raise MmkdError("--groups: two have the same name")

    @property
    def wanted(self) -> Wanted:
        """The columns to read."""
        named = (self.label, self.subject, self.recording or NONE)
        names = [column for column in named if column != NONE and not column.startswith("@")]
        return Wanted(self.channels, tuple(dict.fromkeys(names)), self.time)


def _pattern(flag: str, text: str) -> re.Pattern[str]:
    """The pattern of `@path:REGEX`.

    Raises:
        MmkdError: it is none, or has not one group.
    """
    if not text.startswith("@path:"):
        raise MmkdError(f"{flag} {shown(text)}: what stands for a column is @file, @folder or @path:REGEX")
    try:
        pattern = re.compile(text.removeprefix("@path:"))
    except re.error as error:
        raise MmkdError(f"{flag} {shown(text)}: no regular expression ({error})") from None
    if pattern.groups != 1:
        raise MmkdError(f"{flag} {shown(text)}: it must have one group in brackets, such as @path:sub_(\\d+)")
    return pattern


def name_from_path(flag: str, text: str, parts: Sequence[str], stem: str) -> str:
    """The name that a path has, by `@file`, `@folder` or `@path:REGEX`.

    Args:
        parts: of the path.
        stem: the name of the file without its suffix.

    Raises:
        MmkdError: the path has none.
    """
    if text == "@file":
        return stem
    if text == "@folder":
        if len(parts) < 2:
            raise MmkdError(f"{flag} @folder: {parts[-1]} is named without a folder; name it as FOLDER/{parts[-1]}")
        return parts[-2]
    found = _pattern(flag, text).search("/".join(parts))
    if found is None or not found[1]:
        raise MmkdError(f"{flag} {text}: the path {'/'.join(parts)} has no such part")
    return found[1]


def parse_groups(texts: Sequence[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Groups from texts such as "acc=acc_x,acc_y".

    Raises:
        MmkdError: a text is something else.
    """
    groups = []
    for text in texts:
        name, equals, members = text.partition("=")
        channels = tuple(member.strip() for member in members.split(","))
        if not equals or not name.strip() or "" in channels:
            raise MmkdError(f"--groups {shown(text)}: it must be like acc=acc_x,acc_y,acc_z")
        groups.append((name.strip(), channels))
    return tuple(groups)
