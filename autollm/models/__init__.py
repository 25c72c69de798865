"""Models: bricks snapped together, one file for each, every next rung of the ladder a little cleverer.

There are two kinds. A window model turns contexts (B, K), the K letters before a place, into logits
(B, V) for that place. A sequence model reads whole words (B, T) from their beginning, and scores the
next letter at every place at once: logits (B * T, V). It says so with `sequence = True`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from autollm.buffers import Ids
from autollm.errors import InputError
from autollm.models.bag import Bag, ReorderedBag
from autollm.models.bigram import Bigram
from autollm.models.gpt import GPT
from autollm.models.gpt2 import GPT2
from autollm.models.gru import GRU
from autollm.models.mlp import MLP
from autollm.models.rnn import RNN
from autollm.node import Node, Param

__all__ = [
    "GPT", "GPT2", "GRU", "MAX_SIZE", "MLP", "MODELS", "RNN", "Bag", "Bigram", "Config", "Kind", "Model",
    "ReorderedBag", "build", "configure", "parameters", "reads_words",
]  # fmt: skip

MAX_SIZE = 1_000_000
MAX_RECURRENT = 64  # places a recurrent model may look back: each takes up to 12 nested calls of `back`


class Model(Protocol):
    """Letters in, logits out; the parameters are its attributes."""

    def __call__(self, letters: Ids, /) -> Node: ...


@dataclass(frozen=True)
class Config:
    """What a model is made of; the alphabet's size is given apart, since it comes with the data.

    A size that the model does not have is None. Raises InputError for what cannot be built.
    """

    context: int = 3  # K or T: how many letters back the model looks
    dim: int | None = 32  # D: numbers in an embedding
    model: str = "bag"
    hidden: int | None = None  # numbers in the hidden layer, or in the memory
    heads: int | None = None
    layers: int | None = None

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise InputError(f"there is no model {self.model!r}; there are {', '.join(MODELS)}")
        for name, value in vars(self).items():
            if name in MODELS[self.model].sizes:
                if type(value) is not int or not 1 <= value <= MAX_SIZE:
                    raise InputError(f"{name} must be a whole number from 1 to {MAX_SIZE}, not {value!r}")
            elif name != "model" and value is not None:
                raise InputError(f"the model {self.model} has no {name}")
        if self.model == "bigram" and self.context != 1:
            raise InputError(f"the bigram looks 1 letter back: its context is 1, not {self.context}")
        if self.model in ("rnn", "gru") and self.context > MAX_RECURRENT:
            raise InputError(f"{self.model}: context must be at most {MAX_RECURRENT}, not {self.context}")
        if self.dim and self.heads and self.dim % self.heads:
            raise InputError(f"dim must be a multiple of heads: {self.dim} is not one of {self.heads}")


@dataclass(frozen=True)
class Kind:
    """How to make a kind of model, and what suits it when it has one second to learn."""

    make: Callable[[Any, int, np.random.Generator], Model]  # of a Config whose sizes are checked
    sizes: dict[str, int]
    optimiser: str  # of optim.OPTIMISERS
    lr: float | None  # None: it depends on the sizes
    batch: int
    schedule: str = "linear"  # of optim.SCHEDULES
    clip: float | None = None  # None: gradients are left as they are


MODELS = {
    "bag": Kind(
        lambda c, V, rng: Bag(V, c.dim, rng), {"context": 3, "dim": 32}, optimiser="sgd", lr=None, batch=64
    ),
    "bigram": Kind(lambda c, V, rng: Bigram(V), {"context": 1}, optimiser="adam", lr=0.1, batch=256),
    "mlp": Kind(
        lambda c, V, rng: MLP(V, c.context, c.dim, c.hidden, rng),
        {"context": 8, "dim": 32, "hidden": 128},
        optimiser="adam",
        lr=0.01,
        batch=256,
    ),
    "rnn": Kind(
        lambda c, V, rng: RNN(V, c.dim, c.hidden, rng),
        {"context": 16, "dim": 16, "hidden": 64},
        optimiser="adam",
        lr=0.012,
        batch=32,
    ),
    "gru": Kind(
        lambda c, V, rng: GRU(V, c.dim, c.hidden, rng),
        {"context": 16, "dim": 16, "hidden": 64},
        optimiser="adam",
        lr=0.025,
        batch=64,
    ),
    "gpt": Kind(
        lambda c, V, rng: GPT(V, c.context, c.dim, c.heads, c.layers, rng),
        {"context": 16, "dim": 32, "heads": 4, "layers": 1},
        optimiser="adam",
        lr=0.006,
        batch=16,
    ),
    "gpt2": Kind(
        lambda c, V, rng: GPT2(V, c.context, c.dim, c.heads, c.layers, rng),
        {"context": 16, "dim": 32, "heads": 4, "layers": 1},
        optimiser="adam",
        lr=0.007,
        batch=32,
    ),
}


def configure(model: str = "bag", **sizes: int | None) -> Config:
    """A model's Config with its default for every size that is not given, or given as None."""
    defaults = MODELS[model].sizes if model in MODELS else {}
    given = {name: size for name, size in sizes.items() if size is not None}
    return Config(**{"dim": None, **defaults, **given, "model": model})  # type: ignore[arg-type]


def build(config: Config, vocabulary: int, seed: int = 0) -> Model:
    """A new model with random parameters."""
    return MODELS[config.model].make(config, vocabulary, np.random.Generator(np.random.PCG64(seed)))


def parameters(model: Model) -> dict[str, Param]:
    """A model's parameters by name, in the order in which it defines them; a list's by name and number."""
    found: dict[str, Param] = {}
    for name, value in vars(model).items():
        several = value if isinstance(value, list) else []
        found |= {f"{name}.{i}": param for i, param in enumerate(several)}
        if isinstance(value, Param):
            found[name] = value
    return found


def reads_words(model: Model) -> bool:
    """Whether it is a sequence model."""
    return getattr(model, "sequence", False)
