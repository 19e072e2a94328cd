"""What ends a command: its exit code, and one line on stderr that says why."""

import os
import signal

import pytest

from mmkd import MmkdError
from mmkd.cli.console import command_line
from mmkd.core.errors import DamageWarning


def ended(capsys, end):
    """The exit code of a command whose body ends so, and its lines on stderr; nothing may stand on stdout."""
    with command_line("mmkd.test", "; run it again") as exit_code:
        end()
    out, err = capsys.readouterr()
    assert out == ""
    return exit_code.value, err.splitlines()


def raises(error):
    def end():
        raise error

    return end


def test_a_command_that_ends_well_says_nothing(capsys):
    assert ended(capsys, lambda: None) == (0, [])


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (MmkdError("no such method"), 2, "mmkd.test: no such method"),
        (MmkdError("two\nlines\n  of a name"), 2, "mmkd.test: two lines of a name"),
        (OSError(28, "No space left on device", "runs/x"), 2, "mmkd.test: runs/x: No space left on device"),
        (MemoryError("of 9 GiB"), 2, "mmkd.test: not enough memory: of 9 GiB; "),
        (KeyboardInterrupt(), 130, "mmkd.test: stopped; run it again"),
    ],
)
def test_an_error_is_one_line_and_a_code(capsys, error, code, line):
    found, lines = ended(capsys, raises(error))
    assert found == code
    assert len(lines) == 1
    assert lines[0].startswith(line)


def test_sigterm_is_told_from_ctrl_c_and_leaves_the_handler_as_it_was(capsys):
    before = signal.getsignal(signal.SIGTERM)

    def end():
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

    assert ended(capsys, end) == (143, ["mmkd.test: stopped; run it again"])
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_closed_pipe_is_no_message(capsys):
    assert ended(capsys, raises(BrokenPipeError())) == (1, [])


def test_an_error_of_the_code_is_not_hidden(capsys):
    with pytest.raises(ZeroDivisionError):
        ended(capsys, lambda: 1 / 0)


def test_warnings_of_mmkd_are_printed_once_and_others_are_left_out(capsys):
    import warnings

    def end():
        warnings.simplefilter("always")
        warnings.warn("the cache is\ndamaged", DamageWarning, stacklevel=1)
        warnings.warn("somebody else's", UserWarning, stacklevel=1)
        warnings.warn("the cache is\ndamaged", DamageWarning, stacklevel=1)

    assert ended(capsys, end) == (0, ["mmkd.test: warning: the cache is damaged"])
