"""`python -m mmkd.data window FILES...`: cut recordings into the windows of a file that `--data` takes."""

import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkd.cli.flags import Parser, refuse_unknown_flags
from mmkd.core.errors import MmkdError
from mmkd.core.progress import Bars, Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmkd.data.recorded.options import WindowOptions

ORDER = ("x", "y", "subject", "classes", "channels", "rate_hz", "groups", "recording", "start")


def make_parser() -> Parser:
    """The flags of `mmkd.data window`."""
    parser = Parser(
        prog="python -m mmkd.data window",
        usage="python -m mmkd.data window FILES... --channels A,B --label COLUMN --subject COLUMN --window 2.56s "
        "--out FILE.npz [options]",
        description="Cut recordings, a row a sample, into windows for --data. FILES are files or folders: CSV (also "
        "packed with gzip), parquet, .npz, .npy, .mat; with the extra mmkd[formats] WFDB, EDF and HDF5.",
        add_help=False,
    )
    parser.add_argument("files", nargs="*", metavar="FILES", help="files, or folders of them")
    add = parser.add_argument
    place = "a column; @file or @folder: the name of the file or its folder; @path:REGEX: the group of a path"
    add("--channels", metavar="A,B", help="columns of numbers, in this order")
    add("--label", metavar="COLUMN", help=f"{place}; none: windows without labels, for --unlabelled")
    add("--subject", metavar="COLUMN", help=f"{place}; none: there are none, and the split is by window")
    add("--recording", metavar="COLUMN", help=f"where a recording ends inside a file: {place}")
    add("--time", metavar="COLUMN", help="time stamps: s, ms, us, ns or ISO; without it every sample follows the last")
    add("--time-unit", metavar="UNIT", help="of numbers: s, ms, us, ns or samples (default: found out, and said)")
    add("--rate", metavar="HZ", help="samples a second (default: as the stamps or the file say)")
    add("--window", metavar="LENGTH", help="such as 2.56s, 200ms or 128 (samples)")
    add("--step", metavar="LENGTH", help="from one window to the next (default: a window)")
    add("--label-rule", metavar="RULE", default="majority", help="majority (default), last, strict or per-sample")
    add("--grid", metavar="FROM", default="recording", help="windows begin with a recording (default), or a label")
    add("--no-label", metavar="NAME", action="append", default=[], help="a label that stands for none")
    add("--null", metavar="NAME", help="of per-sample: the label for none of the classes")
    add("--max-gap", metavar="LENGTH", help="the longest step that is interpolated (default: four periods)")
    add("--resample", metavar="HZ", help="the rate of the windows, behind an anti-aliasing filter")
    add("--groups", metavar="NAME=A,B", action="append", default=[], help="a channel group (sig@NAME); repeatable")
    add("--missing", metavar="RULE", default="refuse", help="values: refuse (default), linear, hold or gap")
    add("--duplicates", metavar="RULE", default="refuse", help="a stamp with other values: refuse, first or mean")
    add("--backward", metavar="RULE", default="refuse", help="time runs backward: refuse, split or sort")
    add("--stuck", metavar="LENGTH", help="tell of channels that are constant for so long (default: a window)")
    add(
        "--allow",
        metavar="WHAT",
        default="",
        help="units,stuck,channels: go on where files differ so; see docs/own-recordings.md",
    )
    add("--out", metavar="FILE.npz", help="where to write")
    add("--force", action="store_true", help="replace the file")
    add("--dry-run", action="store_true", help="say what would be written, and write nothing")
    add("--quiet", action="store_true", help="no progress")
    add("-h", "--help", action="store_true", help="this text")
    return parser


def command(argv: Sequence[str]) -> int:
    """Parse the arguments, cut the windows, write them; returns the exit code.

    Raises:
        MmkdError: the arguments are invalid, or the windows cannot be cut, or trained on.
    """
    parser = make_parser()
    args, rest = parser.parse_known_intermixed_args(list(argv))
    if args.help:
        print(parser.format_help(), end="")
        return 0
    refuse_unknown_flags(rest, parser)
    if not args.files:
        raise MmkdError("window needs FILES: recordings, or folders of them")
    if any("\0" in str(text) for text in (*args.files, args.out or "")):
        raise MmkdError("a zero byte stands in a name")
    options = make_options(args)
    out = _checked_out(args)
    from mmkd.data.recorded.cut import cut_recordings
    from mmkd.data.recorded.formats import find_recordings

    paths = find_recordings(args.files)
    progress = Progress() if args.quiet or not sys.stderr.isatty() else Bars()
    with progress.bar("read", len(paths)) as bar:
        cut = cut_recordings(paths, options, lambda: bar.advance(1))
    arrays = {name: cut.arrays[name] for name in ORDER if name in cut.arrays}
    folder = None if args.dry_run else out.parent
    with tempfile.TemporaryDirectory(prefix=f".{out.stem}.making.", dir=folder) as made:
        file = Path(made) / out.name
        import numpy as np

        np.savez(file, **arrays)  # type: ignore[arg-type]
        understood, warnings = _understand(file, arrays)
        if not args.dry_run:
            file.replace(out)
    for line in cut.lines:
        print(line)
    for line in (*cut.warnings, *warnings):
        print(f"warning: {line}")
    print(f"{out}: {understood}" if not args.dry_run else f"not written, as of --dry-run: {understood}")
    if not args.dry_run:
        print(f"next: {_next_command(out, arrays)}")
    return 0


