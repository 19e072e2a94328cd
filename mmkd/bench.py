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
from typing import Any

from .errors import MmkdError
from .flags import load_plugins, make_parser, make_request, no_more
from .listing import method_help, show_list


class Terminated(KeyboardInterrupt):
    """The process was asked to end."""


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
            load_plugins(args.plugin)
            print(method_help(args.method.split(",")))
        return 0
    if args.publish and (args.method or args.suite):
        raise MmkdError("--publish sends what is on record and does no unit; give it without --method and --suite")
    if args.list:
        no_more(rest, parser)
        if args.method or args.suite:
            raise MmkdError("--list only lists; give it without --method and --suite")
        load_plugins(args.plugin)
        return show_list(args.list, args.json, args.data_root)
    if not args.method and not args.suite:
        no_more(rest, parser)
        if args.publish:
            return publish_all(Path(args.runs))
        raise MmkdError(
            "name a method (--method fam) or a suite (--suite FILE); --help shows all, --list methods the methods"
        )
    return run_command(make_request(args, rest, parser), args)


def run_command(request: Any, args: argparse.Namespace) -> int:
    """Do the units, tell how each went, publish, and print the table or the JSON document."""
    from . import api, table, track
    from .record import Records
    from .registry import METHODS
    from .request import title
    from .sweep import Done, as_json

    runs = Path(args.runs)
    if args.dry_run:
        return dry_run(request, Records(runs), args.json)
    terminal = sys.stderr.isatty() and sys.stdout.isatty()
    from .progress import Bars, Lines, Progress

    progress = Progress() if args.quiet else Bars() if terminal else Lines(sys.stderr)

    left_out: set[tuple[str, str]] = set()

    def tell(done: Done) -> None:
        if done.status == "failed":
            print(f"mmkd.bench: {title(done.spec)}: failed: {done.error} ({done.log})", file=sys.stderr)
        elif done.status == "missing":
            print(f"mmkd.bench: {title(done.spec)}: not on record ({done.spec.key})", file=sys.stderr)
        elif done.status == "refused" and (done.spec.method, done.error) not in left_out:
            left_out.add((done.spec.method, done.error))
            print(f"mmkd.bench: left out: {done.spec.method}: {done.error}", file=sys.stderr)
        elif done.status == "done" and done.record is not None:
            test = done.record.metrics["test"]
            progress.say(f"{title(done.spec)}: accuracy {test['accuracy']:.3f}, macro-F1 {test['macro_f1']:.3f}")

    if request.methods == ("all",) and METHODS.broken and not args.quiet:
        for source, why in METHODS.broken.items():
            print(f"mmkd.bench: left out: {source}: {why}", file=sys.stderr)
    outcome = api.execute(request, api.Folders(runs, args.cache, args.device), args.existing, progress, tell)
    records = [done.record for done in outcome.results if done.record is not None]
    problem = None if args.existing == "only" else track.publish(runs, outcome.records, request.name)
    if args.json:
        print(json.dumps([as_json(done) for done in outcome.results], indent=1))
    else:
        done = [done for done in outcome.results if done.status != "refused"]
        table.show(table.rows(done, outcome.teachers, dict(outcome.alone)), sys.stdout)
        if records and not args.quiet:
            print(f"records: {runs}   MLflow: mlflow ui --backend-store-uri {track.shown_uri(runs)}")
    if problem:
        print(f"mmkd.bench: {problem}", file=sys.stderr)
    return 1 if any(done.status in ("failed", "missing") for done in outcome.results) else 0


def dry_run(request: Any, records: Any, as_json: bool) -> int:
    """Print the units, and which of them are on record."""
    from .request import expand, title

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
        print(f"{spec.key}  {title(spec)}{'  on record' if on_record else ''}")
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


if __name__ == "__main__":
    sys.exit(main())
