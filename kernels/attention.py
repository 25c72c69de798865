"""Multi-head causal attention: what every letter asks of the letters before it.

qkv (B, T, 3, H, D): at each of T places of B words a query, a key and a value, for H heads of D numbers
each. out and g (B, T, H, D). weights (G, H, T, T, LANES), with G = B / LANES, rounded up: how much place
t of a word looks at place s is in weights[b // LANES, h, t, s, b % LANES], for s <= t.

Attention is many small steps for each word, and the same ones for every word. So LANES words at a time
lie side by side in the lanes of vectors, and every step is one on whole vectors. What the lanes beyond
the last word compute is never kept.
"""

import numpy as np

from autollm.kernels.errors import ShapeError
from autollm.kernels.kernel import helper, kernel
from autollm.kernels.simd import (
    LANES,
    REGISTER_LANES,
    exp,
    load,
    load_first,
    maximum,
    multiply_add,
    splat,
    store,
    store_first,
    transpose,
)


@helper
def check_attention(qkv, weights, out):
    B, T, three, H, D = qkv.shape
    # fmt: off
    if (
        three != 3 or weights.shape[0] != (B + LANES - 1) // LANES or weights.shape[1] != H
        or weights.shape[2] != T or weights.shape[3] != T or weights.shape[4] != LANES
        or out.shape[0] != B or out.shape[1] != T or out.shape[2] != H or out.shape[3] != D
    ):
        raise ShapeError(
            "causal_attention: qkv (B, T, 3, H, D), out or g (B, T, H, D), weights (G, H, T, T, LANES) must "
            "agree; got ({}, {}, {}, {}, {}), ({}, {}, {}, {}), ({}, {}, {}, {}, {})",
            B, T, three, H, D, out.shape[0], out.shape[1], out.shape[2], out.shape[3],
            weights.shape[0], weights.shape[1], weights.shape[2], weights.shape[3], weights.shape[4],
        )
    # fmt: on


@helper
def to_lanes(source, i, pitch, words, width, lanes, row):
    """lanes[row + c, b] = source[i + b * pitch + c], for b < words and c < width."""
    for b in range(0, min(words, LANES), REGISTER_LANES):
        for c in range(0, width, REGISTER_LANES):
            place = (row + c) * LANES + b
            transpose(source, i + b * pitch + c, pitch, words - b, width - c, lanes, place, LANES)


@helper
def add_from_lanes(lanes, row, target, i, pitch, words, width, square):
    """target[i + b * pitch + c] += lanes[row + c, b], for b < words and c < width.

    square (REGISTER_LANES, LANES) is where a transposed piece waits to be added.
    """
    for b in range(0, min(words, LANES), REGISTER_LANES):
        for c in range(0, width, REGISTER_LANES):
            place = (row + c) * LANES + b
            transpose(lanes, place, LANES, width - c, REGISTER_LANES, square, 0, LANES)
            n = min(width - c, REGISTER_LANES)
            for word in range(min(words - b, REGISTER_LANES)):
                j = i + (b + word) * pitch + c
                store_first(load_first(target, j, n, 0.0) + load(square, word * LANES), target, j, n)


@helper
def dot(a, i, b, j, D):
    """The sum over d of a[i + d] * b[j + d], rows of lanes."""
    total = splat(0.0)
    for d in range(D):
        total = multiply_add(load(a, (i + d) * LANES), load(b, (j + d) * LANES), total)
    return total


@helper
def add_times(factor, a, i, total, j, D):
    """total[j + d] += factor * a[i + d], rows of lanes."""
    for d in range(D):
        place = (j + d) * LANES
        store(multiply_add(factor, load(a, (i + d) * LANES), load(total, place)), total, place)


