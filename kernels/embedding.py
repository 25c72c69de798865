"""Looking up rows of a table, and adding them up."""

import numpy as np

from autollm.kernels.kernel import check_ids, helper, kernel
from autollm.kernels.simd import (
    LANES,
    aligned_empty,
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
# What slows these kernels down is not arithmetic. A register that is loaded from two cache lines takes twice
# as long; adding to a row that was just written has to wait for it, the longer if only some lanes were;
# and a loop whose length nobody can predict costs as much as a dozen vectors. But a context begins with
# padding, often most of it: a run of equal ids. So where it pays, rows are whole vectors, in long contexts
# a run is added at one stroke, and examples with runs of one length come one after the other.

LONG_FORWARD, LONG_BACKWARD = 9, 5  # the shortest contexts that are long in this sense


@helper
def padded(table):
    """The table itself if its rows (V, D) are whole vectors, or a copy in which they have some lanes more."""
    V, D = table.shape
    if D % LANES == 0:
        return table
    copy = aligned_empty(V, (D + LANES - 1) // LANES * LANES, table.dtype)
    for v in range(V):
        for d in range(0, D, LANES):
            store(load_first(table, v * D + d, D - d), copy, v * copy.shape[1] + d)
    return copy


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
def sum_rows(table, ids, out):
    """out[b] = sum over k of row ids[b, k] of a table, whose rows may be longer than those of out."""
    (B, D), K, stride = out.shape, ids.shape[1], table.shape[1]
    for b in range(B):
        for d in range(0, D, LANES):
            total = splat(0.0)
            for k in range(K):
                total = total + load_first(table, ids[b, k] * stride + d, D - d)
            store_first(total, out, b * D + d, D - d)


@helper
def sum_runs(table, ids, out):
    """As sum_rows, from a table whose rows are whole vectors."""
    D, K, stride = out.shape[1], ids.shape[1], table.shape[1]
    order, starts = by_run(ids)
    for run in range(1, len(starts) - 1):
        for i in range(starts[run], starts[run + 1]):
            b = order[i]
            for d in range(0, D, 2 * LANES):  # two vectors for each id that is looked at
                e = min(d + LANES, stride - LANES)  # if their number is odd, the last of them twice
                row = ids[b, 0] * stride
                first, second = run * load(table, row + d), run * load(table, row + e)
                for k in range(run, K):
                    row = ids[b, k] * stride
                    first, second = first + load(table, row + d), second + load(table, row + e)
                store_first(first, out, b * D + d, D - d)
                store_first(second, out, b * D + e, D - e)


@helper
def scatter_rows(ids, g, table):
    """Row ids[b, k] of a table += g[b]; its rows may be longer than those of g."""
    (B, K), D, stride = ids.shape, g.shape[1], table.shape[1]
    full = (D - 1) // LANES * LANES  # a row is some full vectors and a last one, of 1 to LANES lanes
    for b in range(B):
        last = load_first(g, b * D + full, D - full)
        for k in range(K):
            row = ids[b, k] * stride
            for d in range(0, full, LANES):
                store(load(g, b * D + d) + load(table, row + d), table, row + d)
            if stride - full == LANES:
                store(last + load(table, row + full), table, row + full)
            else:
                total = last + load_first(table, row + full, stride - full)
                store_first(total, table, row + full, stride - full)


@helper
def add_to_row(times, g, i, full, last, table, row):
    """Row of a table += times * g[i:], of which `last` is what comes after the full vectors."""
    for d in range(0, full, LANES):
        store(multiply_add(times, load(g, i + d), load(table, row + d)), table, row + d)
    store(multiply_add(times, last, load(table, row + full)), table, row + full)


@helper
def scatter_runs(ids, g, table):
    """As scatter_rows, to a table whose rows are whole vectors."""
    K, D, stride = ids.shape[1], g.shape[1], table.shape[1]
    full = (D - 1) // LANES * LANES
    order, starts = by_run(ids)
    for run in range(1, len(starts) - 1):
        for i in range(starts[run], starts[run + 1]):
            b = order[i]
            last = load_first(g, b * D + full, D - full)
            add_to_row(run, g, b * D, full, last, table, ids[b, 0] * stride)
            for k in range(run, K):
                add_to_row(1, g, b * D, full, last, table, ids[b, k] * stride)


@kernel("table (V, D), ids i4 (B, K), out (B, D)")
def embedding_bag_forward(table, ids, out):
    """out[b] = sum over k of table[ids[b, k]]"""
    V, (B, K) = table.shape[0], ids.shape
    check_ids(ids, V)
    if 8 * V >= B * K:  # too few reads of a row for a copy, or an order of the examples, to pay
        sum_rows(table, ids, out)
    elif K < LONG_FORWARD:
        sum_rows(padded(table), ids, out)
    else:
        sum_runs(padded(table), ids, out)


@kernel("ids i4 (B, K), g (B, D), dtable (V, D), add i8")
def embedding_bag_backward(ids, g, dtable, add):
    """dtable[ids[b, k]] += g[b], from 0 on unless add"""
    (V, D), (B, K) = dtable.shape, ids.shape
    check_ids(ids, V)
    if D == 0:
        return  # what follows takes a row to have a last vector
    if not add:
        dtable[:] = 0
    if 2 * V >= B * K:  # too few additions to a row for a copy, or an order of the examples, to pay
        scatter_rows(ids, g, dtable)
        return
    table = padded(dtable)
    if K < LONG_BACKWARD:
        scatter_rows(ids, g, table)
    else:
        scatter_runs(ids, g, table)
    stride = table.shape[1]
    if stride > D:  # it is a copy
        for v in range(V):
            for d in range(0, D, LANES):
                store_first(load(table, v * stride + d), dtable, v * D + d, D - d)
