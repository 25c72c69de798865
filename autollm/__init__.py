"""AutoLLM: a language model you can explain to a five-year-old.

The bricks, for a model of your own: `Node`, `Param`, `dup`, the primitives, and the optimisers.
"""

from autollm.layers import (
    add_bias,
    add_positions,
    causal_attention,
    concat,
    layer_norm,
    linear,
    masked_xent_from_logits,
    reshape,
    rms_norm,
)
from autollm.node import Node, Param, dup
from autollm.optim import SGD, Adam, Momentum
from autollm.pointwise import add, blend, gelu, mul, relu, sigmoid, tanh
from autollm.primitives import embedding_bag, gather_rows, matmul_wh, sum_over_k, xent_from_logits

__all__ = [
    "SGD",
    "Adam",
    "Momentum",
    "Node",
    "Param",
    "add",
    "add_bias",
    "add_positions",
    "blend",
    "causal_attention",
    "concat",
    "dup",
    "embedding_bag",
    "gather_rows",
    "gelu",
    "layer_norm",
    "linear",
    "masked_xent_from_logits",
    "matmul_wh",
    "mul",
    "relu",
    "reshape",
    "rms_norm",
    "sigmoid",
    "sum_over_k",
    "tanh",
    "xent_from_logits",
]
