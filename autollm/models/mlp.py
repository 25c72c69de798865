"""The multi-layer perceptron of Bengio et al. 2003, "A Neural Probabilistic Language Model"."""

from __future__ import annotations

import numpy as np

from autollm.bricks.embedding import embedding_bag
from autollm.bricks.layout import add_bias, reshape
from autollm.bricks.matmul import linear, matmul_wh
from autollm.bricks.pointwise import tanh
from autollm.buffers import Ids
from autollm.node import Node, Param


class MLP:
    """logits = b + U @ tanh(d + H @ [E[c1], ..., E[cK]]), the paper's eq. (1) without direct connections.

    H has a block of `hidden` rows for each place k, and H @ [E[c1], ..., E[cK]] is the sum of what
    the K blocks make of their letters' codes. A batch has many more letters than the alphabet, so
    every block first meets every letter once; then what they made is looked up and added.
    """

    def __init__(
        self, vocabulary: int, context: int, dim: int, hidden: int, rng: np.random.Generator
    ) -> None:
        self.E = Param(rng.standard_normal((vocabulary, dim)))
        self.H = Param(rng.standard_normal((context * hidden, dim)) / np.sqrt(context * dim))
        self.d = Param(np.zeros(hidden))
        self.U = Param(rng.standard_normal((vocabulary, hidden)) / np.sqrt(hidden))
        self.b = Param(np.zeros(vocabulary))
        self.first_row = np.arange(context, dtype=np.int32)

    def __call__(self, contexts: Ids) -> Node:
        (K,), hidden = self.first_row.shape, len(self.d.v)
        if contexts.shape[1:] != (K,):
            raise ValueError(f"mlp: contexts must be (B, {K}), got {contexts.shape}")
        blocks = reshape(matmul_wh(self.H, self.E), -1, hidden)  # (V * K, hidden): row v * K + k
        h = tanh(add_bias(embedding_bag(blocks, contexts * np.int32(K) + self.first_row), self.d))
        return linear(self.U, self.b, h)  # (B, V)
