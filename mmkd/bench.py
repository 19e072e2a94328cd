"""`python -m mmkd.bench`: teachers, students and their comparison from the command line.

The parser needs neither torch nor mlflow; what needs them is imported when it is used.
"""

import argparse
import json
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from .errors import MmkdError, did_you_mean
from .listing import LISTS, method_help, preset_help, show_list


class Terminated(KeyboardInterrupt):
    """The process was asked to end."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are ours: one line, exit 2."""

    def error(self, message: str) -> NoReturn:
        raise MmkdError(message)


def make_parser() -> Parser:
    """The flags of `mmkd.bench`; those of methods are added to the help when methods are named."""
    parser = Parser(
        prog="python -m mmkd.bench",
        description="Train one teacher a modality, distil them into a student, and print one table.",
        allow_abbrev=False,
        add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=preset_help(),
    )
    what = parser.add_argument_group("what to run")
    what.add_argument(
        "--method", metavar="NAME[,NAME]", help="methods, or 'all'; --method NAME --help shows its options"
    )
    what.add_argument("--suite", metavar="FILE", help="a suite of units in TOML; flags given beside it take its place")
    what.add_argument("--dataset", metavar="NAME[,NAME]", help="data sets (default basic-motions)")
    what.add_argument("--data", metavar="FILE", help="own windows: .npz (x, y, optional subject, test) or UEA/UCR .ts")
    what.add_argument("--task", metavar="TASK", help="classification")
    seeds = what.add_mutually_exclusive_group()
    seeds.add_argument("--seed", metavar="N", help="one seed (default 0)")
    seeds.add_argument("--seeds", metavar="LIST", help="several, such as 0-4 or 0,3,7")
    what.add_argument("--list", choices=LISTS, help="list what there is, and stop")
    how = parser.add_argument_group("how (each is part of a unit's key)")
    how.add_argument("--preset", metavar="NAME", help="quick (default) or full, see below")
    how.add_argument("--student", metavar="MODALITIES", help="branches, such as sig+gaf+pi (default) or sig")
    how.add_argument("--teachers", metavar="MODALITIES", help="such as sig,gaf,pi (default)")
    how.add_argument("--teacher-net", metavar="M=NET,...", help="a backbone a modality, such as sig=InceptionTime")
    how.add_argument("--student-net", metavar="NET", help="backbone of each branch of the student")
    how.add_argument("--fusion", metavar="NAME", help="how branches are fused (default concat)")
    how.add_argument("--epochs", metavar="N", type=int, help="epochs of teachers and student")
    how.add_argument("--image-size", metavar="S", type=int, help="side of the images, at most the window length")
    how.add_argument("--epoch-rule", metavar="RULE", help="val-best (default) or last, which needs no validation split")
    how.add_argument("--precision", metavar="P", help="fp32 (default) or bf16")
    how.add_argument("--nan", metavar="POLICY", help="missing values: refuse (default), impute or drop")
    where = parser.add_argument_group("where and how much")
    where.add_argument("--runs", metavar="DIR", default="runs", help="records and MLflow store (default runs)")
    where.add_argument("--cache", metavar="DIR", help="views and teachers (default: MMKD_CACHE, else cache in --runs)")
    where.add_argument(
        "--data-root", metavar="DIR", help="data folder (default: MMKD_DATA, else the user's cache folder)"
    )
    where.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default auto")
    where.add_argument(
        "--existing",
        choices=("skip", "rerun", "only"),
        default="skip",
        help="units on record: skip them (default), rerun them with the cached teachers, or only look",
    )
    where.add_argument(
        "--plugin", metavar="FILE.py", action="append", default=[], help="a file with methods of one's own"
    )
    where.add_argument("--dry-run", action="store_true", help="print the units and which are on record, and stop")
    where.add_argument("--publish", action="store_true", help="send to MLflow what it has not had yet, and stop")
    where.add_argument("--json", action="store_true", help="one JSON document on stdout")
    where.add_argument("--quiet", action="store_true", help="no progress")
    where.add_argument("-h", "--help", action="store_true", help="this text")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 0, 1 (a unit failed or is missing), 2 (bad input) or 130 (Ctrl-C)."""
    try:
        with warnings.catch_warnings(), _terminable():
            warnings.showwarning = _note
            return command(list(sys.argv[1:] if argv is None else argv))
    except MmkdError as error:
        print(f"mmkd.bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print("mmkd.bench: stopped; units that are done stay on record, the same command goes on", file=sys.stderr)
        return 143 if isinstance(stop, Terminated) else 130
    except BrokenPipeError:
        return 1


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the work as Ctrl-C does: temporary folders are removed, what is done stays."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _note(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """A warning of ours as one line; other people's are not our user's business."""
    if category.__module__.startswith("mmkd"):
        print(f"mmkd.bench: note: {message}", file=sys.stderr)


def command(argv: list[str]) -> int:
    parser = make_parser()
    args, rest = parser.parse_known_args(argv)
    if args.help:
        parser.print_help()
        if args.method:
            _load_plugins(args.plugin)
            print(method_help(args.method.split(",")))
        return 0
    if args.publish and (args.method or args.suite):
        raise MmkdError("--publish sends what is on record and does no unit; give it without --method and --suite")
    if args.list:
        _no_more(rest, parser)
        if args.method or args.suite:
            raise MmkdError("--list only lists; give it without --method and --suite")
        _load_plugins(args.plugin)
        return show_list(args.list, args.json, args.data_root)
    if not args.method and not args.suite:
        _no_more(rest, parser)
        if args.publish:
            return publish_all(Path(args.runs))
        raise MmkdError(
            "name a method (--method fam) or a suite (--suite FILE); --help shows all, --list methods the methods"
        )
    return run_command(make_request(args, rest, parser), args)


def make_request(args: argparse.Namespace, rest: list[str], parser: Parser) -> Any:
    """The request that the flags stand for; those that were not given keep the suite's value, or the default."""
    from .request import Request, parse_seeds, read_suite

    given: dict[str, Any] = {}
    if args.method:
        given["methods"] = _names(args.method, "--method")
    for flag, name in (("dataset", "datasets"), ("student", "students")):
        if getattr(args, flag) is not None:
            given[name] = _names(getattr(args, flag), f"--{flag}")
    if args.teachers is not None:
        given["teachers"] = (args.teachers,)
    if args.seed is not None or args.seeds is not None:
        given["seeds"] = parse_seeds(args.seeds if args.seed is None else args.seed)
        if args.seed is not None and len(given["seeds"]) > 1:
            raise MmkdError(f"--seed {args.seed} names several; use --seeds {args.seed}")
    if args.teacher_net:
        pairs = [_assignment(part) for part in args.teacher_net.split(",")]
        given["teacher_nets"] = dict(pairs)
        if len(given["teacher_nets"]) < len(pairs):
            raise MmkdError(f"--teacher-net {args.teacher_net}: a modality is named twice")
    for name in (
        "data",
        "task",
        "preset",
        "student_net",
        "fusion",
        "epochs",
        "image_size",
        "epoch_rule",
        "precision",
        "nan",
    ):
        if getattr(args, name) is not None:
            given[name] = getattr(args, name)
    if args.data_root is not None:
        given["data_root"] = args.data_root
    if args.data and args.dataset:
        raise MmkdError("--data and --dataset both name windows; give one of them")
    if args.dataset:
        given["data"] = None  # a suite's own file gives way
    if args.plugin:
        given["plugins"] = tuple(args.plugin)
    if args.suite:
        _no_more(rest, parser, "; a suite sets the options of its methods under [options.METHOD]")
        return read_suite(args.suite, **given)
    _load_plugins(args.plugin)
    given["options"] = method_options(given["methods"], rest, parser)
    return Request(**given)


