"""Progress of long work, told to whoever watches: bars on a terminal, silence elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Bar(Protocol):
    """One running piece of work."""

    def advance(self, steps: int = 1, info: str = "") -> None: ...


class Progress:
    """Silence: the default of the library, and of a command whose output is not a terminal."""

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Bar]:
        yield _Silent()

    @contextmanager
    def overall(self, total: int) -> Iterator[Bar]:
        """The bar of all units of a command, with the time left."""
        with self.bar("units", total) as bar:
            yield bar

    def say(self, line: str) -> None:
        """One line about something that is done."""


class _Silent:
    def advance(self, steps: int = 1, info: str = "") -> None:
        pass


class Lines(Progress):
    """A line for each thing that is done, on the given stream: what a log wants."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    @contextmanager
    def overall(self, total: int) -> Iterator[Bar]:
        yield _Counted(self, total)

    def say(self, line: str) -> None:
        print(line, file=self.stream, flush=True)


class _Counted:
    """How far a command is, in a line a minute at most."""

    def __init__(self, lines: Lines, total: int) -> None:
        self.lines, self.total, self.done = lines, total, 0
        self.begun = self.said = time.monotonic()

    def advance(self, steps: int = 1, info: str = "") -> None:
        now = time.monotonic()
        self.done += steps
        if now - self.said >= 60 and self.done < self.total:
            left = (now - self.begun) / self.done * (self.total - self.done)
            self.lines.say(f"{self.done} of {self.total} units, about {duration(left)} left")
            self.said = now


def duration(seconds: float) -> str:
    """A rough time in words.

    >>> duration(4), duration(400), duration(700), duration(9000)
    ('4.0 s', '400 s', '12 min', '2.5 h')
    """
    if seconds < 600:
        return f"{seconds:.{1 if seconds < 10 else 0}f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Bars(Progress):
    """Bars on a terminal, each gone when its work is done."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Rich

        self.console = Console(stderr=True)
        columns = (TextColumn("{task.description:<28}"), BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn())
        self.rich = Rich(*columns, TextColumn("{task.fields[info]}"), console=self.console, transient=True)

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Bar]:
        if not self.rich.tasks:
            self.rich.start()
        task = self.rich.add_task(label, total=total, info="")
        rich = self.rich

        class One:
            def advance(self, steps: int = 1, info: str = "") -> None:
                rich.update(task, advance=steps, info=info)

        try:
            yield One()
        finally:
            rich.remove_task(task)
            if not rich.tasks:
                rich.stop()

    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)
