"""Build a student for a Cortex-M4 and count its bytes and instructions in QEMU, where those tools are installed."""

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.deploy.c.host import run_tool
from mmkd.deploy.integer import IntegerModel

COMPILER, SIZES, EMULATOR = "arm-none-eabi-gcc", "arm-none-eabi-size", "qemu-system-arm"
TOOLS = (COMPILER, SIZES, EMULATOR)
FLAGS = (
    *("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Os", "-mcpu=cortex-m4", "-mthumb"),
    *("-ffunction-sections", "-fdata-sections", "-ffreestanding"),
)
MACHINE = "mps2-an386"
ICOUNT_SHIFT = 4
"""One instruction takes 2^4 ns of the emulated time, whose ticks are 40 ns."""
INSTRUCTIONS_PER_TICK = 40 / 2**ICOUNT_SHIFT
HOW = (
    f"{COMPILER} -Os -mcpu=cortex-m4, floating point in software; flash is .text + .rodata + .data of a program that "
    f"does nothing but classify; instructions, not cycles, of one call in QEMU ({MACHINE}, -icount), median of windows"
)

LINKER_SCRIPT = """\
ENTRY(reset)
MEMORY
{
    FLASH (rx) : ORIGIN = 0x00000000, LENGTH = 4M
    RAM (rwx) : ORIGIN = 0x20000000, LENGTH = 4M
}
SECTIONS
{
    .text : { KEEP(*(.vectors)) *(.text*) } > FLASH
    .rodata : { *(.rodata*) } > FLASH
    .ARM.exidx : { *(.ARM.exidx*) } > FLASH
    .windows : { *(.windows) } > FLASH
    .data : { *(.data*) } > RAM AT > FLASH
    .bss (NOLOAD) : { *(.bss*) *(COMMON) } > RAM
}
"""

DRIVER = """\
#include "student.h"

/* The first timer of the board, 32 bits that count down: control, value, value after zero. */
#define TIMER ((volatile uint32_t *)0x40000000)

int main(void);
void reset(void);
void *memset(void *to, int value, unsigned int size);
void *memcpy(void *to, const void *from, unsigned int size);
extern const student_sample windows[];
extern const int32_t window_count;

void *memset(void *to, int value, unsigned int size)
{
    volatile unsigned char *byte = to;
    while (size--) {
        *byte++ = (unsigned char)value;
    }
    return to;
}

void *memcpy(void *to, const void *from, unsigned int size)
{
    volatile unsigned char *byte = to;
    const unsigned char *source = from;
    while (size--) {
        *byte++ = *source++;
    }
    return to;
}

/* Semihosting: operation 4 writes a text, operation 0x18 ends the emulation. */
static void host(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

static void print(uint32_t value, char end)
{
    char text[10];
    int digit;
    for (digit = 0; digit < 8; digit++) {
        text[digit] = "0123456789abcdef"[value >> (28 - 4 * digit) & 15];
    }
    text[8] = end;
    text[9] = 0;
    host(4, text);
}

int main(void)
{
    int32_t logits[STUDENT_CLASSES];
    int32_t number;
    int k;
    TIMER[1] = 0xffffffff;
    TIMER[2] = 0xffffffff;
    TIMER[0] = 1;
    for (number = 0; number < window_count; number++) {
        uint32_t before, ticks;
        int best;
        __asm__ volatile("" ::: "memory");
        before = TIMER[1];
        __asm__ volatile("" ::: "memory");
        best = student_classify(windows + number * STUDENT_CHANNELS * STUDENT_WINDOW, logits);
        __asm__ volatile("" ::: "memory");
        ticks = before - TIMER[1];
        print(ticks, ' ');
        print((uint32_t)best, ' ');
        for (k = 0; k < STUDENT_CLASSES; k++) {
            print((uint32_t)logits[k], k == STUDENT_CLASSES - 1 ? '\\n' : ' ');
        }
    }
    host(0x18, (const void *)0x20026);
    return 0;
}

void reset(void)
{
    main();
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static const uintptr_t vectors[] = {
    0x20400000,
    (uintptr_t)reset,
};
"""


