"""The multi-layer perceptron of Bengio et al. 2003, "A Neural Probabilistic Language Model"."""

from __future__ import annotations

import numpy as np

from autollm.bricks.embedding import embedding_bag
from autollm.bricks.layout import add_bias, reshape
from autollm.bricks.matmul import linear, matmul_wh
from autollm.bricks.pointwise import tanh
from autollm.buffers import Ids
from autollm.models.model import Initial, Model, Recipe, rows_in_use
from autollm.node import Node


class MLP(Model):
    """logits = b + U @ tanh(d + H @ [E[c1], ..., E[cK]]), the paper's eq. (1) without direct connections.

    H has a block of `hidden` rows for each place k, and H @ [E[c1], ..., E[cK]] is the sum of what
    the K blocks make of their letters' codes. A batch has many more letters than the alphabet, so
    every block first meets every letter once; then what they made is looked up and added.
    """

    recipe = Recipe(optimiser="adamw", lr=0.01, batch=256)

    def __init__(
        self, vocabulary: int, new: Initial, *, context: int = 8, dim: int = 32, hidden: int = 128
    ) -> None:
        self.E = new.normal(vocabulary, dim)
        self.H = new.normal(context * hidden, dim, scale=1 / np.sqrt(context * dim))
        self.d = new.constant(0.0, hidden)
        self.U = new.normal(vocabulary, hidden, scale=1 / np.sqrt(hidden))
        self.b = new.constant(0.0, vocabulary)
        self.block = np.arange(context, dtype=np.int32)

    def __call__(self, contexts: Ids) -> Node:
        (K,), hidden = self.block.shape, len(self.d.v)
        if contexts.shape[1:] != (K,):
            raise ValueError(f"mlp: contexts must be (B, {K}), got {contexts.shape}")
        codes, letters = rows_in_use(self.E, contexts)
        made = reshape(matmul_wh(self.H, codes), -1, hidden)  # (letters * K, hidden): row letter * K + k
        h = tanh(add_bias(self.d, embedding_bag(made, letters * np.int32(K) + self.block)))
        return linear(self.U, self.b, h)  # (B, V)
