"""What the machine alone can do: loops that change with this project only in how wide a vector is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import numpy as np

from autollm.kernels.cache import cached_njit
from autollm.kernels.simd import LANES, load, multiply_add, store

FMA_CHAIN = 8  # multiply-adds with each number that is loaded; more would wait for one another
FMA_SIZE = 1024  # numbers: 4 KB, which any core keeps in its first cache
FMA_GFLOP = 2 * FMA_CHAIN * FMA_SIZE / 1e9  # of one time
TURNS = 1000  # of a loop in one go: 0.1 ms and more, of which calling it is a hundredth at the most

Loop = tuple[Callable[[int], Any], float]  # makes so many turns; what one of them counts
Clock = Callable[[], float]


@cached_njit
def empty(a: Any, b: Any, c: Any) -> None:
    """Three arrays in, as a typical kernel, and nothing to do."""


@cached_njit
def fma(x: Any, times: int) -> None:
    """Evaluate a polynomial with all coefficients alike by Horner's rule, at the FMA_SIZE numbers of x (a
    multiple of four vectors): enough independent chains of multiply-adds to keep the core busy."""
    a, b = np.float32(0.5), np.float32(0.25)
    for _ in range(times):
        for i in range(0, FMA_SIZE, 4 * LANES):
            p, q = load(x, i), load(x, i + LANES)
            r, s = load(x, i + 2 * LANES), load(x, i + 3 * LANES)
            for _ in range(FMA_CHAIN):
                p, q = multiply_add(p, a, b), multiply_add(q, a, b)
                r, s = multiply_add(r, a, b), multiply_add(s, a, b)
            store(p, x, i)
            store(q, x, i + LANES)
            store(r, x, i + 2 * LANES)
            store(s, x, i + 3 * LANES)


@partial(cached_njit, fastmath={"contract"})
def triad(a: Any, b: Any, c: Any, times: int) -> None:
    """a = b + 3 c, as in McCalpin's STREAM."""
    for _ in range(times):
        for i in range(a.size):
            a[i] = b[i] + np.float32(3) * c[i]


class Cell:
    """A small object."""

    __slots__ = ("v",)

    def __init__(self, v: int) -> None:
        self.v = v


def _make(v: int) -> Any:
    return Cell(v), lambda g: g + v


def interpret(n: int) -> int:
    """Turns of a pure-Python loop: a closure, an attribute, a little arithmetic, a small object."""
    total = 0
    for i in range(n):
        cell, back = _make(i)
        total = back(total & 1023) + cell.v
    return total


@cache
def _numbers() -> np.ndarray:
    numbers = np.zeros(FMA_SIZE, np.float32)
    fma(numbers, 1)  # compiles
    return numbers


def multiply_adds(n: int) -> None:
    """`fma`, of numbers that are at hand."""
    fma(_numbers(), n)


# The time that this process was given: neighbours on its core cannot make one loop look slower than another.
# On Windows that clock moves by 16 ms.
worked = time.perf_counter if sys.platform == "win32" else time.process_time

# What runs beside each visit to a training step, in turns; and beside one to a kernel, in GFLOP.
OF_STEPS: dict[str, Loop] = {"interpreter": (interpret, 1.0), "fma": (multiply_adds, 1.0)}
OF_KERNELS: dict[str, Loop] = {"of_peak": (multiply_adds, FMA_GFLOP)}


class Timed:
    """A function of how many turns to make, with the processor time of all its calls."""

    def __init__(self, run: Callable[..., Any]) -> None:
        self.run, self.turns, self.seconds = run, 0, 0.0

    def __call__(self, n: int, *state: Any) -> None:
        start = worked()
        self.run(n, *state)
        self.seconds += worked() - start
        self.turns += n

    def relative_to(self, speeds: Mapping[str, list[float]], counted: float) -> dict[str, list[float]]:
        """Its speed, if a turn counts so much, relative to each of these."""
        ours = counted * self.turns / self.seconds
        return {name: [ours / one for one in theirs] for name, theirs in speeds.items()}


def beside(loops: Mapping[str, Loop], seconds: float, clock: Clock) -> dict[str, float]:
    """The speeds of these loops at this moment: what they count in a second, each run for about so long."""
    return {name: counted * _speed(run, seconds, clock) for name, (run, counted) in loops.items()}


@contextmanager
def around(
    loops: Mapping[str, Loop], seconds: float, clock: Clock = time.perf_counter
) -> Iterator[dict[str, list[float]]]:
    """Run them before and after what is done in here; then the dict has the mean of both speeds of each."""
    before, means = beside(loops, seconds, clock), dict[str, list[float]]()
    yield means
    after = beside(loops, seconds, clock)
    means |= {name: [(before[name] + after[name]) / 2] for name in before}


def _speed(run: Any, seconds: float, clock: Clock) -> float:
    n, start = 0, clock()
    while (elapsed := clock() - start) < seconds:
        run(TURNS)
        n += TURNS
    return n / elapsed
