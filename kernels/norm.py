"""Bringing every row to a standard size.

x, out, g and dx (B, D); gain, bias and their gradients (D,). The backward kernels compute a row's
mean and scale again from x, which is cheaper than keeping them.
"""

import numpy as np

from autollm.kernels.errors import ShapeError
from autollm.kernels.kernel import helper, kernel
from autollm.kernels.simd import LANES, load_first, splat, store_first, sum_lanes

EPSILON = 1e-5  # keeps a row of equal numbers from being divided by zero


# --- root mean square ------------------------------------------------------------------------------


@helper
def rms_scale(x, b):
    """1 / sqrt(mean(x[b]**2) + EPSILON)"""
    D, total = x.shape[1], splat(0.0)
    for d in range(0, D, LANES):
        part = load_first(x, b * D + d, D - d, 0.0)
        total = total + part * part
    return 1.0 / np.sqrt(sum_lanes(total) / D + EPSILON)


@kernel("(f4[:, ::1], f4[:, ::1])")
def rms_norm_forward(x, out):
    """out[b] = x[b] / sqrt(mean(x[b]**2) + EPSILON)"""
    B, D = x.shape
    if out.shape != x.shape:
        raise ShapeError(
            "rms_norm: x and out (B, D) must agree; got ({}, {}), ({}, {})", B, D, out.shape[0], out.shape[1]
        )
    for b in range(B):
        scale = splat(rms_scale(x, b))
        for d in range(0, D, LANES):
            i, n = b * D + d, D - d
            store_first(load_first(x, i, n, 0.0) * scale, out, i, n)


@kernel("(f4[:, ::1], f4[:, ::1], f4[:, ::1])")
def rms_norm_backward(x, g, dx):
    """dx[b] += scale * (g[b] - y * mean(y * g[b])), where y = scale * x[b] is forward's"""
    B, D = x.shape
    if g.shape != x.shape or dx.shape != x.shape:
        raise ShapeError(
            "rms_norm: x, g and dx (B, D) must agree; got ({}, {}), ({}, {}), ({}, {})",
            B, D, g.shape[0], g.shape[1], dx.shape[0], dx.shape[1],
        )  # fmt: skip
    for b in range(B):
        scale, overlap = splat(rms_scale(x, b)), splat(0.0)
        for d in range(0, D, LANES):
            i, n = b * D + d, D - d
            overlap = overlap + load_first(x, i, n, 0.0) * load_first(g, i, n, 0.0)
        mean = splat(sum_lanes(overlap * scale) / D)
        for d in range(0, D, LANES):
            i, n = b * D + d, D - d
            y = load_first(x, i, n, 0.0) * scale
            share = scale * (load_first(g, i, n, 0.0) - y * mean)
            store_first(load_first(dx, i, n, 0.0) + share, dx, i, n)


# --- mean and variance -----------------------------------------------------------------------------


@helper
def mean_and_scale(x, b):
    """The mean of x[b], and 1 / sqrt(variance of x[b] + EPSILON)"""
    D, total, squares = x.shape[1], splat(0.0), splat(0.0)
    for d in range(0, D, LANES):
        total = total + load_first(x, b * D + d, D - d, 0.0)
    mean = sum_lanes(total) / D
    for d in range(0, D, LANES):
        part = load_first(x, b * D + d, D - d, mean) - splat(mean)
        squares = squares + part * part
    return mean, 1.0 / np.sqrt(sum_lanes(squares) / D + EPSILON)


@kernel("(f4[:, ::1], f4[::1], f4[::1], f4[:, ::1])")
def layer_norm_forward(x, gain, bias, out):
    """out[b] = gain * y + bias, where y = (x[b] - mean(x[b])) / sqrt(variance(x[b]) + EPSILON)"""
    B, D = x.shape
    if gain.shape[0] != D or bias.shape[0] != D or out.shape != x.shape:
        raise ShapeError(
            "layer_norm: x and out (B, D), gain and bias (D,) must agree; "
            "got ({}, {}), ({}, {}), ({},), ({},)",
            B, D, out.shape[0], out.shape[1], gain.shape[0], bias.shape[0],
        )  # fmt: skip
    for b in range(B):
        mean, scale = mean_and_scale(x, b)
        for d in range(0, D, LANES):
            i, n = b * D + d, D - d
            y = (load_first(x, i, n, 0.0) - splat(mean)) * splat(scale)
            store_first(load_first(gain, d, n, 0.0) * y + load_first(bias, d, n, 0.0), out, i, n)


@kernel("(f4[:, ::1], f4[::1], f4[:, ::1], f4[:, ::1], f4[::1], f4[::1])")
def layer_norm_backward(x, gain, g, dx, dgain, dbias):
    """With y as in forward and s = gain * g[b]:
    dx[b] += scale * (s - mean(s) - y * mean(y * s)); dgain += y * g[b]; dbias += g[b]
    """
    B, D = x.shape
    # fmt: off
    if (
        gain.shape[0] != D or g.shape != x.shape
        or dx.shape != x.shape or dgain.shape[0] != D or dbias.shape[0] != D
    ):
        raise ShapeError(
            "layer_norm: x, g and dx (B, D), gain, dgain and dbias (D,) must agree; "
            "got ({}, {}), ({}, {}), ({}, {}), ({},), ({},), ({},)",
            B, D, g.shape[0], g.shape[1], dx.shape[0], dx.shape[1],
            gain.shape[0], dgain.shape[0], dbias.shape[0],
        )
    # fmt: on
    for b in range(B):
        mean, scale = mean_and_scale(x, b)
        total, overlap = splat(0.0), splat(0.0)
        for d in range(0, D, LANES):
            i, n = b * D + d, D - d
            y = (load_first(x, i, n, mean) - splat(mean)) * splat(scale)
            share = load_first(g, i, n, 0.0)
            store_first(load_first(dgain, d, n, 0.0) + y * share, dgain, d, n)
            store_first(load_first(dbias, d, n, 0.0) + share, dbias, d, n)
            share = load_first(gain, d, n, 0.0) * share
            total = total + share
            overlap = overlap + y * share
        mean_share, mean_overlap = splat(sum_lanes(total) / D), splat(sum_lanes(overlap) / D)
        for d in range(0, D, LANES):
            i, n = b * D + d, D - d
            y = (load_first(x, i, n, 0.0) - splat(mean)) * splat(scale)
            share = load_first(gain, d, n, 0.0) * load_first(g, i, n, 0.0) - mean_share - y * mean_overlap
            store_first(load_first(dx, i, n, 0.0) + splat(scale) * share, dx, i, n)
