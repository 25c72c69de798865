"""The recurrent network (Elman 1990; Mikolov et al. 2010): one letter after the other, with a memory."""

from __future__ import annotations

import numpy as np

from autollm.layers import concat, linear, reshape
from autollm.node import Node, Param, dup
from autollm.pointwise import tanh
from autollm.primitives import Ids, embedding_bag


class RNN:
    """h[t] = tanh(W @ [E[c[t]], h[t-1]] + b); logits[t] = U @ h[t] + u; h[-1] = 0."""

    sequence = True

    def __init__(self, vocabulary: int, dim: int, hidden: int, rng: np.random.Generator) -> None:
        self.E = Param(rng.standard_normal((vocabulary, dim)))
        self.W = Param(rng.standard_normal((hidden, dim + hidden)) / np.sqrt(dim + hidden))
        self.b = Param(np.zeros(hidden))
        self.U = Param(rng.standard_normal((vocabulary, hidden)) / np.sqrt(hidden))
        self.u = Param(np.zeros(vocabulary))

    def __call__(self, words: Ids) -> Node:
        hidden = len(self.b.v)
        h = Node(np.zeros((len(words), hidden), np.float32))
        states: list[Node] = []
        for letters in np.ascontiguousarray(words.T)[:, :, None]:  # (B, 1) at every place
            if states:
                states[-1], h = dup(h)  # one to score the next letter, one to go on with
            h = self.next(embedding_bag(self.E, letters), h)
            states.append(h)
        return linear(self.U, self.u, reshape(concat(*states), -1, hidden))  # (B * T, V)

    def next(self, x: Node, h: Node) -> Node:
        """The new memory, from a letter's code x (B, D) and the old memory h (B, hidden)."""
        return tanh(linear(self.W, self.b, concat(x, h)))
