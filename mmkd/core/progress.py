"""Progress of long work: bars on a terminal, in a log a line a minute, nothing elsewhere."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Protocol


class Bar(Protocol):
    """The progress of one piece of work."""

    def advance(self, steps: int = 1, info: str = "") -> None:
        """Move the bar by so many steps, and show `info` beside it."""


class Overview(Protocol):
    """The progress of all trainings of a command.

    Attributes:
        on_change: called when a training has ended.
    """

    on_change: Callable[[], None]

    def counts(self) -> tuple[int, int]:
        """How many trainings have ended, of how many."""

    def seconds_left(self) -> float | None:
        """The estimated time that is left; None while nothing is known."""

    def running(self) -> str:
        """What runs in other processes, in words; empty if everything runs in this one."""

    def begin(self, job: str, total: int) -> None:
        """A training of `total` epochs begins in this process."""

    def advance(self, job: str, epochs: int) -> None:
        """So many of its epochs are done; the first call tells those of an earlier, interrupted process."""

    def start_elsewhere(self, job: Any) -> None:
        """A job of the plan is given to another process."""

    def end(self, job: str) -> None:
        """It has ended."""


class Progress:
    """Shows nothing: the default of the library, and of `--quiet`.

    Attributes:
        shows: whether anything is shown.
        overview: of the trainings of the running command, if it is shown.
    """

    shows = False
    overview: Overview | None = None

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Bar]:
        """The bar of one piece of work of `total` steps."""
        yield _Silent()

    @contextmanager
    def overall(self, overview: Overview | None) -> Iterator[None]:
        """The bar over all trainings of a command, with the time left; without an overview nothing is shown."""
        self.overview = overview
        try:
            yield
        finally:
            self.overview = None

    def of_training(self, job: str) -> "Progress":
        """This progress for the training of one job, whose epochs count in the overview."""
        return self if self.overview is None else _TrainingProgress(self, job, self.overview)

    def say(self, line: str) -> None:
        """Show one line about something that has finished."""


class _Silent:
    def advance(self, steps: int = 1, info: str = "") -> None:
        pass


class _TrainingProgress(Progress):
    """The progress of one training; its first bar counts epochs."""

    def __init__(self, progress: Progress, job: str, overview: Overview) -> None:
        self.progress = progress
        self.job = job
        self.overview = overview
        self.shows = progress.shows

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Bar]:
        assert self.overview is not None
        with self.progress.bar(label, total) as bar:
            self.overview.begin(self.job, total)
            try:
                yield _TrainingBar(bar, self.job, self.overview)
            finally:
                self.overview.end(self.job)

    def say(self, line: str) -> None:
        self.progress.say(line)


class _TrainingBar:
    def __init__(self, bar: Bar, job: str, overview: Overview) -> None:
        self.bar = bar
        self.job = job
        self.overview = overview

    def advance(self, steps: int = 1, info: str = "") -> None:
        self.overview.advance(self.job, steps)
        self.bar.advance(steps, info)


class Lines(Progress):
    """Writes a line to `stream` for each thing that has finished, and one a minute about what runs: for logs.

    Args:
        interval: seconds between the lines about what runs.
    """

    shows = True

    def __init__(self, stream: Any, interval: float = 60.0) -> None:
        self.stream = stream
        self.interval = interval
        self.bars: list[_LineBar] = []
        self.clocks = 0

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Bar]:
        bar = _LineBar(label, total)
        self.bars.append(bar)
        try:
            with self._clock():
                yield bar
        finally:
            self.bars.remove(bar)

    @contextmanager
    def overall(self, overview: Overview | None) -> Iterator[None]:
        with super().overall(overview), self._clock():
            yield

    @contextmanager
    def _clock(self) -> Iterator[None]:
        """Write a line every minute while the body runs; within another clock nothing is added."""
        self.clocks += 1
        stop = threading.Event()
        thread = threading.Thread(target=self._tick, args=(stop,), name="mmkd-progress", daemon=True)
        if self.clocks == 1:
            thread.start()
        try:
            yield
        finally:
            self.clocks -= 1
            stop.set()
            if thread.ident is not None:
                thread.join()

    def _tick(self, stop: threading.Event) -> None:
        while not stop.wait(self.interval):
            self.say(self.line())

    def line(self) -> str:
        """What runs, how much is done, and how long the rest takes."""
        running = [bar.text for bar in self.bars[-1:]]
        if self.overview is None:
            return "; ".join(running)
        done, total = self.overview.counts()
        left = time_left(self.overview)
        elsewhere = self.overview.running()
        return "; ".join(
            [f"{done} of {total} trainings{', ' * bool(left)}{left}", *([elsewhere] if elsewhere else running)]
        )

    def say(self, line: str) -> None:
        print(line, file=self.stream, flush=True)


class _LineBar:
    def __init__(self, label: str, total: int) -> None:
        self.label = label
        self.total = total
        self.completed = 0

    def advance(self, steps: int = 1, info: str = "") -> None:
        self.completed += steps

    @property
    def text(self) -> str:
        return f"{self.label}: {self.completed} of {self.total}"


def time_left(overview: Overview) -> str:
    """The time left in words; empty after the last training, when measurements and tables follow."""
    done, total = overview.counts()
    seconds = overview.seconds_left()
    if done == total:
        return ""
    return "time left not known yet" if seconds is None else f"about {duration(max(1.0, seconds))} left"


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

    shows = True

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress
        from rich.table import Column
        from rich.text import Text

        class TimeLeft(TimeRemainingColumn):
            """Of the overall bar the estimate of the overview, of others what rich finds."""

            def render(self, task: Any) -> Text:
                overview = task.fields.get("overview")
                if overview is None:
                    return super().render(task)
                return Text(time_left(overview), style="progress.remaining")

        self.console = Console(stderr=True)
        columns = (
            TextColumn("{task.description:<28}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TimeLeft(table_column=Column(no_wrap=True)),
        )
        self.rich = RichProgress(*columns, TextColumn("{task.fields[info]}"), console=self.console, transient=True)

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Bar]:
        with self._task(label, total) as task:
            yield _RichBar(self.rich, task)

    @contextmanager
    def overall(self, overview: Overview | None) -> Iterator[None]:
        with super().overall(overview):
            if overview is None:
                yield
                return
            with self._task("trainings", overview.counts()[1], overview) as task:
                overview.on_change = lambda: self.rich.update(task, completed=overview.counts()[0])
                yield

    @contextmanager
    def _task(self, label: str, total: int, overview: Overview | None = None) -> Iterator[Any]:
        if not self.rich.tasks:
            self.rich.start()
        task = self.rich.add_task(label, total=total, info="", overview=overview)
        try:
            yield task
        finally:
            self.rich.remove_task(task)
            if not self.rich.tasks:
                self.rich.stop()

    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def python_progress() -> Progress:
    """What a call from Python shows: bars on a terminal, and in a notebook with ipywidgets; else lines on stderr."""
    if in_notebook():
        return Bars() if find_spec("ipywidgets") else Lines(sys.stderr)
    return Bars() if sys.stderr.isatty() else Lines(sys.stderr)


class _RichBar:
    def __init__(self, rich: Any, task: Any) -> None:
        self.rich = rich
        self.task = task

    def advance(self, steps: int = 1, info: str = "") -> None:
        self.rich.update(self.task, advance=steps, info=info)
