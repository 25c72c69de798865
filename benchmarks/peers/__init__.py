"""The bag's training step written by others, to be measured beside ours: `python -m benchmarks.peers`.

Every peer trains the same model, from the same state, on the same examples, in float32, on one core:
draw a batch, forward, backward, update. Each is written in the fastest way that we found. NumPy, PyTorch and
JAX, whose look-ups are slow, are given a table of how often each letter stands in each context, so that their
bag is a matrix product. C and NumPy do not work out the loss itself, only its derivatives; the others do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from autollm.dataset import Examples
from autollm.models import Bag, Model
from benchmarks.reference import bag_loss
from benchmarks.workloads import ALPHABET, WORKLOADS, Workload, examples_of, fresh_model

RATE = 0.1  # of learning, constant
Rows = npt.NDArray[np.int64]  # (steps, B): which examples each step is to learn from
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Task:
    """What a peer is to train."""

    workload: Workload
    examples: Examples
    model: Model  # in the saved state

    @classmethod
    def named(cls, name: str) -> Task:
        workload = WORKLOADS[name]
        return cls(workload, examples_of(workload), fresh_model(workload))

    @property
    def start(self) -> tuple[Floats, Floats]:
        """E and W, each (V, D), before the first step."""
        bag: Any = self.model
        return bag.E.v.copy(), bag.W.v.copy()

    @cached_property
    def counts(self) -> Floats:
        """How often each letter stands in each context: (N, V)."""
        counts = np.zeros((len(self.examples), ALPHABET.size), np.float32)
        np.add.at(counts, (np.arange(len(counts))[:, None], self.examples.contexts), 1)
        return counts


class Peer(Protocol):
    """Somebody's way to train."""

    def __init__(self, task: Task) -> None: ...

    def follow(self, rows: Rows) -> None:
        """Make a step for each row, on the examples that it names."""

    def run(self, steps: int) -> None:
        """Make so many steps, each on a batch that it draws."""

    def weights(self) -> tuple[Any, Any]:
        """E and W as they are now."""


def deviation(peer: type[Peer], name: str, steps: int = 20) -> float:
    """How far a peer's parameters are, after some given steps, from those of the reference in float64."""
    task = Task.named(name)
    rows = np.random.default_rng(0).integers(len(task.examples), size=(steps, task.workload.batch))
    bag = Bag(ALPHABET.size, task.workload.config.dim or 0, np.random.default_rng(0))
    E, W = (values.astype(np.float64) for values in task.start)
    model: Any = bag
    for chosen in rows:
        model.E.v, model.W.v = E, W
        _, dE, dW = bag_loss(bag, Examples(task.examples.contexts[chosen], task.examples.targets[chosen]))
        E, W = E - RATE * dE, W - RATE * dW
    trained = peer(task)
    trained.follow(rows)
    theirs = trained.weights()
    return max(float(np.abs(np.asarray(a) - b).max()) for a, b in zip(theirs, (E, W), strict=True))
