"""The recurrent network (Elman 1990; Mikolov et al. 2010): one letter after the other, with a memory."""

from __future__ import annotations

import numpy as np

from autollm.bricks.embedding import embedding_bag
from autollm.bricks.layout import concat, reshape
from autollm.bricks.matmul import linear, matmul_wh
from autollm.bricks.pointwise import add, tanh
from autollm.buffers import Ids
from autollm.node import Node, Param, dup


class RNN:
    """h[t] = tanh(W @ E[c[t]] + b + R @ h[t-1]); logits[t] = U @ h[t] + u; h[-1] = 0.

    W @ E[c] + b is what a letter has to say, whenever it comes: it is worked out once for every letter
    of the alphabet, and looked up at every place.
    """

    sequence = True

    def __init__(self, vocabulary: int, dim: int, hidden: int, rng: np.random.Generator) -> None:
        self.E = Param(rng.standard_normal((vocabulary, dim)))
        self.W, self.R, self.b = self.gate(dim, hidden, rng)
        self.U = Param(rng.standard_normal((vocabulary, hidden)) / np.sqrt(hidden))
        self.u = Param(np.zeros(vocabulary))

    def gate(self, dim: int, hidden: int, rng: np.random.Generator) -> tuple[Param, Param, Param]:
        """Parameters for a letter's code (hidden, dim), the memory (hidden, hidden), and a bias."""
        scale = 1 / np.sqrt(dim + hidden)
        w, r = rng.standard_normal((hidden, dim)), rng.standard_normal((hidden, hidden))
        return Param(scale * w), Param(scale * r), Param(np.zeros(hidden))

    def __call__(self, words: Ids) -> Node:
        (B, T), hidden = words.shape, len(self.b.v)
        tables = [dup(table, T) for table in self.tables()]
        h = Node(np.zeros((B, hidden), np.float32))
        states: list[Node] = []
        for t, letters in enumerate(np.ascontiguousarray(words.T)[:, :, None]):  # (B, 1)
            if states:
                states[-1], h = dup(h)  # one to score the next letter, one to go on with
            h = self.next(h, *(embedding_bag(copies[t], letters) for copies in tables))
            states.append(h)
        return linear(self.U, self.u, reshape(concat(*states), -1, hidden))  # (B * T, V)

    def tables(self) -> list[Node]:
        """What every letter has to say: (V, hidden), one for each argument of `next` after the first."""
        return [linear(self.W, self.b, self.E)]

    def next(self, h: Node, *said: Node) -> Node:
        """The new memory, from the old one and what the letters say, all (B, hidden)."""
        (x,) = said
        return tanh(add(x, matmul_wh(self.R, h)))
