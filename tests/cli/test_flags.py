"""Parsing of flags, by every command."""

import importlib

import pytest

from mmkd.cli.flags import Parser
from mmkd.core.errors import MmkdError

COMMANDS = {
    "bench": ["--runs", "--method", "--quiet"],
    "compare": ["--runs", "--with", "--no-windows"],
    "data": ["--data-root"],
    "export": ["--to", "--out"],
    "results": ["--out", "--folder", "--records"],
    "window": ["--channels"],
}
REPEATABLE = {
    "bench": ["--plugin"],
    "compare": ["--plugin"],
    "data": ["--plugin"],
    "window": ["--groups", "--no-label"],
}


def parser_of(command: str) -> Parser:
    return importlib.import_module(f"mmkd.cli.{command}").make_parser()


@pytest.mark.parametrize(("command", "flag"), [(c, flag) for c, flags in COMMANDS.items() for flag in flags])
@pytest.mark.parametrize("second", [["{}", "b"], ["{}=b"]], ids=["apart", "joined"])
def test_a_flag_given_twice_is_refused(command, flag, second):
    with pytest.raises(MmkdError, match=f"^{flag} is given twice; give it once"):
        parser_of(command).parse_known_args([flag, "a", *(word.format(flag) for word in second)])


@pytest.mark.parametrize(("command", "flag"), [(c, flag) for c, flags in REPEATABLE.items() for flag in flags])
def test_a_flag_whose_values_make_a_list_may_be_given_twice(command, flag):
    args, _ = parser_of(command).parse_known_args([flag, "a", flag, "b"])
    assert getattr(args, flag[2:].replace("-", "_")) == ["a", "b"]


def test_a_flag_is_written_in_full():
    parser = Parser(prog="mine")
    parser.add_argument("--folder")
    assert parser.parse_known_args(["--fold", "a"]) == (parser.parse_args([]), ["--fold", "a"])


def test_a_list_with_commas_is_named_where_there_is_one():
    for flag in ("--method", "--seeds", "--fold", "--student", "--teachers", "--teacher-net"):
        with pytest.raises(MmkdError, match="a list is written with commas"):
            parser_of("bench").parse_known_args([flag, "a", flag, "b"])
    with pytest.raises(MmkdError, match="give it once$"):
        parser_of("compare").parse_known_args(["--runs", "a", "--runs", "b"])


def test_what_follows_two_dashes_is_no_flag():
    args, rest = parser_of("results").parse_known_intermixed_args(["check", "--", "--out", "--out"])
    assert (args.words, args.out, rest) == (["check", "--out", "--out"], None, [])
