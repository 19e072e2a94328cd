"""`python -m mmkd.bench`: train teachers and students, and compare them in a table.

The parser needs neither torch nor mlflow; modules that need them are imported when they are used.
"""

import argparse
import json
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mmkd.cli.console import command_line, flush_stdout
from mmkd.cli.flags import (
    check_arguments,
    check_folder,
    check_runs,
    load_plugins,
    make_parser,
    make_requests,
    refuse_unknown_flags,
    split_names,
)
from mmkd.cli.listing import method_help, show_list
from mmkd.core.errors import MmkdError
from mmkd.core.text import one_line
from mmkd.training.distributed import SINGLE_PROCESS, ConnectionLost, ProcessGroup, TorchrunGroup, current_group

if TYPE_CHECKING:
    from mmkd.core.progress import Progress
    from mmkd.engines.execution import Outcome
    from mmkd.training.workspace import Workspace
    from mmkd.units.request import Request
    from mmkd.units.result import UnitResult

NAME = "mmkd.bench"
NEXT = """next:
  python -m mmkd.compare{runs}   # these records as a page, {folder}/comparison/report.html{device}
  python -m mmkd.bench --data my.npz --method student,kd,fam{at}   # your own windows: x (N, C, W), y (N,), subject (N,)
  # where a teacher leads by far, by a sensor that the student lacks; longer is a control:
  python -m mmkd.bench --dataset hapt6 --method student,kd,fam-1d,longer --student sig@gyro --teachers sig{at}"""
"""Printed below tables without room; the last command's gap is some twenty points."""
AS_C = """
  python -m mmkd.export {record} --to c --out device{data}   # this student as C source, for a microcontroller"""
AS_ONNX = """
  python -m mmkd.export {record} --to onnx --out device{data}   # this student for a device; needs mmkd[onnx]"""
SMALLER = """
  python -m mmkd.bench{data} --method student,kd --student sig --student-net micro --teachers sig   # and one for C"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 0, 1 (a unit failed or is missing), 2 (bad input) or 130 (Ctrl-C).

    If torchrun started several processes, the leader runs the command and the others take part in its trainings.
    """
    group = current_group()
    if isinstance(group, TorchrunGroup) and not group.is_leader:
        return run_follower(group)
    arguments = list(sys.argv[1:] if argv is None else argv)
    with command_line(NAME, "; finished units are on record, run the same command again to resume") as exit_code:
        exit_code.value = command(arguments, group)
    if exit_code.value <= 2:  # after an interruption torchrun itself ends all processes
        group.finish()
    return exit_code.value


def run_follower(group: TorchrunGroup) -> int:
    """Run a process that is not the leader; it writes nothing, so that signals may end it at once."""
    from mmkd.training.followers import follow

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the leader prints them
        try:
            follow(group)
        except ConnectionLost:
            return 1
    return 0


def command(argv: list[str], group: ProcessGroup = SINGLE_PROCESS) -> int:
    """Parse the flags and do what they ask for; returns the exit code."""
    parser = make_parser()
    args, rest = parser.parse_known_args(argv)
    check_arguments(args)
    if args.help:
        load_plugins(args.plugin if args.method else ())
        named = split_names(args.method, "--method") if args.method else ()
        methods = method_help(named, bool(args.with_controls)) if named else None
        print(parser.format_help(), end="")
        if methods:
            print(methods)
        return 0
    if args.publish and (args.method or args.suite):
        raise MmkdError("--publish only sends records; give it without --method and --suite")
    if args.list:
        refuse_unknown_flags(rest, parser)
        if args.method or args.suite:
            raise MmkdError("--list only lists; give it without --method and --suite")
        load_plugins(args.plugin)
        return show_list(args.list, args.json, args.data_root)
    if not args.method and not args.suite:
        refuse_unknown_flags(rest, parser)
        if args.publish:
            travelled = split_names(args.records, "--records") if args.records else ()
            return publish_all(Path(args.runs), travelled, args.mlflow_models)
        raise MmkdError(
            "name a method (--method fam) or a suite (--suite FILE); --help shows all, --list methods the methods"
        )
    return run_commands(make_requests(args, rest, parser), args, group)