def missing_tools() -> list[str]:
    """The tools that are not installed here."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def measure(folder: Path, model: IntegerModel, windows: NDArray[Any]) -> dict[str, Any]:
    """Build the source in a folder for a Cortex-M4, and run it in QEMU.

    Args:
        windows: (n, channels, W) as `model.as_input` gives them.

    Returns:
        `flash_bytes` of a program that does nothing but classify, `object_flash_bytes` and `device_arena_bytes` of
        `student.c` alone, `instructions` of a window (median) and `instructions_max`, the number of windows
        `device_windows`, and `how`.

    Raises:
        MmkdError: a tool fails, or what the emulated device computes is not what the model computes.
    """
    with tempfile.TemporaryDirectory(prefix="mmkd-cortex-") as name:
        made = Path(name)
        (made / "driver.c").write_text(DRIVER, encoding="ascii")
        (made / "link.ld").write_text(LINKER_SCRIPT, encoding="ascii")
        (made / "windows.c").write_text(_windows_source(windows), encoding="ascii")
        for source in (folder / "student.c", made / "driver.c", made / "windows.c"):
            run_tool([COMPILER, *FLAGS, "-I", folder, "-c", source, "-o", made / f"{source.stem}.o"])
        objects = [made / f"{stem}.o" for stem in ("driver", "student", "windows")]
        script: list[str | Path] = [*FLAGS, "-nostartfiles", "-Wl,--gc-sections", "-T", made / "link.ld"]
        run_tool([COMPILER, *script, *objects, "-lgcc", "-o", made / "student.elf"])
        whole, own = (section_sizes(made / each) for each in ("student.elf", "student.o"))
        ticks, classes, logits = _emulate(made / "student.elf", len(windows))
    expected = model.logits(windows)
    if not (np.array_equal(logits, expected) and np.array_equal(classes, expected.argmax(1))):
        raise MmkdError("--to c: in QEMU the source does not compute what the integer model does")
    counts = ticks * INSTRUCTIONS_PER_TICK
    return {
        "flash_bytes": flash(whole),
        "object_flash_bytes": flash(own),
        "device_arena_bytes": sum(size for section, size in own.items() if section.startswith(".bss")),
        "instructions": int(np.median(counts)),
        "instructions_max": int(counts.max()),
        "device_windows": len(windows),
        "how": HOW,
    }


def _windows_source(windows: NDArray[Any]) -> str:
    """Windows as words of 32 bits in a section of their own, so that they do not count as flash of the student."""
    flat = np.ascontiguousarray(windows).reshape(-1)
    if flat.dtype == np.int16:
        flat = np.concatenate([flat, np.zeros(len(flat) % 2, np.int16)])
    words = ",\n".join(f"{word}u" for word in flat.view(np.uint32).tolist())
    return (
        "#include <stdint.h>\n"
        "extern const uint32_t windows[];\nextern const int32_t window_count;\n"
        f'const int32_t window_count __attribute__((section(".windows"))) = {len(windows)};\n'
        f'const uint32_t windows[] __attribute__((section(".windows"))) = {{\n{words}\n}};\n'
    )


def section_sizes(path: Path) -> dict[str, int]:
    """The bytes of each section of an ELF file."""
    listed = run_tool([SIZES, "-A", path]).stdout.decode("ascii", "replace")
    rows = re.findall(r"^(\.\S+)\s+(\d+)\s+\d+", listed, re.MULTILINE)
    return {name: int(size) for name, size in rows}


def flash(sections: dict[str, int]) -> int:
    """Bytes of .text, .rodata and .data."""
    return sum(size for name, size in sections.items() if name.startswith((".text", ".rodata", ".data")))


def _emulate(program: Path, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Ticks, classes and logits of each window."""
    semihosting = ["-display", "none", "-chardev", "stdio,id=s", "-serial", "none", "-monitor", "none"]
    semihosting += ["-semihosting-config", "enable=on,target=native,chardev=s"]
    command = [EMULATOR, "-M", MACHINE, *semihosting, "-icount", f"shift={ICOUNT_SHIFT}", "-kernel", str(program)]
    done = run_tool(command, stdin=-3)
    rows = [[int(word, 16) for word in line.split()] for line in done.stdout.decode("ascii", "replace").splitlines()]
    if len(rows) != number:
        raise MmkdError(f"{EMULATOR} gave {len(rows)} lines for {number} windows")
    table = np.array(rows, np.uint32).astype(np.int32).astype(np.int64)
    return table[:, 0], table[:, 1], table[:, 2:].astype(np.int32)
