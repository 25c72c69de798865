"""Looking up rows of a table, and adding them up.

table (V, D) float32, ids (B, K) int32.
"""

import numpy as np

from autollm.kernels.jit import ShapeError, check_ids, helper, kernel
from autollm.kernels.simd import (
    LANES,
    REGISTER_LANES,
    load,
    load_first,
    multiply_add,
    run_length,
    splat,
    store,
    store_first,
)


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
def sum_rows(table, start, pitch, ids, out):
    """out[b] = sum over k of row ids[b, k], where row v begins at place start + v * pitch of the table."""
    (B, D), K = out.shape, ids.shape[1]
    for b in range(B):
        for d in range(0, D, LANES):
            total = splat(0.0)
            for k in range(K):
                total = total + load_first(table, start + ids[b, k] * pitch + d, D - d, 0.0)
            store_first(total, out, b * D + d, D - d)


@kernel("(f4[:, ::1], i4[:, ::1], f4[:, ::1])")
def embedding_bag_forward(table, ids, out):
    """out[b] = sum over k of table[ids[b, k]]: out (B, D)"""
    (V, D), (B, K) = table.shape, ids.shape
    if out.shape[0] != B or out.shape[1] != D:
        raise ShapeError(
            "embedding_bag: table (V, D), ids (B, K), out (B, D) must agree; "
            "got ({}, {}), ({}, {}), ({}, {})",
            V, D, B, K, out.shape[0], out.shape[1],
        )  # fmt: skip
    check_ids(ids.reshape(B * K), V)
    if 8 * V >= B * K:
        sum_rows(table, 0, D, ids, out)
        return
    # Each row is read many times, and a vector that lies across two cache lines takes twice as long to
    # read. So read from a copy in which every row begins a cache line.
    pitch = (D + LANES - 1) // LANES * LANES
    copy = np.empty(V * pitch + REGISTER_LANES, table.dtype)
    start = -(copy.ctypes.data // copy.itemsize) % REGISTER_LANES
    for v in range(V):
        for d in range(0, D, LANES):
            store(load_first(table, v * D + d, D - d, 0.0), copy, start + v * pitch + d)
    sum_rows(copy, start, pitch, ids, out)


@kernel("(i4[:, ::1], f4[:, ::1], f4[:, ::1])")
def embedding_bag_backward(ids, g, dtable):
    """dtable[ids[b, k]] += g[b]: g (B, D)

    Adding to a row that was just written has to wait for it. So a run of equal ids is added at one
    stroke: a context begins with padding, often most of it. Up to 4 ids, looking for a run costs more
    than it saves.
    """
    (V, D), (B, K) = dtable.shape, ids.shape
    if g.shape[0] != B or g.shape[1] != D:
        raise ShapeError(
            "embedding_bag: dtable (V, D), ids (B, K), g (B, D) must agree; "
            "got ({}, {}), ({}, {}), ({}, {})",
            V, D, B, K, g.shape[0], g.shape[1],
        )  # fmt: skip
    check_ids(ids.reshape(B * K), V)
    full = (D - 1) // LANES * LANES  # a row is some full vectors and a last one, of 1 to LANES lanes
    for b in range(B):
        last = load_first(g, b * D + full, D - full, 0.0)
        k, run = 0, run_length(ids, b * K, K) if K > 4 else 1
        while k < K:
            row, times = ids[b, k] * D, splat(run)
            for d in range(0, full, LANES):
                store(multiply_add(times, load(g, b * D + d), load(dtable, row + d)), dtable, row + d)
            total = multiply_add(times, last, load_first(dtable, row + full, D - full, 0.0))
            store_first(total, dtable, row + full, D - full)
            k, run = k + run, 1
