"""The gated recurrent unit (Cho et al. 2014): a recurrent network that decides what to keep."""

from __future__ import annotations

from autollm.bricks.matmul import linear, matmul_wh
from autollm.bricks.pointwise import add, blend, mul, sigmoid, tanh
from autollm.models.model import Initial, Recipe
from autollm.models.rnn import RNN
from autollm.node import Input, Node, dup


class GRU(RNN):
    """With x = E[c[t]] and h = h[t-1], the paper's eqs. (5) to (8):

    r = sigmoid(Wr @ x + br + Rr @ h);  z = sigmoid(Wz @ x + bz + Rz @ h)
    h[t] = (1 - z) * h + z * tanh(W @ x + b + R @ (r * h));  logits[t] = U @ h[t] + u
    """

    recipe = Recipe(optimiser="adam", lr=0.025, batch=64)

    def __init__(
        self, vocabulary: int, new: Initial, *, context: int = 16, dim: int = 16, hidden: int = 64
    ) -> None:
        super().__init__(vocabulary, new, context=context, dim=dim, hidden=hidden)
        self.Wr, self.Rr, self.br = self.gate(dim, hidden, new)
        self.Wz, self.Rz, self.bz = self.gate(dim, hidden, new)

    def tables(self, codes: Input) -> list[Node]:
        """What letters have to say to r, to z, and for the new state: (letters, hidden) each."""
        for_r, for_z, x = dup(codes, 3)
        return [linear(self.Wr, self.br, for_r), linear(self.Wz, self.bz, for_z), linear(self.W, self.b, x)]

    def next(self, h: Node, *said: Node) -> Node:
        """The new state, from the old one and what the letters say, all (B, hidden)."""
        to_r, to_z, x = said
        h, for_r, for_z, old = dup(h, 4)
        r = sigmoid(add(to_r, matmul_wh(self.Rr, for_r)))  # how much of the state the candidate may see
        z = sigmoid(add(to_z, matmul_wh(self.Rz, for_z)))  # how much of the state makes way for it
        candidate = tanh(add(x, matmul_wh(self.R, mul(r, h))))
        return blend(old, candidate, z)
