"""Freed memory stays with the process."""

import platform
import subprocess
import sys

import pytest

CODE = """
import resource, sys
import numpy as np
from mmkd.core.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use(mib):
    np.empty(mib << 20, np.uint8).fill(1)
use(48)
before = faults()
for _ in range(4):
    use(48)
print(faults() - before)
"""


def faults(how: str) -> int:
    """Page faults of four blocks of 48 MiB, one after the other, when there was one such block before."""
    return int(subprocess.run([sys.executable, "-c", CODE, how], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library gives memory back in its own way")
def test_large_blocks_are_used_again():
    assert faults("keep") < 100


def test_without_it_the_system_is_asked_again_or_nothing_is_lost():
    assert faults("as it is") >= 0


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library gives memory back in its own way")
def test_it_is_given_back_on_request():
    code = CODE.split("use(48)\nbefore")[0] + (
        "from mmkd.core.memory import return_freed_memory\n"
        "def resident(): return int(open('/proc/self/statm').read().split()[1]) * resource.getpagesize() >> 20\n"
        "before = resident()\nuse(200)\nheld = resident()\n"
        "return_freed_memory()\nprint(held - before, resident() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, "keep"], check=True, capture_output=True, text=True)
    held, left = map(int, done.stdout.split())
    assert held > 190
    assert left < 20