def method_options(methods: Sequence[str], rest: list[str], parser: Parser) -> dict[str, dict[str, str]]:
    """The flags that the parser does not know, as options of those of the methods that have them."""
    from .registry import METHODS

    names = list(METHODS) if tuple(methods) == ("all",) else methods
    known = {name: _options_of(name) for name in names}
    found: dict[str, dict[str, str]] = {}
    rest = list(rest)
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        if not flag.startswith("--"):
            raise MmkdError(f"unexpected argument {flag!r}; options begin with --")
        elsewhere = [m for m in METHODS if m not in names and flag[2:] in _options_of(m)]
        owners = [name for name in names if flag[2:] in known[name]]
        if not owners:
            flags = [o for action in parser._actions for o in action.option_strings]
            options = {f"--{option}" for each in known.values() for option in each}
            if elsewhere:
                raise MmkdError(f"{flag} is an option of {', '.join(elsewhere)}, not of {', '.join(names)}")
            raise MmkdError(
                f"unknown option {flag}{did_you_mean(flag, {*flags, *options})} (--method {','.join(methods)} --help)"
            )
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        for name in owners:
            found.setdefault(name, {})[flag[2:]] = value
    return found


def _options_of(method: str) -> list[str]:
    from .options import describe
    from .registry import METHODS

    return [row[0] for row in describe(METHODS.get(method).Config)]


