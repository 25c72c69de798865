"""Bricks that work on each number alone, or on pairs of numbers; all arrays (B, D).

Every brick has the shape that `autollm.bricks` shows.
"""

from __future__ import annotations

from autollm import buffers
from autollm.buffers import Array
from autollm.kernels.pointwise import (
    add_forward,
    blend_backward,
    blend_forward,
    gelu_backward,
    gelu_forward,
    mul_backward,
    mul_forward,
    relu_backward,
    relu_forward,
    sigmoid_backward,
    sigmoid_forward,
    tanh_backward,
    tanh_forward,
)
from autollm.node import Input, Node, pullback

# --- linear ------------------------------------------------------------------------------------------


def add(a: Input, b: Input) -> Node:
    """a + b. The derivative of a sum is a copy, so both get the same share: the mirror of `dup`."""
    out = buffers.empty(a.v.shape)
    add_forward(a.v, b.v, out)

    def back(g: Array) -> None:
        a.back(g)
        b.back(g)

    return Node(out, back)


# --- nonlinear ---------------------------------------------------------------------------------------


def mul(a: Input, b: Input) -> Node:
    """a * b, number by number: each one's share is the other times g."""
    out = buffers.empty(a.v.shape)
    mul_forward(a.v, b.v, out)

    def back(g: Array) -> None:
        (da, add_a), (db, add_b) = a.bucket(), b.bucket()
        mul_backward(a.v, b.v, g, da, add_a, db, add_b)
        a.back(da)
        b.back(db)

    return Node(out, back)


def blend(a: Input, b: Input, z: Input) -> Node:
    """(1 - z) * a + z * b, number by number: a slider z from a (at 0) to b (at 1)."""
    out = buffers.empty(a.v.shape)
    blend_forward(a.v, b.v, z.v, out)

    def back(g: Array) -> None:
        (da, add_a), (db, add_b), (dz, add_z) = a.bucket(), b.bucket(), z.bucket()
        blend_backward(a.v, b.v, z.v, g, da, add_a, db, add_b, dz, add_z)
        a.back(da)
        b.back(db)
        z.back(dz)

    return Node(out, back)


def relu(x: Input) -> Node:
    """max(x, 0) (Nair and Hinton 2010). At 0, where there is a kink, the share is 0."""
    out = buffers.empty(x.v.shape)
    relu_forward(x.v, out)
    return Node(out, pullback(x, relu_backward, out))


def sigmoid(x: Input) -> Node:
    """1 / (1 + e**-x), with the derivative y * (1 - y): a switch from 0 to 1."""
    out = buffers.empty(x.v.shape)
    sigmoid_forward(x.v, out)
    return Node(out, pullback(x, sigmoid_backward, out))


def tanh(x: Input) -> Node:
    """(e**x - e**-x) / (e**x + e**-x), with the derivative 1 - y**2: a switch from -1 to 1."""
    out = buffers.empty(x.v.shape)
    tanh_forward(x.v, out)
    return Node(out, pullback(x, tanh_backward, out))


def gelu(x: Input) -> Node:
    """x * sigmoid(2 * sqrt(2 / pi) * (x + 0.044715 * x**3)), GPT-2's GELU.

    The approximation by tanh of Hendrycks and Gimpel 2016, eq. (2), with (1 + tanh(u)) / 2 written
    as sigmoid(2 u).
    """
    out = buffers.empty(x.v.shape)
    gelu_forward(x.v, out)
    return Node(out, pullback(x, gelu_backward, x.v))
