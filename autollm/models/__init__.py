"""Models: bricks snapped together.

There are two kinds, told apart by `sequence`. A window model turns contexts (B, K), the last K
letters before a place, into logits (B, V) for that place. A sequence model reads whole words
(B, T) and scores the next letter at every place: logits (B * T, V).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from autollm.errors import InputError
from autollm.models.bag import Bag, ReorderedBag
from autollm.models.bigram import Bigram
from autollm.models.gpt import GPT, GPT2
from autollm.models.gru import GRU
from autollm.models.mlp import MLP
from autollm.models.rnn import RNN
from autollm.node import Node, Param
from autollm.primitives import Ids

__all__ = [
    "GPT", "GPT2", "GRU", "MLP", "MODELS", "RNN", "Bag", "Bigram", "Config", "Model", "ReorderedBag",
    "build", "parameters",
]  # fmt: skip

MAX_SIZE = 1_000_000


class Model(Protocol):
    """Letters in, logits out; the parameters are its attributes."""

    @property
    def sequence(self) -> bool:
        """Whether it reads whole words (B, T), or windows (B, K)."""

    def __call__(self, letters: Ids, /) -> Node: ...


@dataclass(frozen=True)
class Config:
    """What a model is made of; the alphabet's size is given apart, since it comes with the data.

    `MODELS` has each model's defaults; a size that a model does not have is None.
    """

    context: int = 3  # K: how many letters back the model looks
    dim: int | None = 32  # D: numbers in an embedding
    model: str = "bag"
    hidden: int | None = None  # numbers in the hidden layer, or in the memory
    heads: int | None = None
    layers: int | None = None

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise InputError(f"there is no model {self.model!r}; there are {', '.join(MODELS)}")
        default = MODELS[self.model].config
        for name, value in vars(self).items():
            if name == "model":
                continue
            if getattr(default, name) is None if default else False:
                if value is not None:
                    raise InputError(f"the model {self.model} has no {name}")
            elif type(value) is not int or not 1 <= value <= MAX_SIZE:
                raise InputError(f"{name} must be a whole number from 1 to {MAX_SIZE}, not {value!r}")
