"""Time stamps: their unit, the rate that they show, and its jitter."""

from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.options import shown
from mmkd.data.recorded.tables import Floats

TimeUnit = Literal["s", "ms", "us", "ns", "samples"]
SECONDS: dict[str, float] = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds", "samples": "counted samples"}
UNITS = tuple(str(name) for name in get_args(TimeUnit))
EPOCHS = {"ns": 1e17, "us": 1e14, "ms": 1e11, "s": 5e8}
"""From these values on stamps count from 1970, and their size says their unit."""
USUAL_HZ = (0.5, 2000.0)
"""Rates between which one unit must lie, and no other, where nothing else says it."""
NEAR = 0.2
"""A unit fits a stated rate if the steps are within this share of its period."""
REGULAR = (0.5, 1.5)
"""Steps between these multiples of the median step are those of the sampling, not of missing samples."""
COARSE = 0.5
"""Share of stamps that repeat the one before, from which on the clock is coarser than the samples."""
NICE = 0.005
"""A measured rate this near to a whole number stands for it."""
FRACTIONS = (12.8, 6.25)
"""Clocks of sensors are divided to multiples of these too, as 51.2, 102.4, 56.25 and 112.5 Hz ..."""
EXACT = 0.0005
"""... which a measured rate stands for if it is this near."""


class Stamps(NamedTuple):
    """Stamps of T samples.

    Attributes:
        seconds: (T,), from the first stamp on; or counted samples.
        unit: one of `UNITS`, or "ISO".
        resolution: seconds of the last digit that the stamps have, 0 where they have more than a millionth.
    """

    seconds: Floats
    unit: str
    resolution: float = 0.0


def read_stamps(values: NDArray[Any], what: str, unit: str | None = None, rate_hz: float | None = None) -> Stamps:
    """Read a column of time.

    Whole numbers and fractions are seconds, ms, us or ns: from 1970, as their size says; else in the unit that fits
    `rate_hz`; else in the only unit in which the samples come at 0.5 to 2000 Hz. If a rate is given and each number is
    the one before plus 1, they count samples. Texts are ISO stamps (without a zone taken as UTC) or times such as
    "00:01:02.5".

    Args:
        what: the column, for messages.
        unit: where the user says it.
        rate_hz: where the user or the file says it.

    Raises:
        MmkdError: stamps are missing or cannot be read, or their unit is not clear.
    """
    if values.dtype.kind == "M":
        return _from_dates(values.astype("datetime64[ns]"), what)
    if values.dtype.kind not in "biuf":
        numbers = _numbers(values)
        if numbers is None:
            return _from_dates(_parse(values, what), what)
        values = numbers
    if values.dtype.kind == "f":
        _refuse_missing(~np.isfinite(values), what)
    exact = values.astype(np.int64 if values.dtype.kind in "iu" else np.float64)  # differences of int16 overflow
    relative = (exact - exact[0]).astype(np.float64)
    unit = unit or _find_unit(float(exact[0]), relative, what, rate_hz)
    if unit == "samples":
        return Stamps(relative, unit)
    seconds = relative * SECONDS[unit]
    return Stamps(seconds, unit, _resolution(relative) * SECONDS[unit])


def _refuse_missing(missing: NDArray[np.bool_], what: str) -> None:
    if missing.any():
        raise MmkdError(
            f"{what} is missing in {int(missing.sum()):,} of {len(missing):,} rows, the first is row "
            f"{int(missing.argmax()) + 1}; leave these rows out"
        )


def _numbers(values: NDArray[Any]) -> NDArray[Any] | None:
    """Texts that are all numbers, as such: whole numbers exactly; None if they are something else."""
    texts = [str(value).strip() for value in values.tolist()]
    for kind in (int, float):
        try:
            return np.array([kind(text) for text in texts], np.int64 if kind is int else np.float64)
        except (ValueError, OverflowError):
            continue
    return None


def _parse(values: NDArray[Any], what: str) -> NDArray[Any]:
    """Texts as datetime64[ns]."""
    import pandas as pd

    texts = pd.Series(values.tolist(), dtype=object)
    _refuse_missing(texts.isna().to_numpy() | (texts.astype(str).str.strip() == "").to_numpy(), what)
    texts = texts.astype(str).str.strip()
    try:
        dates = pd.to_datetime(texts, format="ISO8601", utc=True)
        return np.asarray(dates.dt.tz_localize(None).to_numpy()).astype("datetime64[ns]")
    except (ValueError, OverflowError, TypeError):
        pass
    if texts.str.fullmatch(r"\d+:\d\d(:\d\d)?(\.\d+)?").all():
        long = texts.where(texts.str.count(":") == 2, "00:" + texts)
        spans = pd.to_timedelta(long)
        return np.asarray(spans.to_numpy()).astype("timedelta64[ns]").astype(np.int64).astype("datetime64[ns]")
    wrong = next((text for text in texts if not _is_date(text) and _numbers(np.array([text])) is None), texts.iloc[0])
    raise MmkdError(
        f"{what} holds {shown(wrong)}; it must hold numbers (seconds, ms, us, ns) or ISO stamps such as "
        f"2026-05-01T12:00:00.250"
    )


