"""The matrix product of a layer, and its transposes.

All three products of a training step are one loop nest over tiles that stay in registers (simd.py).
"""

import numpy as np

from autollm.kernels.errors import ShapeError
from autollm.kernels.kernel import helper, kernel
from autollm.kernels.simd import (
    LANES,
    REGISTER_LANES,
    ROWS,
    load_first,
    tile_add_outer,
    tile_load,
    tile_store,
    tile_zeros,
    transpose,
)


@helper
def product(a, row_step, step, depth, x, out, add):
    """out = A @ x, or += if add: out (M, N), A (M, depth), x (depth, N), whose rows may be longer than N.

    Element (m, j) of A is at place m * row_step + j * step of `a`, so A may be `a` or its transpose.
    ROWS x LANES of out at a time are summed in registers: for each j, a column of A times a row of x.
    """
    (M, N), pitch = out.shape, x.shape[1]
    tiles = (M + ROWS - 1) // ROWS
    height = (M + tiles - 1) // max(tiles, 1)  # spread evenly: 64 rows are 8 times 8, not 7 times 9 and 1
    for n in range(0, N, LANES):
        for m in range(0, M, height):
            rows = min(height, M - m)
            tile = tile_load(out, m * N + n, N, rows, N - n) if add else tile_zeros()
            for j in range(depth):
                row = load_first(x, j * pitch + n, N - n, 0.0)
                tile = tile_add_outer(tile, a, m * row_step + j * step, row_step, rows, row)
            tile_store(tile, out, m * N + n, N, rows, N - n)


@helper
def transposed(w):
    """w.T (D, V) of w (V, D), in whole squares: what is beyond D and V holds anything."""
    (V, D), side = w.shape, REGISTER_LANES
    pitch = (V + side - 1) // side * side
    out = np.empty(((D + side - 1) // side * side, pitch), w.dtype)
    for v in range(0, V, side):
        for d in range(0, D, side):
            transpose(w, v * D + d, D, V - v, D - d, out, d * pitch + v, pitch)
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
    product(h, D, 1, D, transposed(w), out, False)


@kernel("(f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], i8)")
def matmul_wh_backward(w, h, g, dw, dh, add):
    """dw += g.T @ h; dh += g @ w, or dh = g @ w unless add: w and dw (V, D), h and dh (B, D), g (B, V)"""
    (V, D), B = w.shape, h.shape[0]
    if h.shape[1] != D or g.shape[0] != B or g.shape[1] != V or dw.shape != w.shape or dh.shape != h.shape:
        raise ShapeError(
            "matmul_wh: w and dw (V, D), h and dh (B, D), g (B, V) must agree; "
            "got ({}, {}), ({}, {}), ({}, {}), ({}, {}), ({}, {})",
            V, D, dw.shape[0], dw.shape[1], B, h.shape[1], dh.shape[0], dh.shape[1], g.shape[0], g.shape[1],
        )  # fmt: skip
    product(g, 1, V, B, h, dw, True)
    product(g, V, 1, V, w, dh, add)


@kernel("(f4[:, ::1], f4[::1], f4[:, ::1], f4[:, ::1])")
def linear_forward(w, b, h, out):
    """out = h @ w.T + b: w (V, D), b (V,), h (B, D), out (B, V)"""
    (V, D), B = w.shape, h.shape[0]
    if b.shape[0] != V or h.shape[1] != D or out.shape[0] != B or out.shape[1] != V:
        raise ShapeError(
            "linear: w (V, D), b (V,), h (B, D), out (B, V) must agree; "
            "got ({}, {}), ({},), ({}, {}), ({}, {})",
            V, D, b.shape[0], B, h.shape[1], out.shape[0], out.shape[1],
        )  # fmt: skip
    for row in range(B):
        for v in range(V):
            out[row, v] = b[v]
    product(h, D, 1, D, transposed(w), out, True)


@kernel("(f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[::1], f4[:, ::1], i8)")
def linear_backward(w, h, g, dw, db, dh, add):
    """dw += g.T @ h; db += sum of g's rows; dh += g @ w, or dh = g @ w unless add: w and dw (V, D), db (V,),
    h and dh (B, D), g (B, V)"""
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
    product(g, 1, V, B, h, dw, True)
    for row in range(B):
        for v in range(V):
            db[v] += g[row, v]
    product(g, V, 1, V, w, dh, add)
