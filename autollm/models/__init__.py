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
from autollm.models.counts import Counts, OnCounts
from autollm.models.gpt import GPT
from autollm.models.gpt2 import GPT2
from autollm.models.gru import GRU
from autollm.models.mlp import MLP
from autollm.models.model import Initial, Model, Recipe, Shapes, parameters
from autollm.models.rnn import RNN

__all__ = [
    "MAX_SIZE",
    "MODELS",
    "Config",
    "Model",
    "build",
    "configure",
    "nets",
    "parameters",
    "reads_words",
    "shapes",
    "sizes_of",
]

MAX_SIZE = 1_000_000

MODELS: dict[str, type[Model]] = {
    "counts": Counts,
    "bag": Bag,
    "bigram": Bigram,
    "mlp": MLP,
    "rnn": RNN,
    "gru": GRU,
    "gpt": GPT,
    "gpt2": GPT2,
}


def nets() -> dict[str, Recipe]:
    """The models that have something to train, and what suits them."""
    return {name: model.recipe for name, model in MODELS.items() if model.recipe}


@dataclass(frozen=True)
class Config:
    """Which model, of what sizes: all those that it has; and whether it is added to counts. The alphabet's
    size comes with the data.

    Raises InputError for what cannot be built.
    """

    model: str
    sizes: dict[str, int] = field(hash=False)
    counts: bool = False

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
        if type(self.counts) is not bool:
            raise InputError(f"counts must be True or False, not {self.counts!r:.40}")
        if self.counts and self.model not in nets():
            raise InputError(f"the model {self.model} cannot be added to counts; {', '.join(nets())} can")
        dim, heads = self.sizes.get("dim", 0), self.sizes.get("heads", 1)
        if dim % heads:
            raise InputError(f"dim must be a multiple of heads: {dim} is not one of {heads}")

    @property
    def context(self) -> int:
        """How many letters back the model looks; a window model on counts at least as many as they do."""
        if self.counts and not MODELS[self.model].sequence:
            return max(self.sizes["context"], sizes_of("counts")["context"])
        return self.sizes["context"]

    @property
    def name(self) -> str:
        """How the model is called: mlp, or mlp+counts."""
        return f"{self.model}+counts" if self.counts else self.model


def sizes_of(model: str) -> dict[str, int]:
    """The sizes of a model with their defaults: the keywords of its constructor."""
    keywords = inspect.signature(MODELS[model]).parameters.values()
    return {one.name: one.default for one in keywords if one.kind is one.KEYWORD_ONLY}


def configure(model: str = "bag", counts: bool = False, **sizes: Any) -> Config:
    """A model's Config with its default for every size that is not given, or given as None."""
    defaults = sizes_of(model) if model in MODELS else {}
    given = {name: size for name, size in sizes.items() if size is not None}
    return Config(model, defaults | given, counts)


def build(config: Config, vocabulary: int, seed: int = 0) -> Model:
    """A new model with random parameters, for an alphabet of `vocabulary` tokens."""
    return _make(config, vocabulary, Initial(seed))


def _make(config: Config, vocabulary: int, new: Initial) -> Model:
    model = MODELS[config.model](vocabulary, new, **config.sizes)
    return OnCounts(model, config.sizes["context"], Counts(vocabulary, new), new) if config.counts else model


def shapes(config: Config, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the parameters that `build` would make, without the memory for them."""
    return {name: param.v.shape for name, param in parameters(_make(config, vocabulary, Shapes())).items()}


def reads_words(model: Model) -> bool:
    """Whether it is a sequence model; whatever does not say so is none."""
    return getattr(model, "sequence", False)
