"""Putting arrays next to each other, and the same numbers into every row."""

from autollm.kernels.errors import ShapeError
from autollm.kernels.kernel import helper, kernel


@helper
def check_columns(part, start, whole):
    if start < 0 or start > whole.shape[1] - part.shape[1]:
        raise ShapeError(
            "concat: a part of {} columns does not fit into {} from column {} on",
            part.shape[1], whole.shape[1], start,
        )  # fmt: skip


@kernel("part (B, D), start i8, out (B, S)")
def concat_forward(part, start, out):
    """out[:, start : start + D] = part"""
    check_columns(part, start, out)
    for b in range(part.shape[0]):
        for d in range(part.shape[1]):
            out[b, start + d] = part[b, d]


@kernel("g (B, S), start i8, dpart (B, D), add i8")
def concat_backward(g, start, dpart, add):
    """dpart = g[:, start : start + D], or += if add"""
    check_columns(dpart, start, g)
    for b in range(dpart.shape[0]):
        for d in range(dpart.shape[1]):
            dpart[b, d] = dpart[b, d] + g[b, start + d] if add else g[b, start + d]


@helper
def check_positions(positions, T):
    if positions.shape[0] < T:
        raise ShapeError("add_positions: {} places need positions, there are {}", T, positions.shape[0])


@kernel("positions (P, D), x (B, T, D), out (B, T, D)")
def add_positions_forward(positions, x, out):
    """out[b, t] = x[b, t] + positions[t], where P is T or more"""
    B, T, D = x.shape
    check_positions(positions, T)
    for b in range(B):
        for t in range(T):
            for d in range(D):
                out[b, t, d] = x[b, t, d] + positions[t, d]


@kernel("g (B, T, D), dpositions (P, D), add i8")
def add_positions_backward(g, dpositions, add):
    """dpositions[t] += sum over b of g[b, t], from 0 on unless add"""
    B, T, D = g.shape
    check_positions(dpositions, T)
    if not add:
        dpositions[:] = 0
    for b in range(B):
        for t in range(T):
            for d in range(D):
                dpositions[t, d] += g[b, t, d]


@kernel("bias (D), x (B, D), out (B, D)")
def add_bias_forward(bias, x, out):
    """out[b] = x[b] + bias"""
    B, D = x.shape
    for b in range(B):
        for d in range(D):
            out[b, d] = x[b, d] + bias[d]


@kernel("g (B, D), dbias (D), add i8")
def add_bias_backward(g, dbias, add):
    """dbias += sum over b of g[b], from 0 on unless add"""
    B, D = g.shape
    if not add:
        dbias[:] = 0
    for b in range(B):
        for d in range(D):
            dbias[d] += g[b, d]
