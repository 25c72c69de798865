"""Bricks that work on each number alone, or on pairs of numbers; all arrays (B, D).

Every brick has the shape that `autollm.bricks` shows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autollm.buffers import Array, empty
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
from autollm.node import Input, Node

# --- linear ------------------------------------------------------------------------------------------


def add(a: Input, b: Input) -> Node:
    """a + b. The derivative of a sum is a copy, so both get the same share: the mirror of `dup`."""
    out = empty(a.v.shape)
    add_forward(a.v, b.v, out)

    def back(g: Array) -> None:
        a.back(g)
        b.back(g)

    return Node(out, back)


# --- nonlinear ---------------------------------------------------------------------------------------


def mul(a: Input, b: Input) -> Node:
    """a * b, number by number: each one's share is the other times g."""
    out = empty(a.v.shape)
    mul_forward(a.v, b.v, out)

    def back(g: Array) -> None:
        da, db = a.bucket(), b.bucket()
        mul_backward(a.v, b.v, g, da, db)
        a.back(da)
        b.back(db)

    return Node(out, back)


def blend(a: Input, b: Input, z: Input) -> Node:
    """(1 - z) * a + z * b, number by number: a slider z from a (at 0) to b (at 1)."""
    out = empty(a.v.shape)
    blend_forward(a.v, b.v, z.v, out)

    def back(g: Array) -> None:
        da, db, dz = a.bucket(), b.bucket(), z.bucket()
        blend_backward(a.v, b.v, z.v, g, da, db, dz)
        a.back(da)
        b.back(db)
        z.back(dz)

    return Node(out, back)


def relu(x: Input) -> Node:
    """max(x, 0) (Nair and Hinton 2010). At 0, where there is a kink, the share is 0."""
    out = empty(x.v.shape)
    relu_forward(x.v, out)
    return Node(out, _through(relu_backward, out, x))


def sigmoid(x: Input) -> Node:
    """1 / (1 + e**-x), with the derivative y * (1 - y): a switch from 0 to 1."""
    out = empty(x.v.shape)
    sigmoid_forward(x.v, out)
    return Node(out, _through(sigmoid_backward, out, x))


def tanh(x: Input) -> Node:
    """(e**x - e**-x) / (e**x + e**-x), with the derivative 1 - y**2: a switch from -1 to 1."""
    out = empty(x.v.shape)
    tanh_forward(x.v, out)
    return Node(out, _through(tanh_backward, out, x))


def gelu(x: Input) -> Node:
    """x * sigmoid(2 * sqrt(2 / pi) * (x + 0.044715 * x**3)), GPT-2's GELU.

    The approximation by tanh of Hendrycks and Gimpel 2016, eq. (2), with (1 + tanh(u)) / 2 written
    as sigmoid(2 u).
    """
    out = empty(x.v.shape)
    gelu_forward(x.v, out)
    return Node(out, _through(gelu_backward, x.v, x))


def _through(backward: Callable[..., None], kept: Array, x: Input) -> Callable[[Any], None]:
    """The `back` of a function of one array whose backward kernel needs only the array `kept`."""

    def back(g: Array) -> None:
        dx = x.bucket()
        backward(kept, g, dx)
        x.back(dx)

    return back
