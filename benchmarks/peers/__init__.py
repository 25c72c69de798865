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

from autollm.learning.examples import Examples
from autollm.models import Model
from benchmarks.reference import bag_loss, letter_counts
from benchmarks.workloads import WORKLOADS, Workload, examples_of, fresh_model

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
        return letter_counts(self.examples).astype(np.float32)


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
    task, trained = Task.named(name), peer(Task.named(name))
    rows = np.random.default_rng(0).integers(len(task.examples), size=(steps, task.workload.batch))
    trained.follow(rows)
    bag: Any = task.model
    for chosen in rows:
        _, dE, dW = bag_loss(bag, *task.examples[chosen].pairs())
        for param, grad in ((bag.E, dE), (bag.W, dW)):
            param.keep_in(param.v - RATE * grad, grad)  # in float64 from here on
    pairs = zip(trained.weights(), (bag.E.v, bag.W.v), strict=True)
    return max(float(np.abs(np.asarray(theirs) - reference).max()) for theirs, reference in pairs)
