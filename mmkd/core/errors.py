"""The exceptions of mmkd, and the helpers that word their messages."""

from collections.abc import Iterable
from difflib import get_close_matches

from mmkd.core.text import shown


class MmkdError(Exception):
    """An error that the user can act on.

    The message is one line: what was asked for, what was found, and what to do. The commands print it and exit with
    code 2.
    """


class Refused(MmkdError):
    """A method cannot work with these networks or this data. Another method may."""


class UnitFailed(MmkdError):
    """A unit failed while it ran. The other units continue, and the command exits with code 1."""


class DamageWarning(UserWarning):
    """A file on disk is not what was written. The message is one line that says what was done about it."""


class SuspiciousData(MmkdError):
    """Something in the data is suspicious, and the user wants that refused. The message names all of it, uncut."""


class MissingValues(MmkdError):
    """Windows hold NaN or infinity, and nobody has said what to do about it."""

    def __init__(self, message: str, windows: int) -> None:
        super().__init__(message)
        self.windows = windows


class DataWarning(UserWarning):
    """Something in a data set is suspicious. The message is one line that names the data set."""


class ScoreWarning(UserWarning):
    """A score is not shown, or not that of a record. The message is one line that says why."""


class MachineWarning(UserWarning):
    """This machine, or a setting on it, makes results much later than they need be, or others than those on file.

    The message is one line.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint such as `; did you mean 'fam'?`, or the empty string when no known name is close.

    >>> did_you_mean("famm", ["kd", "fam"])
    "; did you mean 'fam'?"
    """
    lower = {k.lower(): k for k in known}
    close = get_close_matches(name.lower(), lower, n=1, cutoff=0.6)
    return f"; did you mean {lower[close[0]]!r}?" if close else ""


def unknown_name(kind: str, name: str, known: Iterable[str], how: str = "") -> MmkdError:
    """Make the error for a name that does not exist; the caller raises it.

    Args:
        kind: what the name should have named, such as "method".
        known: the names that exist.
        how: how the user can list the known names; by default the message lists them itself.

    >>> str(unknown_name("method", "famm", ["kd", "fam"]))
    "unknown method 'famm'; did you mean 'fam'? (known: fam, kd)"
    """
    known = sorted(known)
    listing = how or ("known: " + ", ".join(known) if known else "none is known")
    return MmkdError(f"unknown {kind} {shown(name)}{did_you_mean(name, known)} ({listing})")


def describe_error(error: BaseException) -> str:
    """Any exception as one line: the message of an `MmkdError`, else the type and the message.

    >>> describe_error(ValueError("first line\\nsecond line"))
    'ValueError: first line second line'
    """
    text = " ".join(str(error).split())
    return text if isinstance(error, MmkdError) else f"{type(error).__name__}: {text}"
