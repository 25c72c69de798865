"""Bringing every row to a standard size.

The backward kernels compute a row's mean and scale again from x, which is cheaper than keeping them.
"""

import numpy as np

from autollm.kernels.kernel import helper, kernel
from autollm.kernels.simd import LANES, load_first, put_first, splat, store_first, sum_lanes

EPSILON = 1e-5  # keeps a row of equal numbers from being divided by zero


# --- root mean square ------------------------------------------------------------------------------


@helper
def rms_scale(x, b):
    """1 / sqrt(mean(x[b]**2) + EPSILON)"""
    D, total = x.shape[1], splat(0.0)
    for d in range(0, D, LANES):
        part = load_first(x, b * D + d, D - d)
        total = total + part * part
    return 1.0 / np.sqrt(sum_lanes(total) / D + EPSILON)


@kernel("x (B, D), out (B, D)")
def rms_norm_forward(x, out):
    """out[b] = x[b] / sqrt(mean(x[b]**2) + EPSILON)"""
    B, D = x.shape
    for b in range(B):
        scale = rms_scale(x, b)
        for d in range(0, D, LANES):
            i, n = b * D + d, D - d
            store_first(load_first(x, i, n) * scale, out, i, n)


@kernel("x (B, D), g (B, D), dx (B, D), add i8")
def rms_norm_backward(x, g, dx, add):
    """Share: scale * (g[b] - y * mean(y * g[b])), where y = scale * x[b] is forward's."""
    B, D = x.shape
    for b in range(B):
        scale, overlap = rms_scale(x, b), splat(0.0)
        for d in range(0, D, LANES):
            i, n = b * D + d, D - d
            overlap = overlap + load_first(x, i, n) * load_first(g, i, n)
        mean = scale * sum_lanes(overlap) / D
        for d in range(0, D, LANES):
            i, n = b * D + d, D - d
            y = load_first(x, i, n) * scale
            put_first(scale * (load_first(g, i, n) - y * mean), dx, i, n, add)


# --- mean and variance -----------------------------------------------------------------------------


@helper
def mean_and_scale(x, b):
    """The mean of x[b], and 1 / sqrt(variance of x[b] + EPSILON)"""
    D, total, squares = x.shape[1], splat(0.0), splat(0.0)
    for d in range(0, D, LANES):
        total = total + load_first(x, b * D + d, D - d)
    mean = sum_lanes(total) / D
    for d in range(0, D, LANES):
        part = load_first(x, b * D + d, D - d, mean) - mean
        squares = squares + part * part
    return mean, 1.0 / np.sqrt(sum_lanes(squares) / D + EPSILON)


@kernel("gain (D), bias (D), x (B, D), out (B, D)")
def layer_norm_forward(gain, bias, x, out):
    """out[b] = gain * y + bias, where y = (x[b] - mean(x[b])) / sqrt(variance(x[b]) + EPSILON)"""
    B, D = x.shape
    for b in range(B):
        mean, scale = mean_and_scale(x, b)
        for d in range(0, D, LANES):
            i, n = b * D + d, D - d
            y = (load_first(x, i, n) - mean) * scale
            store_first(load_first(gain, d, n) * y + load_first(bias, d, n), out, i, n)


@kernel("gain (D), x (B, D), g (B, D), dgain (D), add_gain i8, dbias (D), add_bias i8, dx (B, D), add_x i8")
def layer_norm_backward(gain, x, g, dgain, add_gain, dbias, add_bias, dx, add_x):
    """With y as in forward and s = gain * g[b], the shares are: y * g[b], summed over b, for the gain; g[b],
    summed over b, for the bias; scale * (s - mean(s) - y * mean(y * s)) for x[b].
    """
    B, D = x.shape
    if not add_gain:
        dgain[:] = 0
    if not add_bias:
        dbias[:] = 0
    for b in range(B):
        mean, scale = mean_and_scale(x, b)
        total, overlap = splat(0.0), splat(0.0)
        for d in range(0, D, LANES):
            i, n = b * D + d, D - d
            y = (load_first(x, i, n, mean) - mean) * scale
            share = load_first(g, i, n)
            put_first(y * share, dgain, d, n, True)
            put_first(share, dbias, d, n, True)
            share = load_first(gain, d, n) * share
            total = total + share
            overlap = overlap + y * share
        mean_share, mean_overlap = sum_lanes(total) / D, sum_lanes(overlap) / D
        for d in range(0, D, LANES):
            i, n = b * D + d, D - d
            y = (load_first(x, i, n) - mean) * scale
            share = load_first(gain, d, n) * load_first(g, i, n) - mean_share - y * mean_overlap
            put_first(scale * share, dx, i, n, add_x)
