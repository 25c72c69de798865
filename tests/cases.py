"""Cases of the table's rows, drawn at random, and other ways to run them: in plain Python, by guard pages."""

from __future__ import annotations

import ctypes
import mmap
import os
import pkgutil
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import strategies as st
from table import ROWS, Row

from autollm import bricks, buffers
from autollm.kernels.kernel import dispatcher_of
from autollm.kernels.simd import LANES
from autollm.node import Node, Param

each_row = pytest.mark.parametrize("name", ROWS)
SIZES = dict.fromkeys("BDHKTV", 6)
AROUND_LANES = (LANES - 1, LANES, LANES + 1, 2 * LANES + 1)


@dataclass
class Case:
    """A row with sizes and random inputs."""

    row: Row
    floats: dict[str, np.ndarray]
    ids: dict[str, np.ndarray]

    @classmethod
    def draw(cls, row: Row, sizes: dict[str, int], seed: int, dtype: Any = np.float32) -> Case:
        rng = np.random.default_rng(seed)

        def shape(axes: str) -> tuple[int, ...]:
            return tuple(int(axis) if axis.isdigit() else sizes[axis] for axis in axes)

        floats = {
            name: (row.deviations.get(name, 1.0) * rng.standard_normal(shape(axes))).astype(dtype)
            for name, axes in row.floats.items()
        }
        ids = {
            name: rng.integers(row.lowest, sizes[limit], shape(axes), np.int32)
            for name, (axes, limit) in row.ids.items()
        }
        return cls(row, floats, ids)

    def expected(self) -> np.ndarray:
        floats = (value.astype(np.float64) for value in self.floats.values())
        return np.asarray(self.row.reference(*floats, *self.ids.values()))

    def run(self, u: Any = None, wrap: Any = Param) -> tuple[Any, list[np.ndarray]]:
        """The output's value and, for an upstream sensitivity `u`, every float input's gradient."""
        inputs = [wrap(value) for value in self.floats.values()]
        out = self.row.call(*inputs, *self.ids.values())
        value = out.v
        if u is not None:
            out.back(u)
        return value, [x.grad for x in inputs]


class Probe(Node):
    """An input that is a Node and remembers the gradient that reached it, and how often."""

    __slots__ = ("calls", "grad")

    def __init__(self, v: np.ndarray) -> None:
        self.calls = 0
        self.grad = np.zeros_like(v)
        super().__init__(v, self._receive)

    def _receive(self, g: np.ndarray) -> None:
        self.calls += 1
        self.grad = np.array(g)


def letters(row: Row) -> list[str]:
    """The letters of all sizes that a row needs."""
    axes = [*row.floats.values(), *(axes + limit for axes, limit in row.ids.values())]
    return sorted(letter for letter in set("".join(axes)) if letter.isalpha())


@cache
def cases(name, largest=70, most=20_000, dtype=np.float32):
    """Cases with sizes up to `largest`, small ones as often as all, whose product is `most` at the most."""
    row = ROWS[name]
    size = st.integers(1, min(9, largest)) | st.integers(1, largest)

    def with_sizes(seed, drawn):
        sizes, product = {}, 1
        for letter in np.random.default_rng(seed).permutation(list(drawn)).tolist():
            sizes[letter] = max(min(drawn[letter], most // product), 1)
            product *= sizes[letter]
        return Case.draw(row, sizes, seed, dtype)

    return st.builds(
        with_sizes, st.integers(0, 2**32), st.fixed_dictionaries(dict.fromkeys(letters(row), size))
    )


def upstream(shape, seed, dtype=np.float32):
    """A random upstream sensitivity: an array of that shape, or a float for a scalar output."""
    if shape == ():
        return 0.7
    return np.random.default_rng(seed + 1).standard_normal(shape).astype(dtype)


BRICKS = [import_module(f"autollm.bricks.{found.name}") for found in pkgutil.iter_modules(bricks.__path__)]
KERNELS = [
    (module, name, value)
    for module in BRICKS
    for name, value in vars(module).items()
    if hasattr(dispatcher_of(value), "py_func")
]


@contextmanager
def kernels_replaced(replace):
    """With replace(name, kernel) in place of every kernel of every module of bricks."""
    try:
        for module, name, kernel in KERNELS:
            setattr(module, name, replace(name, kernel))
        yield
    finally:
        for module, name, kernel in KERNELS:
            setattr(module, name, kernel)


@contextmanager
def plain_python(dtype):
    """Run bricks through their kernels' Python source, in arrays of `dtype`."""

    def empty(shape):
        return np.empty(shape, dtype)

    with (
        kernels_replaced(lambda _, kernel: dispatcher_of(kernel).py_func),
        mock.patch.object(buffers, "empty", empty),
    ):
        yield


@contextmanager
def margins_kept():
    """Cut all arrays that bricks write to from the middle of larger ones, whose margins must not change."""
    margin, sentinel, made = 64, np.float32(123.25), []

    def empty(shape):
        size = int(np.prod(shape))
        whole = np.full(size + 2 * margin, sentinel, np.float32)
        made.append(whole)
        return whole[margin : margin + size].reshape(shape)

    with mock.patch.object(buffers, "empty", empty):
        yield
    for whole in made:
        assert (whole[:margin] == sentinel).all()
        assert (whole[-margin:] == sentinel).all()


libc = ctypes.CDLL(None) if os.name == "posix" else None


class GuardPages:
    """Memory between two pages that can neither be read nor written."""

    def __init__(self):
        self.held = []

    def array(self, shape, dtype=np.float32, at_end=True):
        """An array that ends where the second such page begins, or begins where the first one ends."""
        page, size = mmap.PAGESIZE, int(np.prod(shape)) * np.dtype(dtype).itemsize
        pages = -(-size // page) * page
        memory = mmap.mmap(-1, pages + 2 * page)
        self.held.append(memory)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for protected in (start, start + page + pages):
            assert libc.mprotect(ctypes.c_void_p(protected), page, 0) == 0
        return np.ndarray(shape, dtype, memory, page + (pages - size if at_end else 0))

    def copy(self, array, at_end):
        copied = self.array(array.shape, array.dtype, at_end)
        copied[...] = array
        return copied
