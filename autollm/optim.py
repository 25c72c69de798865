"""Optimisers: one kernel over one flat vector of values and one of gradients."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from autollm.kernels.optimiser import sgd_update
from autollm.node import Array, Param


def flatten(params: Iterable[Param]) -> tuple[Array, Array]:
    """Move parameters into one flat vector, their buckets into another, and return the two.

    Each Param's `v` and `grad` become views of its part, so that one call updates them all.
    """
    params = list(params)
    values = np.concatenate([param.v.ravel() for param in params])
    grads = np.concatenate([param.grad.ravel() for param in params])
    start = 0
    for param in params:
        stop = start + param.v.size
        param.v = values[start:stop].reshape(param.v.shape)
        param.grad = grads[start:stop].reshape(param.grad.shape)
        start = stop
    return values, grads


class SGD:
    """Stochastic gradient descent: values -= rate * grads."""

    def __init__(self, params: Iterable[Param]) -> None:
        self.values, self.grads = flatten(params)

    def step(self, rate: float) -> None:
        """Update all parameters and empty their buckets."""
        sgd_update(self.values, self.grads, rate)