def make_options(args: Any) -> "WindowOptions":
    """The options of the flags.

    Raises:
        MmkdError: one is missing or invalid.
    """
    from mmkd.data.recorded.options import WindowOptions, parse_groups, parse_length, parse_rate

    why = {
        "channels": "name the columns of numbers, --channels acc_x,acc_y",
        "label": "name a column, or say none",
        "subject": "name a column, @file if a file is a person, or none (the split is then by window, which flatters)",
        "window": "say its length, --window 2.56s",
        "out": "name the file to write, --out mine.npz",
    }
    for name, hint in why.items():
        if getattr(args, name) is None and not (name == "out" and args.dry_run):
            raise MmkdError(f"--{name} is missing; {hint}")
    window = parse_length("--window", args.window, samples=True)
    return WindowOptions(
        channels=tuple(name.strip() for name in args.channels.split(",")),
        label=args.label,
        subject=args.subject,
        window=window,
        step=window if args.step is None else parse_length("--step", args.step, samples=True),
        recording=args.recording,
        time=args.time,
        time_unit=args.time_unit,
        rate_hz=None if args.rate is None else parse_rate("--rate", args.rate),
        label_rule=args.label_rule,
        grid=args.grid,
        no_label=tuple(args.no_label),
        null=args.null,
        max_gap=None if args.max_gap is None else parse_length("--max-gap", args.max_gap),
        resample_hz=None if args.resample is None else parse_rate("--resample", args.resample),
        groups=parse_groups(args.groups),
        missing=args.missing,
        duplicates=args.duplicates,
        backward=args.backward,
        stuck=None if args.stuck is None else parse_length("--stuck", args.stuck),
        allow=frozenset(word.strip() for word in args.allow.split(",") if word.strip()),
    )


def _checked_out(args: Any) -> Path:
    """The file to write; refused before anything is read, if it cannot be written."""
    out = Path(args.out or "windows.npz")
    if out.suffix != ".npz":
        raise MmkdError(f"--out {out}: the file of windows ends in .npz")
    if args.dry_run:
        return out
    if not out.parent.is_dir():
        raise MmkdError(f"--out {out}: no folder {out.parent}")
    if out.is_dir():
        raise MmkdError(f"--out {out}: it is a folder; name a file in it")
    if out.exists() and not args.force:
        raise MmkdError(f"--out {out}: the file exists; --force replaces it")
    return out


def _next_command(out: Path, arrays: "dict[str, NDArray[Any]]") -> str:
    """The command that trains on the file."""
    file = shlex.quote(str(out))
    if "y" not in arrays:
        return f"python -m mmkd.bench --method student,kd --data LABELLED.npz --unlabelled {file}"
    task = "--task segmentation " if arrays["y"].ndim == 2 else ""
    return f"python -m mmkd.bench {task}--method student,kd --data {file}"


def _understand(file: Path, arrays: "dict[str, NDArray[Any]]") -> tuple[str, list[str]]:
    """What a run would understand of the file, and find suspicious.

    Raises:
        MmkdError: it could not be trained on.
    """
    if "y" not in arrays:
        n, channels, length = arrays["x"].shape
        return f"{n:,} windows of {channels} channels x {length} samples without labels; for --unlabelled", []
    from mmkd.data.load import load_file
    from mmkd.units.understood import understand_data

    try:
        data = load_file(file)
    except MmkdError as error:
        why = str(error).replace(f"--data {file}: ", "").replace(f"data {file.stem!r}: ", "")
        raise MmkdError(f"these windows could not be trained on: {why}") from None
    found = understand_data(data).as_json()
    return str(found["understood"]), list(found["warnings"])
