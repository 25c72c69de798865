"""The matrix product of a layer, without a bias and with one."""

from __future__ import annotations

from autollm import buffers
from autollm.buffers import Array
from autollm.kernels.matmul import linear_backward, linear_forward, matmul_wh_backward, matmul_wh_forward
from autollm.node import Input, Node


def matmul_wh(w: Input, h: Input) -> Node:
    """Multiply every row of h by a matrix: w (V, D), h (B, D) -> h @ w.T, (B, V).

    ELI5: "score every possible next letter". Linear in each of its inputs, so each one's share is
    the other, transposed: dw = g.T @ h, dh = g @ w.
    """
    out = buffers.empty((len(h.v), len(w.v)))
    matmul_wh_forward(w.v, h.v, out)

    def back(g: Array) -> None:
        (dw, add_w), (dh, add_h) = w.bucket(), h.bucket()
        matmul_wh_backward(w.v, h.v, g, dw, add_w, dh, add_h)
        w.back(dw)
        h.back(dh)

    return Node(out, back)


def linear(w: Input, b: Input, h: Input) -> Node:
    """A layer with a bias: w (V, D), b (V,), h (B, D) -> h @ w.T + b, (B, V).

    `matmul_wh(w, h)` is the same without a bias.
    """
    out = buffers.empty((len(h.v), len(w.v)))
    linear_forward(w.v, b.v, h.v, out)

    def back(g: Array) -> None:
        (dw, add_w), (db, add_b), (dh, add_h) = w.bucket(), b.bucket(), h.bucket()
        linear_backward(w.v, h.v, g, dw, add_w, db, add_b, dh, add_h)
        w.back(dw)
        b.back(db)
        h.back(dh)

    return Node(out, back)
