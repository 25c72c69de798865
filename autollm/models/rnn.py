"""The recurrent network (Elman 1990; Mikolov et al. 2010): one letter after the other, with a state."""

from __future__ import annotations

import numpy as np

from autollm.bricks.embedding import gather_rows
from autollm.bricks.layout import reshape
from autollm.bricks.matmul import linear
from autollm.bricks.recurrent import rnn
from autollm.buffers import Ids
from autollm.models.model import Initial, Model, Recipe, rows_in_use
from autollm.node import Node


class RNN(Model):
    """h[t] = tanh(W @ E[c[t]] + b + R @ h[t-1]); logits[t] = U @ h[t] + u; h[-1] = 0.

    W @ E[c] + b is what a letter says, whenever it comes: it is worked out once for every letter, and
    looked up wherever the letter stands.
    """

    sequence = True
    recipe = Recipe(optimiser="adamw", lr=0.012, batch=32)

    def __init__(
        self, vocabulary: int, new: Initial, *, context: int = 16, dim: int = 16, hidden: int = 64
    ) -> None:
        scale = 1 / np.sqrt(dim + hidden)
        self.E = new.normal(vocabulary, dim)
        self.W, self.R = new.normal(hidden, dim, scale=scale), new.normal(hidden, hidden, scale=scale)
        self.b = new.constant(0.0, hidden)
        self.U = new.normal(vocabulary, hidden, scale=1 / np.sqrt(hidden))
        self.u = new.constant(0.0, vocabulary)

    def __call__(self, words: Ids) -> Node:
        codes, letters = rows_in_use(self.E, words)
        said = gather_rows(linear(self.W, self.b, codes), letters)  # (B, T, hidden)
        states = reshape(rnn(self.R, said), words.size, -1)
        return linear(self.U, self.u, states)  # (B * T, V)
