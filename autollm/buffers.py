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
Ids = npt.NDArray[np.int32]  # tokens, or row numbers

CACHE_LINE = 64  # bytes; 128 in some machines, where to begin at every other line is as good
PATIENCE = 64  # how often an array may be found in use before it counts as held for good
MOST_LOOKS = 16  # at arrays in use, before a new one is made
MOST_ALIKE = 4096  # arrays of one shape that are kept
MOST_BYTES = 2**28  # of all that are kept

# For every shape a ring of arrays, the one lent longest ago first.
RINGS: defaultdict[tuple[int, ...], deque[Array]] = defaultdict(deque)
found_in_use: defaultdict[int, int] = defaultdict(int)  # by the id of an array that is kept: how often
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
        return new(shape)
    if getrefcount(array) == FREE:  # another thread that holds it here is counted too
        ring.append(array)
        return array
    return another(shape, array)


def another(shape: tuple[int, ...], array: Array) -> Array:
    """One of the next arrays in the ring, or else a new one; `array`, the first, is in use."""
    global kept_bytes
    ring = RINGS[shape]
    with suppress(IndexError):  # when other threads have taken all that were left
        for _ in range(min(len(ring), MOST_LOOKS)):
            found_in_use[id(array)] += 1
            if found_in_use[id(array)] < PATIENCE:
                ring.append(array)
            else:  # it is somebody's for good
                del found_in_use[id(array)]
                kept_bytes -= array.nbytes
            array = ring.popleft()
            if getrefcount(array) == FREE:
                ring.append(array)
                return array
        ring.append(array)
    return new(shape)


def new(shape: tuple[int, ...]) -> Array:
    """A new array, which is kept. When that makes too many, others no longer are."""
    global kept_bytes
    array = aligned(shape)
    kept_bytes += array.nbytes
    ring = RINGS[shape]
    if len(ring) >= MOST_ALIKE:
        kept_bytes -= array.nbytes
        ring.popleft()
    if kept_bytes > MOST_BYTES:
        RINGS.clear()
        found_in_use.clear()
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
    """How many refer to the first array of a ring, counted from a function that has taken it out."""
    array = ring.popleft()
    return getrefcount(array)


FREE = references(deque([aligned((1,))]))  # the count for an array that nobody else refers to
