"""Putting arrays next to each other, and the same numbers into every row."""

from __future__ import annotations

from collections.abc import Callable

from autollm import buffers
from autollm.buffers import Array
from autollm.kernels.errors import ShapeError
from autollm.kernels.layout import (
    add_bias_backward,
    add_bias_forward,
    add_positions_backward,
    add_positions_forward,
    concat_backward,
    concat_forward,
)
from autollm.node import Input, Node, pullback


def add_bias(bias: Input, x: Input) -> Node:
    """The same numbers added to every row: bias (D,), x (B, D) -> (B, D)."""
    out = buffers.empty(x.v.shape)
    add_bias_forward(bias.v, x.v, out)
    return Node(out, _of_sum(pullback(bias, add_bias_backward), x))


def add_positions(positions: Input, x: Input) -> Node:
    """Tell every place where it is: positions (T or more, D), x (B, T, D) -> x[b, t] + positions[t].

    The learned position embedding of GPT (Radford et al. 2018).
    """
    out = buffers.empty(x.v.shape)
    add_positions_forward(positions.v, x.v, out)
    return Node(out, _of_sum(pullback(positions, add_positions_backward), x))


def _of_sum(back_of_added: Callable[[Array], None], x: Input) -> Callable[[Array], None]:
    """The `back` of x + something else: all that arrives is x's share, and goes to the other's `back`."""

    def back(g: Array) -> None:
        back_of_added(g)
        x.back(g)

    return back


def concat(*parts: Input) -> Node:
    """Rows put end to end: parts (B, D1), (B, D2), ... -> (B, D1 + D2 + ...).

    Its transpose cuts: every part gets its own columns back. Raises ValueError for no parts.
    """
    if not parts:
        raise ValueError("concat needs at least 1 part")
    out = buffers.empty((len(parts[0].v), sum(part.v.shape[1] for part in parts)))
    starts = []
    start = 0
    for part in parts:
        concat_forward(part.v, start, out)
        starts.append(start)
        start += part.v.shape[1]

    def back(g: Array) -> None:
        _check_gradient(g, out)
        for part, start in zip(parts, starts, strict=True):
            dpart, add = part.bucket()
            concat_backward(g, start, dpart, add)
            part.back(dpart)

    return Node(out, back)


def reshape(x: Input, *shape: int) -> Node:
    """The same numbers in the same order, laid out in another shape; nothing is copied."""
    out = x.v.reshape(shape)

    def back(g: Array) -> None:
        _check_gradient(g, out)
        x.back(g.reshape(x.v.shape))

    return Node(out, back)


def _check_gradient(g: Array, out: Array) -> None:
    """Raise ShapeError for an upstream gradient that is not of the output's shape.

    The bricks whose kernels see all of `g` leave this to them.
    """
    if g.shape != out.shape:
        raise ShapeError("a gradient of shape {} for an output of shape {}", g.shape, out.shape)
