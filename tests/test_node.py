"""The engine: composition, copying, depth, and what goes wrong loudly."""

from __future__ import annotations

import doctest
import gc
import pickle
import warnings
from copy import copy, deepcopy

import numpy as np
import pytest
from commands import python

from autollm import Node, Param, dup, node


def add(a, b):
    def back(g):
        add.calls += 1
        a.back(g)
        b.back(g)

    return Node(a.v + b.v, back)


def test_the_examples_in_the_docstrings():
    failures, tests = doctest.testmod(node)
    assert tests > 0
    assert failures == 0


def test_every_backward_runs_once_in_a_chain_of_100_forks():
    """Without `dup` this would take 2**100 calls."""
    add.calls = 0
    x = Param([1.0])
    y = x
    for _ in range(100):
        y = add(*dup(y))
    y.back(np.ones(1, np.float32))
    assert y.v == [2.0**100]
    assert x.grad == [2.0**100]
    assert add.calls == 100


def test_a_value_used_twice_without_dup_is_right_but_doubles_the_work():
    add.calls = 0
    x = Param([1.0])
    y = x
    for _ in range(10):
        y = add(y, y)
    y.back(np.ones(1, np.float32))
    assert x.grad == [2.0**10]
    assert add.calls == 2**10 - 1


def test_dup_adds_what_its_copies_report_and_can_be_used_again():
    received = []
    value = np.zeros(2, np.float32)
    copies = dup(Node(value, received.append), 3)
    assert all(one.v is value for one in copies), "and no number is copied"
    for g in (1, 2):
        for one in copies:
            one.back(np.full(2, g, np.float32))
    np.testing.assert_array_equal(received, [[3, 3], [6, 6]])


def test_dup_does_not_change_what_it_receives():
    first = np.ones(2, np.float32)
    a, b = dup(Param([0.0, 0.0]))
    a.back(first)
    b.back(first)
    np.testing.assert_array_equal(first, [1, 1])


def test_an_unused_copy_is_not_lost_in_silence():
    copies = dup(Param([1.0]))
    copies[0].back(np.ones(1, np.float32))
    with pytest.warns(RuntimeWarning, match="1 of 2 copies") as told:
        del copies
    assert told[0].filename == __file__, "it points to where the copy was lost"


def test_copies_that_nobody_differentiates_are_fine():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dup(Param([1.0]))
        gc.collect()


def test_dup_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least 1 copy, got 0"):
        dup(Param([1.0]), 0)


def test_how_deep_a_chain_may_be():
    """In a process of its own: the test runner's own calls count as depth too."""
    program = """
import numpy as np
from autollm import Node, Param
def same(x):
    return Node(x.v, lambda g: x.back(g))
for depth in (900, 2000):
    x = y = Param([1.0])
    for _ in range(depth):
        y = same(y)
    y.back(np.ones(1, np.float32))
    print(x.grad[0])
"""
    done = python("-c", program)
    assert done.stdout == "1.0\n", "900 is deep enough, 2000 is not"
    assert "RecursionError" in done.stderr


def test_a_constant_blames_nobody():
    Node(np.zeros(3, np.float32)).back(np.ones(3, np.float32))


@pytest.mark.parametrize("value", [np.ones((2, 3)).T, np.ones((3, 2), np.float32)])
def test_a_param_copies_its_value_and_adds_gradients(value):
    value = value.copy("K")
    param = Param(value)
    value[:] = 7
    assert param.v.dtype == np.float32
    assert param.v.flags.c_contiguous
    assert (param.v == 1).all()
    param.back(np.full((3, 2), 2.0))
    param.back(np.full((3, 2), 3.0))
    assert (param.grad == 5).all()
    param.back(param.bucket()[0])  # its own bucket: the share is already in it
    assert (param.grad == 5).all()


@pytest.mark.parametrize("shape", [(2,), (1, 2), (3, 1), (2, 3), ()])
def test_a_param_refuses_a_gradient_of_another_shape(shape):
    with pytest.raises(ValueError, match="gradient of shape"):
        Param(np.zeros((3, 2))).back(np.zeros(shape, np.float32))


def test_assigning_to_a_param_copies_into_the_array_that_is_there():
    param = Param(np.zeros((3, 2)))
    v, grad = param.v, param.grad
    param.v = np.ones((3, 2))
    param.grad = [[2.0, 2.0]] * 3
    param.grad += 1
    param.v *= 5
    assert param.v is v and param.grad is grad
    assert (v == 5).all() and (grad == 3).all()


@pytest.mark.parametrize("name", ["v", "grad"])
@pytest.mark.parametrize("value", [None, 0.0, np.zeros(2), np.zeros((1, 2)), np.zeros((2, 3))])
def test_assigning_another_shape_to_a_param_is_refused(name, value):
    param = Param(np.ones((3, 2)))
    with pytest.raises(ValueError, match=rf"{name} of shape .* for a Param of \(3, 2\)"):
        setattr(param, name, value)
    assert (param.v == 1).all() and not param.grad.any()
    with pytest.raises(AttributeError):
        param.gradient = value


@pytest.mark.parametrize("duplicate", [copy, deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copied_param_is_one_of_its_own(duplicate):
    param = Param([[1.0, 2.0]])
    param.grad = [[3.0, 4.0]]
    other = duplicate(param)
    np.testing.assert_array_equal(other.v, param.v)
    np.testing.assert_array_equal(other.grad, param.grad)
    for array in (other.v, other.grad):
        assert array.flags.c_contiguous and array.flags.writeable and array.base is None
    other.v, other.grad = [[0.0, 0.0]], [[0.0, 0.0]]
    assert (param.v == [[1, 2]]).all() and (param.grad == [[3, 4]]).all()


def test_what_is_seen_in_an_interpreter():
    assert repr(Param([[1.0, 2.0], [3.0, 4.5]])) == "Param([[1. , 2. ],\n       [3. , 4.5]])"
    assert repr(Node(2.5)) == "Node(2.5)"
    for rows in (17, 1000):  # 51 numbers are not all shown
        assert repr(Param(np.zeros((rows, 3)))).endswith(f"]], shape=({rows}, 3))")
    assert "shape" not in repr(Param(np.zeros((25, 2))))
    assert len(repr(Node(np.zeros((100, 30))))) < 500
