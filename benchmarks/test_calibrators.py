"""What the machine can do, apart from this project. It explains differences; shares alone are parts of it."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from benchmarks.calibrators import FMA_CHAIN, FMA_GFLOP, FMA_SIZE, empty, fma, interpret, triad
from benchmarks.machine import last_level_cache_bytes


def test_dispatch(measure: Any) -> None:
    """The call of an empty kernel from Python."""
    array = np.zeros((64, 32), np.float32)

    def run(n: int) -> None:
        for _ in range(n):
            empty(array, array, array)

    measure(run, tuple, "ns")


def test_interpreter(measure: Any) -> None:
    """A turn of a pure-Python loop."""
    assert interpret(3) == 6
    measure(interpret, tuple, "ns")


def test_fma(measure: Any) -> None:
    """float32 multiply-adds in the first cache."""
    x = np.zeros(FMA_SIZE, np.float32)
    fma(x, 1)
    assert np.allclose(x, 0.5 * (1 - 0.5**FMA_CHAIN))  # every one halves the distance to 1/2

    def run(n: int) -> None:
        fma(x, n)

    measure(run, tuple, "GFLOP/s", per_call=FMA_GFLOP)


@cache
def large_arrays() -> list[np.ndarray]:
    """Three arrays, together four times as large as the last cache, from 128 MB to 1 GB."""
    size = min(max(4 * last_level_cache_bytes(), 128 * 2**20), 2**30) // 12
    return [np.full(size, value, np.float32) for value in (0, 1, 2)]


def test_memory(measure: Any) -> None:
    """Memory bandwidth: bytes read and written, each once."""
    a, b, c = large_arrays()
    triad(a, b, c, 1)
    assert (a == 7).all()

    def run(n: int) -> None:
        triad(a, b, c, n)

    measure(run, tuple, "GB/s", per_call=3 * a.nbytes / 1e9)
