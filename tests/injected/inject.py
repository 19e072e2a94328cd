"""Injected faults: the code is broken in one place at a time, and a test beside that place must notice.

    make test-injected                            # every fault, about a quarter of an hour on one core
    python tests/injected/inject.py split ece     # those that have one of these words in their kind, name or file

The tables `*.toml` beside this script list the faults. Each replaces a text, which occurs once in its file, in a copy
of this project; then the tests that are named with it run there. A fault is killed if one of them fails, and survives
if all pass. A survivor means that a test is missing: write the test that states the right value. A fault whose tests
cannot run at all (an import that fails, a test that is not there any more) is neither: it says nothing about the tests.

The exit code is 0 if every fault is killed, 1 if not, and 2 if the tests fail without any fault.
"""

import argparse
import ast
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
NOT_COPIED = (".*", "runs", "dist", "build", "records")
PACKAGES = (
    *("pytest", "hypothesis", "filelock", "numpy", "pandas", "numba", "pyts.image", "scipy.stats", "sklearn.metrics"),
    *("torch", "torch.optim.optimizer", "torch.utils.flop_counter", "safetensors.torch", "jinja2", "rich.table"),
)
TIMEOUT = 300
"""Seconds for the tests of one fault; who takes longer is reported as broken."""


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        kind: what it is about, such as "seeds"; faults are counted by kind.
        name: what is wrong, in a few words.
        file: the file that is changed, from the root of the project.
        old, new: the text that is replaced, and what it is replaced by.
        tests: of which one must fail, as pytest takes them.
    """

    kind: str
    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def broken(self, source: str) -> str:
        """The source of the file with the fault in it.

        Raises:
            ValueError: the text occurs not once, nothing is changed, or the result is no Python.
        """
        count = source.count(self.old)
        if count != 1:
            raise ValueError(f"{self.name}: the text occurs {count} times in {self.file}: {self.old!r}")
        changed = source.replace(self.old, self.new)
        if changed == source:
            raise ValueError(f"{self.name}: nothing is changed")
        if self.file.endswith(".py"):
            ast.parse(changed)
        return changed


@dataclass(frozen=True)
class Result:
    """What came of a fault: "killed", "survived" or "broken", in how many seconds, and the line that says by what."""

    fault: Fault
    outcome: str
    seconds: float
    line: str

    def __str__(self) -> str:
        where = f"{self.fault.kind}: {self.fault.name} ({self.fault.file})"
        return f"{self.outcome:8} {self.seconds:5.1f} s  {where}" + (f"\n{'':18}{self.line}" if self.line else "")


def read_faults(folder: Path = Path(__file__).parent) -> list[Fault]:
    """All faults of the tables in a folder."""
    entries = [entry for path in sorted(folder.glob("*.toml")) for entry in tomllib.loads(path.read_text())["fault"]]
    return [Fault(**{**entry, "tests": tuple(entry["tests"])}) for entry in entries]


@contextmanager
def injected(fault: Fault, root: Path) -> Iterator[None]:
    """The fault is in the file below `root` as long as the context lasts."""
    path = root / fault.file
    status = path.stat()
    source = path.read_text(encoding="utf-8")
    path.write_text(fault.broken(source), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(source, encoding="utf-8")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # so that what Python has compiled stays valid


def run_tests(tests: Sequence[str], root: Path) -> tuple[int, str]:
    """Run tests of the project in `root` up to the first failure; the exit code of pytest, and what it printed.

    They run in a copy of this process, in which other people's packages are imported already.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        child = os.fork()
        if not child:
            try:
                _be_pytest(tests, root, output.fileno())
            finally:
                os._exit(3)
        end = time.monotonic() + TIMEOUT
        while not (done := os.waitpid(child, os.WNOHANG))[0]:
            if time.monotonic() > end:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return -1, f"ERROR no end after {TIMEOUT} s"
            time.sleep(0.02)
        output.seek(0)
        return os.waitstatus_to_exitcode(done[1]), output.read()


def _be_pytest(tests: Sequence[str], root: Path, output: int) -> NoReturn:
    """Become a process that runs pytest in `root`, with its own output; it ends with the code of pytest."""
    import pytest

    os.setsid()  # so that what the tests start can be ended with it
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(root)
    os.environ |= {"PYTHONPATH": str(root), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    sys.path.insert(0, str(root))
    sys.dont_write_bytecode = True
    code = pytest.main(["-x", "-q", "--no-header", "--tb=short", "-p", "no:cacheprovider", *tests])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(code))


def import_packages() -> None:
    """Import what most tests import, except for this project, on one thread."""
    os.environ |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    for name in PACKAGES:
        with suppress(ImportError):
            import_module(name)


def try_fault(fault: Fault, root: Path) -> Result:
    """Inject a fault below `root` and run its tests."""
    start = time.perf_counter()
    with injected(fault, root):
        code, output = run_tests(fault.tests, root)
    outcome = {0: "survived", 1: "killed"}.get(code, "broken")
    lines = output.splitlines()
    first = next((line for line in lines if line.startswith(("FAILED", "ERROR"))), lines[-1] if lines else "")
    line = re.sub(r"^FAILED tests/", "", first)[:200] if outcome != "survived" else ", ".join(fault.tests)
    return Result(fault, outcome, time.perf_counter() - start, line)


def _not_copied(folder: str, names: list[str]) -> set[str]:
    """What is left out of the copy: what is made anew, and results and records of experiments, which are large."""
    large = ("results",) if Path(folder).name == "experiments" else ()
    return shutil.ignore_patterns(*NOT_COPIED, *large)(folder, names)


def try_faults(faults: Sequence[Fault], project: Path = ROOT) -> int:
    """Try faults one after the other in a copy of a project, and print what came of each; returns the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "project"
        shutil.copytree(project, root, ignore=_not_copied)
        import_packages()
        start = time.perf_counter()
        tests = sorted({test for fault in faults for test in fault.tests})
        code, output = run_tests(tests, root)
        if code:
            print(output)
            print("the tests fail without a fault: mend them first")
            return 2
        print(f"{len(tests)} tests pass without a fault, {time.perf_counter() - start:.0f} s", flush=True)
        results = []
        for fault in faults:
            results.append(try_fault(fault, root))
            print(results[-1], flush=True)
    kinds = Counter(fault.kind for fault in faults)
    print(f"\n{len(faults)} faults: {', '.join(f'{kind} {count}' for kind, count in sorted(kinds.items()))}")
    outcomes = Counter(result.outcome for result in results)
    print(f"{', '.join(f'{outcomes[o]} {o}' for o in ('killed', 'survived', 'broken'))}", end="")
    print(f"; {time.perf_counter() - start:.0f} s")
    for result in results:
        if result.outcome != "killed":
            print(result)
    return int(outcomes["killed"] < len(faults))


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="break the code in one place at a time; a test must notice")
    parser.add_argument("words", nargs="*", help="only faults with one of these words in their kind, name or file")
    words = parser.parse_args().words
    faults = read_faults()
    if words:
        faults = [f for f in faults if any(word in f"{f.kind} {f.name} {f.file}" for word in words)]
    if not faults:
        print("no fault has one of these words")
        return 2
    return try_faults(faults)


if __name__ == "__main__":
    sys.exit(main())
