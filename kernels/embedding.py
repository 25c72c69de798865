"""Looking up rows of a table, and adding them up."""

import numpy as np

from autollm.kernels.kernel import check_ids, helper, kernel
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


@kernel("table (V, D), ids i4 (B, K), out (B, K, D)")
def gather_rows_forward(table, ids, out):
    """out[b, k] = table[ids[b, k]]"""
    B, K, D = out.shape
    check_ids(ids, len(table))
    for b in range(B):
        for k in range(K):
            row = ids[b, k]
            for d in range(D):
                out[b, k, d] = table[row, d]


@kernel("ids i4 (B, K), g (B, K, D), dtable (V, D), add i8")
def gather_rows_backward(ids, g, dtable, add):
    """dtable[ids[b, k]] += g[b, k], from 0 on unless add"""
    B, K, D = g.shape
    check_ids(ids, len(dtable))
    if not add:
        dtable[:] = 0
    for b in range(B):
        for k in range(K):
            row = ids[b, k]
            for d in range(D):
                dtable[row, d] += g[b, k, d]


@kernel("x (B, K, D), out (B, D)")
def sum_over_k_forward(x, out):
    """out[b] = sum over k of x[b, k]"""
    B, K, D = x.shape
    out[:] = 0
    for b in range(B):
        for k in range(K):
            for d in range(D):
                out[b, d] += x[b, k, d]


@kernel("g (B, D), dx (B, K, D), add i8")
def sum_over_k_backward(g, dx, add):
    """dx[b, k] = g[b], or += if add"""
    B, K, D = dx.shape
    for b in range(B):
        for k in range(K):
            for d in range(D):
                dx[b, k, d] = dx[b, k, d] + g[b, d] if add else g[b, d]


# --- a bag of rows ---------------------------------------------------------------------------------
# What slows these kernels down is not arithmetic. A vector that lies across two cache lines takes twice as
# long to read; adding to a row that was just written has to wait for it, the longer if only some lanes were;
# and a loop whose length nobody can predict costs as much as a dozen vectors. But a context begins with
# padding, often most of it: a run of equal ids. So where it pays, rows begin at cache lines, in long contexts
# a run is added at one stroke, and examples with runs of one length come one after the other.

LONG_FORWARD, LONG_BACKWARD = 9, 5  # the shortest contexts that are long in this sense