def _is_date(text: str) -> bool:
    import pandas as pd

    try:
        pd.to_datetime(text, format="ISO8601", utc=True)
    except (ValueError, OverflowError, TypeError):
        return False
    return True


def _from_dates(dates: NDArray[Any], what: str) -> Stamps:
    _refuse_missing(np.isnat(dates), what)
    numbers = dates.astype(np.int64)
    relative = (numbers - numbers[0]).astype(np.float64)
    return Stamps(relative * 1e-9, "ISO", _resolution(relative) * 1e-9)


def _resolution(relative: Floats) -> float:
    """The largest power of ten, from 1e-6 to 1e9, of which all numbers are multiples; 0 if there is none."""
    for power in range(9, -7, -1):
        scaled = relative / 10.0**power
        if (np.abs(scaled - np.round(scaled)) < 1e-4).all():
            return float(10.0**power)
    return 0.0


def _find_unit(first: float, relative: Floats, what: str, rate_hz: float | None) -> str:
    by_size = next((unit for unit, least in EPOCHS.items() if abs(first) >= least), None)
    if by_size is not None:
        return by_size
    steps = np.diff(relative)
    steps = steps[steps > 0]
    if not len(steps):
        return "s"
    step = float(np.median(steps))
    if rate_hz:
        fitting = [unit for unit, size in SECONDS.items() if abs(step * size * rate_hz - 1) <= NEAR]
        if fitting:
            return fitting[0]
        if step == 1:
            return "samples"
        rates = ", ".join(f"{1 / (step * size):.4g} Hz if {WORDS[unit]}" for unit, size in SECONDS.items())
        raise MmkdError(f"{what} has steps of {step:g}: {rates}; none is {rate_hz:g} Hz; mend --rate, or --time-unit")
    low, high = USUAL_HZ
    possible = [unit for unit, size in SECONDS.items() if low <= 1 / (step * size) <= high]
    if len(possible) == 1:
        return possible[0]
    if (np.diff(relative) == 0).mean() > COARSE:
        raise MmkdError(
            f"{what} repeats in most rows, as of a clock coarser than the samples; leave --time out and say --rate HZ"
        )
    raise MmkdError(
        f"{what} has steps of {step:g}, whose unit is not clear; say --rate HZ, or --time-unit {'|'.join(UNITS)}"
    )


class Rate:
    """The rate that the steps of several recordings show."""

    def __init__(self) -> None:
        self._steps: list[Floats] = []

    def add(self, seconds: Floats) -> None:
        """Count the steps of a recording that are those of the sampling."""
        steps = np.diff(seconds)
        steps = steps[steps > 0]
        if len(steps):
            middle = float(np.median(steps))
            self._steps.append(steps[(steps >= REGULAR[0] * middle) & (steps <= REGULAR[1] * middle)])

    @property
    def is_known(self) -> bool:
        """Whether there was a step."""
        return bool(self._steps)

    @property
    def measured_hz(self) -> float:
        """Steps a second."""
        steps = np.concatenate(self._steps)
        return float(len(steps) / steps.sum())

    @property
    def jitter_s(self) -> float:
        """Seconds by which 95 % of the steps differ at most from their mean."""
        steps = np.concatenate(self._steps)
        return float(np.quantile(np.abs(steps - steps.mean()), 0.95))


def nice_rate(measured_hz: float) -> float:
    """The whole number of Hz, or of seconds, or the usual fraction that a rate stands for; else its first four digits.

    >>> nice_rate(49.98), nice_rate(0.0999), nice_rate(31.2), nice_rate(51.2001)
    (50.0, 0.1, 31.2, 51.2)
    """
    for base in FRACTIONS:
        usual = base * round(measured_hz / base)
        if usual and abs(measured_hz / usual - 1) <= EXACT:
            return usual
    whole = round(measured_hz) if measured_hz >= 1 else 1 / round(1 / measured_hz)
    return float(whole) if abs(measured_hz / whole - 1) <= NICE else float(f"{measured_hz:.4g}")
