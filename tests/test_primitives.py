"""What every row of the table computes."""

from __future__ import annotations

import inspect
from unittest import mock

import numpy as np
import pytest
from cases import (
    AROUND_LANES,
    BRICKS,
    SIZES,
    Case,
    Probe,
    cases,
    each_row,
    kernels_replaced,
    letters,
    margins_kept,
    plain_python,
    upstream,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from table import ROWS

import autollm
from autollm import buffers, node
from autollm.kernels.simd import DEPTH, LANES


def test_every_public_brick_has_a_row():
    public = {
        name
        for module in BRICKS
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }
    assert public == set(ROWS)


@each_row
@given(data=st.data())
def test_value_is_numpys_and_nothing_else_is_written(name, data):
    case = data.draw(cases(name))
    expected = case.expected()
    u = upstream(expected.shape, 0)
    inputs = [*case.floats.values(), *case.ids.values(), *([u] if np.ndim(u) else [])]
    before = [array.copy() for array in inputs]
    with margins_kept():
        value, grads = case.run(u, wrap=Probe)
    np.testing.assert_allclose(value, expected, rtol=2e-5, atol=2e-5)
    for array, copied in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(array, copied)
    for made in grads if case.row.view else [value, *grads]:
        assert not any(np.may_share_memory(made, array) for array in inputs if np.ndim(made))


@each_row
@given(data=st.data())
def test_backward_is_the_adjoint_of_the_derivative(name, data):
    check_adjoint(data.draw(cases(name, 5, dtype=np.float64)))


@each_row
def test_backward_is_the_adjoint_beyond_one_vector(name):
    for letter in letters(ROWS[name]):
        sizes = dict.fromkeys("BDHKTV", 2) | {letter: LANES + 1}
        check_adjoint(Case.draw(ROWS[name], sizes, 0, np.float64))


def check_adjoint(case):
    """<u, J x> by central difference equals <back(u), x>, in float64, for random directions x and u."""
    shape = case.expected().shape
    u = upstream(shape, 0, np.float64)
    rng = np.random.default_rng(3)
    directions = {key: rng.standard_normal(value.shape) for key, value in case.floats.items()}
    step = 1e-5

    def moved(sign):
        floats = {key: value + sign * step * directions[key] for key, value in case.floats.items()}
        return np.asarray(Case(case.row, floats, case.ids).run(wrap=Probe)[0])

    with plain_python(np.float64):
        _, grads = case.run(u, wrap=Probe)
        slope = np.sum(u * (moved(+1) - moved(-1))) / (2 * step)
    blame = sum(np.sum(g * x) for g, x in zip(grads, directions.values(), strict=True))
    assert blame == pytest.approx(slope, rel=1e-6, abs=1e-7)


@each_row
@given(data=st.data())
@settings(max_examples=15)
def test_compiled_is_plain_python(name, data):
    same_compiled_and_plain(data.draw(cases(name, 12, 500)))


@each_row
def test_compiled_is_plain_python_at_sizes_around_those_of_vectors(name):
    """Each size in turn is one below a vector's, exactly that, one above, and two vectors' and one more."""
    for letter in letters(ROWS[name]):
        for size in AROUND_LANES:
            same_compiled_and_plain(Case.draw(ROWS[name], dict.fromkeys("BDHKTV", 2) | {letter: size}, size))
    same_compiled_and_plain(
        Case.draw(ROWS[name], dict.fromkeys("BDV", LANES + 1) | dict.fromkeys("HKT", 2), 0)
    )


@pytest.mark.parametrize("name", ["matmul_wh", "linear"])
def test_a_product_is_the_whole_sum_where_it_is_deeper_than_what_it_takes_at_a_time(name):
    for letter in "BDV":
        sizes = dict.fromkeys("BDV", 2) | {letter: DEPTH + 1}
        case = Case.draw(ROWS[name], sizes, 0)
        np.testing.assert_allclose(case.run()[0], case.expected(), rtol=2e-5, atol=2e-5)
        check_adjoint(Case.draw(ROWS[name], sizes, 0, np.float64))


def same_compiled_and_plain(case, dtype=np.float32):
    """Value and gradients of the compiled kernels are those of their Python source in arrays of `dtype`."""
    u = upstream(case.expected().shape, 0)
    compiled = case.run(u, wrap=Probe)
    with plain_python(dtype):
        floats = {key: value.astype(dtype) for key, value in case.floats.items()}
        plain = Case(case.row, floats, case.ids).run(np.asarray(u, dtype)[()], wrap=Probe)
    np.testing.assert_allclose(compiled[0], plain[0], rtol=1e-5, atol=1e-5)
    for a, b in zip(compiled[1], plain[1], strict=True):
        # A norm of a row of equal numbers divides by sqrt(1e-5), and rounding grows 300-fold.
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("height", [-200, 200])
@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.score])
def test_a_softmax_of_scores_that_are_all_very_low_or_very_high(name, height):
    """e**200 is more than a float32 holds, e**-200 less."""
    case = Case.draw(ROWS[name], dict.fromkeys("BDHKTV", LANES + 1) | dict.fromkeys("DHKT", 3), 0)
    for array in case.floats.values():
        array /= 8  # few digits, which are left when a high score is added
        np.round(array, 2, out=array)
        case.row.score(array, height)
    value, _ = case.run(wrap=Probe)
    np.testing.assert_allclose(value, case.expected(), rtol=1e-4, atol=1e-4)
    same_compiled_and_plain(case, np.float64)


