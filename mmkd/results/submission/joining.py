"""Results that others sent in, as lines of the board: each file that the check accepts."""

from mmkd.core.errors import MmkdError
from mmkd.core.text import one_line
from mmkd.results.columns import Line
from mmkd.results.protocol import Protocol
from mmkd.results.submission.checking import check_file


def submitted_lines(protocol: Protocol) -> tuple[list[Line], list[str]]:
    """The lines of `experiments/submissions/NAME/FILE.csv`, and a sentence for each file that is left out.

    A file is left out as a whole: if the check finds a problem in it, if its lines are of another protocol, or if it
    has the row of a file before it (files stand in order of their names).
    """
    lines: list[Line] = []
    notes: list[str] = []
    taken: dict[tuple[object, ...], str] = {}
    for path in sorted(protocol.submissions.glob("*/*.csv")):
        name = one_line(f"{path.parent.name}/{path.name}", 80)
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
        repeated = next((line for line in checked.lines if line.identity in taken), None)
        if repeated is not None:
            row, other = one_line(repeated.row, 60), taken[repeated.identity]
            notes.append(f"{name} is left out: the row {row!r} is that of {other}; a row has a name of its own")
            continue
        taken.update({line.identity: name for line in checked.lines})
        lines += checked.lines
    return lines, notes
