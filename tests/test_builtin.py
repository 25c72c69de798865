"""Kernels as builtin functions: they take what fits, and leave to numba's dispatcher what does not."""

from __future__ import annotations

import ctypes
import os
import sys
from unittest import mock

import numpy as np
import pytest
from commands import python

from autollm.kernels import builtin
from autollm.kernels.errors import IdError, ShapeError
from autollm.kernels.kernel import BUILTINS, check_ids, dispatcher_of, kernel

needs_builtins = pytest.mark.skipif(not BUILTINS, reason="kernels are called through numba's dispatcher")


@kernel("x (N, M), ids i4 (N), bits u4 (M), seeds u8 (M), sums f8 (N), ends i8 (N), n i8, rate f8")
def every_kind(x, ids, bits, seeds, sums, ends, n, rate):
    check_ids(ids, x.shape[1])
    for i in range(x.shape[0]):
        sums[i] = x[i, ids[i]] * rate + bits[0] + seeds[1]
        ends[i] = n + x.strides[0] + x.size


@kernel("x (N)")
def total(x):
    result = 0.0
    for i in range(x.size):
        result += x[i]
    return result


@kernel("x (N), n i8")
def count(x, n):
    return x.size + n


@kernel("x (N), limit f4")
def below(x, limit):
    return x[0] < limit


@kernel("rate f8")
def check_rate_of(rate):
    """What it does."""


def fitting():
    return {
        "x": np.arange(6, dtype=np.float32).reshape(2, 3),
        "ids": np.array([2, 0], np.int32),
        "bits": np.array([2**32 - 1, 0, 0], np.uint32),
        "seeds": np.array([0, 2**40, 0], np.uint64),
        "sums": np.zeros(2),
        "ends": np.zeros(2, np.int64),
        "n": -5,
        "rate": 0.5,
    }


class Table(np.ndarray):
    """An array of a type of its own."""


class Whole(int):
    """A whole number of a type of its own."""


FREE = fitting()
DIFFERENT = {
    "other type": {"x": FREE["x"].astype(np.float64)},
    "other whole numbers": {"ids": FREE["ids"].astype(np.uint32)},
    "other byte order": {"x": FREE["x"].astype(FREE["x"].dtype.newbyteorder())},
    "list": {"x": [[1.0, 2.0, 3.0]]},
    "nothing": {"x": None},
    "fewer axes": {"x": np.zeros(3, np.float32)},
    "more axes": {"ids": np.zeros((2, 1), np.int32)},
    "transposed": {"x": np.zeros((3, 2), np.float32).T},
    "every other": {"ids": np.zeros(4, np.int32)[::2]},
    "read-only": {"x": np.broadcast_to(np.float32(1), (2, 3)).copy().view()},
    "subclass": {"x": FREE["x"].view(Table)},
    "misaligned": {"sums": np.zeros(17, np.uint8)[1:].view(np.float64)},
    "number as an array": {"n": np.zeros(1, np.int64)},
    "numpy's number": {"n": np.int64(3)},
    "bool": {"n": True},
    "subclass of int": {"n": Whole(3)},
    "too large": {"n": 2**63},
    "too small": {"n": -(2**63) - 1},
    "fraction for a whole number": {"n": 0.5},
    "whole number for a fraction": {"rate": 1},
    "id outside": {"ids": np.array([0, 3], np.int32)},
    "sizes that do not agree": {"sums": np.zeros(3)},
}
DIFFERENT["read-only"]["x"].flags.writeable = False


def entry_of(function):
    """The builtin function of a compiled kernel, with "dispatcher" as what it answers otherwise."""

    def otherwise(*given, **named):
        return "dispatcher"

    found = builtin.builtin(otherwise)
    otherwise.method.function = dispatcher_of(function).method.function
    return found


def outcome(function, arguments):
    """What a call returns and writes, or how it fails."""
    copies = [
        value.copy() if type(value) is np.ndarray and value.flags.carray else value for value in arguments
    ]
    try:
        result = function(*copies)
    except Exception as error:
        return type(error), str(error)
    return result, [value.tolist() for value in copies if isinstance(value, np.ndarray)]


