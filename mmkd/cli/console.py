"""What every command of the house does alike: one line for what is wrong, exit codes, an end on SIGTERM."""

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mmkd.core.errors import MmkdError
from mmkd.core.text import one_line


class Terminated(KeyboardInterrupt):
    """The process was asked to end."""


def guarded(name: str, command: Callable[[], int], stopped: str = "") -> int:
    """Run a command; the exit code is its own, 2 (bad input), 130 (Ctrl-C), 143 (SIGTERM) or 1 (nobody reads on).

    Warnings of ours become notes, other people's are dropped.

    Args:
        name: of the command, at the head of each line on stderr.
        stopped: what is said beside "stopped" where the command was broken off.
    """
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, category, *_, **__: _note(name, message, category)
        try:
            with _terminable():
                code = command()
                sys.stdout.flush()
                return code
        except MmkdError as error:
            return refuse(name, str(error))
        except KeyboardInterrupt as stop:
            why = f" ({one_line(str(stop))})" if str(stop) else ""
            print(f"{name}: stopped{why}{stopped}", file=sys.stderr)
            return 143 if isinstance(stop, Terminated) else 130
        except BrokenPipeError:
            leave_stdout()
            return 1
        except OSError as error:
            return refuse(name, f"{error.filename or 'output'}: {error.strerror or error}")
        except MemoryError as error:
            return refuse(name, f"not enough memory: {error}; take fewer or shorter windows, or a machine with more")


def refuse(name: str, message: str) -> int:
    """Say why nothing more is done; the exit code."""
    leave_stdout()
    print(f"{name}: {one_line(message)}", file=sys.stderr)
    return 2


def leave_stdout() -> None:
    """Write what stdout still holds; where that cannot be (a closed pipe, a full disk) Python must not try again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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


def _note(name: str, message: Warning | str, category: type[Warning]) -> None:
    if category.__module__.startswith("mmkd"):
        print(f"{name}: note: {one_line(str(message))}", file=sys.stderr)
