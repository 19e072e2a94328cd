"""Results that others sent in, as lines of the board: each file that the check accepts."""

from mmkd.core.errors import MmkdError
from mmkd.core.text import one_line
from mmkd.results.columns import Line
from mmkd.results.protocol import Protocol
from mmkd.results.submission.checking import check_file
from mmkd.results.tables import read_lines


def submitted_lines(protocol: Protocol) -> tuple[list[Line], list[str]]:
    """The lines of `experiments/submissions/NAME/FILE.csv`, and a sentence for each file that is left out.

    A file is left out as a whole: if the check finds a problem in it, if its lines are of another protocol, or if it
    has a row of the protocol's results, or of another folder before it (files stand in order of their names). Links are
    not followed.
    """
    lines: list[Line] = []
    notes: list[str] = []
    taken = {
        (line.regime, line.row): protocol.version for name in protocol.regimes for line in read_lines(protocol, name)
    }
    seen: set[tuple[object, ...]] = set()
    for path in sorted(protocol.submissions.glob("*/*.csv")):
        name = one_line(f"{path.parent.name}/{path.name}", 80)
        if path.is_symlink() or path.parent.is_symlink() or protocol.submissions.is_symlink():
            notes.append(f"{name} is left out: it is a link, and no file")
            continue
        try:
            checked = check_file(path, protocol)
        except MmkdError as error:
            notes.append(f"{name} is left out: {one_line(str(error))}")
            continue
        if checked.problems:
            number, text = checked.problems[0]
            more = len(checked.problems) - 1
            rest = f", and {more:,} more" if more else ""
            where = f"line {number}: " if number else ""
            notes.append(f"{name} is left out: {where}{one_line(text)}{rest}")
            continue
        owner = one_line(path.parent.name, 60)
        repeated = next((line for line in checked.lines if taken.get((line.regime, line.row), owner) != owner), None)
        if repeated is not None:
            other = taken[repeated.regime, repeated.row]
            row = one_line(repeated.row, 60)
            notes.append(f"{name} is left out: the row {row!r} is that of {other}; a row has a name of its own")
            continue
        if any(line.identity in seen for line in checked.lines):
            notes.append(f"{name} is left out: another file of {owner} has the same units")
            continue
        seen |= {line.identity for line in checked.lines}
        taken |= {(line.regime, line.row): owner for line in checked.lines}
        lines += checked.lines
    return lines, notes
