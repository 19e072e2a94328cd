"""Progress of long work: bars on a terminal, lines in a log, nothing elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Bar(Protocol):
    """The progress of one piece of work."""

    def advance(self, steps: int = 1, info: str = "") -> None:
        """Move the bar by so many steps, and show `info` beside it."""


class Progress:
    """Shows nothing: the default of the library, and of a command whose output is not a terminal."""

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Bar]:
        """The bar of one piece of work of `total` steps."""
        yield _Silent()

    @contextmanager
    def overall(self, total: int) -> Iterator[Bar]:
        """The bar over all units of a command, with the time left."""
        with self.bar("units", total) as bar:
            yield bar

    def say(self, line: str) -> None:
        """Show one line about something that has finished."""


class _Silent:
    def advance(self, steps: int = 1, info: str = "") -> None:
        pass


class Lines(Progress):
    """Writes a line to `stream` for each thing that has finished, for logs."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    @contextmanager
    def overall(self, total: int) -> Iterator[Bar]:
        yield _OverallLines(self, total)

    def say(self, line: str) -> None:
        print(line, file=self.stream, flush=True)


class _OverallLines:
    """The progress of a whole command, as at most one line a minute."""

    def __init__(self, lines: Lines, total: int) -> None:
        self.lines = lines
        self.total = total
        self.completed = 0
        self.start_time = time.monotonic()
        self.last_line_time = self.start_time

    def advance(self, steps: int = 1, info: str = "") -> None:
        now = time.monotonic()
        self.completed += steps
        if now - self.last_line_time >= 60 and self.completed < self.total:
            left = (now - self.start_time) / self.completed * (self.total - self.completed)
            self.lines.say(f"{self.completed} of {self.total} units, about {duration(left)} left")
            self.last_line_time = now


def duration(seconds: float) -> str:
    """A rounded time with its unit.

    >>> duration(4), duration(400), duration(700), duration(9000)
    ('4.0 s', '400 s', '12 min', '2.5 h')
    """
    if seconds < 600:
        return f"{seconds:.{1 if seconds < 10 else 0}f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Bars(Progress):
    """Bars on a terminal; each disappears when its work has finished."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self.console = Console(stderr=True)
        columns = (TextColumn("{task.description:<28}"), BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn())
        self.rich = RichProgress(*columns, TextColumn("{task.fields[info]}"), console=self.console, transient=True)

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Bar]:
        if not self.rich.tasks:
            self.rich.start()
        task = self.rich.add_task(label, total=total, info="")
        try:
            yield _RichBar(self.rich, task)
        finally:
            self.rich.remove_task(task)
            if not self.rich.tasks:
                self.rich.stop()

    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


class _RichBar:
    def __init__(self, rich: Any, task: Any) -> None:
        self.rich = rich
        self.task = task

    def advance(self, steps: int = 1, info: str = "") -> None:
        self.rich.update(self.task, advance=steps, info=info)
