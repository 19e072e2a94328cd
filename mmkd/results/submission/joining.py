"""Results that others sent in, as lines of the board: each file that the check accepts, under names of its own."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from mmkd.core.errors import MmkdError
from mmkd.core.text import one_line
from mmkd.results.columns import Line
from mmkd.results.protocol import Protocol
from mmkd.results.submission.checking import check_file
from mmkd.results.tables import read_lines


def submitted_lines(protocol: Protocol) -> tuple[list[Line], list[str]]:
    """The lines of `experiments/submissions/NAME/FILE.csv`, and a sentence for each file that is left out.

    A file is left out as a whole: if the check finds a problem in it, if its lines are of another protocol, or if it
    has a row of the protocol's results. Links are not followed.

    Raises:
        MmkdError: two folders have a method of one name. Which of them was there first is in no file, and a choice by
            their names would let a new folder take the rows of an older one.
    """
    lines: list[Line] = []
    notes: list[str] = []
    ours = {(line.regime, line.row) for name in protocol.regimes for line in read_lines(protocol, name)}
    owners: dict[str, Path] = {}
    seen: set[tuple[object, ...]] = set()
    for path, read in _files(protocol):
        name = _shown(path)
        if isinstance(read, str):
            notes.append(f"{name} is left out: {read}")
            continue
        for line in read:
            other = owners.setdefault(line.method.lower(), path)
            if other.parent != path.parent:
                raise MmkdError(
                    f"{protocol.submissions}: {_shown(other)} and {name} both have the method {line.method!r}; a "
                    f"method has one sender, so rename that of the newer folder"
                )
        if repeated := next((line.row for line in read if (line.regime, line.row) in ours), ""):
            row = one_line(repeated, 60)
            notes.append(f"{name} is left out: the row {row!r} is that of {protocol.version}; give it another name")
            continue
        if any(line.identity in seen for line in read):
            notes.append(f"{name} is left out: another file of {one_line(path.parent.name, 60)} has the same units")
            continue
        seen |= {line.identity for line in read}
        lines += read
    return lines, notes


def taken_names(path: Path, lines: Sequence[Line], protocol: Protocol) -> list[tuple[int, str]]:
    """(line, sentence) for each method of a right file that a folder of submissions has, other than the file's own.

    Args:
        path: the file, in its folder of submissions or anywhere else.
        lines: all lines of it, in their order.
    """
    own = path.resolve().parent
    names = {line.method.lower() for line in lines}
    owners: dict[str, Path] = {}
    for other, read in _files(protocol):
        if other.parent.resolve() != own and not isinstance(read, str):
            owners |= {line.method.lower(): other for line in read if line.method.lower() in names}
    found: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(lines, 2):  # the head is line 1, and no line is empty
        if owner := owners.get(line.method.lower()):
            why = (
                f"the method {line.method!r} is that of {_shown(owner)} in {protocol.submissions}; give yours a name "
                f"of its own, or check the file in that folder if it is yours"
            )
            found.setdefault(line.method.lower(), (number, why))
    return list(found.values())


def _files(protocol: Protocol) -> Iterator[tuple[Path, list[Line] | str]]:
    """Each file that was sent in with its lines, or why it has none, in the order of the names."""
    for path in sorted(protocol.submissions.glob("*/*.csv")):
        if path.is_symlink() or path.parent.is_symlink() or protocol.submissions.is_symlink():
            yield path, "it is a link, and no file"
            continue
        try:
            checked = check_file(path, protocol)
        except MmkdError as error:
            yield path, one_line(str(error))
            continue
        if checked.problems:
            number, text = checked.problems[0]
            more = len(checked.problems) - 1
            rest = f", and {more:,} more" if more else ""
            where = f"line {number}: " if number else ""
            yield path, f"{where}{one_line(text)}{rest}"
            continue
        yield path, checked.lines


def _shown(path: Path) -> str:
    return one_line(f"{path.parent.name}/{path.name}", 80)
