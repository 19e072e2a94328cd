"""`python -m mmkd.data COMMAND NAME`: fetch original files, prepare them for the readers, check the result."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkd.cli.console import command_line
from mmkd.cli.flags import Parser, load_plugins, refuse_unknown_flags
from mmkd.core.errors import MissingValues, MmkdError, unknown_name
from mmkd.core.progress import Bar, Bars, Progress

if TYPE_CHECKING:
    from mmkd.data.cards import Card
    from mmkd.data.dataset import Dataset, NanPolicy

NAME = "mmkd.data"
COMMANDS = {
    "fetch": "download the original files (checked, and resumed after an interruption), or say which file to put where",
    "prepare": "make the file for the reader, from the archive that fetch downloaded or from --originals",
    "check": "load the data as a run would, and print what was understood and what is suspicious; NAME may be a file",
    "folds": "write a split file for --split (see --folds and --out), of a data set or a file of your own; without "
    "--folds each subject is left out once",
    "window": "cut recordings of your own (CSV, parquet, ...) into windows for --data; window --help shows its options",
    "page": "write datasets/README.md from the cards; takes no NAME",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0, 2 (invalid input) or 130 (Ctrl-C)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    with command_line(NAME) as exit_code:
        exit_code.value = command(arguments)
    return exit_code.value


def make_parser() -> Parser:
    """The flags of `mmkd.data`."""
    parser = Parser(
        prog="python -m mmkd.data",
        usage="python -m mmkd.data COMMAND NAME [NAME ...] [options]",
        description="; ".join(f"{name}: {text}" for name, text in COMMANDS.items()),
        add_help=False,
        epilog="python -m mmkd.bench --list datasets shows the names, and which sets are on this machine.",
    )
    parser.add_argument("words", nargs="*", metavar="COMMAND NAME", help="a command and data sets")
    parser.add_argument(
        "--data-root", metavar="DIR", help="data folder (default: MMKD_DATA, else the user's cache folder)"
    )
    parser.add_argument("--originals", metavar="PATH", help="of prepare: an archive or folder with the original files")
    parser.add_argument(
        "--nan",
        choices=("refuse", "impute", "drop"),
        help="of check and folds: load as a run with this --nan (default: say that a run needs it, and impute)",
    )
    parser.add_argument(
        "--unequal",
        choices=("pad", "truncate", "resample"),
        help="of check and folds, of your own file: bring cases of unequal length to one, as a run with this --unequal",
    )
    parser.add_argument("--folds", metavar="K", type=int, help="of folds: how many groups of subjects")
    parser.add_argument("--out", metavar="FILE", help="of folds: where to write (default NAME.split.json)")
    parser.add_argument(
        "--plugin", metavar="FILE.py", action="append", default=[], help="a file with a reader or task of one's own"
    )
    parser.add_argument("--json", action="store_true", help="of check: one JSON document on stdout")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.add_argument("-h", "--help", action="store_true", help="this text")
    return parser


def command(argv: Sequence[str]) -> int:
    """Parse the arguments and run the command that they name; returns the exit code.

    Raises:
        MmkdError: the arguments are invalid, or the command fails.
    """
    if list(argv[:1]) == ["window"]:
        from mmkd.cli import window

        return window.command(argv[1:])
    parser = make_parser()
    args, rest = parser.parse_known_intermixed_args(list(argv))  # NAME may follow an option
    if args.help or not args.words:
        print(parser.format_help(), end="")
        return 0 if args.help else 2
    refuse_unknown_flags(rest, parser)
    name, *data_names = args.words
    if name not in COMMANDS:
        raise unknown_name("command", name, COMMANDS)
    if name == "window":
        raise MmkdError("window goes first, before its options")
    if any("\0" in word for word in (*data_names, args.data_root or "", args.originals or "")):
        raise MmkdError("a zero byte stands in a name")
    if args.data_root == "" or args.originals == "":
        raise MmkdError("--data-root, --originals: the name is empty; name a folder or file")
    if args.originals is not None and (name != "prepare" or len(data_names) > 1):
        raise MmkdError("--originals goes with prepare and one NAME")
    load_plugins(args.plugin)
    if name == "page":
        if data_names:
            raise MmkdError("page takes no NAME")
        from mmkd.data.page import write_page

        print(write_page())
        return 0
    if args.nan is not None and name not in ("check", "folds"):
        raise MmkdError("--nan goes with check and folds")
    if args.unequal is not None and name not in ("check", "folds"):
        raise MmkdError("--unequal goes with check and folds")
    if name != "folds" and (args.folds is not None or args.out is not None):
        raise MmkdError("--folds and --out go with the command folds")
    if not data_names:
        raise MmkdError(f"{name} needs the NAME of a data set; python -m mmkd.bench --list datasets shows them")
    if name == "folds":
        return _write_folds(data_names, args)
    if name == "check":
        return _check(data_names, args)
    from mmkd.data.cards import find_card

    cards = [find_card(data_name) for data_name in data_names]
    return _fetch(cards, args) if name == "fetch" else _prepare(cards, args)


def _write_folds(names: Sequence[str], args: Any) -> int:
    from mmkd.data.folds import fold_document, leave_one_subject_out, subject_folds

    if len(names) > 1:
        raise MmkdError("folds takes one NAME")
    data, _ = _load(names[0], args)
    if data.subject is None and data.form == "window":
        raise MmkdError(
            f"a split file names subjects, and data {data.name!r} has none; a run with --folds K makes folds of its "
            f"windows, stratified by class, and needs no file: they are always the same"
        )
    folds = leave_one_subject_out(data) if args.folds is None else subject_folds(data, args.folds)
    path = Path(args.out or f"{data.name}.split.json")
    text = json.dumps(fold_document(data.name, folds), indent=1) + "\n"
    temporary = path.with_name(f".{path.name}.making")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    print(f"{path}: {len(folds)} folds of {sum(len(fold.test_subjects) for fold in folds)} subjects; --split {path}")
    return 0


def _load(name: str, args: Any) -> tuple["Dataset", list[str]]:
    """The data set or file `name`, and the warning that runs on it are refused until --nan is chosen."""
    from mmkd.data.load import FORMATS, load_dataset, load_file

    def load(nan: "NanPolicy") -> "Dataset":
        if Path(name).suffix in FORMATS:
            return load_file(name, nan, unequal=args.unequal or "refuse")
        if args.unequal is not None:
            raise MmkdError(f"--unequal goes with a file of your own, and {name!r} is a data set")
        return load_dataset(name, args.data_root, nan)

    if args.nan is not None:
        return load(args.nan), []
    try:
        return load("refuse"), []
    except MissingValues as error:
        hold = "1 window holds" if error.windows == 1 else f"{error.windows:,} windows hold"
        warning = f"{hold} NaN or inf: a run is refused unless --nan {{}} is given"
    try:
        return load("impute"), [warning.format("impute or drop")]
    except MmkdError:  # images, or a channel without any value
        return load("drop"), [warning.format("drop")]


def _fetch(cards: Sequence["Card"], args: Any) -> int:
    from mmkd.data.prepare import fetch

    progress = _progress(args)
    for card in cards:
        with progress.bar(f"fetch {card.name}", 100) as bar:
            fetch(card, args.data_root, _percent_callback(bar), print)
    return 0


def _prepare(cards: Sequence["Card"], args: Any) -> int:
    from mmkd.data.prepare import prepare

    progress = _progress(args)
    for card in cards:
        with progress.bar(f"prepare {card.name}", 1):
            prepare(card, args.data_root, Path(args.originals) if args.originals else None, print)
    return 0


def _check(names: Sequence[str], args: Any) -> int:
    from mmkd.data.cards import find_card
    from mmkd.data.load import FORMATS
    from mmkd.data.prepare import check_files, summary
    from mmkd.units.understood import first_split, understand_data

    summaries = []
    for name in names:
        files = {} if Path(name).suffix in FORMATS else check_files(find_card(name), args.data_root)
        data, refusals = _load(name, args)
        understood = understand_data(data).as_json()
        understood["warnings"] = [*refusals, *understood["warnings"]]
        summaries.append({**files, **summary(data, first_split(data)), **understood})
    print(json.dumps(summaries, indent=1) if args.json else "\n".join(map(_format_summary, summaries)))
    return 0


def _progress(args: Any) -> Progress:
    return Progress() if args.quiet or not sys.stderr.isatty() else Bars()


def _percent_callback(bar: Bar) -> Callable[[int, int], None]:
    """A callback of bytes so far and bytes in total that advances a bar of 100 steps."""
    last = 0

    def on_progress(size: int, total: int) -> None:
        nonlocal last
        percent = size * 100 // total if total else 0
        bar.advance(percent - last, f"{size >> 20} MiB")
        last = percent

    return on_progress


def _format_summary(summary: dict[str, Any]) -> str:
    """The lines of one data set for the command `check`."""
    from mmkd.data.understood import describe_one_series

    lines = [f"{summary['name']}: {summary['task']}"]
    lines += [f"  {name}  sha256 {checksum}" for name, checksum in summary.get("files", {}).items()]
    lines.append(f"  {summary['understood']}")
    lines += [f"  warning: {line}" for line in summary["warnings"]]
    if summary["groups"]:
        lines.append(f"  channel groups: {', '.join(summary['groups'])} (as in sig@{next(iter(summary['groups']))})")
    lines += [f"  series {series['name']}: {describe_one_series(series)}" for series in summary["series"]]
    for part, facts in summary["parts"].items():
        part += " (seed 0)" if part == "validation" else ""
        subjects = f", subjects {', '.join(map(str, facts['subjects']))}" if "subjects" in facts else ""
        lines.append(f"  {part}: {facts['windows']} windows{subjects}")
        lines.append(f"    {', '.join(f'{name} {count}' for name, count in facts['of_classes'].items())}")
    return "\n".join(lines)
