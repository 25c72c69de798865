"""AutoLLM: a language model you can explain to a five-year-old.

The bricks, for a model of your own: `Node`, `Param`, `dup`, the primitives, and the optimisers.
"""

from autollm.bricks.attention import causal_attention
from autollm.bricks.cross_entropy import masked_xent_from_logits, xent_from_logits
from autollm.bricks.embedding import embedding_bag, gather_rows, sum_over_k
from autollm.bricks.layout import add_bias, add_positions, concat, reshape
from autollm.bricks.matmul import linear, matmul_wh
from autollm.bricks.norm import layer_norm, rms_norm
from autollm.bricks.pointwise import add, blend, gelu, mul, relu, sigmoid, tanh
from autollm.learning.optim import SGD, Adam, Momentum
from autollm.node import Node, Param, dup

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
