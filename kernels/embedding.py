"""Looking up rows of a table, and adding them up.

table (V, D) float32, ids (B, K) int32.
"""

import numpy as np

from autollm.kernels.jit import ShapeError, check_ids, helper, kernel
from autollm.kernels.simd import LANES, load, load_first, run_length, splat, store, store_first


@kernel("(f4[:, ::1], i4[:, ::1])")
def check_rows(table, ids):
    """Raise IdError unless all ids select rows of the table."""
    check_ids(ids.reshape(ids.size), table.shape[0])


@kernel("(f4[:, ::1], i4[:, ::1], f4[:, :, ::1])")
def gather_rows_forward(table, ids, out):
    """out[b, k] = table[ids[b, k]]"""
    (V, D), (B, K) = table.shape, ids.shape
    if out.shape[0] != B or out.shape[1] != K or out.shape[2] != D:
        raise ShapeError(
            "gather_rows: table (V, D), ids (B, K), out (B, K, D) must agree; "
            "got ({}, {}), ({}, {}), ({}, {}, {})",
            V, D, B, K, out.shape[0], out.shape[1], out.shape[2],
        )  # fmt: skip
    check_ids(ids.reshape(B * K), V)
    for b in range(B):
        for k in range(K):
            row = ids[b, k]
            for d in range(D):
                out[b, k, d] = table[row, d]


@kernel("(i4[:, ::1], f4[:, :, ::1], f4[:, ::1])")
def gather_rows_backward(ids, g, dtable):
    """dtable[ids[b, k]] += g[b, k]"""
    (V, D), (B, K) = dtable.shape, ids.shape
    if g.shape[0] != B or g.shape[1] != K or g.shape[2] != D:
        raise ShapeError(
            "gather_rows: dtable (V, D), ids (B, K), g (B, K, D) must agree; "
            "got ({}, {}), ({}, {}), ({}, {}, {})",
            V, D, B, K, g.shape[0], g.shape[1], g.shape[2],
        )  # fmt: skip
    check_ids(ids.reshape(B * K), V)
    for b in range(B):
        for k in range(K):
            row = ids[b, k]
            for d in range(D):
                dtable[row, d] += g[b, k, d]


@kernel("(f4[:, :, ::1], f4[:, ::1])")
def sum_over_k_forward(x, out):
    """out[b] = sum over k of x[b, k]: x (B, K, D), out (B, D)"""
    B, K, D = x.shape
    if out.shape[0] != B or out.shape[1] != D:
        raise ShapeError(
            "sum_over_k: x (B, K, D), out (B, D) must agree; got ({}, {}, {}), ({}, {})",
            B, K, D, out.shape[0], out.shape[1],
        )  # fmt: skip
    for b in range(B):
        for d in range(D):
            out[b, d] = 0
        for k in range(K):
            for d in range(D):
                out[b, d] += x[b, k, d]


@kernel("(f4[:, ::1], f4[:, :, ::1])")
def sum_over_k_backward(g, dx):
    """dx[b, k] += g[b]: g (B, D), dx (B, K, D)"""
    B, K, D = dx.shape
    if g.shape[0] != B or g.shape[1] != D:
        raise ShapeError(
            "sum_over_k: dx (B, K, D), g (B, D) must agree; got ({}, {}, {}), ({}, {})",
            B, K, D, g.shape[0], g.shape[1],
        )  # fmt: skip
    for b in range(B):
        for k in range(K):
            for d in range(D):
                dx[b, k, d] += g[b, d]


@helper
def first_run(ids, b):
    """How many ids of example b, from the first on, are the same.

    A context begins with padding, so that is often most of them, and they are taken at one stroke.
    With few ids the test costs more than it saves: then the answer is 1.
    """
    K = ids.shape[1]
    return run_length(ids, b * K, K) if K > 4 else 1


@kernel("(f4[:, ::1], i4[:, ::1], f4[:, ::1])")
def embedding_bag_forward(table, ids, out):
    """out[b] = sum over k of table[ids[b, k]]: out (B, D)"""
    (V, D), (B, K) = table.shape, ids.shape
    if out.shape[0] != B or out.shape[1] != D:
        raise ShapeError(
            "embedding_bag: table (V, D), ids (B, K), out (B, D) must agree; got ({}, {}), ({}, {}), ({}, {})",
            V, D, B, K, out.shape[0], out.shape[1],
        )  # fmt: skip
    check_ids(ids.reshape(B * K), V)
    for b in range(B):
        run = first_run(ids, b)
        for d in range(0, D, LANES):
            width = D - d
            total = load_first(table, ids[b, 0] * D + d, width, 0.0) * splat(run)
            for k in range(run, K):
                total = total + load_first(table, ids[b, k] * D + d, width, 0.0)
            store_first(total, out, b * D + d, width)


@kernel("(i4[:, ::1], f4[:, ::1], f4[:, ::1])")
def embedding_bag_backward(ids, g, dtable):
    """dtable[ids[b, k]] += g[b]: g (B, D)

    Sums gather in two tables, one for even b and one for odd, so that a row that comes again and
    again is waited for less often. Their rows are padded to whole vectors.
    """
    (V, D), (B, K) = dtable.shape, ids.shape
    if g.shape[0] != B or g.shape[1] != D:
        raise ShapeError(
            "embedding_bag: dtable (V, D), ids (B, K), g (B, D) must agree; got ({}, {}), ({}, {}), ({}, {})",
            V, D, B, K, g.shape[0], g.shape[1],
        )  # fmt: skip
    check_ids(ids.reshape(B * K), V)
    pitch = (D + LANES - 1) // LANES * LANES
    sums = np.zeros((2 * V, pitch), g.dtype)
    for b in range(B):
        run = first_run(ids, b)
        half = b % 2 * V
        for d in range(0, D, LANES):
            share = load_first(g, b * D + d, D - d, 0.0)
            place = (half + ids[b, 0]) * pitch + d
            store(load(sums, place) + share * splat(run), sums, place)
            for k in range(run, K):
                place = (half + ids[b, k]) * pitch + d
                store(load(sums, place) + share, sums, place)
    for v in range(V):
        for d in range(0, D, LANES):
            both = load(sums, v * pitch + d) + load(sums, (V + v) * pitch + d)
            total = load_first(dtable, v * D + d, D - d, 0.0) + both
            store_first(total, dtable, v * D + d, D - d)
