"""Multi-head causal attention: what every letter asks of the letters before it.

qkv (B, T, 3, H, D): for each of B words, T places, the query, the key and the value, H heads of D
numbers each. weights (B, H, T, T): weights[b, h, s, t] is how much place t looks at place s, 0 for
s > t. out and g (B, T, H, D).

Here the places t of the queries lie in the lanes of a vector, so every step of a softmax over s is
a step on whole vectors. The scratch arrays have rows padded to whole vectors ("pitch").
"""

import numpy as np

from autollm.kernels.jit import ShapeError, helper, kernel
from autollm.kernels.simd import (
    LANES,
    exp,
    load,
    load_first,
    maximum,
    multiply_add,
    splat,
    store,
    store_first,
)


@helper
def check_attention(qkv, weights, out):
    B, T, three, H, D = qkv.shape
    # fmt: off
    if (
        three != 3 or weights.shape[0] != B or weights.shape[1] != H or weights.shape[2] != T
        or weights.shape[3] != T or out.shape[0] != B or out.shape[1] != T or out.shape[2] != H
        or out.shape[3] != D
    ):
        raise ShapeError(
            "causal_attention: qkv (B, T, 3, H, D), weights (B, H, T, T), out or g (B, T, H, D) must agree; "
            "got ({}, {}, {}, {}, {}), ({}, {}, {}, {}), ({}, {}, {}, {})",
            B, T, three, H, D, weights.shape[0], weights.shape[1], weights.shape[2], weights.shape[3],
            out.shape[0], out.shape[1], out.shape[2], out.shape[3],
        )
    # fmt: on


@helper
def combine(rows, pitch, first, count, factors, place, step, column):
    """The vector at `column` of the sum of `count` rows from row `first` on, row j times
    factors[place + j * step].
    """
    total = splat(0.0)
    for j in range(count):
        total = multiply_add(
            splat(factors[place + j * step]), load(rows, (first + j) * pitch + column), total
        )
    return total


@kernel("(f4[:, :, :, :, ::1], f4[:, :, :, ::1], f4[:, :, :, ::1])")
def causal_attention_forward(qkv, weights, out):
    """weights[b, h, :t + 1, t] = softmax(k @ q[t] / sqrt(D));
    out[b, t, h] = sum_s weights[b, h, s, t] * v[s]"""
    check_attention(qkv, weights, out)
    B, T, _, H, D = qkv.shape
    pitch = (T + LANES - 1) // LANES * LANES
    step = 3 * H * D  # from a place to the next
    flat = qkv.reshape(qkv.size)
    queries, powers = np.zeros((D, pitch), qkv.dtype), np.empty((T, LANES), qkv.dtype)
    mixed = np.empty((D, LANES), qkv.dtype)
    later = np.zeros(2 * LANES, qkv.dtype)  # -inf for queries before a key, which do not see it
    later[:LANES] = -np.inf
    root = 1.0 / np.sqrt(D)
    for b in range(B):
        for h in range(H):
            query = b * T * step + h * D
            key, value = query + H * D, query + 2 * H * D
            for t in range(T):
                for d in range(D):
                    queries[d, t] = flat[query + t * step + d] * root
            for c in range(0, T, LANES):
                seen = min(T, c + LANES)  # keys that at least one of these queries sees
                highest = splat(-np.inf)
                for s in range(seen):
                    score = combine(queries, pitch, 0, D, flat, key + s * step, 1, c)
                    if s > c:
                        score = score + load(later, LANES - (s - c))
                    highest = maximum(highest, score)
                    store(score, powers, s * LANES)
                total = splat(0.0)
                for s in range(seen):
                    power = exp(load(powers, s * LANES) - highest)
                    total = total + power
                    store(power, powers, s * LANES)
                scale = splat(1.0) / total
                for s in range(seen):
                    weight = load(powers, s * LANES) * scale
                    store(weight, powers, s * LANES)
                    store_first(weight, weights, ((b * H + h) * T + s) * T + c, T - c)
                for s in range(seen, T):
                    store_first(splat(0.0), weights, ((b * H + h) * T + s) * T + c, T - c)
                for d in range(D):
                    store(combine(powers, LANES, 0, seen, flat, value + d, step, 0), mixed, d * LANES)
                for t in range(c, seen):
                    for d in range(D):
                        out[b, t, h, d] = mixed[d, t - c]


