"""Every test here runs for every row of the table."""

from __future__ import annotations

import ctypes
import inspect
import mmap
import os
import pkgutil
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table import ROWS, Case, Probe, letters

import autollm
from autollm import bricks, buffers, node
from autollm.kernels.kernel import dispatcher_of
from autollm.kernels.layout import concat_backward, concat_forward
from autollm.kernels.simd import DEPTH, LANES

BRICKS = [import_module(f"autollm.bricks.{found.name}") for found in pkgutil.iter_modules(bricks.__path__)]
each_row = pytest.mark.parametrize("name", ROWS)
SIZES = dict.fromkeys("BDHKTV", 6)


@cache
def cases(name, largest=70, most=20_000, dtype=np.float32):
    """Cases with sizes up to `largest`, small ones as often as all, whose product is `most` at the most."""
    row, size = ROWS[name], st.integers(1, 9) | st.integers(1, largest)

    def with_sizes(order, drawn, seed):
        sizes, product = {}, 1
        for letter, size in zip(order, drawn, strict=True):
            sizes[letter] = max(min(size, largest, most // product), 1)
            product *= sizes[letter]
        return Case.draw(row, sizes, seed, dtype)

    order = letters(row)
    return st.builds(
        with_sizes, st.permutations(order), st.tuples(*[size] * len(order)), st.integers(0, 2**32)
    )


def upstream(shape, seed, dtype=np.float32):
    """A random upstream sensitivity: an array of that shape, or a float for a scalar output."""
    if shape == ():
        return 0.7
    return np.random.default_rng(seed + 1).standard_normal(shape).astype(dtype)


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
def test_value_is_numpys(name, data):
    case = data.draw(cases(name))
    value, _ = case.run()
    np.testing.assert_allclose(value, case.expected(), rtol=2e-5, atol=2e-5)


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


AROUND_LANES = (LANES - 1, LANES, LANES + 1, 2 * LANES + 1)


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
def test_inputs_stay_and_outputs_are_new(name, data):
    case = data.draw(cases(name))
    before = {key: value.copy() for key, value in (case.floats | case.ids).items()}
    u = upstream(case.expected().shape, 0)
    kept = np.array(u)
    value, grads = case.run(u, wrap=Probe)
    for key, array in (case.floats | case.ids).items():
        np.testing.assert_array_equal(array, before[key])
    np.testing.assert_array_equal(u, kept)
    given_arrays = [*case.floats.values(), *case.ids.values(), *([u] if np.ndim(u) else [])]
    for made in grads if case.row.view else [value, *grads]:
        assert not any(np.may_share_memory(made, array) for array in given_arrays if np.ndim(made))


@each_row
@given(data=st.data())
@settings(max_examples=10)
def test_backward_runs_exactly_once_and_back_may_be_called_again(name, data):
    case = data.draw(cases(name, 9))
    counters = []

    def count(key, kernel):
        if not key.endswith("_backward"):
            return kernel
        counters.append(mock.Mock(side_effect=kernel))
        return counters[-1]

    inputs = [Probe(value) for value in case.floats.values()]
    with kernels_replaced(count):
        out = case.row.call(*inputs, *case.ids.values())
        u = upstream(np.shape(out.v), 0)
        out.back(u)
        assert sum(counter.call_count for counter in counters) == case.row.backwards
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


@each_row
def test_every_number_of_an_output_is_written(name):
    """What an array holds that a brick is given to write to means nothing."""
    case = Case.draw(ROWS[name], dict.fromkeys("BDV", LANES + 1) | dict.fromkeys("HKT", 3), 0)
    u = upstream(case.expected().shape, 0)
    value, grads = case.run(u, wrap=Probe)
    with mock.patch.object(buffers, "empty", lambda shape: np.full(shape, np.nan, np.float32)):
        found, shares = case.run(u, wrap=Probe)
    np.testing.assert_array_equal(found, value)
    for share, grad in zip(shares, grads, strict=True):
        np.testing.assert_array_equal(share, grad)


@each_row
@given(data=st.data())
@settings(max_examples=25)
def test_nothing_outside_an_array_is_touched(name, data):
    """Outputs and buckets are cut from the middle of larger arrays, whose margins must not change."""
    guard, sentinel, made = 64, np.float32(123.25), []

    def guarded(shape):
        size = int(np.prod(shape))
        whole = np.full(size + 2 * guard, sentinel, np.float32)
        made.append((whole, size))
        return whole[guard : guard + size].reshape(shape)

    case = data.draw(cases(name))
    with mock.patch.object(buffers, "empty", guarded):
        case.run(upstream(case.expected().shape, 0), wrap=Probe)
    for whole, size in made:
        assert (whole[:guard] == sentinel).all()
        assert (whole[guard + size :] == sentinel).all()


class Pages:
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


libc = ctypes.CDLL(None) if os.name == "posix" else None


@pytest.mark.skipif(libc is None, reason="protects memory by mprotect")
@pytest.mark.parametrize("at_end", [True, False], ids=["end", "begin"])
@each_row
def test_nothing_outside_an_array_is_read(name, at_end):
    """All arrays of a call end where memory is protected, or begin there: to read beyond is a fault."""
    pages = Pages()

    def empty(shape, dtype=np.float32):
        return pages.array(shape, dtype, at_end)

    for size in AROUND_LANES:
        case = Case.draw(ROWS[name], dict.fromkeys("BDV", size) | dict.fromkeys("HKT", 3), 0)
        u = upstream(case.expected().shape, 0)
        value, grads = case.run(u, wrap=Probe)
        floats = {key: pages.copy(array, at_end) for key, array in case.floats.items()}
        ids = {key: pages.copy(array, at_end) for key, array in case.ids.items()}
        u = pages.copy(u, at_end) if np.ndim(u) else u
        with mock.patch.object(buffers, "empty", empty):
            guarded = Case(case.row, floats, ids).run(u, wrap=Probe)
        np.testing.assert_array_equal(guarded[0], value)
        for found, expected in zip(guarded[1], grads, strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("name", "key", "axis"), [(name, *one) for name, row in ROWS.items() for one in row.may_be_longer]
)
def test_what_an_input_has_beyond_what_is_needed_has_no_share(name, key, axis):
    case = Case.draw(ROWS[name], SIZES, 0)
    u = upstream(case.expected().shape, 0)
    value, grads = case.run(u, wrap=Probe)
    beyond = np.ones_like(case.floats[key])
    floats = case.floats | {key: np.concatenate([case.floats[key], beyond], axis)}
    with mock.patch.object(buffers, "empty", lambda shape: np.full(shape, np.nan, np.float32)):
        found, shares = Case(case.row, floats, case.ids).run(u, wrap=Probe)
    np.testing.assert_array_equal(found, value)
    for one, share, grad in zip(floats, shares, grads, strict=True):
        whole = np.concatenate([grad, 0 * beyond], axis) if one == key else grad
        np.testing.assert_array_equal(share, whole)


# --- what a caller can do wrong --------------------------------------------------------------------


def call_with(name, **changes):
    case = Case.draw(ROWS[name], SIZES, 0)
    given = {key: changes.get(key, value) for key, value in (case.floats | case.ids).items()}
    inputs = [Probe(given[key]) for key in case.floats]
    out = case.row.call(*inputs, *(given[key] for key in case.ids))
    return out.v


each_input = pytest.mark.parametrize(
    ("name", "key"),
    [(name, key) for name, row in ROWS.items() if not row.view for key in (*row.floats, *row.ids)],
)
each_ids = pytest.mark.parametrize(
    ("name", "key"), [(name, key) for name, row in ROWS.items() for key in row.ids]
)


def input_of(name, key):
    case = Case.draw(ROWS[name], SIZES, 0)
    return (case.floats | case.ids)[key]


@each_input
def test_a_wrong_dtype_is_refused(name, key):
    with pytest.raises(TypeError, match=r"must be a C-contiguous, writeable (float32|int32) array"):
        call_with(name, **{key: input_of(name, key).astype(np.float64)})


@each_input
def test_a_wrong_number_of_axes_is_refused(name, key):
    with pytest.raises(
        (TypeError, ValueError), match=r"must be a C-contiguous, writeable \w+ array with \d ax[ei]s?; got"
    ):
        call_with(name, **{key: input_of(name, key)[None]})


@each_input
def test_a_strided_array_is_refused(name, key):
    with pytest.raises(TypeError, match=r"non-contiguous|transposed"):
        call_with(name, **{key: np.repeat(input_of(name, key), 2, axis=-1)[..., ::2]})


@each_ids
@pytest.mark.parametrize("bad", ["one below", 6, 2**31 - 1, -(2**31)])
def test_an_id_out_of_range_is_refused(name, key, bad):
    ids, lowest = input_of(name, key), ROWS[name].lowest
    bad = lowest - 1 if bad == "one below" else bad
    ids.flat[-1] = bad
    with pytest.raises(IndexError, match=rf"{bad} .* outside {lowest}\.\.5"):
        call_with(name, **{key: ids})


@pytest.mark.parametrize(
    ("name", "key", "axis"),
    [
        (name, key, axis)
        for name, row in ROWS.items()
        for key, axes in (row.floats | {key: axes for key, (axes, _) in row.ids.items()}).items()
        for axis, letter in enumerate(axes)
        if (key, axis) not in row.may_be_longer
        and sum(letter in other for other in [*row.floats.values(), *(a for a, _ in row.ids.values())]) > 1
    ],
)
def test_sizes_that_do_not_agree_are_refused(name, key, axis):
    array = input_of(name, key)
    longer = np.concatenate([array, array.take([0], axis)], axis)
    size = longer.shape[axis]
    with pytest.raises(ValueError, match=rf"must agree; got .*\b{size}\b|: {size} places need positions"):
        call_with(name, **{key: longer})


@each_row
def test_an_upstream_gradient_of_another_shape_is_refused(name):
    """One number more or less in an axis, an axis more, one less, and the axes in another order."""
    case = Case.draw(ROWS[name], dict(zip("BDHKTV", range(2, 8), strict=True)), 0)
    shape = case.expected().shape
    others = [(*shape[:i], shape[i] + more, *shape[i + 1 :]) for i in range(len(shape)) for more in (-1, 1)]
    others += [(*shape, 2), shape[1:], shape[::-1]] if shape else [(3,)]
    for other in others:
        inputs = [node.Param(value) for value in case.floats.values()]
        out = case.row.call(*inputs, *case.ids.values())
        with pytest.raises((TypeError, ValueError)):
            out.back(np.ones(other, np.float32))


def test_a_part_that_lies_beyond_any_array_is_refused():
    part, whole = np.ones((2, 2), np.float32), np.ones((2, 3), np.float32)
    for start in (-1, 2, 2**63 - 1):
        with pytest.raises(ValueError, match="does not fit"):
            concat_forward(part, start, whole)
        with pytest.raises(ValueError, match="does not fit"):
            concat_backward(whole, start, part, 1)


@each_ids
def test_ids_changed_after_the_forward_pass_cannot_harm(name, key):
    """Backward checks again: arrays may have been changed in between."""
    case = Case.draw(ROWS[name], SIZES, 0)
    out = case.row.call(*map(node.Param, case.floats.values()), *case.ids.values())
    u = upstream(np.shape(out.v), 0)
    case.ids[key].flat[-1] = 1_000_000
    if name.endswith("xent_from_logits"):
        out.back(u)  # needs no targets any more: forward saved the derivative
    else:
        with pytest.raises(IndexError, match=r"1000000"):
            out.back(u)


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
