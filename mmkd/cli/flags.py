"""The flags of `python -m mmkd.bench`, and the request made from them. Imports neither torch nor mlflow."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_origin, get_type_hints
from urllib.parse import unquote

from mmkd.cli.listing import LISTS, preset_help
from mmkd.core.errors import MmkdError, did_you_mean
from mmkd.core.options import TRUTHS, shown
from mmkd.units.methods import check_words, named_methods

if TYPE_CHECKING:
    from mmkd.units.request import Request


LIST_WORDS = (",", "LIST", "MODALITIES")
"""One is in the metavar of a flag that takes a list."""


class Parser(argparse.ArgumentParser):
    """An argument parser that raises MmkdError, so that an error is one line and exit code 2.

    A flag that is given twice is an error, whether the parser knows it or not, unless its values make a list; a flag is
    written in full.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As in `argparse`; MmkdError too if a flag is given twice."""
        given = list(sys.argv[1:] if args is None else args)
        options = given[: given.index("--")] if "--" in given else given
        counts = Counter(arg.partition("=")[0] for arg in options if arg.startswith("--"))
        actions = {flag: action for action in self._actions for flag in action.option_strings}
        for flag in sorted(flag for flag, count in counts.items() if count > 1):
            action = actions.get(flag)
            if action is None or not isinstance(action.default, list):
                is_list = any(word in str(action.metavar) for word in LIST_WORDS) if action else False
                hint = " (a list is written with commas)" if is_list else ""
                raise MmkdError(f"{flag} is given twice; give it once{hint}")
        return super().parse_known_args(given, namespace)

    def error(self, message: str) -> NoReturn:
        raise MmkdError(message)


def make_parser() -> Parser:
    """The parser of `mmkd.bench`: flags for the fields of `Request`, and those of the command itself.

    The options of methods are not among them; `method_options` parses these.
    """
    from mmkd.units.request import request_fields

    parser = Parser(
        prog="python -m mmkd.bench",
        usage="python -m mmkd.bench --method NAME[,NAME] [--dataset NAME | --data FILE] [flags]",
        description="Train one teacher a modality, distil them into a student, and print one table.",
        add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=preset_help(),
    )
    groups = {
        "what": parser.add_argument_group("what to run"),
        "networks": parser.add_argument_group("views and networks"),
        "data": parser.add_argument_group("split, labels and rate of the data"),
        "training": parser.add_argument_group("training, of teachers and student unless it says of which"),
        "where": parser.add_argument_group("where and how much (no part of a unit's key)"),
    }
    for f in request_fields():
        if f.metadata["flag"]:
            add_flag(groups[f.metadata["group"]], f)
    what = groups["what"]
    what.add_argument("--suite", metavar="FILE", help="a suite of units in TOML; flags replace its values")
    what.add_argument("--part", metavar="NAME[,NAME]", help="only these of the parts that a suite has (default all)")
    what.add_argument("--seed", metavar="N", help="one seed (default 0)")
    what.add_argument("--list", choices=LISTS, metavar="KIND", help=f"list one of {', '.join(LISTS)}; and stop")
    where = groups["where"]
    where.add_argument("--runs", metavar="DIR", default="runs", help="records and MLflow store (default runs)")
    where.add_argument("--cache", metavar="DIR", help="views and teachers (default: MMKD_CACHE, else cache in --runs)")
    where.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default auto")
    where.add_argument("--jobs", metavar="N", type=int, default=1, help="units at a time, in N processes (default 1)")
    where.add_argument(
        "--engine",
        metavar="NAME",
        default="local",
        help="local (default), or ray: as tasks of Ray, at RAY_ADDRESS or here",
    )
    where.add_argument("--resources", metavar="R", help="of one task of Ray, such as cpus=2,gpus=0.25 (default cpus=1)")
    where.add_argument(
        "--existing",
        choices=("skip", "rerun", "only"),
        default="skip",
        help="units on record: skip them (default), rerun them with the cached teachers, or only read them",
    )
    where.add_argument(
        "--robustness", action="store_true", help="test students, those on record too, on disturbed test windows"
    )
    where.add_argument(
        "--dry-run",
        action="store_true",
        help="print the units, which exist and how long the rest takes, and stop; only a run tries whether methods fit",
    )
    where.add_argument("--publish", action="store_true", help="send the records to MLflow that it lacks, and stop")
    where.add_argument("--mlflow-models", action="store_true", help="log students as MLflow models, with --publish too")
    where.add_argument("--json", action="store_true", help="one JSON document on stdout")
    where.add_argument("--quiet", action="store_true", help="no progress")
    where.add_argument("-h", "--help", action="store_true", help="this text")
    return parser


def add_flag(group: Any, f: "Field[Any]") -> None:
    """Add the flag of a field of `Request` to a group of the parser."""
    repeated = f.name == "plugins"
    settings: dict[str, Any] = {"action": "append", "default": []} if repeated else {}
    if f.default is False:
        settings = {"nargs": "?", "const": True, "metavar": "false", "type": partial(_truth, f.metadata["flag"])}
    else:
        settings["metavar"] = f.metadata["metavar"]
        settings |= {"nargs": "?", "const": f.metadata["alone"]} if f.metadata["alone"] else {}
    group.add_argument(f.metadata["flag"], help=f.metadata["help"], **settings)


def make_requests(args: argparse.Namespace, rest: list[str], parser: Parser) -> "list[Request]":
    """The requests of the flags, several of a suite with parts.

    Fields without a flag have the value of the suite, or their default.

    Args:
        args: the parsed flags.
        rest: the other arguments, which are options of methods.

    Raises:
        MmkdError: the value of a flag is invalid, or flags exclude each other.
    """
    from mmkd.units.request import Request, parse_seeds
    from mmkd.units.suites import read_suites, with_options

    hints = get_type_hints(Request)
    values: dict[str, Any] = {}
    for f in fields(Request):
        flag = f.metadata["flag"]
        text = getattr(args, flag[2:].replace("-", "_")) if flag else None
        if text is not None and text != []:
            values[f.name] = _flag_value(text, hints[f.name], f)
    if args.seed is not None:
        if args.seeds is not None:
            raise MmkdError("--seed and --seeds both name seeds; give one of them")
        values["seeds"] = parse_seeds(args.seed)
        if len(values["seeds"]) > 1:
            raise MmkdError(f"--seed {args.seed} names several; use --seeds {args.seed}")
    windows = [flag for flag in ("data", "dataset", "card") if getattr(args, flag)]
    if len(windows) > 1:
        raise MmkdError(f"--{windows[0]} and --{windows[1]} both name windows; give one of them")
    if windows:  # they replace those of a suite
        values |= {name: None for name in ("data", "card") if name != windows[0]}
    if args.suite:
        if not args.method:
            refuse_unknown_flags(rest, parser, "; of a suite, options of methods go with --method NAME")
        requests = read_suites(args.suite, split_names(args.part, "--part") if args.part else (), **values)
        if not rest:
            return requests
        controls = any(request.with_controls for request in requests)
        options = method_options(values["methods"], rest, parser, controls)
        return [with_options(request, options) for request in requests]
    if args.part is not None:
        raise MmkdError(f"--part {shown(args.part)}: parts are of a suite; also give --suite FILE")
    load_plugins(args.plugin)
    values["options"] = method_options(values["methods"], rest, parser, bool(args.with_controls))
    return [Request(**values)]


def _flag_value(text: Any, hint: Any, f: "Field[Any]") -> Any:
    """The value of a field from the text of its flag: items of lists are separated by commas; mappings are sig=NET."""
    from mmkd.units.request import parse_seeds

    flag = f.metadata["flag"]
    if isinstance(text, list):
        return tuple(text)
    if hint == tuple[int, ...]:
        return parse_seeds(text, f.name)
    if hint in (int | None, float | None):
        return _number(text, int if hint == int | None else float, flag)
    if hint == tuple[str, ...]:
        return (text,) if f.metadata["whole"] else split_names(text, flag)
    if f.name == "view":
        return _assignments(text, flag, "VALUE", "gaf.range")
    if get_origin(hint) is Mapping:
        example = f.metadata["metavar"].partition("=")[2].partition(",")[0]
        return _assignments(text, flag, {"NET": "WRN16-1", "FILE": "FILE.safetensors"}[example])
    return text


def _truth(flag: str, text: str) -> bool:
    """The value of a flag that says yes where it stands alone, and that can say no to a suite."""
    truth = TRUTHS.get(text.lower())
    if truth is None:
        raise MmkdError(f"{flag} {shown(text)} is not true or false")
    return truth


def _number(text: str, kind: type[int] | type[float], flag: str) -> int | float:
    try:
        return kind(text)
    except ValueError:
        raise MmkdError(f"{flag} {shown(text)} is not a {'whole ' * (kind is int)}number") from None


def method_options(
    methods: Sequence[str], rest: list[str], parser: Parser, with_controls: bool = False
) -> dict[str, dict[str, str]]:
    """The options of methods, from the flags that the parser does not know; each goes to all methods that have it.

    `--kd.temperature 2` goes to `kd` alone, whatever `--temperature` gives to all.

    Args:
        with_controls: whether the controls are among the methods too.

    Raises:
        MmkdError: no method has this option.
    """
    from mmkd.core.registry import METHODS

    check_words(methods)
    names = named_methods(methods, with_controls)
    known = {name: _options_of(name) for name in names}
    parsed: dict[str, dict[str, str]] = {}
    own: dict[str, dict[str, str]] = {}
    rest = list(rest)
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        if not flag.startswith("--"):
            raise MmkdError(f"unexpected argument {flag!r}; options begin with --")
        method, dot, option = flag[2:].rpartition(".")
        owners = [name for name in names if option in known[name] and method in ("", name)]
        if dot and not method:
            raise MmkdError(f"{flag}: no method is named before the dot; write --METHOD.{option} or --{option}")
        if not owners:
            if method in names:
                raise MmkdError(f"{flag}: {method} has no such option{did_you_mean(option, known[method])}")
            flags = [o for action in parser._actions for o in action.option_strings]
            options = {f"--{option}" for names_of_method in known.values() for option in names_of_method}
            elsewhere = [m for m in METHODS if m not in names and option in _options_of(m) and method in ("", m)]
            if elsewhere:
                raise MmkdError(f"{flag} is an option of {', '.join(elsewhere)}, not of {', '.join(names)}")
            raise MmkdError(
                f"unknown option {flag}{did_you_mean(flag, {*flags, *options})} (--method {','.join(methods)} --help)"
            )
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        for name in owners:
            (own if dot else parsed).setdefault(name, {})[option] = value
    return {name: {**parsed.get(name, {}), **own.get(name, {})} for name in names if name in parsed or name in own}


def _options_of(method: str) -> list[str]:
    from mmkd.core.options import describe
    from mmkd.core.registry import METHODS

    return [row[0] for row in describe(METHODS.get(method).Config)]


def load_plugins(paths: Sequence[str]) -> None:
    """Load plugin files, which register methods and tasks."""
    from mmkd.core.plugins import load_plugin

    for path in paths:
        load_plugin(path)


def check_arguments(args: argparse.Namespace) -> None:
    """Check the arguments as a whole.

    Raises:
        MmkdError: a folder has an empty name, or a value contains a zero byte.
    """
    for name in ("runs", "cache", "data_root"):
        if getattr(args, name) == "":
            raise MmkdError(f"--{name.replace('_', '-')}: the name is empty; name a folder")
    if args.part == "":
        raise MmkdError("--part: the name is empty; name parts of the suite")
    for flag, value in ((f"--{name.replace('_', '-')}", value) for name, value in vars(args).items()):
        if any("\0" in str(text) for text in (value if isinstance(value, list) else [value])):
            raise MmkdError(f"{flag} {shown(value)}: it contains a zero byte")


def check_folder(path: Path, flag: str) -> None:
    """Check, before anything is run, that a folder exists or could be created.

    Raises:
        MmkdError: it could not.
    """
    try:
        existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
        if not existing.is_dir():
            raise MmkdError(f"{flag} {path}: {existing} is not a folder; name another")
    except OSError as error:
        raise MmkdError(f"{flag} {path}: {error.strerror or error}; name another folder") from None


def check_runs(path: Path) -> None:
    """Check a runs folder as `check_folder` does, and that the path of its MLflow database is read as it stands.

    Raises:
        MmkdError: it could not be created, or MLflow would take a part of its path for something else.
    """
    check_folder(path, "--runs")
    full = str(path.absolute())
    if ("?" in full or unquote(full) != full) and not os.environ.get("MLFLOW_TRACKING_URI"):
        raise MmkdError(
            f"--runs {path}: MLflow takes '?' or '%' in {full} for a part of an address; name another folder, or set "
            f"MLFLOW_TRACKING_URI"
        )


def split_names(text: str, flag: str) -> tuple[str, ...]:
    """The names in a list that is separated by commas, without repeats; MmkdError if one is empty."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if "" in names:
        raise MmkdError(f"{flag} {text!r}: an empty name")
    return names


def _assignments(text: str, flag: str, example: str, name_example: str = "sig") -> dict[str, str]:
    """The mapping of a text such as sig=NET,gaf=NET; MmkdError if it is malformed."""
    values: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not name or not value:
            raise MmkdError(f"{flag}: {part!r} is not of the form {name_example}={example}")
        if name in values:
            raise MmkdError(f"{flag} {text}: {name} is named twice")
        values[name] = value
    return values


def refuse_unknown_flags(rest: Sequence[str], parser: Parser, hint: str = "") -> None:
    """Raise MmkdError if any arguments are left; `hint` is added to its message."""
    if rest:
        flags = [o for action in parser._actions for o in action.option_strings]
        raise MmkdError(f"unknown option {rest[0]}{did_you_mean(rest[0], flags)}{hint}")
