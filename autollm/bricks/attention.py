"""Letters that look back at the letters before them."""

from __future__ import annotations

from autollm import buffers
from autollm.kernels.attention import causal_attention_backward, causal_attention_forward
from autollm.kernels.simd import LANES
from autollm.node import Input, Node, pullback


def causal_attention(qkv: Input) -> Node:
    """Every place looks back: qkv (B, T, 3, H, D) -> (B, T, H, D).

    qkv holds for each place of each word a query, a key and a value, for H heads of D numbers each.
    In each head, place t mixes the values of the places s <= t with the weights
    softmax_s(query[t] . key[s] / sqrt(D)) (Vaswani et al. 2017, eq. 1 and section 3.2.3).
    ELI5: "which of the letters so far matter now, and what do they have to say?"
    """
    B, T, H, D = (qkv.v.shape[axis] for axis in (0, 1, -2, -1))
    weights = buffers.empty((-(-B // LANES), H, T, T, LANES))  # LANES words side by side
    out = buffers.empty((B, T, H, D))
    causal_attention_forward(qkv.v, weights, out)
    return Node(out, pullback(qkv, causal_attention_backward, qkv.v, weights))
