"""`python -m mmkd.results COMMAND`: the results of a frozen benchmark, and what others add to them."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmkd.cli.console import command_line
from mmkd.cli.flags import Parser, check_folder, refuse_unknown_flags, split_names
from mmkd.core.errors import MmkdError, unknown_name
from mmkd.core.text import one_line

NAME = "mmkd.results"
FOLDER = "experiments/v1"
MOST_SHOWN = 20
"""Problems of a file that are printed."""
COMMANDS = {
    "make": "write results/REGIME.csv of the protocol's folder and its figures, from its records/; or with --records "
    "your own results, of methods of your own, to --out",
    "check": "check a CSV of results as a request adds it, and say where it would stand; nothing of it is executed",
    "decide": "write decisions.toml of that folder: sets with room, and the best control of each regime",
    "page": "write DIR/index.html, a board of the results: one page that needs no network",
    "hash": "print the version and hash of the protocol, as VERSION has them",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 0, 2 (bad input) or 130 (Ctrl-C)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    with command_line(NAME) as exit_code:
        exit_code.value = command(arguments)
    return exit_code.value


def make_parser() -> Parser:
    """The flags of `mmkd.results`."""
    parser = Parser(
        prog="python -m mmkd.results",
        usage="python -m mmkd.results COMMAND [FILE] [options]",
        description="; ".join(f"{name}: {text}" for name, text in COMMANDS.items()),
        add_help=False,
        epilog="docs/results.md has the columns, docs/submit.md how to add results of one's own.",
    )
    parser.add_argument("words", nargs="*", metavar="COMMAND", help="a command; of check the file")
    parser.add_argument(
        "--folder",
        metavar="DIR",
        default=FOLDER,
        help=f"the protocol: a folder with protocol.toml, or a version such as v1 (default {FOLDER})",
    )
    parser.add_argument(
        "--records", metavar="FILE[,FILE]", help="of make: records that mmkd.compare --write-records wrote"
    )
    parser.add_argument(
        "--out",
        metavar="PATH",
        help="of make --records: where to write; of page: a folder for it (default page in --folder)",
    )
    parser.add_argument("--method-file", metavar="FILE.py", help="of check: the file of the method, parsed only")
    parser.add_argument("-h", "--help", action="store_true", help="this text")
    return parser


def command(argv: Sequence[str]) -> int:
    """Parse the arguments and run the command that they name; returns the exit code.

    Raises:
        MmkdError: the arguments are invalid, or the command fails.
    """
    parser = make_parser()
    args, rest = parser.parse_known_intermixed_args(list(argv))
    if args.help or not args.words:
        print(parser.format_help(), end="")
        return 0 if args.help else 2
    refuse_unknown_flags(rest, parser)
    name, *words = args.words
    if name not in COMMANDS:
        raise unknown_name("command", name, COMMANDS)
    for option, owners in (("records", ("make",)), ("out", ("make", "page")), ("method_file", ("check",))):
        value = getattr(args, option)
        flag = f"--{option.replace('_', '-')}"
        if value is not None and name not in owners:
            raise MmkdError(f"{flag} goes with {' and '.join(owners)}")
        if value is not None and (not value or "\0" in value):
            raise MmkdError(f"{flag} {value!r}: the name is empty, or contains a zero byte")
    return RUN[name](args, words)


def _protocol(args: Any) -> Any:
    """The protocol of `--folder`; of the default the one that mmkd carries, where there is no such folder here."""
    from mmkd.results.protocol import FILE, read_protocol

    default = args.folder == FOLDER and not (Path(FOLDER) / FILE).is_file()
    return read_protocol("v1" if default else args.folder)


def _say(lines: Sequence[str]) -> None:
    for line in dict.fromkeys(lines):
        print(f"{NAME}: note: {one_line(line)}", file=sys.stderr)


def _check(args: Any, words: Sequence[str]) -> int:
    from mmkd.results.submission.checking import check_file
    from mmkd.results.submission.joining import taken_names
    from mmkd.results.submission.placing import places

    if len(words) != 1 or not words[0]:
        raise MmkdError("check takes one FILE.csv")
    path, protocol = Path(words[0]), _protocol(args)
    checked = check_file(path, protocol, Path(args.method_file) if args.method_file else None)
    taken = taken_names(path, checked.lines or checked.unfinished, protocol)
    problems = checked.problems + taken
    name = one_line(path.name, 60)
    alike: dict[str, list[int]] = {}
    for number, text in problems:
        alike.setdefault(text, []).append(number)
    for text, (number, *others) in list(alike.items())[:MOST_SHOWN]:
        where = f", line {number}" if number else ""
        where += f" and {len(others):,} other{'s' * (len(others) > 1)}" if others else ""
        print(f"{NAME}: {name}{where}: {one_line(text)}", file=sys.stderr)
    if problems:
        more = len(alike) - MOST_SHOWN
        if more > 0:
            print(f"{NAME}: {name}: and {more:,} more", file=sys.stderr)
        if checked.unfinished and not taken:
            _say(checked.notes[:MOST_SHOWN])
            _say_places(places(checked.unfinished, checked.known), "not accepted; by the seeds that it has: ")
        return 2
    _say(checked.notes)
    print(f"{name}: {len(checked.lines):,} lines of results, in the form of {checked.known.protocol.title}")
    _say_places(places(checked.lines, checked.known))
    return 0


def _say_places(found: Sequence[Any], before: str = "") -> None:
    for place in found[:MOST_SHOWN]:
        print(f"{before}{one_line(place.text)}")
    if len(found) > MOST_SHOWN:
        print(f"{before}and {len(found) - MOST_SHOWN:,} more rows")


def _make(args: Any, words: Sequence[str]) -> int:
    from mmkd.results.board.reading import result_figures
    from mmkd.results.making import make_results
    from mmkd.results.protocol import changed_since
    from mmkd.results.tables import write_results

    _no_words("make", words)
    if args.records is None and args.out is not None:
        raise MmkdError(
            f"--out {args.out}: make writes the results of the protocol into its own folder, which --folder DIR "
            "names; --out FILE.csv is where those of --records FILE go: give both"
        )
    if args.records is not None and args.out is None:
        raise MmkdError("--records names own records; name where their results go too, --out FILE.csv")
    protocol = _protocol(args)
    if why := changed_since(protocol):
        raise MmkdError(why)
    if args.records is not None:
        return _make_own(args, protocol)
    made = make_results(protocol)
    write_results(protocol, made, result_figures(protocol, made))
    _say([f"regime {one.regime}: {line}" for one in made for line in one.left_out])
    for one in made:
        print(f"{one.regime}: {len(one.lines):,} lines of {one.units:,} record{'s' * (one.units != 1)}")
    print(f"files: {protocol.results}")
    return 0


def _page(args: Any, words: Sequence[str]) -> int:
    from mmkd.results.board.reading import protocol_board
    from mmkd.store.files import write_atomically

    _no_words("page", words)
    protocol = _protocol(args)
    carried = Path(__file__).resolve().parents[1] in protocol.folder.resolve().parents  # nothing is written into mmkd
    usual = Path("board") if carried else protocol.folder / "page"
    out = usual if args.out is None else Path(args.out)
    check_folder(out, "--out")
    files, notes = protocol_board(protocol)
    _say(notes)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            write_atomically(out / name, text.encode())
            print(f"page: {out / name}")
    except OSError as error:
        raise MmkdError(f"--out {out}: {error.strerror or error}; name another folder") from None
    return 0


def _make_own(args: Any, protocol: Any) -> int:
    """Write the results of methods of one's own, as a request adds them."""
    from mmkd.results.beside import own_methods, place_records
    from mmkd.results.columns import csv_text
    from mmkd.results.making import lines_of
    from mmkd.results.naming import row_names
    from mmkd.results.tables import write_if_changed
    from mmkd.store.travelling import read_travelling

    out = Path(args.out)
    if out.suffix != ".csv" or out.is_dir():
        raise MmkdError(f"--out {out}: name a file that ends in .csv")
    if not out.parent.is_dir():
        raise MmkdError(f"--out {out}: there is no folder {out.parent}")
    records = read_travelling(split_names(args.records, "--records"))
    own, others = own_methods(records.values())
    placed = place_records(own, protocol)
    made = []
    for name, found in placed.records.items():
        regime = protocol.regimes[name]
        made.append(lines_of(found, row_names(found, regime), protocol, regime, verified=False))
    _say([*placed.left_out, *(line for one in made for line in one.left_out)])
    if others:
        _say([f"{others} records of mmkd's own methods, of teachers and peers: their results are not yours to submit"])
    if not made:
        raise MmkdError(
            f"--records {args.records}: no unit of a method of your own is of a regime of {protocol.version}"
        )
    try:
        write_if_changed(out, csv_text(line for one in made for line in one.lines))
    except OSError as error:
        raise MmkdError(f"--out {out}: {error.strerror or error}") from None
    for one in made:
        print(f"{one.regime}: {len(one.lines):,} lines of {one.units:,} record{'s' * (one.units != 1)}")
    print(f"file: {out}; python -m mmkd.results check {out} --method-file FILE.py says what is missing")
    return 0


