"""What every model has: parameters that begin somewhere, and a recipe to train them by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from autollm.bricks.embedding import embedding_bag
from autollm.buffers import Ids
from autollm.node import Input, Node, Param


@dataclass(frozen=True)
class Recipe:
    """What suits a model when it has one second to learn."""

    optimiser: str  # of optim.OPTIMISERS
    lr: float | Callable[[int, int], float]  # or it depends on context and batch
    batch: int


class Model:
    """Letters in, logits out; its trainable numbers are its attributes.

    `Model(vocabulary, new, context=..., ...)` makes one for an alphabet of `vocabulary` tokens. The names and
    defaults of its sizes are those of the constructor's keywords, and `context` is among them: how many
    letters back it looks.
    """

    recipe: ClassVar[Recipe | None]  # None: it has nothing to train
    sequence: bool = False  # whether it reads whole words
    at_most: ClassVar[dict[str, int]] = {}  # the largest of some sizes, by name

    def __init__(self, vocabulary: int, new: Initial, **sizes: int) -> None:
        raise NotImplementedError

    def __call__(self, letters: Ids, /) -> Node:
        raise NotImplementedError


class Initial:
    """Makes new parameters; the seed decides the random ones."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.Generator(np.random.PCG64(seed))

    def normal(self, *shape: int, scale: float = 1.0) -> Param:
        """Numbers with the standard deviation `scale`."""
        return Param(scale * self.random.standard_normal(shape))

    def constant(self, value: float, *shape: int) -> Param:
        """The same number everywhere."""
        return Param(np.full(shape, value))


class Shapes(Initial):
    """Makes parameters that have a shape but take no memory, for a look at a model before it is made."""

    def __init__(self) -> None: ...

    def normal(self, *shape: int, scale: float = 1.0) -> Param:
        return self.constant(0.0, *shape)

    def constant(self, value: float, *shape: int) -> Param:
        param = Param(0.0)
        param.keep_in(np.broadcast_to(param.v, shape), param.grad)
        return param


def parameters(part: Any) -> dict[str, Param]:
    """The parameters of a model, or of a part of one, by name, in the order in which it defines them.

    Those in a list or in a part of their own have a name for each step there: "blocks.0.qkv".
    """
    found: dict[str, Param] = {}
    for name, value in vars(part).items():
        for number, one in enumerate(value if isinstance(value, list) else [value]):
            path = f"{name}.{number}" if isinstance(value, list) else name
            if isinstance(one, Param):
                found[path] = one
            elif hasattr(one, "__dict__"):
                found |= {f"{path}.{inner}": param for inner, param in parameters(one).items()}
    return found


def rows_in_use(table: Param, ids: Ids) -> tuple[Input, Ids]:
    """The rows of a table (V, D) that `ids` name, and the number there of each id's row.

    Of a table with no more rows than ids, all of them: to look for those in use would take longer. So what
    is done with the rows grows with the batch, and not with the alphabet.
    """
    if len(table.v) <= ids.size:
        return table, ids
    used, numbers = np.unique(ids, return_inverse=True)
    return embedding_bag(table, used[:, None]), numbers.reshape(ids.shape).astype(np.int32)
