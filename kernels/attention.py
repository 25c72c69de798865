"""Multi-head causal attention: what every letter asks of the letters before it.

qkv has, at each of T places of B words, a query, a key and a value, for H heads of D numbers each. How much
place t of a word looks at place s is in weights[b // LANES, h, t, s, b % LANES], for s <= t: G is B / LANES,
rounded up.

Attention is many small steps for each word, and the same ones for every word. So LANES words at a time
lie side by side in the lanes of vectors, and every step is one on whole vectors. What the lanes beyond
the last word compute is never kept; they begin with zeros, since some of the numbers that memory may hold
are slow to compute with.
"""

import numpy as np

from autollm.kernels.errors import ShapeError
from autollm.kernels.kernel import helper, kernel
from autollm.kernels.simd import (
    LANES,
    REGISTER_LANES,
    aligned_empty,
    aligned_zeros,
    exp,
    load,
    maximum,
    multiply_add,
    put_first,
    splat,
    store,
    transpose,
)


@helper
def to_lanes(source, i, stride, words, width, lanes, row):
    """lanes[row + c, b] = source[i + b * stride + c], for b < words and c < width."""
    for b in range(0, min(words, LANES), REGISTER_LANES):
        for c in range(0, width, REGISTER_LANES):
            to = (row + c) * LANES + b
            transpose(source, i + b * stride + c, stride, words - b, width - c, lanes, to, LANES)


@helper
def from_lanes(lanes, row, target, i, stride, words, width, square, add):
    """target[i + b * stride + c] = lanes[row + c, b], or += if add, for b < words and c < width.

    square (REGISTER_LANES, LANES) is where a transposed piece waits to be written.
    """
    for b in range(0, min(words, LANES), REGISTER_LANES):
        for c in range(0, width, REGISTER_LANES):
            transpose(lanes, (row + c) * LANES + b, LANES, width - c, REGISTER_LANES, square, 0, LANES)
            n = min(width - c, REGISTER_LANES)
            for word in range(min(words - b, REGISTER_LANES)):
                j = i + (b + word) * stride + c
                put_first(load(square, word * LANES), target, j, n, add)


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
        to = (j + d) * LANES
        store(multiply_add(factor, load(a, (i + d) * LANES), load(total, to)), total, to)


@helper
def check_groups(words, weights):
    if weights.shape[0] != (words + LANES - 1) // LANES:
        raise ShapeError(
            "causal_attention: {} words are {} groups of weights, not {}",
            words, (words + LANES - 1) // LANES, weights.shape[0],
        )  # fmt: skip


@kernel("qkv (B, T, 3, H, D), weights (G, H, T, T, LANES), out (B, T, H, D)")
def causal_attention_forward(qkv, weights, out):
    """With q, k, v = qkv[b, :, :, h]: weights of t = softmax over s <= t of k[s] . q[t] / sqrt(D);
    out[b, t, h] = sum over s of weight[s] * v[s]
    """
    B, T, _, H, D = qkv.shape
    check_groups(B, weights)
    width = H * D
    rows = (width + REGISTER_LANES - 1) // REGISTER_LANES * REGISTER_LANES
    root = 1.0 / np.sqrt(D)
    lanes = aligned_zeros(3 * T * rows, LANES, qkv.dtype)  # row (t * 3 + role) * rows + h * D + d
    mixed = aligned_empty(rows, LANES, qkv.dtype)
    square = aligned_zeros(REGISTER_LANES, LANES, qkv.dtype)
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
                scale = 1.0 / total
                for s in range(t + 1):
                    weight = load(weights, base + s * LANES) * scale
                    store(weight, weights, base + s * LANES)
                    add_times(weight, lanes, (3 * s + 2) * rows + h * D, mixed, h * D, D)
            from_lanes(mixed, 0, out, (first * T + t) * width, T * width, B - first, width, square, 0)


@kernel("qkv (B, T, 3, H, D), weights (G, H, T, T, LANES), g (B, T, H, D), dqkv (B, T, 3, H, D), add i8")
def causal_attention_backward(qkv, weights, g, dqkv, add):
    """With p[s] the weights of t, u[s] = v[s] . g[t], r[s] = p[s] * (u[s] - sum over s of p[s] * u[s]),
    the shares are sums of p[s] * g[t] for v[s], r[s] * k[s] / sqrt(D) for q[t], r[s] * q[t] / sqrt(D) for
    k[s].
    """
    B, T, _, H, D = qkv.shape
    check_groups(B, weights)
    width = H * D
    rows = (width + REGISTER_LANES - 1) // REGISTER_LANES * REGISTER_LANES
    root = 1.0 / np.sqrt(D)
    lanes = aligned_zeros(3 * T * rows, LANES, qkv.dtype)
    shares = aligned_empty(3 * T * rows, LANES, qkv.dtype)
    given, u = aligned_zeros(rows, LANES, qkv.dtype), aligned_empty(T, LANES, qkv.dtype)
    square = aligned_zeros(REGISTER_LANES, LANES, qkv.dtype)
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
            from_lanes(shares, place * rows, dqkv, i, 3 * T * width, B - first, width, square, add)
