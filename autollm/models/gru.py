"""The gated recurrent unit (Cho et al. 2014): a recurrent network that decides what to keep."""

from __future__ import annotations

import numpy as np

from autollm.layers import concat, linear
from autollm.models.rnn import RNN
from autollm.node import Node, Param, dup
from autollm.pointwise import blend, mul, sigmoid, tanh


class GRU(RNN):
    """With x = E[c[t]] and h = h[t-1], the paper's eqs. (5) to (8):

    r = sigmoid(R @ [x, h] + r0);  z = sigmoid(Z @ [x, h] + z0)
    h[t] = (1 - z) * h + z * tanh(W @ [x, r * h] + b);  logits[t] = U @ h[t] + u
    """

    def __init__(self, vocabulary: int, dim: int, hidden: int, rng: np.random.Generator) -> None:
        super().__init__(vocabulary, dim, hidden, rng)
        self.R = Param(rng.standard_normal((hidden, dim + hidden)) / np.sqrt(dim + hidden))
        self.r = Param(np.zeros(hidden))
        self.Z = Param(rng.standard_normal((hidden, dim + hidden)) / np.sqrt(dim + hidden))
        self.z = Param(np.zeros(hidden))

    def next(self, x: Node, h: Node) -> Node:
        """The new memory, from a letter's code x (B, D) and the old memory h (B, hidden)."""
        x, x_again = dup(x)
        h, h_again, old = dup(h, 3)
        both, both_again = dup(concat(x, h))
        r = sigmoid(linear(self.R, self.r, both))  # how much of the memory the new idea may see
        z = sigmoid(linear(self.Z, self.z, both_again))  # how much of the memory makes way for it
        idea = tanh(linear(self.W, self.b, concat(x_again, mul(r, h_again))))
        return blend(old, idea, z)
