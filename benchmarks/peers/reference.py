"""What every peer is held against before it is measured."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.peers import Peer, Rows, Task, Weights
from benchmarks.peers.ours import Ours
from benchmarks.reference import bag_loss


def bag_in_float64(task: Task, rows: Rows) -> Weights:
    """The bag after the given steps, in NumPy and float64."""
    bag: Any = task.model
    for chosen, rate in zip(rows, task.rates(len(rows)), strict=True):
        _, dE, dW = bag_loss(bag, *task.examples[chosen].pairs())
        bag.E.v, bag.W.v = bag.E.v - rate * dE, bag.W.v - rate * dW  # in float64 from here on
    return {"E": bag.E.v, "W": bag.W.v}


def our_own(task: Task, rows: Rows) -> Weights:
    """Another model after the given steps of ours, which the tests hold against its paper's equations."""
    ours = Ours(task)
    ours.follow(rows)
    return ours.weights()


def deviation(peer: type[Peer], task: Task, steps: int = 20) -> float:
    """How far a peer's parameters are, after some given steps, from those of the reference."""
    rows = np.random.default_rng(0).integers(len(task.examples), size=(steps, task.workload.batch))
    trained = peer(Task.of(task.workload))
    trained.follow(rows)
    reference = bag_in_float64 if task.workload.config.model == "bag" else our_own
    theirs = trained.weights()
    return max(
        float(np.abs(np.asarray(theirs[name]) - value).max())
        for name, value in reference(Task.of(task.workload), rows).items()
    )
