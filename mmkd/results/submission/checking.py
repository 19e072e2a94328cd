"""The check of a file of results: all of its problems, or its lines."""

from dataclasses import dataclass, field
from pathlib import Path

from mmkd.results.columns import Line
from mmkd.results.protocol import Protocol
from mmkd.results.submission.method_file import method_file_problems
from mmkd.results.submission.reading import LARGEST_FILE, Problems, read_fields, read_file
from mmkd.results.submission.rules import joint_problems, missing_seeds, notes_of
from mmkd.results.submission.values import Known, field_problems


@dataclass(frozen=True)
class Checked:
    """A file of results that was checked.

    Attributes:
        problems: (line, sentence) of all that is wrong, in the order of lines; 0 is the file, or the method's file.
        lines: those of a right file; empty otherwise.
        unfinished: the lines of a file in which nothing is wrong but that seeds are missing; empty otherwise.
        notes: what a reader should know of a right or an unfinished file.
        known: what it was compared with.
    """

    problems: list[tuple[int, str]]
    known: Known
    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unfinished: list[Line] = field(default_factory=list)


def check_file(path: Path, protocol: Protocol, method_file: Path | None = None) -> Checked:
    """Check a file of results, and the file of its methods, without executing anything.

    Raises:
        MmkdError: a file cannot be read at all, or a table of the protocol is damaged.
    """
    problems = Problems()
    known = Known(protocol)
    numbered: list[tuple[int, Line]] = []
    for number, fields in read_fields(read_file(path, LARGEST_FILE, "results"), problems):
        found = list(field_problems(fields, known))
        for text in found:
            problems.add(number, text)
        if not found:
            numbered.append((number, Line.parse(fields)))
    of_form = not problems
    if of_form:
        joint_problems(numbered, known, problems)
    unfinished = not problems
    if of_form:
        missing_seeds(numbered, known, problems)
    if method_file is not None:
        methods = dict.fromkeys(line.method for _, line in numbered)
        for text in method_file_problems(method_file, methods):
            problems.add(0, f"the method's file: {text}")
            unfinished = False
    ordered = sorted(problems.found, key=lambda problem: problem[0])
    if ordered:
        left = numbered if unfinished else []
        return Checked(ordered, known, notes=notes_of(left, known), unfinished=[line for _, line in left])
    return Checked([], known, [line for _, line in numbered], notes_of(numbered, known))
