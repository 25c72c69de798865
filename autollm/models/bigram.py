"""The bigram: a table that says, for every letter, which letters like to come next."""

from __future__ import annotations

from autollm.bricks.embedding import gather_rows, sum_over_k
from autollm.buffers import Ids
from autollm.node import Node, Param


class Bigram:
    """logits = W[c], c being the last letter: a row of the table, and nothing else."""

    def __init__(self, vocabulary: int) -> None:
        self.W = Param([[0.0] * vocabulary] * vocabulary)

    def __call__(self, contexts: Ids) -> Node:
        return sum_over_k(gather_rows(self.W, contexts))  # contexts (B, 1) -> (B, V)
