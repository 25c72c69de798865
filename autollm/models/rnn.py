"""The recurrent network (Elman 1990; Mikolov et al. 2010): one letter after the other, with a state."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from autollm.bricks.embedding import embedding_bag
from autollm.bricks.layout import concat, reshape
from autollm.bricks.matmul import linear, matmul_wh
from autollm.bricks.pointwise import add, tanh
from autollm.buffers import Ids
from autollm.models.model import Initial, Model, Recipe, rows_in_use
from autollm.node import Input, Node, Param, dup


class RNN(Model):
    """h[t] = tanh(W @ E[c[t]] + b + R @ h[t-1]); logits[t] = U @ h[t] + u; h[-1] = 0.

    W @ E[c] + b is what a letter has to say, whenever it comes: it is worked out once for every letter,
    and looked up wherever the letter stands.
    """

    sequence = True
    recipe = Recipe(optimiser="adam", lr=0.012, batch=32)
    at_most: ClassVar = {"context": 64}  # each letter takes up to 12 nested calls of `back`

    def __init__(
        self, vocabulary: int, new: Initial, *, context: int = 16, dim: int = 16, hidden: int = 64
    ) -> None:
        self.E = new.normal(vocabulary, dim)
        self.W, self.R, self.b = self.gate(dim, hidden, new)
        self.U = new.normal(vocabulary, hidden, scale=1 / np.sqrt(hidden))
        self.u = new.constant(0.0, vocabulary)

    def gate(self, dim: int, hidden: int, new: Initial) -> tuple[Param, Param, Param]:
        """Parameters for a letter's code (hidden, dim), the state (hidden, hidden), and a bias."""
        scale = 1 / np.sqrt(dim + hidden)
        w, r = new.normal(hidden, dim, scale=scale), new.normal(hidden, hidden, scale=scale)
        return w, r, new.constant(0.0, hidden)

    def __call__(self, words: Ids) -> Node:
        (B, T), hidden = words.shape, len(self.b.v)
        codes, numbers = rows_in_use(self.E, words)
        tables = [dup(table, T) for table in self.tables(codes)]
        h = Node(np.zeros((B, hidden), np.float32))
        states: list[Node] = []
        for t, letters in enumerate(np.ascontiguousarray(numbers.T)[:, :, None]):  # (B, 1)
            if states:
                states[-1], h = dup(h)  # one to score the next letter, one to go on with
            h = self.next(h, *(embedding_bag(copies[t], letters) for copies in tables))
            states.append(h)
        return linear(self.U, self.u, reshape(concat(*states), -1, hidden))  # (B * T, V)

    def tables(self, codes: Input) -> list[Node]:
        """What letters have to say, (letters, hidden): one for each argument of `next` after the first."""
        return [linear(self.W, self.b, codes)]

    def next(self, h: Node, *said: Node) -> Node:
        """The new state, from the old one and what the letters say, all (B, hidden)."""
        (x,) = said
        return tanh(add(x, matmul_wh(self.R, h)))
