"""Arrays that are lent again, but never while somebody holds them."""

from __future__ import annotations

import sys
import threading
from collections import defaultdict, deque

import numpy as np
import pytest
from commands import python

from autollm import buffers
from autollm.buffers import empty


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    monkeypatch.setattr(buffers, "RINGS", defaultdict(deque))
    monkeypatch.setattr(buffers, "found_in_use", defaultdict(int))
    monkeypatch.setattr(buffers, "kept_bytes", 0)


def address(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (64, 27), (2, 3, 4), (0, 4), (), (1000, 300)])
def test_an_array_is_what_a_kernel_needs(shape):
    array = empty(shape)
    assert array.shape == shape and array.dtype == np.float32
    assert array.flags.c_contiguous and array.flags.writeable
    assert address(array) % buffers.CACHE_LINE == 0


def test_memory_is_lent_again_when_nobody_holds_it():
    where = address(empty((3, 4)))
    assert all(address(empty((3, 4))) == where for _ in range(10))
    assert address(empty((4, 3))) != where


@pytest.mark.parametrize(
    "hold",
    [
        lambda array: array,
        lambda array: [{"deep": array}],
        lambda array: array[1:, ::2],
        lambda array: array[1:][:1].T,
        lambda array: array.reshape(-1),
        lambda array: memoryview(array),
        lambda array: array.flat,
        lambda array: lambda: array,
    ],
    ids=["itself", "container", "view", "view of a view", "reshaped", "memoryview", "iterator", "closure"],
)
def test_what_somebody_holds_is_not_lent(hold):
    array = empty((3, 4))
    where = address(array)
    held = hold(array)
    del array
    others = [empty((3, 4)) for _ in range(5)]
    assert len({where, *map(address, others)}) == 6
    del held, others
    assert where in {address(empty((3, 4))) for _ in range(6)}


def test_what_is_kept_does_not_grow_with_use():
    forever = [empty((8,)) for _ in range(30)]
    for array in forever:
        array.fill(7)
    for number in range(1000):
        pair = empty((8,)), empty((8,))
        for array in pair:
            array.fill(number)
        assert not np.may_share_memory(*pair)
    assert all((array == 7).all() for array in forever)
    assert len(buffers.RINGS[8,]) <= 5  # what is held for good is no longer in the way
    assert set(buffers.found_in_use) <= {id(array) for array in buffers.RINGS[8,]}
    assert buffers.kept_bytes == 32 * len(buffers.RINGS[8,])


def test_many_arrays_at_once_are_kept():
    """As many as a recurrent model needs for its steps through time."""
    for _ in range(3):
        held = [empty((2, 2)) for _ in range(300)]
        assert len({address(array) for array in held}) == 300
        del held
    assert len(buffers.RINGS[2, 2]) == 300


@pytest.mark.parametrize(("limit", "value"), [("MOST_ALIKE", 3), ("MOST_BYTES", 1000)])
def test_what_is_kept_has_a_limit(monkeypatch, limit, value):
    monkeypatch.setattr(buffers, limit, value)
    held = [empty((10,)) for _ in range(100)]
    for number, array in enumerate(held):
        array.fill(number)
    kept = [array for ring in buffers.RINGS.values() for array in ring]
    assert len(kept) <= {"MOST_ALIKE": 3, "MOST_BYTES": 1000 // 40}[limit]
    assert buffers.kept_bytes == sum(array.nbytes for array in kept)
    assert all((array == number).all() for number, array in enumerate(held))
    assert empty((1000,)).shape == (1000,)


def test_threads_do_not_get_the_same_array():
    wrong = []

    def use(number):
        for _ in range(3000):
            array = empty((16,))
            array.fill(number)
            other = empty((16,))
            other.fill(-number)
            if not ((array == number).all() and (other == -number).all()):
                wrong.append(number)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_base_of_an_array_gives_nothing_away():
    """Whoever holds it cannot see the numbers of who borrows the array next."""
    array = empty((3, 4))
    base, where = array.base, address(array)
    del array
    array = empty((3, 4))
    assert address(array) == where
    with pytest.raises(TypeError):
        memoryview(base)
    assert np.asarray(base).dtype == object


def test_a_debugger_that_looks_on_from_the_start_changes_nothing():
    """Looking at a frame's variables refers to them; what is free must not be learned under such eyes."""
    program = """
import sys
def look(frame, event, argument):
    seen.append(dict(frame.f_locals))
    return look
seen = []
sys.settrace(look)
from autollm import buffers
sys.settrace(None)
seen.clear()
held = [buffers.empty((5,)) for _ in range(20)]
assert len({array.__array_interface__["data"][0] for array in held}) == 20
where = held[-1].__array_interface__["data"][0]
del held
assert where in {buffers.empty((5,)).__array_interface__["data"][0] for _ in range(20)}
"""
    done = python("-c", program)
    assert done.returncode == 0, done.stderr


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_threads_may_ask_while_what_is_kept_is_given_up(monkeypatch):
    """With so little room that every few arrays all rings are cleared, and arrays that are held for good."""
    monkeypatch.setattr(buffers, "MOST_BYTES", 2000)
    monkeypatch.setattr(buffers, "PATIENCE", 3)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def use(number):
        held = []
        for i in range(3000):
            array = empty((i % 7,))
            array.fill(number)
            held = [*held[-9:], array]
            assert all((array == number).all() for array in held)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
