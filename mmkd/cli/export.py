"""`python -m mmkd.export`: the student of a record as files for a device."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmkd.cli.console import command_line
from mmkd.cli.flags import Parser, refuse_unknown_flags
from mmkd.core.errors import MmkdError
from mmkd.core.options import describe
from mmkd.core.text import one_line
from mmkd.deploy.targets import TARGETS, get_target

NAME = "mmkd.export"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 0, 2 (bad input) or 130 (Ctrl-C)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    with command_line(NAME) as exit_code:
        exit_code.value = command(arguments)
    return exit_code.value


def options_of_targets() -> Mapping[str, tuple[str, list[str]]]:
    """Option of a target -> its line of help, and the targets that have it."""
    found: dict[str, tuple[str, list[str]]] = {}
    for target in TARGETS.values():
        for flag, _, default, text in describe(target.Config):
            line = text if default is None else f"{text} (default {default})"
            found.setdefault(flag, (line, []))[1].append(target.name)
    return found


def make_parser() -> Parser:
    """The flags of the command, those of all targets among them."""
    listed = "; ".join(f"{target.name}: {target.text}" for target in TARGETS.values())
    parser = Parser(
        prog="python -m mmkd.export",
        usage="python -m mmkd.export RECORD --to NAME [--out DIR] [flags]",
        description="Write the student of a record as files for a device, and check them against the student.",
        add_help=False,
        epilog=f"The forms, --to: {listed}.",
    )
    add = parser.add_argument
    add("record", nargs="*", metavar="RECORD", help="the folder of a record (runs/<key>), or its key in --runs")
    add("--to", metavar="NAME", help=f"the form: {', '.join(TARGETS)}")
    add("--out", metavar="DIR", help="folder of the files (default exported/<key>)")
    add("--force", action="store_true", help="replace files that are there")
    add("--runs", metavar="DIR", default="runs", help="folder of the records, for a key (default runs)")
    add("--data", metavar="FILE", help="your own windows, as the record was trained on them (--data of mmkd.bench)")
    add("--data-root", metavar="DIR", help="the data folder, as of mmkd.bench")
    add("--plugin", metavar="FILE.py", help="the plugin that the student was made with, if it is not where it was")
    add("--json", action="store_true", help="one JSON document on stdout instead of the lines")
    for flag, (text, names) in options_of_targets().items():
        add(f"--{flag}", metavar="VALUE", help=f"of {', '.join(names)}: {text}")
    add("-h", "--help", action="store_true", help="this text")
    return parser


def command(argv: Sequence[str]) -> int:
    """Parse the arguments, export the student, print what was done; returns the exit code.

    Raises:
        MmkdError: the arguments are invalid, or the student cannot be exported.
    """
    parser = make_parser()
    args, rest = parser.parse_known_intermixed_args(list(argv))
    if args.help:
        print(parser.format_help(), end="")
        return 0
    refuse_unknown_flags(rest, parser)
    for name, value in vars(args).items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and (not text or "\0" in text):
                flag = "RECORD" if name == "record" else f"--{name.replace('_', '-')}"
                raise MmkdError(f"{flag} {text!r}: it is empty, or contains a zero byte")
    if len(args.record) != 1:
        raise MmkdError(f"name one RECORD, the folder of a record or its key; found {len(args.record)}")
    if args.to is None:
        raise MmkdError(f"--to is missing; give one of {', '.join(TARGETS)}")
    target = get_target(args.to)
    options = _options(args, target.name)
    from mmkd.deploy.export import export_student

    exported = export_student(
        _record_folder(args.record[0], args.runs),
        target.name,
        args.out,
        data=args.data,
        data_root=args.data_root,
        plugin=args.plugin,
        force=args.force,
        **options,
    )
    if args.json:
        document = {"to": target.name, "files": [str(path) for path in exported.files], "lines": exported.lines}
        print(json.dumps({**document, "measured": exported.measured}, indent=1, allow_nan=False))
        return 0
    for line in exported.lines:
        print(one_line(line))
    print(one_line(f"files: {', '.join(str(path) for path in exported.files)}", sys.maxsize))
    return 0


def _options(args: Any, target: str) -> dict[str, str]:
    """The options of the target that were given.

    Raises:
        MmkdError: an option of another target was given.
    """
    given = {}
    for flag, (_, names) in options_of_targets().items():
        value = getattr(args, flag.replace("-", "_"))
        if value is None:
            continue
        if target not in names:
            raise MmkdError(f"--{flag} is an option of --to {', '.join(names)}, not of --to {target}")
        given[flag.replace("-", "_")] = value
    return given


def _record_folder(text: str, runs: str) -> Path:
    """The folder of a record: as it is named, or that of a key in the folder of the records."""
    folder = Path(text)
    is_key = len(folder.parts) == 1 and not folder.exists()
    return Path(runs) / text if is_key else folder