@helper
def load_columns(array, start, step, T, D, columns):
    """columns[d, t] = array[start + t * step + d]"""
    for t in range(T):
        for d in range(D):
            columns[d, t] = array[start + t * step + d]


@helper
def add_columns(columns, scale, array, start, step, T, D):
    """array[start + t * step + d] += scale * columns[d, t]"""
    for t in range(T):
        for d in range(D):
            array[start + t * step + d] += scale * columns[d, t]


@kernel("(f4[:, :, :, :, ::1], f4[:, :, :, ::1], f4[:, :, :, ::1], f4[:, :, :, :, ::1])")
def causal_attention_backward(qkv, weights, g, dqkv):
    """With p = weights[b, h] and u[s, t] = v[s] . g[t], the sensitivity of p:

    dv[s] += sum_t p[s, t] * g[t];  r[s, t] = p[s, t] * (u[s, t] - sum_s p[s, t] * u[s, t])
    dq[t] += sum_s r[s, t] * k[s] / sqrt(D);  dk[s] += sum_t r[s, t] * q[t] / sqrt(D)
    """
    check_attention(qkv, weights, g)
    check_attention(dqkv, weights, g)
    B, T, _, H, D = qkv.shape
    pitch = (T + LANES - 1) // LANES * LANES
    step = 3 * H * D
    flat, share, dflat = qkv.reshape(qkv.size), g.reshape(g.size), dqkv.reshape(dqkv.size)
    root = qkv.dtype.type(1.0 / np.sqrt(D))
    one = qkv.dtype.type(1.0)
    gs, dq = np.zeros((D, pitch), qkv.dtype), np.empty((D, pitch), qkv.dtype)
    dk, dv = np.empty((D, pitch), qkv.dtype), np.empty((D, pitch), qkv.dtype)
    r, u = np.empty((T, pitch), qkv.dtype), np.empty((T, LANES), qkv.dtype)
    p_turned, r_turned = np.zeros((T, pitch), qkv.dtype), np.zeros((T, pitch), qkv.dtype)
    for b in range(B):
        for h in range(H):
            query = b * T * step + h * D
            key, value = query + H * D, query + 2 * H * D
            load_columns(share, (b * T * H + h) * D, H * D, T, D, gs)
            for c in range(0, T, LANES):
                seen = min(T, c + LANES)
                mean = splat(0.0)
                for s in range(seen):
                    row = combine(gs, pitch, 0, D, flat, value + s * step, 1, c)
                    weight = load_first(weights, ((b * H + h) * T + s) * T + c, T - c, 0.0)
                    mean = multiply_add(weight, row, mean)
                    store(row, u, s * LANES)
                for s in range(seen):
                    weight = load_first(weights, ((b * H + h) * T + s) * T + c, T - c, 0.0)
                    store(weight * (load(u, s * LANES) - mean), r, s * pitch + c)
                for d in range(D):
                    store(combine(r, pitch, 0, seen, flat, key + d, step, c), dq, d * pitch + c)
            for s in range(T):
                for t in range(s, T):
                    p_turned[t, s] = weights[b, h, s, t]
                    r_turned[t, s] = r[s, t]
            for c in range(0, T, LANES):
                for d in range(D):
                    total = combine(r_turned, pitch, c, T - c, flat, query + c * step + d, step, c)
                    store(total, dk, d * pitch + c)
                    place = ((b * T + c) * H + h) * D + d
                    store(combine(p_turned, pitch, c, T - c, share, place, H * D, c), dv, d * pitch + c)
            add_columns(dq, root, dflat, query, step, T, D)
            add_columns(dk, root, dflat, key, step, T, D)
            add_columns(dv, one, dflat, value, step, T, D)
