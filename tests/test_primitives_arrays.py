"""What every row of the table does to arrays, and what it refuses: all that is not in what it computes."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from cases import AROUND_LANES, SIZES, Case, GuardPages, Probe, each_row, libc, upstream
from table import ROWS

from autollm import buffers, node
from autollm.kernels.layout import concat_backward, concat_forward
from autollm.kernels.simd import LANES


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


@pytest.mark.skipif(libc is None, reason="protects memory by mprotect")
@pytest.mark.parametrize("at_end", [True, False], ids=["end", "begin"])
@each_row
def test_nothing_outside_an_array_is_read(name, at_end):
    """All arrays of a call end where memory is protected, or begin there: to read beyond is a fault."""
    pages = GuardPages()

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
