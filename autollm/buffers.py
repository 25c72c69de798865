"""Arrays to write into, lent again when nobody holds them any more.

A training step needs arrays of the same shapes as the step before, and by then that step's are free. To
lend them again is quicker than to ask the system for memory, and they can begin where a line of the
processor's cache begins, so that the kernels' vectors do not lie across two of them.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from contextlib import suppress
from sys import getrefcount

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

CACHE_LINE = 64  # bytes; 128 in some machines, where to begin at every other line is as good
MOST_LOOKS = 16  # at arrays that somebody holds, before a new one is made
MOST_ALIKE = 4096  # arrays of one shape that are kept
MOST_BYTES = 2**28  # of all that are kept

# For every shape a ring of arrays, the one lent longest ago first.
RINGS: defaultdict[tuple[int, ...], deque[Array]] = defaultdict(deque)
kept_bytes = 0


def empty(shape: tuple[int, ...]) -> Array:
    """A C-contiguous float32 array of this shape, whose numbers may be anything.

    It may be an array that was lent before, if nothing refers to that one any more: no variable, no
    container, no view. So what somebody holds never changes behind their back, whichever threads ask.
    """
    ring = RINGS[shape]
    try:
        array = ring.popleft()
    except IndexError:
        return another(shape)
    ring.append(array)
    if getrefcount(array) == FREE:  # two threads that both hold it here see a larger count
        return array
    return another(shape)


def another(shape: tuple[int, ...]) -> Array:
    """One of the next arrays in the ring if it is free, or else a new one.

    When too many are kept, some no longer are: these live as long as somebody holds them.
    """
    global kept_bytes
    ring = RINGS[shape]
    with suppress(IndexError):  # another thread may just have taken the last one
        for _ in range(min(len(ring), MOST_LOOKS)):
            array = ring.popleft()
            ring.append(array)
            if getrefcount(array) == FREE:
                return array
        if len(ring) >= MOST_ALIKE:
            kept_bytes -= ring.popleft().nbytes
    array = aligned(shape)
    kept_bytes += array.nbytes
    if kept_bytes > MOST_BYTES:
        RINGS.clear()
        kept_bytes = array.nbytes
    RINGS[shape].append(array)
    return array


def aligned(shape: tuple[int, ...]) -> Array:
    """A new array that begins at a cache line.

    Whatever is made from it, a view say, refers to it: its memory belongs to no other array.
    """
    memory = bytearray(4 * math.prod(shape) + CACHE_LINE)
    start = np.frombuffer(memory, np.uint8).__array_interface__["data"][0]
    return np.ndarray(shape, np.float32, memory, -start % CACHE_LINE)


def references(ring: deque[Array]) -> int:
    """How many refer to the first array of a ring, counted from a function that holds it."""
    array = ring.popleft()
    ring.append(array)
    return getrefcount(array)


FREE = references(deque([aligned((1,))]))  # the count for an array that only its ring refers to