@needs_builtins
def test_what_fits_enters_the_kernel_directly():
    given = fitting()
    assert every_kind(*given.values()) is None, "the first call compiles, in the dispatcher"
    assert entry_of(every_kind)(*given.values()) is None
    assert given["sums"].tolist() == [1.0 + 2**32 - 1 + 2**40, 1.5 + 2**32 - 1 + 2**40]
    assert given["ends"].tolist() == [13, 13]
    for extreme in (2**63 - 1, -(2**63)):
        count(np.zeros(0, np.float32), 0)
        assert entry_of(count)(np.zeros(0, np.float32), extreme) == extreme
    x = np.array([0.5, 2.0], np.float32)
    assert (total(x), entry_of(total)(x)) == (2.5, 2.5)


@needs_builtins
@pytest.mark.parametrize("difference", DIFFERENT)
def test_what_does_not_fit_is_the_dispatchers(difference):
    every_kind(*fitting().values())
    given = (fitting() | DIFFERENT[difference]).values()
    assert outcome(entry_of(every_kind), given)[0] == "dispatcher"
    assert outcome(every_kind, given) == outcome(dispatcher_of(every_kind), given)


@needs_builtins
def test_other_numbers_of_arguments_and_named_ones_are_the_dispatchers():
    given = fitting()
    every_kind(*given.values())
    entry = entry_of(every_kind)
    assert entry() == entry(*[*given.values()][:-1]) == entry(*given.values(), 1) == "dispatcher"
    assert entry(**given) == entry(*given.values(), more=1) == "dispatcher"
    assert every_kind(**given) is None
    with pytest.raises(TypeError, match="argument"):
        every_kind(*[*given.values()][:-1])


@needs_builtins
def test_errors_of_a_kernel_are_as_they_were():
    every_kind(*fitting().values())
    for wrong, error in (("id outside", IdError), ("sizes that do not agree", ShapeError)):
        given = fitting() | DIFFERENT[wrong]
        for _ in range(3):
            with pytest.raises(error):
                every_kind(*given.values())
        assert given["ends"].tolist() == [0, 0], "nothing is written before"


def test_a_kernel_is_called_and_described_as_its_function_is():
    assert (check_rate_of.__name__, check_rate_of.__doc__) == ("check_rate_of", "What it does.")
    assert check_rate_of.__module__ == __name__


@needs_builtins
def test_a_kernel_of_what_entries_do_not_know_stays_the_dispatchers():
    x = np.zeros(1, np.float32)
    assert below(x, np.float32(1)) is True
    assert entry_of(below)(x, np.float32(1)) == "dispatcher"


@needs_builtins
def test_nothing_is_kept_of_the_arguments():
    given = fitting()
    every_kind(*given.values())
    before = [sys.getrefcount(value) for value in given.values()]
    for _ in range(1000):
        every_kind(*given.values())
    assert [sys.getrefcount(value) for value in given.values()] == before


def test_arrays_that_lie_in_memory_otherwise_are_not_read():
    with mock.patch.dict(os.environ, {"AUTOLLM_BUILTINS": ""}):
        assert builtin.is_possible() or not BUILTINS
        for field, kind in builtin.ArrayObject._fields_[1:]:
            fields = [*builtin.ArrayObject._fields_]
            place = fields.index((field, kind))
            fields.insert(place, ("unexpected", ctypes.c_ssize_t))
            other = type("ArrayObject", (ctypes.Structure,), {"_fields_": fields})
            with mock.patch.object(builtin, "ArrayObject", other):
                assert not builtin.is_possible(), field
    with mock.patch.dict(os.environ, {"AUTOLLM_BUILTINS": "0"}):
        assert not builtin.is_possible()


def test_training_is_the_same_without_builtin_functions():
    def run(builtins):
        command = "-m", "autollm.train", "--steps", "300", "--samples", "5", "--quiet"
        done = python(*command, env=os.environ | {"AUTOLLM_BUILTINS": builtins})
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[1:]

    assert run("0") == run("1")
