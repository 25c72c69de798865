"""Bringing every row to a standard size."""

from __future__ import annotations

from autollm.buffers import Array, empty
from autollm.kernels.norm import layer_norm_backward, layer_norm_forward, rms_norm_backward, rms_norm_forward
from autollm.node import Input, Node


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
