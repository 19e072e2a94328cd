"""The kernel of persistence diagrams: pairs the extremes of a signal with a stack, without data-dependent branches.

On noise every second branch of a stack algorithm is mispredicted, which costs more than the work itself. Therefore each
step computes what both of its outcomes need, and selects. The two topmost levels of the stack are kept in registers,
because a step would otherwise wait for what the step before has stored. Floats are compared as integers of the same
order, because the processor selects integers without a branch. Array indices are unsigned, because signed ones cost a
test for negative values. `tests/views/test_diagrams.py` has the plain form, a union-find.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.views.chunks import Float64, compile_kernel, count_bad

Int64 = NDArray[np.int64]
U = np.uintp
MAGNITUDE = np.int64(0x7FFF_FFFF_FFFF_FFFF)
"""All bits of a float except its sign; as a key it is above the key of every number."""
INFINITY = np.int64(0x7FF0_0000_0000_0000)
"""The key of infinity."""
SIGN = np.int64(63)


@compile_kernel
def _flip(keys: Int64, start: int, stop: int) -> None:
    """Convert floats (their bits, as integers) to integers of the same order, or back, in place.

    The magnitude of negative numbers is inverted.
    """
    for i in range(start, stop):
        bits = keys[i]
        keys[i] = bits ^ ((bits >> SIGN) & MAGNITUDE)


@compile_kernel
def _rises(row: Float64, sign: float, rises: NDArray[np.uint8]) -> int:
    """Write to `rises` whether sign * row rises after each sample; return how many samples equal the next one."""
    repeats = 0
    for t in range(row.shape[0] - 1):
        value = row[t]
        next_value = row[t + 1]
        rises[t] = sign * next_value > sign * value
        repeats += value == next_value
    return repeats


@compile_kernel
def _turns(row: Float64, sign: float, rises: NDArray[np.uint8], out: Float64) -> Any:
    """Write the extremes of sign * row to `out` and return their number; no two samples in a row may be equal."""
    last = row.shape[0] - 1
    count = U(0)
    before = np.uint8(0)
    for t in range(last):
        after = rises[U(t)]
        out[count] = sign * row[U(t)] + 0.0  # + 0.0 removes a negative zero, whose key would be below that of zero
        count += U(after != before)
        before = after
    if before == 0:
        out[count] = sign * row[last] + 0.0
        count += U(1)
    return count


@compile_kernel
def _extremes(row: Float64, sign: float, distinct: Float64, rises: NDArray[np.uint8], out: Float64) -> Any:
    """Write the extremes of sign * row to `out`: minimum, maximum, ..., minimum. Return their number.

    The row is treated as if infinity stood at either end.

    Args:
        distinct, rises: scratch arrays of the length of the row.
    """
    if _rises(row, sign, rises) == 0:
        return _turns(row, sign, rises, out)
    count = U(0)
    for t in range(row.shape[0] - 1):
        distinct[count] = row[t]
        count += U(row[t] != row[t + 1])
    distinct[count] = row[-1]
    shorter = distinct[: int(count) + 1]
    _rises(shorter, sign, rises)
    return _turns(shorter, sign, rises, out)


@compile_kernel
def _match(ahead: Int64, steps: int, stack: Int64, pairs: Int64, k: Any) -> Any:
    """Pair the extremes of a row.

    The stack holds falling maxima ("walls"), each with the lowest minimum ("floor") before it. A wall at least as high
    as the one on top of the stack closes the valley between the two. That valley merges with the one before it at the
    lower wall, where the component of the higher of their floors dies. Each step handles one extreme: it either closes
    a valley (pop, one pair) or reads the next two extremes (push).

    Args:
        ahead: the keys of minimum, maximum, ..., minimum, then the key of infinity and two more.
        steps: the number of extremes.
        stack: scratch array for the extremes and twelve more; the caller sets the first six, which are three levels
            that nothing closes.
        pairs: births and deaths are written from index k on; one pair more than there are is written.

    Returns:
        The new k, and the global minimum.
    """
    floor = ahead[0]
    wall = ahead[1]
    following = U(2)
    top_floor = below_floor = np.int64(0)
    top_wall = below_wall = MAGNITUDE
    free = U(6)
    for _ in range(steps):
        closes = top_wall <= wall
        yes = -np.int64(closes)  # all bits set, or none: `x & yes | y & no` selects x or y
        no = ~yes
        lower = min(floor, top_floor)
        pairs[k] = max(floor, top_floor)
        pairs[k + U(1)] = top_wall
        stack[free] = floor
        stack[free + U(1)] = wall
        third_floor = stack[free - U(6)]
        third_wall = stack[free - U(5)]
        next_floor = ahead[following]
        next_wall = ahead[following + U(1)]
        new_floor = (below_floor & yes) | (floor & no)
        new_wall = (below_wall & yes) | (wall & no)
        below_floor = (third_floor & yes) | (top_floor & no)
        below_wall = (third_wall & yes) | (top_wall & no)
        top_floor = new_floor
        top_wall = new_wall
        floor = (lower & yes) | (next_floor & no)
        wall = (wall & yes) | (next_wall & no)
        two = U(yes & np.int64(2))
        k += two
        following += U(2) - two
        free += U(2) - two - two
    return k, top_floor


@compile_kernel
def pair(rows: Float64, signs: Float64, close: bool, pairs: Int64, offsets: Int64) -> None:
    """Compute the diagrams of all rows with all signs, one after the other.

    Args:
        rows: (R, T).
        signs: (L,), 1 or -1.
        close: whether the component of the global minimum dies at the maximum; otherwise it is left out.
        pairs: output, 2 (R L ((T + 1) // 2) + 1) numbers: births and deaths in turn, the bits of floats as integers.
        offsets: output, (R L + 1,): the first pair of each diagram; the caller sets the first entry. If a row holds
            values that are NaN, infinite or beyond float32, the last entry becomes -1 and all other output is invalid.
    """
    length = rows.shape[1]
    distinct = np.empty(length)
    rises = np.empty(length, dtype=np.uint8)
    extremes = np.empty(length + 4)
    ahead = extremes.view(np.int64)
    stack = np.empty(2 * length + 12, dtype=np.int64)
    for i in range(0, 6, 2):
        stack[i] = 0
        stack[i + 1] = MAGNITUDE
    k = U(2 * offsets[0])
    for r in range(offsets.shape[0] - 1):
        row = rows[r // signs.shape[0]]
        sign = signs[r % signs.shape[0]]
        if count_bad(row):
            offsets[-1] = -1
            return
        count = _extremes(row, sign, distinct, rises, extremes)
        _flip(ahead, 0, int(count))
        ahead[count] = INFINITY
        ahead[count + U(1)] = 0
        ahead[count + U(2)] = 0
        first = k
        k, lowest = _match(ahead, int(count), stack, pairs, k)
        if close:
            highest = sign * row[0]
            for t in range(1, row.shape[0]):
                highest = max(highest, sign * row[t])
            extremes[0] = highest + 0.0
            _flip(ahead, 0, 1)
            if ahead[0] > lowest:
                pairs[k] = lowest
                pairs[k + U(1)] = ahead[0]
                k += U(2)
        _flip(pairs, int(first), int(k))
        offsets[r + 1] = int(k) // 2
