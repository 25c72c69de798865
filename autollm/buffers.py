"""Arrays to write into, lent again when nobody holds them any more.

A training step needs arrays of the same shapes as the step before, and by then that step's are free. To
lend them again is quicker than to ask the system for memory, and they can begin where a line of the
processor's cache begins, so that the kernels' vectors do not lie across two of them.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict, deque
from contextlib import suppress
from sys import getrefcount
from threading import Lock

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]  # tokens, or row numbers

CACHE_LINE = 64  # bytes; 128 in some machines, where to begin at every other line is as good
PATIENCE = 64  # how often an array may be found in use before it counts as held for good
MOST_LOOKS = 16  # at arrays in use, before a new one is made
MOST_ALIKE = 4096  # arrays of one shape that are kept
MOST_BYTES = 2**28  # of all that are kept

# What getrefcount says of an array that only the variable given to it refers to: the variable counts, and up
# to Python 3.13 the argument. A debugger that looks on adds to a count, so this cannot be found by counting.
FREE = 1 if sys.version_info >= (3, 14) else 2

# For every shape a ring of arrays, the one lent longest ago first.
RINGS: defaultdict[tuple[int, ...], deque[Array]] = defaultdict(deque)
found_in_use: defaultdict[int, int] = defaultdict(int)  # by the id of an array that is kept: how often
kept_bytes = 0
lock = Lock()  # is held while those two are changed, which takes more than one step


def empty(shape: tuple[int, ...]) -> Array:
    """A C-contiguous float32 array of this shape, whose numbers may be anything.

    It may be an array that was lent before, if nothing refers to that one any more: no variable, no
    container, no view. So what somebody holds never changes behind their back, whichever threads ask.
    """
    ring = RINGS[shape]
    try:
        array = ring.popleft()
    except IndexError:
        return _new(shape)
    if getrefcount(array) == FREE:  # another thread that holds it here is counted too
        ring.append(array)
        return array
    return _next_free(ring, array)


def _next_free(ring: deque[Array], array: Array) -> Array:
    """One of the next arrays in the ring that nobody holds, or a new one; the first, `array`, is held."""
    global kept_bytes
    with lock, suppress(IndexError):  # when other threads have taken all that were left
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
    return _new(array.shape)


def _new(shape: tuple[int, ...]) -> Array:
    """A new array, which is kept. When that makes too many, others no longer are."""
    global kept_bytes
    array = aligned(shape)
    with lock:
        ring = RINGS[shape]
        if len(ring) >= MOST_ALIKE:
            kept_bytes -= array.nbytes
            ring.popleft()
        kept_bytes += array.nbytes
        if kept_bytes > MOST_BYTES:
            RINGS.clear()
            found_in_use.clear()
            kept_bytes = array.nbytes
        RINGS[shape].append(array)
    return array


class _Memory:
    """What an array's numbers lie in, and the array's `base`. It gives its memory to one array, and to none
    after that: so whoever holds a base holds nothing that could change."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._bytes = bytearray(4 * math.prod(shape) + CACHE_LINE)
        start = np.frombuffer(self._bytes, np.uint8).__array_interface__["data"][0]
        begin = start + -start % CACHE_LINE
        self.__array_interface__ = {"version": 3, "typestr": "=f4", "shape": shape, "data": (begin, False)}


def aligned(shape: tuple[int, ...]) -> Array:
    """A new float32 array that begins at a cache line.

    Whatever is made from it, a view say, refers to it: its memory belongs to no other array.
    """
    memory = _Memory(shape)
    array: Array = np.asarray(memory)
    del memory.__array_interface__
    return array
