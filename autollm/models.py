"""Models: bricks snapped together. A model turns contexts (B, K) into logits (B, V)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autollm.errors import InputError
from autollm.node import Node, Param
from autollm.primitives import Ids, gather_rows, matmul_wh, sum_over_k


class Bag:
    """The bag of embeddings: mix the codes of the last K letters, then score every possible next one.

    Its logits depend on E and W only through E @ W.T, so its training loss has a single minimum.
    """

    def __init__(self, vocabulary: int, dim: int, rng: np.random.Generator) -> None:
        self.E = Param(0.1 * rng.standard_normal((vocabulary, dim)))  # the letters' secret codes
        self.W = Param(0.1 * rng.standard_normal((vocabulary, dim)))  # what each next letter looks for

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


Model = Bag
MAX_SIZE = 1_000_000


@dataclass(frozen=True)
class Config:
    """What a model is made of; the alphabet's size is given apart, since it comes with the data."""

    context: int = 3  # K: how many letters back the model looks
    dim: int = 32  # D: numbers in an embedding

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if type(value) is not int or not 1 <= value <= MAX_SIZE:
                raise InputError(f"{name} must be a whole number from 1 to {MAX_SIZE}, not {value!r}")


def build(config: Config, vocabulary: int, seed: int = 0) -> Model:
    """A new model with random parameters."""
    return Bag(vocabulary, config.dim, np.random.Generator(np.random.PCG64(seed)))


def parameters(model: Model) -> dict[str, Param]:
    """A model's parameters by name, in the order in which it defines them."""
    return {name: value for name, value in vars(model).items() if isinstance(value, Param)}
