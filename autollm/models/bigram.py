"""The bigram: a table that says, for every letter, which letters like to come next."""

from __future__ import annotations

from typing import ClassVar

from autollm.bricks.embedding import gather_rows, sum_over_k
from autollm.buffers import Ids
from autollm.models.model import Initial, Model, Recipe
from autollm.node import Node


class Bigram(Model):
    """logits = W[c], c being the last letter: a row of the table, and nothing else."""

    recipe = Recipe(optimiser="adam", lr=0.1, batch=256)
    at_most: ClassVar = {"context": 1}

    def __init__(self, vocabulary: int, new: Initial, *, context: int = 1) -> None:
        self.W = new.constant(0.0, vocabulary, vocabulary)

    def __call__(self, contexts: Ids) -> Node:
        return sum_over_k(gather_rows(self.W, contexts))  # contexts (B, 1) -> (B, V)
