"""The bricks of larger models: layers, norms, attention, and the layout of arrays.

Every brick has the shape that `autollm.primitives` shows. Sizes: B examples (or B words), T places
in a word, D numbers each, H heads of attention, V outputs.
"""

from __future__ import annotations

from typing import Any

from autollm.buffers import Array, empty
from autollm.kernels.attention import causal_attention_backward, causal_attention_forward
from autollm.kernels.cross_entropy import masked_xent_from_logits_forward, xent_from_logits_backward
from autollm.kernels.layout import (
    add_bias_backward,
    add_bias_forward,
    add_positions_backward,
    add_positions_forward,
    concat_backward,
    concat_forward,
)
from autollm.kernels.matmul import linear_backward, linear_forward
from autollm.kernels.norm import (
    layer_norm_backward,
    layer_norm_forward,
    rms_norm_backward,
    rms_norm_forward,
)
from autollm.kernels.simd import LANES
from autollm.node import Node
from autollm.primitives import Ids, Input

# --- linear ------------------------------------------------------------------------------------------


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


def add_bias(x: Input, bias: Input) -> Node:
    """The same numbers added to every row: x (B, D), bias (D,) -> (B, D)."""
    out = empty(x.v.shape)
    add_bias_forward(x.v, bias.v, out)

    def back(g: Array) -> None:
        dbias = bias.bucket()
        add_bias_backward(g, dbias)
        x.back(g)
        bias.back(dbias)

    return Node(out, back)


def add_positions(x: Input, positions: Input) -> Node:
    """Tell every place where it is: x (B, T, D), positions (T or more, D) -> x[b, t] + positions[t].

    The learned position embedding of GPT (Radford et al. 2018).
    """
    out = empty(x.v.shape)
    add_positions_forward(x.v, positions.v, out)

    def back(g: Array) -> None:
        dpositions = positions.bucket()
        add_positions_backward(g, dpositions)
        x.back(g)
        positions.back(dpositions)

    return Node(out, back)


def concat(*parts: Input) -> Node:
    """Rows put end to end: parts (B, D1), (B, D2), ... -> (B, D1 + D2 + ...).

    Its transpose cuts: every part gets its own columns back. Raises ValueError for no parts.
    """
    if not parts:
        raise ValueError("concat needs at least 1 part")
    out = empty((len(parts[0].v), sum(part.v.shape[1] for part in parts)))
    starts = []
    start = 0
    for part in parts:
        concat_forward(part.v, start, out)
        starts.append(start)
        start += part.v.shape[1]

    def back(g: Array) -> None:
        for part, start in zip(parts, starts, strict=True):
            dpart = part.bucket()
            concat_backward(g, start, dpart)
            part.back(dpart)

    return Node(out, back)


def reshape(x: Input, *shape: int) -> Node:
    """The same numbers in the same order, laid out in another shape; nothing is copied."""
    before = x.v.shape
    return Node(x.v.reshape(shape), lambda g: x.back(g.reshape(before)))


# --- nonlinear ---------------------------------------------------------------------------------------


def rms_norm(x: Input) -> Node:
    """Every row divided by the root of its mean square: x (B, D) -> x / sqrt(mean(x**2) + 1e-5).

    Zhang and Sennrich 2019, without the gain, as microgpt has it.
    """
    out = empty(x.v.shape)
    rms_norm_forward(x.v, out)

    def back(g: Array) -> None:
        dx = x.bucket()
        rms_norm_backward(x.v, g, dx)
        x.back(dx)

    return Node(out, back)


def layer_norm(gain: Input, bias: Input, x: Input) -> Node:
    """Every row brought to mean 0 and variance 1, then scaled and shifted: gain, bias (D,), x (B, D).

    gain * (x - mean(x)) / sqrt(variance(x) + 1e-5) + bias (Ba, Kiros and Hinton 2016).
    """
    out = empty(x.v.shape)
    layer_norm_forward(x.v, gain.v, bias.v, out)

    def back(g: Array) -> None:
        dgain, dbias, dx = gain.bucket(), bias.bucket(), x.bucket()
        layer_norm_backward(x.v, gain.v, g, dx, dgain, dbias)
        gain.back(dgain)
        bias.back(dbias)
        x.back(dx)

    return Node(out, back)


def causal_attention(qkv: Input) -> Node:
    """Every place looks back: qkv (B, T, 3, H, D) -> (B, T, H, D).

    qkv holds for each place of each word a query, a key and a value, for H heads of D numbers each.
    In each head, place t mixes the values of the places s <= t with the weights
    softmax_s(query[t] . key[s] / sqrt(D)) (Vaswani et al. 2017, eq. 1 and section 3.2.3).
    ELI5: "which of the letters so far matter now, and what do they have to say?"
    """
    B, T, H, D = (qkv.v.shape[axis] for axis in (0, 1, -2, -1))
    weights = empty((-(-B // LANES), H, T, T, LANES))  # LANES words side by side
    out = empty((B, T, H, D))
    causal_attention_forward(qkv.v, weights, out)

    def back(g: Array) -> None:
        dqkv = qkv.bucket()
        causal_attention_backward(qkv.v, weights, g, dqkv)
        qkv.back(dqkv)

    return Node(out, back)


def masked_xent_from_logits(logits: Input, targets: Ids) -> Node:
    """`xent_from_logits` over the rows whose target is not -1: logits (B, V), targets (B,) -> nats.

    For words of different lengths in one array: what pads them is left out of the mean, which is 0 if
    everything is. Raises IndexError for a target outside -1..V-1.
    """
    surprise = empty(logits.v.shape)
    loss = masked_xent_from_logits_forward(logits.v, targets, surprise)

    def back(g: Any = 1.0) -> None:
        if g == 1.0 and isinstance(logits, Node):
            logits.back(surprise)  # nothing to scale and nothing to add to
            return
        dlogits = logits.bucket()
        xent_from_logits_backward(surprise, g, dlogits)
        logits.back(dlogits)

    return Node(loss, back)
