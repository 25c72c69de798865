"""Models: bricks snapped together, one file for each, every next rung of the ladder a little cleverer.

Some are window models: they turn contexts (B, K), the K letters before a place, into logits (B, V) for
that place. Others are sequence models: they read whole words (B, T) from their beginning, and score the next
letter at every place at once: logits (B * T, V). Those say so with `sequence = True`.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

from autollm.errors import InputError
from autollm.models.bag import Bag
from autollm.models.bigram import Bigram
from autollm.models.gpt import GPT
from autollm.models.gpt2 import GPT2
from autollm.models.gru import GRU
from autollm.models.mlp import MLP
from autollm.models.model import Initial, Model, Shapes, parameters
from autollm.models.rnn import RNN

__all__ = [
    "MAX_SIZE",
    "MODELS",
    "Config",
    "Model",
    "build",
    "configure",
    "parameters",
    "reads_words",
    "shapes",
    "sizes_of",
]

MAX_SIZE = 1_000_000

MODELS: dict[str, type[Model]] = {
    "bag": Bag,
    "bigram": Bigram,
    "mlp": MLP,
    "rnn": RNN,
    "gru": GRU,
    "gpt": GPT,
    "gpt2": GPT2,
}


@dataclass(frozen=True)
class Config:
    """Which model, of what sizes: all those that it has. The alphabet's size comes with the data.

    Raises InputError for what cannot be built.
    """

    model: str
    sizes: dict[str, int] = field(hash=False)

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise InputError(f"there is no model {self.model!r}; there are {', '.join(MODELS)}")
        known, at_most = sizes_of(self.model), MODELS[self.model].at_most
        for name in self.sizes.keys() ^ known.keys():
            raise InputError(f"the model {self.model} has {'no' if name in self.sizes else 'a'} {name}")
        for name, value in self.sizes.items():
            most = at_most.get(name, MAX_SIZE)
            if type(value) is not int or not 1 <= value <= most:
                raise InputError(
                    f"{self.model}: {name} must be a whole number from 1 to {most}, not {value!r}"
                )
        dim, heads = self.sizes.get("dim", 0), self.sizes.get("heads", 1)
        if dim % heads:
            raise InputError(f"dim must be a multiple of heads: {dim} is not one of {heads}")

    @property
    def context(self) -> int:
        """How many letters back the model looks."""
        return self.sizes["context"]


def sizes_of(model: str) -> dict[str, int]:
    """The sizes of a model with their defaults: the keywords of its constructor."""
    keywords = inspect.signature(MODELS[model]).parameters.values()
    return {one.name: one.default for one in keywords if one.kind is one.KEYWORD_ONLY}


def configure(model: str = "bag", **sizes: Any) -> Config:
    """A model's Config with its default for every size that is not given, or given as None."""
    defaults = sizes_of(model) if model in MODELS else {}
    return Config(model, defaults | {name: size for name, size in sizes.items() if size is not None})


def build(config: Config, vocabulary: int, seed: int = 0) -> Model:
    """A new model with random parameters, for an alphabet of `vocabulary` tokens."""
    return MODELS[config.model](vocabulary, Initial(seed), **config.sizes)


def shapes(config: Config, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the parameters that `build` would make, without the memory for them."""
    model = MODELS[config.model](vocabulary, Shapes(), **config.sizes)
    return {name: param.v.shape for name, param in parameters(model).items()}


def reads_words(model: Model) -> bool:
    """Whether it is a sequence model; whatever does not say so is none."""
    return getattr(model, "sequence", False)
