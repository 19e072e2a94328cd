"""What all commands share: errors and warnings in one line on stderr, exit codes, and a clean end on SIGTERM."""

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mmkd.core.errors import MmkdError, SuspiciousData
from mmkd.core.text import LONGEST_MESSAGE, one_line


class Terminated(KeyboardInterrupt):
    """SIGTERM asked the process to end."""


@dataclass
class ExitCode:
    """The exit code of a command, set by its body or by what ended it."""

    value: int = 0


@contextmanager
def command_line(name: str, stopped: str = "") -> Iterator[ExitCode]:
    """Around the body of a command: errors become one line on stderr and an exit code.

    The exit code is the one that the body sets; or 2 for an error that the user can act on, 130 after Ctrl-C, 143 after
    SIGTERM, and 1 if stdout was closed. Each warning of mmkd is printed in a line, once; other warnings are dropped.

    Args:
        name: the name of the command, which starts each line on stderr.
        stopped: added to the line "stopped" after an interruption.
    """
    exit_code = ExitCode()
    with warnings.catch_warnings():
        printed: set[str] = set()
        warnings.showwarning = lambda message, category, *_, **__: _print_warning(name, message, category, printed)
        try:
            with _raise_on_sigterm():
                yield exit_code
                sys.stdout.flush()
        except MmkdError as error:
            exit_code.value = print_error(name, str(error), whole=isinstance(error, SuspiciousData))
        except KeyboardInterrupt as interrupt:
            reason = f" ({one_line(str(interrupt))})" if str(interrupt) else ""
            print(f"{name}: stopped{reason}{stopped}", file=sys.stderr)
            exit_code.value = 143 if isinstance(interrupt, Terminated) else 130
        except BrokenPipeError:
            flush_stdout()
            exit_code.value = 1
        except OSError as error:
            exit_code.value = print_error(name, f"{error.filename or 'output'}: {error.strerror or error}")
        except MemoryError as error:
            advice = "take fewer or shorter windows, or a machine with more"
            exit_code.value = print_error(name, f"not enough memory: {error}; {advice}")


def print_error(name: str, message: str, whole: bool = False) -> int:
    """Print the message on stderr as one line, unless it is to be `whole` cut where it is long; returns exit code 2."""
    flush_stdout()
    print(f"{name}: {one_line(message, sys.maxsize if whole else LONGEST_MESSAGE)}", file=sys.stderr)
    return 2


def flush_stdout() -> None:
    """Flush stdout. If that fails (closed pipe, full disk), drop the output, because Python flushes again at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _raise_on_sigterm() -> Iterator[None]:
    """SIGTERM raises `Terminated`, so that it ends the work as Ctrl-C does: temporary folders are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(*_: object) -> None:
        raise Terminated

    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _print_warning(name: str, message: Warning | str, category: type[Warning], printed: set[str]) -> None:
    """Print a warning of mmkd, unless it was printed: Python forgets that whenever somebody changes its filters."""
    if category.__module__.startswith("mmkd") and str(message) not in printed:
        printed.add(str(message))
        print(f"{name}: warning: {one_line(str(message))}", file=sys.stderr)