def run_commands(requests: "Sequence[Request]", args: argparse.Namespace, group: ProcessGroup = SINGLE_PROCESS) -> int:
    """Run the units of each request, of several parts one after the other; returns the exit code.

    Errors of any part are raised before a unit of another is run.
    """
    from mmkd.core.memory import keep_freed_memory, keep_imports

    keep_imports()
    from mmkd.engines.execution import check_units

    if len(requests) > 1 and any(request.freeze for request in requests):
        raise MmkdError("--freeze: each part of a suite would write files of the same names; choose one with --part")
    workspaces = [make_workspace(request, args, group) for request in requests]
    measurements = [measurements_of(request, args) for request in requests]
    if args.dry_run:
        from mmkd.cli.dry_run import dry_run

        documents = []
        for request, workspace in zip(requests, workspaces, strict=True):
            print_part(request, len(requests), args.json)
            documents.append(dry_run(request, workspace, args.existing == "rerun", args.json))
        if args.json:
            named = [{"part": request.name, **document} for request, document in zip(requests, documents, strict=True)]
            print(json.dumps(documents[0] if len(requests) == 1 else named, indent=1))
        return 0
    keep_freed_memory()
    if len(requests) > 1:
        for request, workspace in zip(requests, workspaces, strict=True):
            check_units(request, workspace, args.existing)
    codes, results = [], []
    for request, workspace, names in zip(requests, workspaces, measurements, strict=True):
        print_part(request, len(requests), args.json)
        code, outcome = run_command(request, workspace, args, names)
        codes.append(code)
        part = {"part": request.name} if len(requests) > 1 else {}
        results += [{**part, **result} for result in outcome_as_json(outcome)] if args.json else []
    if args.json:
        print(json.dumps(results, indent=1))
    return max(codes)


def print_part(request: "Request", parts: int, as_json: bool) -> None:
    """Print the name of a part of a suite above what it prints; of a request without parts nothing."""
    if parts > 1 and not as_json:
        print(f"\n== {request.name}", flush=True)


def run_command(
    request: "Request", workspace: "Workspace", args: argparse.Namespace, measurements: Sequence[str]
) -> "tuple[int, Outcome]":
    """Run the units and print the result of each, publish the records, print the table unless `--json` is given.

    Returns the exit code and the results.
    """
    from mmkd.core.registry import METHODS, broken_packages
    from mmkd.engines.execution import execute
    from mmkd.report import mlflow
    from mmkd.units.costs import latency_notes
    from mmkd.units.methods import stands_for_several

    if stands_for_several(request.methods) and not args.quiet:
        for source in METHODS.import_errors.keys() - METHODS.broken_packages:
            _warn(f"left out: {source}: {METHODS.import_errors[source]}")
    outcome = execute(request, workspace, args.existing, Narrator(workspace.progress), measurements)
    for line in (*broken_packages(), *map(one_line, outcome.failed_selections)):
        _warn(line)
    runs = Path(args.runs)
    problem = None
    units = [result.spec for result in outcome.results if result.status != "refused"]
    suite = request.name or mlflow.command_name(units)
    if args.existing != "only":  # what was tried is no row of the suite
        problem = mlflow.publish(runs, outcome.records, suite, log_models=args.mlflow_models)
        problem = problem or mlflow.publish(runs, outcome.tried)
    if not args.json:
        print_outcome(outcome, runs, data_flags(request), args.cache)
    if any(result.record is not None for result in outcome.results) and not args.quiet and not args.json:
        print("\n  ".join([f"records: {runs}", *mlflow.where_to_look(runs, outcome.records, suite)]))
        if request.with_controls:
            print(f"is it the teacher? python -m mmkd.compare{place_flags(runs)}")
    if problem:
        _warn(problem)
    if lost := outcome.lost_teachers:
        key, title = next(iter(lost.items()))
        count = "" if len(lost) == 1 else f"{len(lost)} teachers are not on record, the first: "
        _warn(f"{count}{title}: not on record ({key}), and in no gap; --existing rerun makes it again")
    if outcome.unmeasured:
        _warn(f"{len(outcome.unmeasured)} not measured, the first: {one_line(outcome.unmeasured[0])}")
    for note in latency_notes(outcome.records):
        workspace.progress.say(f"warning: {note}")
    failed = (
        (args.robustness and outcome.unmeasured)
        or outcome.failed_selections
        or (args.existing == "only" and outcome.lost_teachers)
        or any(result.status in ("failed", "missing") for result in outcome.results)
    )
    return int(bool(failed)), outcome


