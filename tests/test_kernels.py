"""Kernels of rows of nothing; the bag, where its kernels choose between ways to do it; where arrays begin."""

from __future__ import annotations

import numpy as np
import pytest
from cases import AROUND_LANES, GuardPages
from test_kernel import all_kernels

from autollm import Node, causal_attention
from autollm.kernels.cross_entropy import xent_from_logits_forward
from autollm.kernels.embedding import embedding_bag_backward, embedding_bag_forward
from autollm.kernels.examples import draw
from autollm.kernels.kernel import dispatcher_of
from autollm.kernels.matmul import linear_forward, matmul_wh_backward, matmul_wh_forward
from autollm.kernels.simd import LANES, REGISTER_LANES, aligned_empty, aligned_zeros


@pytest.mark.parametrize("D", [1, 27, 32, 33, 128])
@pytest.mark.parametrize("K", [1, 4, 5, 8, 9, 16, 33, 70])
@pytest.mark.parametrize("B", [1, 3, 40])
def test_contexts_that_begin_with_runs_of_all_lengths(B, K, D):
    """Runs may be as long as the context, and longer than a vector; the same id may come again later."""
    V = 5
    rng = np.random.default_rng(B * K * D)
    table = rng.standard_normal((V, D)).astype(np.float32)
    ids = rng.integers(0, V, (B, K), np.int32)
    runs = rng.integers(1, K + 1, (B, 1))
    ids = np.where(np.arange(K) < runs, ids[:, :1], ids)
    out = np.empty((B, D), np.float32)
    embedding_bag_forward(table, ids, out)
    np.testing.assert_allclose(out, table[ids].sum(axis=1), rtol=1e-5, atol=1e-4)

    g = rng.standard_normal((B, D)).astype(np.float32)
    dtable = np.ones((V, D), np.float32)
    expected = np.ones((V, D))
    np.add.at(expected, ids, g[:, None, :])
    embedding_bag_backward(ids, g, dtable, 1)
    np.testing.assert_allclose(dtable, expected, rtol=1e-4, atol=1e-3)
    dtable.fill(np.nan)
    embedding_bag_backward(ids, g, dtable, 0)
    np.testing.assert_allclose(dtable, expected - 1, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("rows", "columns"), [(1, LANES), (5, 3), (7, 3 * LANES)])
def test_what_a_kernel_writes_into_is_aligned(rows, columns):
    assert not aligned_zeros(rows, columns, np.float32).any()
    arrays = [aligned_empty(rows, columns, np.float32) for _ in range(20)]
    for number, array in enumerate(arrays):
        array[:] = number
    for number, array in enumerate(arrays):
        assert array.shape == (rows, columns) and (array == number).all()
        assert array.ctypes.data % (REGISTER_LANES * array.itemsize) == 0


@pytest.mark.parametrize("K", [1, 5, 9])
@pytest.mark.parametrize("B", [1, 40])
def test_rows_of_nothing_touch_nothing(B, K):
    table, ids = np.zeros((5, 0), np.float32), np.zeros((B, K), np.int32)
    guarded = np.full(200, 3.5, np.float32)
    embedding_bag_forward(table, ids, guarded[100:100].reshape(B, 0))
    embedding_bag_backward(ids, np.zeros((B, 0), np.float32), guarded[100:100].reshape(5, 0), 0)
    assert (guarded == 3.5).all()


def test_scores_of_no_letters_touch_nothing():
    guarded = np.full(200, 3.5, np.float32)
    nothing = guarded[100:100].reshape(40, 0)
    assert xent_from_logits_forward(nothing, np.full(40, -1, np.int32), nothing) == 0
    assert (guarded == 3.5).all()


def test_what_comes_later_decides_nothing():
    """However loudly it asks to be looked at: e**100 is more than a float32 holds."""
    qkv = np.random.default_rng(0).standard_normal((3, 4, 3, 2, 4)).astype(np.float32)
    other = qkv.copy()
    other[:, 2:] *= 1000
    (seen, louder) = (causal_attention(Node(one)).v[:, :2] for one in (qkv, other))
    np.testing.assert_array_equal(seen, louder)


