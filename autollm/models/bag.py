"""The bag of embeddings: mix the codes of the last K letters, then score every possible next one."""

from __future__ import annotations

from autollm.bricks.embedding import gather_rows, sum_over_k
from autollm.bricks.matmul import matmul_wh
from autollm.buffers import Ids
from autollm.models.model import Initial, Model, Recipe
from autollm.node import Node


def rate(context: int, batch: int) -> float:
    """The bag adds up K codes, so a step moves its logits K times as far; and a small batch's gradient is
    mostly noise."""
    return 1.5 / context * min(batch / 16, 1.0)


class Bag(Model):
    """logits = W @ (E[c1] + ... + E[cK])

    The logits are linear in E @ W.T, and the loss is convex in them: with D >= V, it has one minimum.
    """

    recipe = Recipe(optimiser="sgd", lr=rate, batch=64)

    def __init__(self, vocabulary: int, new: Initial, *, context: int = 3, dim: int = 32) -> None:
        self.E = new.normal(vocabulary, dim, scale=0.1)  # the letters' secret codes
        self.W = new.normal(vocabulary, dim, scale=0.1)  # what each next letter looks for

    def __call__(self, contexts: Ids) -> Node:
        emb = gather_rows(self.E, contexts)  # (B, K, D)
        h = sum_over_k(emb)  # (B, D)
        return matmul_wh(self.W, h)  # (B, V)


class ReorderedBag(Bag):
    """The same bricks in another order, and the same function: every brick but the loss is linear.

    Multiplying the V rows of E instead of the B rows of h needs B / V times less arithmetic.
    """

    def __call__(self, contexts: Ids) -> Node:
        scores = matmul_wh(self.W, self.E)  # (V, V): what each letter says about the next one
        return sum_over_k(gather_rows(scores, contexts))  # (B, V)