def run_command(request: Any, args: argparse.Namespace) -> int:
    """Do the units, tell how each went, publish, and print the table or the JSON document."""
    from . import api, table, track
    from .record import Records
    from .registry import METHODS
    from .sweep import Done, as_json

    runs = Path(args.runs)
    if args.dry_run:
        return dry_run(request, Records(runs), args.json)
    terminal = sys.stderr.isatty() and sys.stdout.isatty()
    from .progress import Bars, Lines, Progress

    progress = Progress() if args.quiet else Bars() if terminal else Lines(sys.stderr)

    def tell(done: Done) -> None:
        if done.status == "failed":
            print(
                f"mmkd.bench: {done.spec.method}, seed {done.spec.seed}: failed: {done.error} ({done.log})",
                file=sys.stderr,
            )
        elif done.status == "missing":
            print(
                f"mmkd.bench: {done.spec.method}, seed {done.spec.seed}: not on record ({done.spec.key})",
                file=sys.stderr,
            )
        elif done.status == "done" and done.record is not None:
            test = done.record.metrics["test"]
            name = f"{done.spec.data.name}, {done.spec.method}, seed {done.spec.seed}"
            progress.say(f"{name}: accuracy {test['accuracy']:.3f}, macro-F1 {test['macro_f1']:.3f}")

    if request.methods == ("all",) and METHODS.broken and not args.quiet:
        for source, why in METHODS.broken.items():
            print(f"mmkd.bench: left out: {source}: {why}", file=sys.stderr)
    outcome = api.execute(request, api.Folders(runs, args.cache, args.device), args.existing, progress, tell)
    records = [done.record for done in outcome.results if done.record is not None]
    problem = None if args.existing == "only" else track.publish(runs, [*outcome.teachers, *records], request.name)
    if args.json:
        print(json.dumps([as_json(done) for done in outcome.results], indent=1))
    else:
        table.show(table.rows(outcome.results, outcome.teachers, dict(outcome.alone)), sys.stdout)
        if records and not args.quiet:
            print(f"records: {runs}   MLflow: mlflow ui --backend-store-uri {track.shown_uri(runs)}")
    if problem:
        print(f"mmkd.bench: {problem}", file=sys.stderr)
    return 1 if any(done.status in ("failed", "missing") for done in outcome.results) else 0


def dry_run(request: Any, records: Any, as_json: bool) -> int:
    """Print the units, and which of them are on record."""
    from .request import expand

    units = [(spec, records.get(spec.key) is not None) for spec, _ in expand(request)]
    if as_json:
        print(
            json.dumps(
                [
                    {"key": s.key, "method": s.method, "dataset": s.data.name, "seed": s.seed, "on_record": r}
                    for s, r in units
                ]
            )
        )
        return 0
    for spec, on_record in units:
        print(f"{spec.key}  {spec.data.name}, {spec.method}, seed {spec.seed}{'  on record' if on_record else ''}")
    print(f"{len(units)} units, {sum(r for _, r in units)} on record")
    return 0


def publish_all(runs: Path) -> int:
    """Send every record that the MLflow store has not had yet."""
    from . import track
    from .record import Records

    if not runs.is_dir():
        raise MmkdError(f"--runs {runs}: there is no such folder")
    records = list(Records(runs))
    missing = track.unsent(runs, records)
    problem = track.publish(runs, records)
    if problem:
        print(f"mmkd.bench: {problem}", file=sys.stderr)
        return 1
    print(f"{len(missing)} of {len(records)} records sent to {track.shown_uri(runs)}")
    return 0


def _load_plugins(paths: Sequence[str]) -> None:
    from .registry import load_plugin

    for path in paths:
        load_plugin(path)


def _names(text: str, flag: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if "" in names:
        raise MmkdError(f"{flag} {text!r}: an empty name")
    return names


def _assignment(part: str) -> tuple[str, str]:
    name, equals, value = part.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise MmkdError(f"--teacher-net: {part!r} is not of the form sig=WRN16-1")
    return name.strip(), value.strip()


def _no_more(rest: Sequence[str], parser: Parser, more: str = "") -> None:
    if rest:
        flags = [o for action in parser._actions for o in action.option_strings]
        raise MmkdError(f"unknown option {rest[0]}{did_you_mean(rest[0], flags)}{more}")


if __name__ == "__main__":
    sys.exit(main())