@each_row
@given(data=st.data())
@settings(max_examples=10)
def test_backward_runs_exactly_once_and_back_may_be_called_again(name, data):
    case = data.draw(cases(name, 9))
    calls = []

    def count(key, kernel):
        def counted(*arguments):
            calls.append(key)
            return kernel(*arguments)

        return counted if key.endswith("_backward") else kernel

    inputs = [Probe(value) for value in case.floats.values()]
    with kernels_replaced(count):
        out = case.row.call(*inputs, *case.ids.values())
        u = upstream(np.shape(out.v), 0)
        out.back(u)
        assert len(calls) == case.row.backwards
        assert [x.calls for x in inputs] == [1] * len(inputs)
        once = [x.grad for x in inputs]
        out.back(u)
    for first, x in zip(once, inputs, strict=True):
        np.testing.assert_array_equal(first, x.grad)


@each_row
def test_a_param_adds_up_what_it_gets(name):
    case = Case.draw(ROWS[name], dict.fromkeys("BDHKTV", 5), 0)
    u = upstream(case.expected().shape, 0)
    _, as_node = case.run(u, wrap=Probe)
    inputs = [node.Param(value) for value in case.floats.values()]
    for _ in range(2):
        case.row.call(*inputs, *case.ids.values()).back(u)
    for param, grad in zip(inputs, as_node, strict=True):
        np.testing.assert_allclose(param.grad, 2 * grad, rtol=1e-5, atol=1e-6)


@each_row
def test_each_input_decides_by_itself_whether_shares_are_added(name):
    """One of them has a bucket with something in it, the others have new ones that hold anything."""
    case = Case.draw(ROWS[name], SIZES, 0)
    u = upstream(case.expected().shape, 0)
    _, grads = case.run(u, wrap=Probe)
    for key in case.floats:
        inputs = {one: (node.Param if one == key else Probe)(value) for one, value in case.floats.items()}
        inputs[key].grad += 1
        with mock.patch.object(buffers, "empty", lambda shape: np.full(shape, np.nan, np.float32)):
            case.row.call(*inputs.values(), *case.ids.values()).back(u)
        for (one, found), grad in zip(inputs.items(), grads, strict=True):
            expected = grad + (one == key)
            np.testing.assert_allclose(found.grad, expected, rtol=1e-5, atol=1e-6, err_msg=one)


@pytest.mark.parametrize("blame", [-1.0, 0.0, 1.0, 2.5])
def test_the_gradient_of_a_loss_is_as_large_as_its_blame(blame):
    """Also where the kernel is left out, as for 1."""
    logits = node.Param(np.linspace(-1, 1, 12).reshape(3, 4))
    targets = np.array([0, 3, 1], np.int32)
    autollm.xent_from_logits(logits, targets).back(blame)
    odds = np.exp(logits.v) / np.exp(logits.v).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(logits.grad, blame * (odds - np.eye(4)[targets]) / 3, atol=1e-6)


def test_rows_are_copied_once_and_when_somebody_looks():
    table = node.Param(np.arange(6).reshape(3, 2))
    rows = autollm.gather_rows(table, np.array([[0, 2]], np.int32))
    np.testing.assert_array_equal(rows.v, [[[0, 1], [4, 5]]])
    assert rows.v is rows.v
