"""The example beside the source, a program that prints a line for each window of its input, and a Makefile."""

MAKEFILE = """\
CC ?= cc
CFLAGS ?= -std=c99 -Wall -Wextra -Werror -pedantic -Os

student: main.c student.c student.h
	$(CC) $(CFLAGS) -o $@ main.c student.c

clean:
	rm -f student

.PHONY: clean
"""

_MAIN = """\
/*
 * Reads windows as raw {kind} numbers in the byte order of this machine, channel after channel, from standard input.
 * For each it prints the number of its class, the logits in units of 1 / STUDENT_LOGIT_ONE, and the name of the class.
 */
#include "student.h"

#include <stdio.h>

int main(void)
{{
    static student_sample window[STUDENT_CHANNELS * STUDENT_WINDOW];
    const size_t samples = sizeof window / sizeof window[0];
    size_t count;
    while ((count = fread(window, sizeof window[0], samples, stdin)) == samples) {{
        int32_t logits[STUDENT_CLASSES];
        int best = student_classify(window, logits);
        int k;
        printf("%d", best);
        for (k = 0; k < STUDENT_CLASSES; k++) {{
            printf(" %ld", (long)logits[k]);
        }}
        printf(" %s\\n", student_labels[best]);
    }}
    if (count != 0) {{
        fprintf(stderr, "the last window has %lu samples instead of %lu\\n", (unsigned long)count,
                (unsigned long)samples);
        return 2;
    }}
    return 0;
}}
"""


def main_source(floats: bool) -> str:
    """The example for windows of float32, or of int16."""
    return _MAIN.format(kind="float32" if floats else "int16")
