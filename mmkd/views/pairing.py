"""The kernel of persistence diagrams: extremes of a signal, paired by a stack, without a branch that depends on data.

On noise every second branch of a stack is mispredicted, which costs more than the work itself. So each step here does
what both of its outcomes need and selects; the two topmost levels of the stack stay in registers, because a step would
otherwise wait for what the one before has stored. Numbers are compared as integers of the same order, which the
processor selects without a branch where floats would get one. Array indices are unsigned: signed ones cost a test for
negative ones. The plain form is the union-find in `tests/views/test_diagrams.py`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.views.chunks import Float64, compiled, count_bad

Int64 = NDArray[np.int64]
U = np.uintp
MAGNITUDE = np.int64(0x7FFF_FFFF_FFFF_FFFF)
"""All bits of a float but its sign; as a key it is above that of every number."""
INFINITY = np.int64(0x7FF0_0000_0000_0000)
"""The key of infinity."""
SIGN = np.int64(63)


@compiled
def _flip(keys: Int64, start: int, stop: int) -> None:
    """Floats, read as integers, to integers of the same order, or back: negative ones with their magnitude inverted."""
    for i in range(start, stop):
        bits = keys[i]
        keys[i] = bits ^ ((bits >> SIGN) & MAGNITUDE)


@compiled
def _rises(row: Float64, sign: float, rises: NDArray[np.uint8]) -> int:
    """Whether sign * row rises after each sample but the last, into `rises`; how many samples the next one repeats."""
    repeats = 0
    for t in range(row.shape[0] - 1):
        value, following = row[t], row[t + 1]
        rises[t] = sign * following > sign * value
        repeats += value == following
    return repeats


@compiled
def _turns(row: Float64, sign: float, rises: NDArray[np.uint8], out: Float64) -> Any:
    """The extremes of sign * row, in which no sample repeats the one before."""
    last = row.shape[0] - 1
    count = U(0)
    before = np.uint8(0)
    for t in range(last):
        after = rises[U(t)]
        out[count] = sign * row[U(t)] + 0.0  # no negative zero, whose key would be below zero's
        count += U(after != before)
        before = after
    if before == 0:
        out[count] = sign * row[last] + 0.0
        count += U(1)
    return count


@compiled
def _extremes(row: Float64, sign: float, distinct: Float64, rises: NDArray[np.uint8], out: Float64) -> Any:
    """Minimum, maximum, ..., minimum of sign * row in turn, as if infinity stood at either end; how many they are.

    Args:
        distinct, rises: room for as many numbers as the row has.
    """
    if _rises(row, sign, rises) == 0:
        return _turns(row, sign, rises, out)
    kept = U(0)
    for t in range(row.shape[0] - 1):
        distinct[kept] = row[t]
        kept += U(row[t] != row[t + 1])
    distinct[kept] = row[-1]
    shorter = distinct[: int(kept) + 1]
    _rises(shorter, sign, rises)
    return _turns(shorter, sign, rises, out)


@compiled
def _match(ahead: Int64, steps: int, stack: Int64, pairs: Int64, k: Any) -> Any:
    """The pairs of a row from its extremes.

    A stack holds maxima ("walls") that fall, each with the lowest minimum ("floor") before it. A wall at least as high
    as the one on top of the stack shuts the valley between the two: that valley meets the one before it at the lower
    wall, where the shallower of their floors dies. Every extreme is one step, that either shuts a valley (pop, a pair)
    or takes the next two extremes (push).

    Args:
        ahead: the keys of minimum, maximum, ..., minimum, then infinity and two more.
        steps: how many extremes there are.
        stack: room for the extremes and twelve more; the first six, three levels that nothing shuts, are given.
        pairs: where births and deaths go from k on; one pair more than there are is written.

    Returns:
        The new k, and the global minimum.
    """
    floor, wall, following = ahead[0], ahead[1], U(2)
    top_floor = below_floor = np.int64(0)
    top_wall = below_wall = MAGNITUDE
    free = U(6)
    for _ in range(steps):
        shuts = top_wall <= wall
        yes = -np.int64(shuts)
        no = ~yes
        lower = min(floor, top_floor)
        pairs[k] = max(floor, top_floor)
        pairs[k + U(1)] = top_wall
        stack[free] = floor
        stack[free + U(1)] = wall
        third_floor, third_wall = stack[free - U(6)], stack[free - U(5)]
        next_floor, next_wall = ahead[following], ahead[following + U(1)]
        new_floor, new_wall = (below_floor & yes) | (floor & no), (below_wall & yes) | (wall & no)
        below_floor, below_wall = (third_floor & yes) | (top_floor & no), (third_wall & yes) | (top_wall & no)
        top_floor, top_wall = new_floor, new_wall
        floor, wall = (lower & yes) | (next_floor & no), (wall & yes) | (next_wall & no)
        two = U(yes & np.int64(2))
        k += two
        following += U(2) - two
        free += U(2) - two - two
    return k, top_floor


@compiled
def pair(rows: Float64, signs: Float64, close: bool, pairs: Int64, offsets: Int64) -> None:
    """Diagrams of all rows under all signs, one after the other.

    Args:
        rows: (R, T).
        signs: (L,), 1 or -1.
        close: whether the component of the global minimum dies at the maximum; else it is left out.
        pairs: room for 2 (R L ((T + 1) // 2) + 1) numbers, births and deaths in turn; floats, given as integers.
        offsets: (R L + 1,), the first pair of each diagram; the first entry is given. Where a row holds values that are
            NaN, infinite or beyond float32 the last entry becomes -1, and nothing else is of use.
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
