"""The training step written by others, to be measured beside ours: `python -m benchmarks.peers`.

Every peer trains the same model, from the same state, on the same examples, by the same plan, in float32, on
one core: draw a batch, forward, backward, update. Each is written in the fastest way that we found. Where
look-ups are slow (NumPy, PyTorch, JAX), a table says once and for all which letters stand in each context, so
that a look-up is a matrix product. C and NumPy do not work out the loss itself, only its derivatives; the
others do. JAX and compiled code have batches of one shape: our whole words are cut to the longest of a batch,
theirs to the longest of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from autollm.learning.examples import PADDING, Examples
from autollm.learning.plan import Budget, Plan
from autollm.models import Model, parameters
from benchmarks.reference import letter_counts
from benchmarks.workloads import ALPHABET, WORKLOADS, Workload, examples_of, fresh_model

Rows = npt.NDArray[np.int64]  # (steps, B): which examples each step is to learn from
Floats = npt.NDArray[np.float32]
Weights = dict[str, Any]  # parameters by their names in our model


@dataclass(frozen=True)
class Task:
    """What a peer is to train."""

    workload: Workload
    examples: Examples
    model: Model  # in the saved state

    @classmethod
    def named(cls, name: str) -> Task:
        return cls.of(WORKLOADS[name])

    @classmethod
    def of(cls, workload: Workload) -> Task:
        return cls(workload, examples_of(workload), fresh_model(workload))

    def plan(self, steps: int) -> Plan:
        """How so many steps are made: by SGD or Adam, at a rate that falls in a straight line. Nothing else
        is known to all peers."""
        plan = self.workload.plan(Budget(steps=steps))
        if plan.optimiser not in ("sgd", "adam") or plan.schedule != "linear" or plan.clip is not None:
            raise ValueError(f"peers have SGD or Adam, a linear schedule and no clipping, not {plan}")
        return plan

    def rates(self, steps: int) -> Floats:
        """The learning rate of each of so many steps: (steps,)."""
        return (self.plan(steps).lr * (1 - np.arange(steps) / steps)).astype(np.float32)

    @property
    def start(self) -> Weights:
        """The parameters before the first step."""
        return {name: param.v.copy() for name, param in parameters(self.model).items()}

    @cached_property
    def counts(self) -> Floats:
        """How often each letter stands in each context: (N, V)."""
        return letter_counts(self.examples).astype(np.float32)

    @cached_property
    def letters(self) -> Floats:
        """1 for the letter at each place that a model reads, 0 for the others: (N, K, V)."""
        letters = self.examples.rows[:, :-1]
        return np.eye(ALPHABET.size, dtype=np.float32)[np.where(letters == PADDING, 0, letters)]

    @cached_property
    def targets(self) -> npt.NDArray[np.int32]:
        """The tokens to be predicted, PADDING where there is none: (N, 1) of windows, (N, K) of words."""
        return self.examples.rows[:, self.examples.first :]


class Peer(Protocol):
    """Somebody's way to train."""

    def __init__(self, task: Task) -> None: ...

    def follow(self, rows: Rows) -> None:
        """Make a step for each row, on the examples that it names."""

    def run(self, steps: int) -> None:
        """Make so many steps, each on a batch that it draws."""

    def weights(self) -> Weights:
        """The parameters as they are now."""
