"""`python -m mmkd.compare`: compare the records of a suite in tables, statistics and files for a paper.

It only reads records and never imports torch. Measurements that need a network were made when the unit was run.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmkd.cli.console import command_line
from mmkd.cli.flags import Parser, check_folder, refuse_unknown_flags, split_names
from mmkd.core.errors import MmkdError
from mmkd.core.plugins import load_plugin
from mmkd.core.registry import broken_packages
from mmkd.core.text import one_line
from mmkd.store.travelling import SUFFIX, write_travelling

NAME = "mmkd.compare"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 0, 2 (bad input) or 130 (Ctrl-C)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    with command_line(NAME) as exit_code:
        exit_code.value = command(arguments)
    return exit_code.value


def make_parser() -> Parser:
    parser = Parser(
        prog="python -m mmkd.compare",
        description="Compare the methods on record: one table a data set and student, statistics, files for a paper.",
        add_help=False,
        epilog="Units are in one table only if data, student and training are the same; a method with other options "
        "is another row. The files: report.html (one page, for a browser), figures/ (each of its figures as SVG), "
        "leaderboard.csv, fidelity.csv (what students have of their teachers), results.csv (one line a unit and "
        "metric), where something was tuned tuning.csv, budgets.csv and tuned.csv, tables.md, tables.tex, "
        "comparison.json, "
        "records.jsonl (each record without its predictions, for --records), "
        "reproducibility.json and .md, and tsml/ with each unit's predictions.",
    )
    parser.add_argument("--runs", metavar="DIR", default="runs", help="folder of the records (default runs)")
    parser.add_argument(
        "--records",
        metavar="FILE[,FILE]",
        help="and these records of other machines: .jsonl files, or folders of them; --runs need not exist then",
    )
    parser.add_argument(
        "--write-records",
        metavar="FILE.jsonl",
        help="add the records, without predictions and weights, to this file, which --records of mmkd.bench and "
        "mmkd.compare read elsewhere; lines that it has stay",
    )
    parser.add_argument(
        "--experiment",
        metavar="PATTERN",
        help="take the records from MLflow instead, of experiments such as 'mmkd/*/classification'; the store is "
        "MLFLOW_TRACKING_URI, else that of --runs",
    )
    parser.add_argument(
        "--control", metavar="METHOD", default="student", help="the method that others are compared with"
    )
    parser.add_argument(
        "--with",
        dest="beside",
        metavar="VERSION",
        help="also show the units here among the results of a frozen benchmark, such as v1, without running those; * "
        "marks the units here",
    )
    parser.add_argument("--out", metavar="DIR", help="folder of the files (default comparison in --runs)")
    parser.add_argument(
        "--no-windows",
        action="store_true",
        help="show no measured values of windows: for a page that is shared when the data must not be",
    )
    parser.add_argument(
        "--plugin",
        metavar="FILE.py",
        action="append",
        default=[],
        help="a file with tasks, methods or metrics of one's own",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout instead of the tables")
    parser.add_argument("-h", "--help", action="store_true", help="this text")
    return parser


def command(argv: Sequence[str]) -> int:
    """Read and compare the records, write the files, print the tables or the document; returns the exit code."""
    parser = make_parser()
    args, rest = parser.parse_known_args(list(argv))
    if args.help:
        print(parser.format_help(), end="")
        return 0
    refuse_unknown_flags(rest, parser)
    for name in ("runs", "experiment", "control", "out", "records", "write_records"):
        value = getattr(args, name)
        if value is not None and (not value or "\0" in value):
            raise MmkdError(f"--{name.replace('_', '-')} {value!r}: the name is empty, or contains a zero byte")
    if args.records and args.experiment:
        raise MmkdError("--records and --experiment both name records; give one of them")
    files_of_records = split_names(args.records, "--records") if args.records else ()
    written = Path(args.write_records) if args.write_records else None
    if written is not None and (written.suffix != SUFFIX or written.is_dir()):
        raise MmkdError(f"--write-records {written}: name a file that ends in {SUFFIX}")
    if args.beside is not None and (not args.beside or "\0" in args.beside):
        raise MmkdError(f"--with {args.beside!r}: name a version, such as v1")
    runs = Path(args.runs)
    out = Path(args.out) if args.out else runs / "comparison"
    check_folder(out, "--out")
    for plugin in args.plugin:
        load_plugin(plugin)
    from mmkd.comparison.compare import compare
    from mmkd.comparison.ranking import rankings
    from mmkd.comparison.travelling import travelling_records
    from mmkd.report.exports import Export, export_files
    from mmkd.report.output import write_files
    from mmkd.report.reproducibility import failures, reproducibility
    from mmkd.report.terminal import print_comparison

    protocol = None
    if args.beside is not None:
        from mmkd.results.protocol import read_protocol

        protocol = read_protocol(args.beside)
    tables, notes = [], []
    with _records(runs, args.experiment, files_of_records) as (records, left_out):
        try:
            theirs = []
            if protocol is not None:
                from mmkd.results.beside import place_records, records_beside

                own = place_records(compare(records, left_out=left_out).records, protocol)
                theirs = records_beside(own, protocol, records)
                if theirs:
                    whose = f"its {len(theirs)} records of the student, controls and teachers"
                    notes = [f"--with {protocol.version}: {whose} are here too"]
            comparison = compare([*records, *theirs], args.control, left_out)
        except MmkdError:  # there may be nothing to compare yet, and records of the selection phase all the same
            if written is not None:
                write_travelling(written, travelling_records(records))
            raise
        if written is not None:
            counts = write_travelling(written, travelling_records(records, comparison))
        facts = reproducibility(comparison, {} if args.experiment else failures(runs))
        export = Export(comparison, rankings(comparison), facts, windows=not args.no_windows)
        files = export_files(export)
        if protocol is not None:
            from mmkd.results.beside import table_text, tables_beside, trained_again

            tables = tables_beside(own, protocol)
            notes += [
                f"--with {protocol.version}: {line}" for line in (*trained_again(own, protocol, records), *own.left_out)
            ]
    write_files(out, files)
    for line in dict.fromkeys((*comparison.left_out, *export.notes, *broken_packages(), *notes)):
        print(f"{NAME}: note: {one_line(line)}", file=sys.stderr)
    if args.json and protocol is not None:
        beside = {"protocol": protocol.title, "tables": [table.as_json() for table in tables]}
        print(json.dumps({**json.loads(export.json_text), "beside": beside}, indent=1))
    elif args.json:
        print(export.json_text)
    else:
        print_comparison(comparison, export.rankings, sys.stdout)
        print(f"files: {out} (report.html is the page)")
        if written is not None:
            print(f"records: {written} ({counts[0]} lines, {counts[1]} of them new)")
        for table in tables:
            print(f"\n{table_text(table)}")
        if protocol is not None and not tables:
            known = sum(map(len, own.records.values()))
            of_it = f"all {known} of a regime of {protocol.version} are among its results" if known else ""
            why = of_it or f"none is of a regime of {protocol.version}, for the reasons above"
            print(f"\n--with {protocol.version} adds nothing of these units: {why}")
    return 0


@contextmanager
def _records(
    runs: Path, experiment: str | None, travelled: Sequence[str] = ()
) -> Iterator[tuple[list[Any], list[str]]]:
    """The records of the runs folder, or of the MLflow store, and notes about those that were left out.

    Args:
        travelled: files of records that are read beside the runs folder, which need not exist then.
    """
    from mmkd.comparison.compare import read_records
    from mmkd.store.records import Records

    if experiment is None:
        if not runs.is_dir() and not travelled:
            raise MmkdError(f"--runs {runs}: there is no such folder; python -m mmkd.bench makes records")
        yield read_records(Records(runs, travelled))
        return
    from mmkd.report.mlflow import fetch

    with tempfile.TemporaryDirectory(prefix="mmkd-compare-") as folder:
        yield fetch(runs, experiment, Path(folder))
