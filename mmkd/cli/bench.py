"""`python -m mmkd.bench`: teachers, students and their comparison from the command line.

The parser needs neither torch nor mlflow; what needs them is imported when it is used.
"""

import argparse
import json
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from mmkd.cli.console import guarded, leave_stdout
from mmkd.cli.flags import check_arguments, check_folder, load_plugins, make_parser, make_request, names_of, no_more
from mmkd.cli.listing import method_help, show_list
from mmkd.core.errors import MmkdError
from mmkd.core.text import one_line
from mmkd.training.distributed import SINGLE_PROCESS, ConnectionLost, ProcessGroup, TorchrunGroup, current_group

NAME = "mmkd.bench"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 0, 1 (a unit failed or is missing), 2 (bad input) or 130 (Ctrl-C).

    Of the processes that torchrun started one runs it, and the others train along.
    """
    group = current_group()
    if isinstance(group, TorchrunGroup) and not group.leads:
        return train_along(group)
    code = run_main(argv, group)
    if code <= 2:  # torchrun itself ends all where it was stopped
        group.finish()
    return code


def train_along(group: TorchrunGroup) -> int:
    """The part of a process that does not lead; it writes nothing, so that signals may end it at once."""
    from mmkd.api import follow

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the one that leads says it
        try:
            follow(group)
        except ConnectionLost:
            return 1
    return 0


def run_main(argv: Sequence[str] | None, group: ProcessGroup) -> int:
    """The command in one process; its exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    return guarded(
        NAME, lambda: command(given, group), "; units that are done stay on record, the same command goes on"
    )


def command(argv: list[str], group: ProcessGroup = SINGLE_PROCESS) -> int:
    parser = make_parser()
    args, rest = parser.parse_known_args(argv)
    check_arguments(argv, args)
    if args.help:
        load_plugins(args.plugin if args.method else ())
        more = method_help(names_of(args.method, "--method")) if args.method else None
        print(parser.format_help(), end="")
        if more:
            print(more)
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
    return run_command(make_request(args, rest, parser), args, group)


def run_command(request: Any, args: argparse.Namespace, group: ProcessGroup = SINGLE_PROCESS) -> int:
    """Do the units, tell how each went, publish, and print the table or the JSON document."""
    from mmkd import api
    from mmkd.core.registry import METHODS
    from mmkd.report import mlflow as track
    from mmkd.report import series_table, table
    from mmkd.store.record import Records
    from mmkd.units.names import title
    from mmkd.units.result import UnitResult, as_json

    runs = Path(args.runs)
    folders = api.Folders(runs, args.cache, args.device, args.jobs, args.engine, args.resources)
    if group.world > 1 and folders.apart:
        what = f"--jobs {folders.jobs}" if folders.jobs > 1 else f"--engine {folders.engine}"
        raise MmkdError(f"{what}: torchrun has started {group.world} processes for one training; use one of the two")
    check_folder(runs, "--runs")
    check_folder(folders.cache_folder, "--cache")
    measured = to_measure(request, args)
    if args.dry_run:
        return dry_run(request, Records(runs), folders, args.existing == "rerun", args.json)
    terminal = sys.stderr.isatty() and sys.stdout.isatty()
    from mmkd.core.memory import keep_freed_memory
    from mmkd.core.progress import Bars, Lines, Progress

    keep_freed_memory()

    progress = Progress() if args.quiet else Bars() if terminal else Lines(sys.stderr)

    left_out: set[tuple[str, str]] = set()

    def tell(done: UnitResult) -> None:
        if done.status == "failed":
            why = one_line(done.error)
            print(f"mmkd.bench: {title(done.spec)}: failed: {why} ({done.log})", file=sys.stderr)
        elif done.status == "missing":
            print(f"mmkd.bench: {title(done.spec)}: not on record ({done.spec.key})", file=sys.stderr)
        elif done.status == "refused" and (done.spec.method, done.error) not in left_out:
            left_out.add((done.spec.method, done.error))
            print(f"mmkd.bench: left out: {done.spec.method}: {done.error}", file=sys.stderr)
        elif done.status == "done" and done.record is not None:
            progress.say(f"{title(done.spec)}: {table.headline(done.record)}")

    if request.methods == ("all",) and METHODS.import_errors and not args.quiet:
        for source, why in METHODS.import_errors.items():
            print(f"mmkd.bench: left out: {source}: {why}", file=sys.stderr)
    outcome = api.execute(request, folders, args.existing, progress, tell, group, measured)
    records = [done.record for done in outcome.results if done.record is not None]
    problem = None if args.existing == "only" else track.publish(runs, outcome.records, request.name)
    if args.json:
        simple = [series_table.as_json(record) for record in outcome.simple]
        print(json.dumps([*map(as_json, outcome.results), *simple], indent=1))
    else:
        done = [done for done in outcome.results if done.status != "refused"]
        if request.task == "anomaly":
            series_table.print_series_tables(done, outcome.simple, sys.stdout)
        else:
            table.print_tables(table.rows(done, outcome.teachers, dict(outcome.students_alone)), sys.stdout)
        if records and not args.quiet:
            print(f"records: {runs}   MLflow: mlflow ui --backend-store-uri {track.shown_uri(runs)}")
    if problem:
        print(f"mmkd.bench: {problem}", file=sys.stderr)
    if outcome.unmeasured:
        first, count = outcome.unmeasured[0], len(outcome.unmeasured)
        print(f"mmkd.bench: {count} not measured, the first: {one_line(first)}", file=sys.stderr)
    missed = args.robustness and outcome.unmeasured
    return 1 if missed or any(done.status in ("failed", "missing") for done in outcome.results) else 0


