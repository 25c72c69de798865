"""The matrix product of a layer, without a bias and with one."""

from __future__ import annotations

from autollm.buffers import Array, empty
from autollm.kernels.matmul import linear_backward, linear_forward, matmul_wh_backward, matmul_wh_forward
from autollm.node import Input, Node


def matmul_wh(w: Input, h: Input) -> Node:
    """Multiply every row of h by a matrix: w (V, D), h (B, D) -> h @ w.T, (B, V).

    ELI5: "score every possible next letter". Linear in each of its inputs, so each one's share is
    the other, transposed: dw = g.T @ h, dh = g @ w.
    """
    out = empty((len(h.v), len(w.v)))
    matmul_wh_forward(w.v, h.v, out)

    def back(g: Array) -> None:
        dw, dh = w.bucket(), h.bucket(False)
        matmul_wh_backward(w.v, h.v, g, dw, dh, h.collects)
        w.back(dw)
        h.back(dh)

    return Node(out, back)


def linear(w: Input, b: Input, h: Input) -> Node:
    """A layer with a bias: w (V, D), b (V,), h (B, D) -> h @ w.T + b, (B, V).

    `matmul_wh(w, h)` is the same without a bias.
    """
    out = empty((len(h.v), len(w.v)))
    linear_forward(w.v, b.v, h.v, out)

    def back(g: Array) -> None:
        dw, db, dh = w.bucket(), b.bucket(), h.bucket(False)
        linear_backward(w.v, h.v, g, dw, db, dh, h.collects)
        w.back(dw)
        b.back(db)
        h.back(dh)

    return Node(out, back)
