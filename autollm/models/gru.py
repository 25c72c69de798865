"""The gated recurrent unit (Cho et al. 2014): a recurrent network that decides what to keep."""

from __future__ import annotations

import numpy as np

from autollm.bricks.embedding import gather_rows
from autollm.bricks.layout import reshape
from autollm.bricks.matmul import linear
from autollm.bricks.recurrent import gru
from autollm.buffers import Ids
from autollm.models.model import Initial, Model, Recipe, rows_in_use
from autollm.node import Node


class GRU(Model):
    """As `RNN`, with another cell, which has two switches: with x[t] = W @ E[c[t]] + b in three parts,

    reset = sigmoid(x[t, 0] + R[0] @ h[t-1]);  z = sigmoid(x[t, 1] + R[1] @ h[t-1])
    h[t] = (1 - z) * h[t-1] + z * tanh(x[t, 2] + R[2] @ (reset * h[t-1]));  logits[t] = U @ h[t] + u
    """

    sequence = True
    recipe = Recipe(optimiser="adamw", lr=0.025, batch=64)

    def __init__(
        self, vocabulary: int, new: Initial, *, context: int = 16, dim: int = 16, hidden: int = 64
    ) -> None:
        scale = 1 / np.sqrt(dim + hidden)
        self.E = new.normal(vocabulary, dim)
        self.W, self.R = new.normal(3 * hidden, dim, scale=scale), new.normal(3, hidden, hidden, scale=scale)
        self.b = new.constant(0.0, 3 * hidden)
        self.U = new.normal(vocabulary, hidden, scale=1 / np.sqrt(hidden))
        self.u = new.constant(0.0, vocabulary)

    def __call__(self, words: Ids) -> Node:
        codes, letters = rows_in_use(self.E, words)
        said = gather_rows(linear(self.W, self.b, codes), letters)  # (B, T, 3 * hidden)
        states = gru(self.R, reshape(said, *words.shape, 3, -1))
        return linear(self.U, self.u, reshape(states, words.size, -1))  # (B * T, V)
