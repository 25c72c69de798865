"""AutoLLM: a language model you can explain to a five-year-old.

The bricks, for a model of your own: `Node`, `Param`, `dup`, the primitives, and `SGD`.
"""

from autollm.node import Node, Param, dup
from autollm.optim import SGD
from autollm.primitives import embedding_bag, gather_rows, matmul_wh, sum_over_k, xent_from_logits

__all__ = [
    "SGD",
    "Node",
    "Param",
    "dup",
    "embedding_bag",
    "gather_rows",
    "matmul_wh",
    "sum_over_k",
    "xent_from_logits",
]
