"""Bringing every row to a standard size."""

from __future__ import annotations

from autollm import buffers
from autollm.buffers import Array
from autollm.kernels.norm import layer_norm_backward, layer_norm_forward, rms_norm_backward, rms_norm_forward
from autollm.node import Input, Node, pullback


def rms_norm(x: Input) -> Node:
    """Every row divided by the root of its mean square: x (B, D) -> x / sqrt(mean(x**2) + 1e-5).

    Zhang and Sennrich 2019, without the gain, as microgpt has it.
    """
    out = buffers.empty(x.v.shape)
    rms_norm_forward(x.v, out)
    return Node(out, pullback(x, rms_norm_backward, x.v))


def layer_norm(gain: Input, bias: Input, x: Input) -> Node:
    """Every row brought to mean 0 and variance 1, then scaled and shifted: gain, bias (D,), x (B, D).

    gain * (x - mean(x)) / sqrt(variance(x) + 1e-5) + bias (Ba, Kiros and Hinton 2016).
    """
    out = buffers.empty(x.v.shape)
    layer_norm_forward(gain.v, bias.v, x.v, out)

    def back(g: Array) -> None:
        (dgain, add_gain), (dbias, add_bias), (dx, add_x) = gain.bucket(), bias.bucket(), x.bucket()
        layer_norm_backward(gain.v, x.v, g, dgain, add_gain, dbias, add_bias, dx, add_x)
        gain.back(dgain)
        bias.back(dbias)
        x.back(dx)

    return Node(out, back)