def _decide(args: Any, words: Sequence[str]) -> int:
    from mmkd.results.deciding import decide, decisions_text
    from mmkd.results.protocol import DECISIONS, changed_since
    from mmkd.store.files import write_atomically

    _no_words("decide", words)
    protocol = _protocol(args)
    if why := changed_since(protocol):
        raise MmkdError(why)
    decided = decide(protocol)
    _say([f"regime {one.regime}: {line}" for one in decided for line in one.notes])
    if not any(one.gaps or one.changes for one in decided):
        raise MmkdError(f"{protocol.records}: no records of the phase before are complete; nothing is decided")
    for one in (one for one in decided if one.gaps or one.changes):
        room = f"{len(one.teachable)} of {len(one.gaps)} sets with room" if one.gaps else "room not decided"
        print(f"{one.regime}: {room}, best control {one.best_control or 'not decided'}")
    path = protocol.folder / DECISIONS
    try:
        write_atomically(path, decisions_text(decided, protocol).encode())
    except OSError as error:
        raise MmkdError(f"{path}: {error.strerror or error}") from None
    print(f"file: {path}")
    return 0


def _hash(args: Any, words: Sequence[str]) -> int:
    from mmkd.results.protocol import changed_since, version_line

    _no_words("hash", words)
    protocol = _protocol(args)
    print(version_line(protocol))
    if why := changed_since(protocol):
        _say([why])
    return 0


def _no_words(name: str, words: Sequence[str]) -> None:
    if words:
        raise MmkdError(f"{name} takes no {' '.join(words)!r}")


RUN: Mapping[str, Callable[[Any, Sequence[str]], int]] = {
    "make": _make,
    "check": _check,
    "decide": _decide,
    "page": _page,
    "hash": _hash,
}
"""Name of a command -> what runs it."""
