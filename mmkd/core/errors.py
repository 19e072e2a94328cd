"""The one exception that a user is meant to read, and the did-you-mean that it carries."""

from collections.abc import Iterable
from difflib import get_close_matches


class MmkdError(Exception):
    """What was asked, what was found, what to do: one line. The commands print it and exit 2."""


class Refused(MmkdError):
    """A method cannot work with these networks or this data; another method may."""


class UnitFailed(MmkdError):
    """A unit broke off while it worked; the others go on and the command exits 1."""


class DamageWarning(UserWarning):
    """Something on disk is not what was written: what was done about it, one line."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint such as `; did you mean 'fam'?`, or the empty string when nothing is close.

    >>> did_you_mean("famm", ["kd", "fam"])
    "; did you mean 'fam'?"
    """
    lower = {k.lower(): k for k in known}
    close = get_close_matches(name.lower(), lower, n=1, cutoff=0.6)
    return f"; did you mean {lower[close[0]]!r}?" if close else ""


def unknown(kind: str, name: str, known: Iterable[str], how: str = "") -> MmkdError:
    """The error for a name that nobody registered: `kind` is what it should have been, `how` how to list them."""
    known = sorted(known)
    listing = how or ("known: " + ", ".join(known) if known else "none is known")
    return MmkdError(f"unknown {kind} {name!r}{did_you_mean(name, known)} ({listing})")


def reason(error: BaseException) -> str:
    """One line for an exception of somebody else's code."""
    text = " ".join(str(error).split())
    return text if isinstance(error, MmkdError) else f"{type(error).__name__}: {text}"
