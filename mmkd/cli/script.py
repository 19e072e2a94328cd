"""A script of `experiments/`: its flags and its errors are handled as those of a command."""

from argparse import Namespace
from collections.abc import Callable, Sequence

from mmkd.cli.console import command_line
from mmkd.cli.flags import Parser, refuse_unknown_flags


def run_script(parser: Parser, body: Callable[[Namespace], None], argv: Sequence[str] | None = None) -> int:
    """Parse the arguments and run a script's body with them; returns the exit code.

    A wrong option, and an error that the user can act on, are one line on stderr and exit code 2.
    """
    with command_line(parser.prog) as exit_code:
        args, rest = parser.parse_known_args(argv)
        refuse_unknown_flags(rest, parser)
        body(args)
    return exit_code.value
