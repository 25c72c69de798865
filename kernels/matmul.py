"""The matrix product of a layer, and its transposes.

All three products of a training step are one loop nest over tiles that stay in registers (simd.py).
"""

from autollm.kernels.kernel import helper, kernel
from autollm.kernels.simd import (
    DEPTH,
    LANES,
    REGISTER_LANES,
    ROWS,
    aligned_zeros,
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

    Element (m, j) of A is at offset m * row_step + j * step of `a`, so A may be `a` or its transpose.
    ROWS x LANES of out at a time are summed in registers: for each j, a column of A times a row of x. The
    tiles below each other read the same rows of x, so these are taken DEPTH at a time, which stay in a cache.
    """
    (M, N), stride = out.shape, x.shape[1]
    tiles = (M + ROWS - 1) // ROWS
    height = max(M // max(tiles, 1), 1)  # spread evenly: 27 rows are not 4 times 6 and 3, but 6, 6, 5, 5, 5
    split = (M - tiles * height) * (height + 1)  # tiles with a row more come first, down to here
    for start in range(0, max(depth, 1), DEPTH):  # once for a sum of nothing, which is zeros
        end, more = min(start + DEPTH, depth), add or start > 0
        for n in range(0, N, LANES):
            for rows, first, stop in ((height + 1, 0, split), (height, split, M)):
                for m in range(first, stop, rows):
                    tile = tile_load(out, m * N + n, N, rows, N - n) if more else tile_zeros()
                    for j in range(start, end):
                        row = load_first(x, j * stride + n, stride - n)
                        tile = tile_add_outer(tile, a, m * row_step + j * step, row_step, rows, row)
                    tile_store(tile, out, m * N + n, N, rows, N - n)


@helper
def transposed(w):
    """w.T (D, V) of w (V, D), its rows in whole vectors: what is beyond D and V is not a part of it.

    The number of vectors is odd: rows a power of two apart would all want the same few places of a cache.
    """
    (V, D), side = w.shape, REGISTER_LANES
    stride = ((V + LANES - 1) // LANES | 1) * LANES
    out = aligned_zeros((D + side - 1) // side * side, stride, w.dtype)
    for v in range(0, V, side):
        for d in range(0, D, side):
            transpose(w, v * D + d, D, V - v, D - d, out, d * stride + v, stride)
    return out


@kernel("w (V, D), h (B, D), out (B, V)")
def matmul_wh_forward(w, h, out):
    """out = h @ w.T"""
    D = w.shape[1]
    product(h, D, 1, D, transposed(w), out, False)


@kernel("w (V, D), h (B, D), g (B, V), dw (V, D), add_w i8, dh (B, D), add_h i8")
def matmul_wh_backward(w, h, g, dw, add_w, dh, add_h):
    """Shares: g.T @ h for w, g @ w for h."""
    B, V = g.shape
    product(g, 1, V, B, h, dw, add_w)
    product(g, V, 1, V, w, dh, add_h)


@kernel("w (V, D), b (V), h (B, D), out (B, V)")
def linear_forward(w, b, h, out):
    """out = h @ w.T + b"""
    (B, V), D = out.shape, w.shape[1]
    for row in range(B):
        for v in range(V):
            out[row, v] = b[v]
    product(h, D, 1, D, transposed(w), out, True)


@kernel("w (V, D), h (B, D), g (B, V), dw (V, D), add_w i8, db (V), add_b i8, dh (B, D), add_h i8")
def linear_backward(w, h, g, dw, add_w, db, add_b, dh, add_h):
    """Shares: g.T @ h for w, the sum of g's rows for b, g @ w for h."""
    B, V = g.shape
    product(g, 1, V, B, h, dw, add_w)
    if not add_b:
        db[:] = 0
    for row in range(B):
        for v in range(V):
            db[v] += g[row, v]
    product(g, V, 1, V, w, dh, add_h)
