"""Letters that look back at the letters before them."""

from __future__ import annotations

from autollm.buffers import Array, empty
from autollm.kernels.attention import causal_attention_backward, causal_attention_forward
from autollm.kernels.simd import LANES
from autollm.node import Input, Node


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
