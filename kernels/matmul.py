"""The matrix product of a layer, and its transposes.

All three products of a training step are one loop nest over tiles that stay in registers (simd.py).
"""

import numpy as np

from autollm.kernels.jit import ShapeError, helper, kernel
from autollm.kernels.simd import LANES, ROWS, load_first, tile_add_outer, tile_load, tile_store, tile_zero


@helper
def product(a, row_step, step, x, columns, out, add):
    """out = A @ x[:, :columns], or += if `add`: A (M, n), x (n, at least columns), out (M, columns).

    Element (m, j) of A is at place m * row_step + j * step of `a`, so A may be `a` or its transpose.
    """
    rows, depth, pitch = out.shape[0], x.shape[0], x.shape[1]
    for column in range(0, columns, LANES):
        width = columns - column
        for row in range(0, rows, ROWS):
            height = rows - row
            corner = row * columns + column
            if add:
                tile = tile_load(out, corner, columns, height, width)
            else:
                tile = tile_zero()
            for j in range(depth):
                x_row = load_first(x, j * pitch + column, width, 0.0)
                tile = tile_add_outer(tile, a, row * row_step + j * step, row_step, height, x_row)
            tile_store(tile, out, corner, columns, height, width)


@helper
def transpose(w):
    """w.T as an array of its own."""
    rows, columns = w.shape
    out = np.empty((columns, rows), w.dtype)
    for row in range(rows):
        for column in range(columns):
            out[column, row] = w[row, column]
    return out


@kernel("(f4[:, ::1], f4[:, ::1], f4[:, ::1])")
def matmul_wh_forward(w, h, out):
    """out = h @ w.T: w (V, D), h (B, D), out (B, V)"""
    (V, D), B = w.shape, h.shape[0]
    if h.shape[1] != D or out.shape[0] != B or out.shape[1] != V:
        raise ShapeError(
            "matmul_wh: w (V, D), h (B, D), out (B, V) must agree; got ({}, {}), ({}, {}), ({}, {})",
            V, D, B, h.shape[1], out.shape[0], out.shape[1],
        )  # fmt: skip
    product(h, D, 1, transpose(w), V, out, False)


@kernel("(f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1])")
def matmul_wh_backward(w, h, g, dw, dh):
    """dw += g.T @ h; dh += g @ w: w and dw (V, D), h and dh (B, D), g (B, V)"""
    (V, D), B = w.shape, h.shape[0]
    if h.shape[1] != D or g.shape[0] != B or g.shape[1] != V or dw.shape != w.shape or dh.shape != h.shape:
        raise ShapeError(
            "matmul_wh: w and dw (V, D), h and dh (B, D), g (B, V) must agree; "
            "got ({}, {}), ({}, {}), ({}, {}), ({}, {}), ({}, {})",
            V, D, dw.shape[0], dw.shape[1], B, h.shape[1], dh.shape[0], dh.shape[1], g.shape[0], g.shape[1],
        )  # fmt: skip
    product(g, 1, V, h, D, dw, True)
    product(g, V, 1, w, D, dh, True)


@kernel("(f4[:, ::1], f4[::1], f4[:, ::1], f4[:, ::1])")
def linear_forward(w, b, h, out):
    """out = h @ w.T + b: w (V, D), b (V,), h (B, D), out (B, V)"""
    (V, D), B = w.shape, h.shape[0]
    if b.shape[0] != V or h.shape[1] != D or out.shape[0] != B or out.shape[1] != V:
        raise ShapeError(
            "linear: w (V, D), b (V,), h (B, D), out (B, V) must agree; got ({}, {}), ({},), ({}, {}), ({}, {})",
            V, D, b.shape[0], B, h.shape[1], out.shape[0], out.shape[1],
        )  # fmt: skip
    for row in range(B):
        for v in range(V):
            out[row, v] = b[v]
    product(h, D, 1, transpose(w), V, out, True)


@kernel("(f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[::1], f4[:, ::1])")
def linear_backward(w, h, g, dw, db, dh):
    """dw += g.T @ h; db += sum of g's rows; dh += g @ w: w and dw (V, D), db (V,), h and dh (B, D), g (B, V)"""
    (V, D), B = w.shape, h.shape[0]
    # fmt: off
    if (
        h.shape[1] != D or g.shape[0] != B or g.shape[1] != V
        or dw.shape != w.shape or db.shape[0] != V or dh.shape != h.shape
    ):
        raise ShapeError(
            "linear: w and dw (V, D), db (V,), h and dh (B, D), g (B, V) must agree; "
            "got ({}, {}), ({}, {}), ({},), ({}, {}), ({}, {}), ({}, {})",
            V, D, dw.shape[0], dw.shape[1], db.shape[0],
            B, h.shape[1], dh.shape[0], dh.shape[1], g.shape[0], g.shape[1],
        )
    # fmt: on
    product(g, 1, V, h, D, dw, True)
    for row in range(B):
        for v in range(V):
            db[v] += g[row, v]
    product(g, V, 1, w, D, dh, True)