def test_a_product_of_nothing_is_nothing():
    """Sums of no terms: rows without numbers, no examples, or no letters."""
    w, h, out = np.zeros((3, 0), np.float32), np.zeros((5, 0), np.float32), np.full((5, 3), 7, np.float32)
    matmul_wh_forward(w, h, out)
    assert (out == 0).all()
    linear_forward(w, np.array([1, 2, 3], np.float32), h, out)
    assert (out == [1, 2, 3]).all()
    dw, none = np.full((3, 4), 7, np.float32), np.zeros((0, 4), np.float32)
    matmul_wh_backward(np.ones((3, 4), np.float32), none, np.zeros((0, 3), np.float32), dw, 1, none.copy(), 0)
    assert (dw == 7).all(), "no examples add nothing"
    matmul_wh_backward(np.ones((3, 4), np.float32), none, np.zeros((0, 3), np.float32), dw, 0, none.copy(), 0)
    assert (dw == 0).all(), "and alone they are zeros"
    h, dh = np.ones((5, 4), np.float32), np.full((5, 4), 7, np.float32)
    matmul_wh_backward(none, h, np.zeros((5, 0), np.float32), none.copy(), 0, dh, 0)
    assert (dh == 0).all()


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("B", [1, 64, 100])
@pytest.mark.parametrize("first", [1, 2, 3])
def test_draws_are_the_rows_that_the_bits_choose(n, B, first):
    """More and fewer of them than are asked for ahead."""
    rows = np.arange(50 * 4, dtype=np.int32).reshape(50, 4)
    bits = np.random.default_rng(0).integers(0, 2**32, n * B, np.uint32)
    letters, targets = np.zeros((n, B * 3), np.int32), np.zeros((n, B * (4 - first)), np.int32)
    widths = np.zeros(n, np.int64)
    pages = GuardPages()  # what is asked for ahead ends with the bits
    draw(pages.copy(rows, True), pages.copy(bits, True), first, letters, targets, widths)
    chosen = rows[(bits.astype(np.int64) * 50) >> 32]
    np.testing.assert_array_equal(letters.reshape(-1, 3), chosen[:, :3])
    np.testing.assert_array_equal(targets.reshape(-1, 4 - first), chosen[:, first:])
    assert (widths == 3).all()


def test_draws_are_cut_to_the_longest_row_of_their_batch():
    rows = np.array([[0, 5, -1, -1], [0, 6, 7, -1]], np.int32)
    bits = np.array([0, 0, 2**31, 0], np.uint32)  # rows 0 and 0, then 1 and 0
    letters, targets, widths = (
        np.full((2, 6), 9, np.int32),
        np.full((2, 6), 9, np.int32),
        np.zeros(2, np.int64),
    )
    draw(rows, bits, 1, letters, targets, widths)
    assert widths.tolist() == [1, 2]
    assert letters.tolist() == [[0, 0, 9, 9, 9, 9], [0, 6, 0, 5, 9, 9]]
    assert targets.tolist() == [[5, 5, 9, 9, 9, 9], [6, 7, 5, -1, 9, 9]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"rows": (0, 4)}, {"rows": (5, 3)}, {"rows": (5, 5)}, {"rows": (5, 1)}, {"bits": (5,)},
        {"bits": (7,)}, {"first": 0}, {"first": 2}, {"first": 4}, {"first": -1}, {"letters": (2, 8)},
        {"letters": (3, 9)},
        {"targets": (2, 8)}, {"targets": (1, 9)}, {"widths": (3,)}, {"widths": (0,)},
    ],
)  # fmt: skip
def test_draws_of_sizes_that_do_not_agree_are_refused(wrong):
    right = {"rows": (5, 4), "bits": (6,), "first": 1, "letters": (2, 9), "targets": (2, 9), "widths": (2,)}
    types = {"bits": np.uint32, "widths": np.int64}
    arguments = [
        shape if name == "first" else np.zeros(shape, types.get(name, np.int32))
        for name, shape in (right | wrong).items()
    ]
    with pytest.raises(ValueError, match="draw"):
        draw(*arguments)


# --- every kernel, with arguments drawn from what it says of them ---------------------------------------


def drawn(kernel, size, rng):
    """Arguments with `size` for every size that is only a name; integers are 0 or 1, numbers 0.5 or 1."""

    def array(argument):
        known = dispatcher_of(kernel).py_func.__globals__
        shape = [int(axis) if axis.isdigit() else known.get(axis, size) for axis in argument.axes]
        if argument.dtype.startswith("f"):
            return rng.random(shape).astype(argument.dtype)
        return rng.integers(0, 2, shape).astype(argument.dtype)

    return [
        array(one) if one.axes else (0.5 if one.dtype == "f8" else 1)
        for one in dispatcher_of(kernel).arguments
    ]


def outcome(call, arguments):
    """What a call returns and leaves in its arguments; or its error, for sizes that letters cannot say."""
    try:
        return [call(*arguments), *arguments]
    except (ValueError, IndexError) as error:
        return [type(error)]


@pytest.mark.parametrize(("name", "kernel"), [*all_kernels()])
def test_every_kernel_is_its_own_python_source(name, kernel):
    """At sizes around those of vectors, except where Python would take long: the bricks' tests have those."""
    for size in (
        AROUND_LANES if all(len(one.axes or ()) < 3 for one in dispatcher_of(kernel).arguments) else (3,)
    ):
        compiled, plain = (drawn(kernel, size, np.random.default_rng(size)) for _ in range(2))
        pairs = zip(outcome(kernel, compiled), outcome(dispatcher_of(kernel).py_func, plain), strict=True)
        for found, expected in pairs:
            if isinstance(expected, type):
                assert found is expected
            elif expected is not None:
                np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