def make_workspace(request: "Request", args: argparse.Namespace, group: ProcessGroup) -> "Workspace":
    """The workspace of the flags.

    Raises:
        MmkdError: flags exclude each other, or a folder cannot be created.
    """
    from mmkd.core.progress import Bars, Lines, Progress
    from mmkd.training.workspace import Workspace

    terminal = sys.stderr.isatty() and sys.stdout.isatty()
    workspace = Workspace.for_request(
        request,
        runs=Path(args.runs),
        cache_folder=args.cache,
        device=args.device,
        jobs=args.jobs,
        engine=args.engine,
        resources=args.resources,
        progress=Progress() if args.quiet else Bars() if terminal else Lines(sys.stderr),
        group=group,
    )
    if group.world_size > 1 and workspace.uses_workers:
        what = f"--jobs {workspace.jobs}" if workspace.jobs > 1 else f"--engine {workspace.engine}"
        raise MmkdError(
            f"{what}: torchrun has started {group.world_size} processes for one training; use one of the two"
        )
    check_runs(Path(args.runs))
    check_folder(Path(str(workspace.cache_folder)), "--cache")
    return workspace


class Narrator:
    """Prints the result of each unit: failed, missing and refused units on stderr, scores as progress."""

    def __init__(self, progress: "Progress") -> None:
        self.progress = progress
        self.left_out: set[tuple[str, str]] = set()

    def __call__(self, result: "UnitResult") -> None:
        from mmkd.report.table import headline
        from mmkd.units.names import title

        spec = result.spec
        if result.status == "failed":
            _warn(f"{title(spec)}: failed: {one_line(result.error)} ({result.log})")
        elif result.status == "missing":
            _warn(f"{title(spec)}: not on record ({spec.key})")
        elif result.status == "refused" and (spec.method, result.error) not in self.left_out:
            self.left_out.add((spec.method, result.error))
            _warn(f"left out: {spec.method}: {result.error}")
        elif result.status == "done" and result.record is not None:
            self.progress.say(f"{title(spec)}: {headline(result.record)}")


def _warn(line: str) -> None:
    print(f"{NAME}: {line}", file=sys.stderr)


def outcome_as_json(outcome: "Outcome") -> list[dict[str, Any]]:
    """The results as `--json` prints them, an item each."""
    from mmkd.report import table
    from mmkd.units import result

    references = [table.reference_as_json(record) for record in outcome.references]
    selected = [selection.as_json() for selection in outcome.selections]
    tuned = [choice.as_json() for choice in outcome.tunings]
    return [*map(result.as_json, outcome.results), *references, *selected, *tuned]


def data_flags(request: "Request") -> str:
    """The flags that name the windows of a request to another command, each after a space."""
    given = {"--data": request.data, "--data-root": request.data_root}
    return "".join(f" {flag} {shlex.quote(str(value))}" for flag, value in given.items() if value is not None)


def place_flags(runs: Path, cache: str | None = None) -> str:
    """The flags that name the folders of a command to another one, each after a space; none for a default."""
    given = {"--runs": runs if runs != Path("runs") else None, "--cache": cache}
    return "".join(f" {flag} {shlex.quote(str(value))}" for flag, value in given.items() if value is not None)