@kernel("(f4[:, :, :, :, ::1], f4[:, :, :, :, ::1], f4[:, :, :, ::1])")
def causal_attention_forward(qkv, weights, out):
    """With q, k, v = qkv[b, :, :, h]: weights of t = softmax over s <= t of k[s] . q[t] / sqrt(D);
    out[b, t, h] = sum over s of weight[s] * v[s]
    """
    check_attention(qkv, weights, out)
    B, T, _, H, D = qkv.shape
    width = H * D
    rows = (width + REGISTER_LANES - 1) // REGISTER_LANES * REGISTER_LANES
    root = splat(1.0 / np.sqrt(D))
    lanes = np.zeros((3 * T * rows, LANES), qkv.dtype)  # row (t * 3 + role) * rows + h * D + d
    mixed = np.zeros((rows, LANES), qkv.dtype)
    square = np.zeros((REGISTER_LANES, LANES), qkv.dtype)
    out[:] = 0
    for first in range(0, B, LANES):
        for place in range(3 * T):
            to_lanes(
                qkv, (first * 3 * T + place) * width, 3 * T * width, B - first, width, lanes, place * rows
            )
        for t in range(T):
            mixed[:] = 0
            for h in range(H):
                base = ((first // LANES * H + h) * T + t) * T * LANES
                query = 3 * t * rows + h * D
                highest = splat(-np.inf)
                for s in range(t + 1):
                    score = root * dot(lanes, query, lanes, (3 * s + 1) * rows + h * D, D)
                    highest = maximum(highest, score)
                    store(score, weights, base + s * LANES)
                total = splat(0.0)
                for s in range(t + 1):
                    power = exp(load(weights, base + s * LANES) - highest)
                    total = total + power
                    store(power, weights, base + s * LANES)
                scale = splat(1.0) / total
                for s in range(t + 1):
                    weight = load(weights, base + s * LANES) * scale
                    store(weight, weights, base + s * LANES)
                    add_times(weight, lanes, (3 * s + 2) * rows + h * D, mixed, h * D, D)
            add_from_lanes(mixed, 0, out, (first * T + t) * width, T * width, B - first, width, square)


@kernel("(f4[:, :, :, :, ::1], f4[:, :, :, :, ::1], f4[:, :, :, ::1], f4[:, :, :, :, ::1])")
def causal_attention_backward(qkv, weights, g, dqkv):
    """With p[s] the weights of t, u[s] = v[s] . g[t], r[s] = p[s] * (u[s] - sum over s of p[s] * u[s]):

    dv[s] += p[s] * g[t];  dq[t] += r[s] * k[s] / sqrt(D);  dk[s] += r[s] * q[t] / sqrt(D)
    """
    check_attention(qkv, weights, g)
    check_attention(dqkv, weights, g)
    B, T, _, H, D = qkv.shape
    width = H * D
    rows = (width + REGISTER_LANES - 1) // REGISTER_LANES * REGISTER_LANES
    root = splat(1.0 / np.sqrt(D))
    lanes, shares = np.zeros((3 * T * rows, LANES), qkv.dtype), np.empty((3 * T * rows, LANES), qkv.dtype)
    given, u = np.zeros((rows, LANES), qkv.dtype), np.empty((T, LANES), qkv.dtype)
    square = np.zeros((REGISTER_LANES, LANES), qkv.dtype)
    for first in range(0, B, LANES):
        for place in range(3 * T):
            to_lanes(
                qkv, (first * 3 * T + place) * width, 3 * T * width, B - first, width, lanes, place * rows
            )
        shares[:] = 0
        for t in range(T):
            to_lanes(g, (first * T + t) * width, T * width, B - first, width, given, 0)
            for h in range(H):
                base = ((first // LANES * H + h) * T + t) * T * LANES
                query = 3 * t * rows + h * D
                mean = splat(0.0)
                for s in range(t + 1):
                    wish = dot(given, h * D, lanes, (3 * s + 2) * rows + h * D, D)
                    mean = multiply_add(load(weights, base + s * LANES), wish, mean)
                    store(wish, u, s * LANES)
                for s in range(t + 1):
                    key, value = (3 * s + 1) * rows + h * D, (3 * s + 2) * rows + h * D
                    weight = load(weights, base + s * LANES)
                    r = root * weight * (load(u, s * LANES) - mean)
                    add_times(r, lanes, key, shares, query, D)
                    add_times(r, lanes, query, shares, key, D)
                    add_times(weight, given, h * D, shares, value, D)
        for place in range(3 * T):
            i = (first * 3 * T + place) * width
            add_from_lanes(shares, place * rows, dqkv, i, 3 * T * width, B - first, width, square)
