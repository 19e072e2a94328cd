"""`python -m mmkd.data fetch|prepare|check NAME`: original files, what readers take of them, and a look at it."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmkd.cli.console import guarded
from mmkd.cli.flags import Parser, no_more
from mmkd.core.errors import MmkdError, unknown_name
from mmkd.core.progress import Bars, Progress

NAME = "mmkd.data"
COMMANDS = {
    "fetch": "download the original files (checked; goes on where it broke off), or say which file to put where",
    "prepare": "make the file that readers take, from the archive that fetch brought, or from --originals",
    "check": "read it as a run would, and print what is in it",
    "folds": "write a split file for --split (see --folds and --out); without --folds each subject is left out once",
    "page": "write datasets/README.md anew from the cards; takes no NAME",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 0, 2 (bad input) or 130 (Ctrl-C)."""
    given = list(sys.argv[1:] if argv is None else argv)
    return guarded(NAME, lambda: command(given))


def make_parser() -> Parser:
    """The flags of `mmkd.data`."""
    parser = Parser(
        prog="python -m mmkd.data",
        usage="python -m mmkd.data COMMAND NAME [NAME ...] [options]",
        description="; ".join(f"{name}: {text}" for name, text in COMMANDS.items()),
        allow_abbrev=False,
        add_help=False,
        epilog="python -m mmkd.bench --list datasets shows the names, and which sets are on this machine.",
    )
    parser.add_argument("words", nargs="*", metavar="COMMAND NAME", help="a command and data sets")
    parser.add_argument(
        "--data-root", metavar="DIR", help="data folder (default: MMKD_DATA, else the user's cache folder)"
    )
    parser.add_argument("--originals", metavar="PATH", help="of prepare: an archive or folder with the original files")
    parser.add_argument("--folds", metavar="K", type=int, help="of folds: how many groups of subjects")
    parser.add_argument("--out", metavar="FILE", help="of folds: where to write (default NAME.split.json)")
    parser.add_argument("--json", action="store_true", help="of check: one JSON document on stdout")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.add_argument("-h", "--help", action="store_true", help="this text")
    return parser


def command(argv: Sequence[str]) -> int:
    """Do what the words say."""
    parser = make_parser()
    args, rest = parser.parse_known_args(list(argv))
    if args.help or not args.words:
        print(parser.format_help(), end="")
        return 0 if args.help else 2
    no_more(rest, parser)
    what, *names = args.words
    if what not in COMMANDS:
        raise unknown_name("command", what, COMMANDS)
    if any("\0" in word for word in (*names, args.data_root or "", args.originals or "")):
        raise MmkdError("a zero byte stands in a name")
    if args.data_root == "" or args.originals == "":
        raise MmkdError("--data-root, --originals: the name is empty; name a folder or file")
    if args.originals is not None and (what != "prepare" or len(names) > 1):
        raise MmkdError("--originals goes with prepare and one NAME")
    if what == "page":
        if names:
            raise MmkdError("page takes no NAME")
        from mmkd.data.page import write_page

        print(write_page())
        return 0
    if what != "folds" and (args.folds is not None or args.out is not None):
        raise MmkdError("--folds and --out go with the command folds")
    if not names:
        raise MmkdError(f"{what} needs the NAME of a data set; python -m mmkd.bench --list datasets shows them")
    if what == "folds":
        return _folds(names, args)
    return _each(what, names, args)


def _folds(names: Sequence[str], args: Any) -> int:
    from mmkd.data.folds import fold_document, leave_one_out, subject_folds
    from mmkd.data.load import load_dataset

    if len(names) > 1:
        raise MmkdError("folds takes one NAME")
    data = load_dataset(names[0], args.data_root, "impute")
    folds = leave_one_out(data) if args.folds is None else subject_folds(data, args.folds)
    path = Path(args.out or f"{names[0]}.split.json")
    text = json.dumps(fold_document(data.name, folds), indent=1) + "\n"
    making = path.with_name(f".{path.name}.making")
    making.write_text(text, encoding="utf-8")
    making.replace(path)
    print(f"{path}: {len(folds)} folds of {sum(len(fold.test_subjects) for fold in folds)} subjects; --split {path}")
    return 0


def _each(what: str, names: Sequence[str], args: Any) -> int:
    from mmkd.data.cards import find_card
    from mmkd.data.prepare import check, fetch, prepare

    cards = [find_card(name) for name in names]
    progress = Progress() if args.quiet or not sys.stderr.isatty() else Bars()
    found = []
    for card in cards:
        if what == "fetch":
            with progress.bar(f"fetch {card.name}", 100) as bar:
                fetch(card, args.data_root, _percent(bar), print)
        elif what == "prepare":
            with progress.bar(f"prepare {card.name}", 1):
                prepare(card, args.data_root, Path(args.originals) if args.originals else None, print)
        else:
            found.append(check(card, args.data_root))
    if what == "check":
        print(json.dumps(found, indent=1) if args.json else "\n".join(_shown(each) for each in found))
    return 0


def _percent(bar: Any) -> Any:
    """A bar of 100 steps, told of bytes."""
    shown = 0

    def tick(done: int, total: int) -> None:
        nonlocal shown
        now = done * 100 // total if total else 0
        bar.advance(now - shown, f"{done >> 20} MiB")
        shown = now

    return tick


def _shown(found: dict[str, Any]) -> str:
    """What `check` found, in lines."""
    lines = [f"{found['name']}: {found['task']}"]
    lines += [f"  {name}  sha256 {checksum}" for name, checksum in found["files"].items()]
    n, channels, length = found["windows"]
    rate = f" at {found['rate_hz']:g} Hz" if found["rate_hz"] else ""
    lines.append(f"  {n} windows of {length} samples x {channels} channels{rate}")
    if found["groups"]:
        lines.append(f"  channel groups: {', '.join(found['groups'])} (as in sig@{next(iter(found['groups']))})")
    for part, each in found["parts"].items():
        who = f", subjects {', '.join(map(str, each['subjects']))}" if "subjects" in each else ""
        lines.append(f"  {part}: {each['windows']} windows{who}")
        lines.append(f"    {', '.join(f'{name} {count}' for name, count in each['of_classes'].items())}")
    return "\n".join(lines)