@helper
def padded(table):
    """A copy in which row v begins at offset start + v * stride, a cache line: copy, start, stride."""
    V, D = table.shape
    stride = (D + LANES - 1) // LANES * LANES
    copy = np.empty(V * stride + REGISTER_LANES, table.dtype)
    start = -(copy.ctypes.data // copy.itemsize) % REGISTER_LANES
    for v in range(V):
        for d in range(0, D, LANES):
            store(load_first(table, v * D + d, D - d), copy, start + v * stride + d)
    return copy, start, stride


@helper
def by_run(ids):
    """The examples in the order of the runs that their ids begin with, counting up to LANES: order (B,), and
    starts; those with a run of r are order[starts[r] : starts[r + 1]].
    """
    B, K = ids.shape
    runs, order, starts = np.empty(B, np.int64), np.empty(B, np.int64), np.empty(min(K, LANES) + 2, np.int64)
    for run in range(len(starts)):
        starts[run] = 0
    for b in range(B):
        runs[b] = run_length(ids, b * K, K)
        starts[runs[b]] += 1
    for run in range(1, len(starts)):
        starts[run] += starts[run - 1]  # where it ends: filled from there, it will be where it starts
    for b in range(B - 1, -1, -1):
        starts[runs[b]] -= 1
        order[starts[runs[b]]] = b
    return order, starts


@helper
def sum_rows(table, start, stride, ids, out):
    """out[b] = sum over k of row ids[b, k], where row v begins at offset start + v * stride of the table."""
    (B, D), K = out.shape, ids.shape[1]
    for b in range(B):
        for d in range(0, D, LANES):
            total = splat(0.0)
            for k in range(K):
                total = total + load_first(table, start + ids[b, k] * stride + d, D - d)
            store_first(total, out, b * D + d, D - d)


@helper
def sum_runs(copy, start, stride, ids, out):
    """As sum_rows, from a padded copy."""
    D, K = out.shape[1], ids.shape[1]
    order, starts = by_run(ids)
    for run in range(1, len(starts) - 1):
        for i in range(starts[run], starts[run + 1]):
            b = order[i]
            first = start + ids[b, 0] * stride
            for d in range(0, D, LANES):
                total = run * load(copy, first + d)
                for k in range(run, K):
                    total = total + load(copy, start + ids[b, k] * stride + d)
                store_first(total, out, b * D + d, D - d)


@helper
def scatter_rows(ids, g, table, start, stride):
    """Row ids[b, k] of the table += g[b], where row v begins at offset start + v * stride."""
    (B, K), D = ids.shape, g.shape[1]
    full = (D - 1) // LANES * LANES  # a row is some full vectors and a last one, of 1 to LANES lanes
    for b in range(B):
        last = load_first(g, b * D + full, D - full)
        for k in range(K):
            row = start + ids[b, k] * stride
            for d in range(0, full, LANES):
                store(load(g, b * D + d) + load(table, row + d), table, row + d)
            if stride - full == LANES:
                store(last + load(table, row + full), table, row + full)
            else:
                total = last + load_first(table, row + full, stride - full)
                store_first(total, table, row + full, stride - full)


@helper
def add_to_row(times, g, i, full, last, copy, row):
    """Row of a padded copy += times * g[i:], of which `last` is what comes after the full vectors."""
    for d in range(0, full, LANES):
        store(multiply_add(times, load(g, i + d), load(copy, row + d)), copy, row + d)
    store(multiply_add(times, last, load(copy, row + full)), copy, row + full)


@helper
def scatter_runs(ids, g, copy, start, stride):
    """As scatter_rows, to a padded copy."""
    K, D = ids.shape[1], g.shape[1]
    full = (D - 1) // LANES * LANES
    order, starts = by_run(ids)
    for run in range(1, len(starts) - 1):
        for i in range(starts[run], starts[run + 1]):
            b = order[i]
            last = load_first(g, b * D + full, D - full)
            add_to_row(run, g, b * D, full, last, copy, start + ids[b, 0] * stride)
            for k in range(run, K):
                add_to_row(1, g, b * D, full, last, copy, start + ids[b, k] * stride)


@kernel("table (V, D), ids i4 (B, K), out (B, D)")
def embedding_bag_forward(table, ids, out):
    """out[b] = sum over k of table[ids[b, k]]"""
    (V, D), (B, K) = table.shape, ids.shape
    check_ids(ids, V)
    if 8 * V >= B * K:  # too few reads of a row to copy it first
        sum_rows(table, 0, D, ids, out)
        return
    copy, start, stride = padded(table)
    if K < LONG_FORWARD:
        sum_rows(copy, start, stride, ids, out)
    else:
        sum_runs(copy, start, stride, ids, out)


@kernel("ids i4 (B, K), g (B, D), dtable (V, D), add i8")
def embedding_bag_backward(ids, g, dtable, add):
    """dtable[ids[b, k]] += g[b], from 0 on unless add"""
    (V, D), (B, K) = dtable.shape, ids.shape
    check_ids(ids, V)
    if D == 0:
        return  # what follows takes a row to have a last vector
    if not add:
        dtable[:] = 0
    short = K < LONG_BACKWARD
    if 2 * V >= B * K or (short and D % LANES == 0):
        scatter_rows(ids, g, dtable, 0, D)
        return
    copy, start, stride = padded(dtable)
    if short:
        scatter_rows(ids, g, copy, start, stride)
    else:
        scatter_runs(ids, g, copy, start, stride)
    for v in range(V):
        for d in range(0, D, LANES):
            store_first(load(copy, start + v * stride + d), dtable, v * D + d, D - d)
