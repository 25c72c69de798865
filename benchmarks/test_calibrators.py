"""What the machine can do, apart from this project. It explains a difference; it divides nothing."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from benchmarks.machine import last_level_cache_bytes

FMA_CHAIN = 8  # multiply-adds with each number that is loaded; more would wait for one another


@njit
def empty(a: Any, b: Any, c: Any) -> None:
    """Three arrays in, as a typical kernel, and nothing to do."""


@njit(fastmath={"contract"})
def fma(x: Any, times: int) -> None:
    """Evaluate a polynomial with all coefficients alike by Horner's rule: as many independent chains of
    multiply-adds as the core can keep going."""
    a, b = np.float32(0.5), np.float32(0.25)
    for _ in range(times):
        for i in range(x.size):
            y = x[i]
            for _ in range(FMA_CHAIN):
                y = y * a + b
            x[i] = y


@njit(fastmath={"contract"})
def triad(a: Any, b: Any, c: Any, times: int) -> None:
    """a = b + 3 c, as in McCalpin's STREAM."""
    for _ in range(times):
        for i in range(a.size):
            a[i] = b[i] + np.float32(3) * c[i]


def test_dispatch(measure: Any) -> None:
    """The call of an empty kernel from Python."""
    array = np.zeros((64, 32), np.float32)

    def run(n: int) -> None:
        for _ in range(n):
            empty(array, array, array)

    measure(run, tuple, "ns")


def test_interpreter(measure: Any) -> None:
    """A turn of a pure-Python loop: a closure, an attribute, a little arithmetic, a small object."""

    class Cell:
        __slots__ = ("v",)

        def __init__(self, v: int) -> None:
            self.v = v

    def make(v: int) -> Any:
        return Cell(v), lambda g: g + v

    def run(n: int) -> int:
        total = 0
        for i in range(n):
            cell, back = make(i)
            total = back(total & 1023) + cell.v
        return total

    assert run(3) == 6
    measure(run, tuple, "ns")


def test_fma(measure: Any) -> None:
    """float32 multiply-adds on 4 KB, which any core keeps in its first cache."""
    x = np.zeros(1024, np.float32)
    fma(x, 1)
    assert np.allclose(x, 0.5 * (1 - 0.5**FMA_CHAIN))  # every one halves the distance to 1/2

    def run(n: int) -> None:
        fma(x, n)

    measure(run, tuple, "GFLOP/s", per_call=2 * FMA_CHAIN * x.size / 1e9)


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
