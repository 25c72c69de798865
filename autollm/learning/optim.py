"""Optimisers: one kernel over one flat vector of values and one of gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from autollm.buffers import Array, aligned
from autollm.kernels.optim import adam_update, clip_to_norm, momentum_update, sgd_update
from autollm.node import Param


def flatten(params: Iterable[Param]) -> tuple[Array, Array]:
    """Move parameters into one flat vector, their buckets into another, and return the two.

    Each Param's `v` and `grad` become views of its part, so that one call updates them all. Where they
    are already, as the parameters of one model are for its second optimiser, the vectors are those. Raises
    ValueError if some of them are parts of other vectors, which would no longer be updated, or for none.
    """
    params = list(params)
    if not params:
        raise ValueError("an optimiser needs at least 1 parameter")
    values, grads = params[0].v.base, params[0].grad.base
    if values is not None and grads is not None and _are_all_of([param.v for param in params], values):
        return values, grads
    if any(param.v.base is not None for param in params):
        raise ValueError("another optimiser updates some of these parameters, but not just these")
    size = sum(param.v.size for param in params)
    values, grads = aligned((size,)), aligned((size,))
    np.concatenate([param.v.ravel() for param in params], out=values, casting="no")
    np.concatenate([param.grad.ravel() for param in params], out=grads, casting="no")
    start = 0
    for param in params:
        stop = start + param.v.size
        shape = param.v.shape
        param.keep_in(values[start:stop].reshape(shape), grads[start:stop].reshape(shape))
        start = stop
    return values, grads


def _are_all_of(parts: list[Array], vector: Array) -> bool:
    """Whether these parts, in this order, are the vector."""
    ends = np.cumsum([0, *(part.nbytes for part in parts)])
    offsets = [part.__array_interface__["data"][0] - vector.__array_interface__["data"][0] for part in parts]
    return offsets == ends[:-1].tolist() and bool(ends[-1] == vector.nbytes)


class Flat:
    """Parameters laid out flat, which a copy of an optimiser, or a pickled one, does again with its own."""

    def __init__(self, params: Iterable[Param]) -> None:
        self.params = list(params)
        self.values, self.grads = flatten(self.params)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("values", "grads")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.values, self.grads = flatten(self.params)


class SGD(Flat):
    """Stochastic gradient descent: values -= rate * grads."""

    def step(self, rate: float) -> None:
        """Update all parameters and empty their buckets."""
        sgd_update(self.values, self.grads, rate)


class Momentum(Flat):
    """Stochastic gradient descent with momentum (Polyak 1964), as a ball rolls downhill:

    speeds = keep * speeds + grads; values -= rate * speeds.
    """

    def __init__(self, params: Iterable[Param], keep: float = 0.9) -> None:
        super().__init__(params)
        self.keep = keep
        self.speeds = np.zeros_like(self.values)

    def step(self, rate: float) -> None:
        """Update all parameters and empty their buckets."""
        momentum_update(self.values, self.grads, self.speeds, rate, self.keep)


class Adam(Flat):
    """Adam with bias correction (Kingma and Ba 2015, algorithm 1); with `decay` > 0, AdamW.

    Every value takes steps of about `rate`, whatever the size of its gradient. AdamW (Loshchilov
    and Hutter 2019, algorithm 2) also shrinks the values, by rate * decay of themselves a step.
    """

    def __init__(
        self, params: Iterable[Param], beta1: float = 0.9, beta2: float = 0.99, decay: float = 0.0
    ) -> None:
        super().__init__(params)
        self.beta1, self.beta2, self.decay = beta1, beta2, decay
        self.moments = np.zeros((2, self.values.size), np.float32)  # running means of g and of g**2
        self.count = 0

    def step(self, rate: float) -> None:
        """Update all parameters and empty their buckets."""
        self.count += 1
        adam_update(
            self.values, self.grads, self.moments, self.count, rate, self.beta1, self.beta2, self.decay
        )


Optimiser = SGD | Momentum | Adam

PRIOR = 10_000  # AdamW's decay, times how many tokens there are to predict
MOST_DECAY = 8.0  # of few: it keeps every value within 1 / MOST_DECAY

# Made for parameters, and for how many tokens there are to predict. The fewer there are, the more AdamW
# shrinks the values: what says that they are small weighs as much as PRIOR tokens (MacKay 1992, "A Practical
# Bayesian Framework for Backpropagation Networks").
OPTIMISERS: dict[str, Callable[[Iterable[Param], int], Optimiser]] = {
    "sgd": lambda params, _: SGD(params),
    "momentum": lambda params, _: Momentum(params),
    "adam": lambda params, _: Adam(params),
    "adamw": lambda params, targets: Adam(params, decay=min(PRIOR / targets, MOST_DECAY)),
}
RATES = {"sgd": 0.3, "momentum": 0.03, "adam": 0.01, "adamw": 0.01}  # to begin with, when nothing is known


def clip(optimiser: Optimiser, limit: float) -> float:
    """Scale the whole gradient down to the Euclidean norm `limit` if it is longer; return its norm."""
    norm: float = clip_to_norm(optimiser.grads, limit)
    return norm


# --- schedules: the learning rate, as a part of its peak, when a part `used` of the budget is gone ----

Schedule = Callable[[float], float]


def constant(used: float) -> float:
    """1 all the way."""
    return 1.0


def linear(used: float) -> float:
    """Straight down from 1 to 0."""
    return 1.0 - used if used < 1.0 else 0.0


def cosine(used: float) -> float:
    """Down from 1 to 0, slow at both ends (Loshchilov and Hutter 2017, without restarts)."""
    return 0.5 + 0.5 * math.cos(math.pi * min(used, 1.0))


def warm_up(schedule: Schedule, part: float = 0.05) -> Schedule:
    """`schedule`, but for the first `part` of the budget rising in a straight line from nearly 0."""
    return lambda used: schedule(used) * min((used + 1e-3) / part, 1.0)


SCHEDULES: dict[str, Schedule] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "warm-up": warm_up(linear),
}
