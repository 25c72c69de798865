"""Putting arrays next to each other, and the same numbers into every row."""

from autollm.kernels.errors import ShapeError
from autollm.kernels.kernel import helper, kernel


@helper
def check_columns(part, start, whole):
    if whole.shape[0] != part.shape[0] or start < 0 or start > whole.shape[1] - part.shape[1]:
        raise ShapeError(
            "concat: a part ({}, {}) does not fit in ({}, {}) from column {} on; "
            "all parts need the same rows",
            part.shape[0], part.shape[1], whole.shape[0], whole.shape[1], start,
        )  # fmt: skip


@kernel("(f4[:, ::1], i8, f4[:, ::1])")
def concat_forward(part, start, out):
    """out[:, start : start + D] = part: part (B, D), out (B, at least start + D)"""
    check_columns(part, start, out)
    for b in range(part.shape[0]):
        for d in range(part.shape[1]):
            out[b, start + d] = part[b, d]


@kernel("(f4[:, ::1], i8, f4[:, ::1])")
def concat_backward(g, start, dpart):
    """dpart += g[:, start : start + D]"""
    check_columns(dpart, start, g)
    for b in range(dpart.shape[0]):
        for d in range(dpart.shape[1]):
            dpart[b, d] += g[b, start + d]


@helper
def check_positions(x, positions):
    if x.shape[1] > positions.shape[0] or x.shape[2] != positions.shape[1]:
        raise ShapeError(
            "add_positions: x (B, T, D) needs positions (T or more, D); got ({}, {}, {}), ({}, {})",
            x.shape[0], x.shape[1], x.shape[2], positions.shape[0], positions.shape[1],
        )  # fmt: skip


@kernel("(f4[:, :, ::1], f4[:, ::1], f4[:, :, ::1])")
def add_positions_forward(x, positions, out):
    """out[b, t] = x[b, t] + positions[t]: x and out (B, T, D), positions (T or more, D)"""
    check_positions(x, positions)
    check_positions(out, positions)
    B, T, D = x.shape
    if out.shape[0] != B or out.shape[1] != T:
        raise ShapeError("add_positions: x ({}, {}, D) but out ({}, {}, D)", B, T, out.shape[0], out.shape[1])
    for b in range(B):
        for t in range(T):
            for d in range(D):
                out[b, t, d] = x[b, t, d] + positions[t, d]


@kernel("(f4[:, :, ::1], f4[:, ::1])")
def add_positions_backward(g, dpositions):
    """dpositions[t] += sum over b of g[b, t]"""
    check_positions(g, dpositions)
    B, T, D = g.shape
    for b in range(B):
        for t in range(T):
            for d in range(D):
                dpositions[t, d] += g[b, t, d]


@kernel("(f4[:, ::1], f4[::1], f4[:, ::1])")
def add_bias_forward(x, bias, out):
    """out[b] = x[b] + bias: x and out (B, D), bias (D,)"""
    B, D = x.shape
    if bias.shape[0] != D or out.shape != x.shape:
        raise ShapeError(
            "add_bias: x and out (B, D), bias (D,) must agree; got ({}, {}), ({}, {}), ({},)",
            B, D, out.shape[0], out.shape[1], bias.shape[0],
        )  # fmt: skip
    for b in range(B):
        for d in range(D):
            out[b, d] = x[b, d] + bias[d]


@kernel("(f4[:, ::1], f4[::1])")
def add_bias_backward(g, dbias):
    """dbias += sum over b of g[b]: g (B, D)"""
    B, D = g.shape
    if dbias.shape[0] != D:
        raise ShapeError("add_bias: g ({}, {}) but dbias ({},)", B, D, dbias.shape[0])
    for b in range(B):
        for d in range(D):
            dbias[d] += g[b, d]
