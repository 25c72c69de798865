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
    D, total, real = x.shape[1], splat(0.0), x.dtype.type
    for d in range(0, D, LANES):
        part = load_first(x, b * D + d, D - d)
        total = total + part * part
    return real(1) / np.sqrt(sum_lanes(total) / real(D) + real(EPSILON))


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
    (B, D), width = x.shape, x.dtype.type(x.shape[1])
    for b in range(B):
        scale, overlap = rms_scale(x, b), splat(0.0)
        for d in range(0, D, LANES):
            i, n = b * D + d, D - d
            overlap = overlap + load_first(x, i, n) * load_first(g, i, n)
        mean = scale * sum_lanes(overlap) / width
        for d in range(0, D, LANES):
            i, n = b * D + d, D - d
            y = load_first(x, i, n) * scale
            put_first(scale * (load_first(g, i, n) - y * mean), dx, i, n, add)


# --- mean and variance -----------------------------------------------------------------------------
# A loop does one thing for all rows: lanes are added and roots taken slowly, but no row waits for another.


@helper
def means_and_scales(x):
    """Of every row: its mean, and 1 / sqrt(its variance + EPSILON)."""
    (B, D), real = x.shape, x.dtype.type
    means, scales = np.empty(B, x.dtype), np.empty(B, x.dtype)
    for b in range(B):
        total = splat(0.0)
        for d in range(0, D, LANES):
            total = total + load_first(x, b * D + d, D - d)
        means[b] = sum_lanes(total) / real(D)
    for b in range(B):
        mean, squares = means[b], splat(0.0)
        for d in range(0, D, LANES):
            part = load_first(x, b * D + d, D - d, mean) - mean
            squares = squares + part * part
        scales[b] = sum_lanes(squares)
    for b in range(B):
        scales[b] = real(1) / np.sqrt(scales[b] / real(D) + real(EPSILON))
    return means, scales


@kernel("gain (D), bias (D), x (B, D), out (B, D)")
def layer_norm_forward(gain, bias, x, out):
    """out[b] = gain * y + bias, where y = (x[b] - mean(x[b])) / sqrt(variance(x[b]) + EPSILON)"""
    B, D = x.shape
    means, scales = means_and_scales(x)
    for b in range(B):
        mean, scale = means[b], scales[b]
        for d in range(0, D, LANES):
            i, n = b * D + d, D - d
            y = (load_first(x, i, n) - mean) * scale
            store_first(load_first(gain, d, n) * y + load_first(bias, d, n), out, i, n)


@kernel("gain (D), x (B, D), g (B, D), dgain (D), add_gain i8, dbias (D), add_bias i8, dx (B, D), add_x i8")
def layer_norm_backward(gain, x, g, dgain, add_gain, dbias, add_bias, dx, add_x):
    """With y as in forward and s = gain * g[b], the shares are: y * g[b], summed over b, for the gain; g[b],
    summed over b, for the bias; scale * (s - mean(s) - y * mean(y * s)) for x[b].
    """
    (B, D), width = x.shape, x.dtype.type(x.shape[1])
    if not add_gain:
        dgain[:] = 0
    if not add_bias:
        dbias[:] = 0
    means, scales = means_and_scales(x)
    mean_shares, mean_overlaps = np.empty(B, x.dtype), np.empty(B, x.dtype)
    for b in range(B):
        mean, scale = means[b], scales[b]
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
        mean_shares[b], mean_overlaps[b] = sum_lanes(total) / width, sum_lanes(overlap) / width
    for b in range(B):
        mean, scale, mean_share, mean_overlap = means[b], scales[b], mean_shares[b], mean_overlaps[b]
        for d in range(0, D, LANES):
            i, n = b * D + d, D - d
            y = (load_first(x, i, n) - mean) * scale
            share = load_first(gain, d, n) * load_first(g, i, n) - mean_share - y * mean_overlap
            put_first(scale * share, dx, i, n, add_x)