def to_measure(request: Any, args: argparse.Namespace) -> tuple[str, ...]:
    """What is measured of the students."""
    from mmkd.api import USUAL

    usual = USUAL.get(request.task, ())
    if not args.robustness:
        return usual
    if args.existing == "only":
        raise MmkdError("--robustness measures what is not there, --existing only just looks; give one of the two")
    if request.task != "classification":
        raise MmkdError(f"--robustness is for students of --task classification, not of {request.task}; leave it out")
    return (*usual, "robustness.json")


def dry_run(request: Any, records: Any, folders: Any, rerun: bool, as_json: bool) -> int:
    """Print the units, what of them is on record or cached, what is to be made, and how long that takes."""
    from mmkd.engines.estimate import estimate
    from mmkd.engines.plan import make_plan
    from mmkd.store.cache import Cache
    from mmkd.units.expansion import expand
    from mmkd.units.names import title

    units = list(expand(request))
    plan = make_plan(units, records, Cache(folders.cache_folder), rerun)
    of = {kind: [task for task in plan if task.kind == kind] for kind in ("view", "teacher")}
    time = estimate(plan, records, folders.jobs, folders.threads, folders.device)
    found = [(spec, records.get(spec.key) is not None) for spec, _ in units]
    more = [task for task in plan if task.kind == "unit" and not task.there]
    more = [task for task in more if task.key not in {spec.key for spec, _ in units}]
    if as_json:
        shown: dict[str, Any] = {
            "units": [
                {"key": s.key, "method": s.method, "dataset": s.data.name, "seed": s.seed, "on_record": r}
                for s, r in found
            ],
            "started_from": [{"key": t.key, "dataset": t.spec.data.name, "seed": t.spec.seed} for t in more],
            "estimate": {"jobs": folders.jobs, **asdict(time)},
        }
        for kind, tasks in of.items():
            shown[f"{kind}s"] = [
                {"key": t.key, "modality": t.modality, "dataset": t.spec.data.name, "cached": t.there}
                | ({"net": t.spec.teachers[t.modality], "seed": t.spec.seed} if kind == "teacher" else {})
                for t in tasks
            ]
        print(json.dumps(shown, indent=1))
        return 0
    for task in (*of["view"], *of["teacher"]):
        print(f"{task.key}  {task.title}{'  cached' if task.there else ''}")
    for task in more:
        print(f"{task.key}  {task.title}  for --init-student trained")
    for spec, on_record in found:
        print(f"{spec.key}  {title(spec)}{'  on record' if on_record else ''}")
    print(f"{len(found)} units, {sum(r for _, r in found)} on record")
    for kind, tasks in of.items():
        there = sum(task.there for task in tasks)
        print(f"{kind}s: {there} cached, {len(tasks) - there} to be made, each once")
    print(time.text("one after the other" if folders.jobs == 1 else f"with --jobs {folders.jobs}"))
    return 0


def publish_all(runs: Path) -> int:
    """Send every record that the MLflow store has not had yet."""
    from mmkd.report import mlflow as track
    from mmkd.store.record import Records

    if not runs.is_dir():
        raise MmkdError(f"--runs {runs}: there is no such folder")
    records = list(Records(runs))
    new: list[str] = []
    problem = track.publish(runs, records, new=new)
    if problem:
        print(f"mmkd.bench: {problem}", file=sys.stderr)
        return 1
    had = f"; it had the other {len(records) - len(new)}" if len(new) < len(records) else ""
    print(f"{len(new)} of {len(records)} records sent to {track.shown_uri(runs)}{had}")
    return 0


def script() -> NoReturn:
    """Run the command and end the process; one of torchrun at once, for gloo's threads at times abort its way out."""
    code = main()
    if current_group().world > 1:
        leave_stdout()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