def device_commands(outcome: "Outcome", data: str = "", place: str = "") -> str:
    """The command that makes files for a device of a student of this table, a line; or two where C needs another one.

    Args:
        data: flags that name the windows, as `data_flags` gives them.
        place: flags that name the folders, as `place_flags` gives them.
    """
    from mmkd.tasks import TASKS

    records = [result.record for result in outcome.results if result.record is not None and result.record.has_files]
    records = [record for record in records if not TASKS.get(record.unit.task).of_series]
    if not records:
        return ""
    record = records[-1]
    names = {"record": shlex.quote(str(record.folder)), "data": data}
    if TASKS.get(record.unit.task).per_step or record.data.get("grid"):
        return AS_ONNX.format(**names)
    if all(view.partition("@")[0] == "sig" and not view.endswith("Hz") for view in record.unit.student):
        return AS_C.format(**names)
    named = "" if "--data " in data else f" --dataset {record.unit.data.name}"
    return AS_ONNX.format(**names) + SMALLER.format(data=named + data + place)


def print_outcome(outcome: "Outcome", runs: Path, data: str = "", cache: str | None = None) -> None:
    """Print the table of the task, with the warnings of its data again, and where it has no room what to do next.

    Args:
        data: flags that name the windows, as `data_flags` gives them.
        cache: the folder of --cache, where it is given.
    """
    from mmkd.report import run_rows, table

    shown = [unit for unit in outcome.results if unit.status != "refused"]
    rows = run_rows.rows(shown, outcome.teachers, dict(outcome.students_alone), outcome.references)
    table.print_tables(rows, sys.stdout)
    for selection in outcome.selections:
        for line in selection.lines:
            print(line)
    for line in (*outcome.unselected, *[choice.line for choice in outcome.tunings], *outcome.untuned):
        print(line)
    if any(row.gaps for row in rows) and not any(gap.has_room for row in rows for gap in row.gaps):
        place = place_flags(runs, cache)
        device = device_commands(outcome, data, place)
        print(NEXT.format(runs=place_flags(runs), folder=runs, at=place, device=device))
    for line in outcome.data_warnings:
        print(f"warning: {one_line(line)}")


def measurements_of(request: "Request", args: argparse.Namespace) -> tuple[str, ...]:
    """The names of the measurements to make of the students.

    Raises:
        MmkdError: --robustness together with --existing only, or for a task without it.
    """
    from mmkd.tasks import TASKS

    task = TASKS.get(request.task)
    if not args.robustness:
        return task.measurements
    if args.existing == "only":
        raise MmkdError("--robustness makes measurements, --existing only makes none; give one of the two")
    if "robustness.json" not in task.optional_measurements:
        tasks = ", ".join(other.name for other in TASKS.values() if "robustness.json" in other.optional_measurements)
        raise MmkdError(f"--robustness is for students of --task {tasks}, not of {request.task}; leave it out")
    return (*task.measurements, "robustness.json")


def publish_all(runs: Path, travelled: Sequence[str] = (), log_models: bool = False) -> int:
    """Send the records to MLflow that its store lacks, those of files of records too."""
    from mmkd.comparison.parts import is_part_of_another, is_tried
    from mmkd.report import mlflow as track
    from mmkd.store.records import Records

    if not runs.is_dir():
        raise MmkdError(f"--runs {runs}: there is no such folder")
    records = [record for record in Records(runs, travelled) if is_tried(record) or not is_part_of_another(record)]
    new: list[str] = []
    problem = track.publish(runs, records, new=new, log_models=log_models)
    if problem:
        print(f"mmkd.bench: {problem}", file=sys.stderr)
        return 1
    others = f"; it had the other {len(records) - len(new)}" if len(new) < len(records) else ""
    print(f"{len(new)} of {len(records)} records sent to {track.shown_uri(runs)}{others}")
    return 0


def script() -> NoReturn:
    """Run the command and end the process; under torchrun at once, because threads of gloo may abort a normal exit."""
    code = main()
    if current_group().world_size > 1:
        flush_stdout()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
