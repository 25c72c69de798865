"""The gated recurrent unit (Cho et al. 2014): a recurrent network that decides what to keep."""

from __future__ import annotations

import numpy as np

from autollm.bricks.matmul import linear, matmul_wh
from autollm.bricks.pointwise import add, blend, mul, sigmoid, tanh
from autollm.models.rnn import RNN
from autollm.node import Node, dup


class GRU(RNN):
    """With x = E[c[t]] and h = h[t-1], the paper's eqs. (5) to (8):

    r = sigmoid(Wr @ x + br + Rr @ h);  z = sigmoid(Wz @ x + bz + Rz @ h)
    h[t] = (1 - z) * h + z * tanh(W @ x + b + R @ (r * h));  logits[t] = U @ h[t] + u
    """

    def __init__(self, vocabulary: int, dim: int, hidden: int, rng: np.random.Generator) -> None:
        super().__init__(vocabulary, dim, hidden, rng)
        self.Wr, self.Rr, self.br = self.gate(dim, hidden, rng)
        self.Wz, self.Rz, self.bz = self.gate(dim, hidden, rng)

    def tables(self) -> list[Node]:
        """What every letter has to say to r, to z, and for the new memory: (V, hidden) each."""
        return [
            linear(self.Wr, self.br, self.E),
            linear(self.Wz, self.bz, self.E),
            linear(self.W, self.b, self.E),
        ]

    def next(self, h: Node, *said: Node) -> Node:
        """The new memory, from the old one and what the letters say, all (B, hidden)."""
        to_r, to_z, x = said
        h, for_r, for_z, old = dup(h, 4)
        r = sigmoid(add(to_r, matmul_wh(self.Rr, for_r)))  # how much of the memory the new idea may see
        z = sigmoid(add(to_z, matmul_wh(self.Rz, for_z)))  # how much of the memory makes way for it
        idea = tanh(add(x, matmul_wh(self.R, mul(r, h))))
        return blend(old, idea, z)
