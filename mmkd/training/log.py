"""The log of a unit, which is the file `events.log` of its record."""

import time


class UnitLog:
    """Log lines with the seconds since the start of the unit; they are in memory until the record is written."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.lines = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) + " begun"]

    def add(self, line: str) -> None:
        """Add one line."""
        self.lines.append(f"{time.perf_counter() - self.started:9.2f} s  {line}")

    def text(self) -> str:
        """The content of the file."""
        return "\n".join(self.lines) + "\n"
