"""One second of training, and what the trained model is for: inventing words."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest

from autollm.learning.plan import Budget
from autollm.learning.sampling import dream
from autollm.learning.training import Run, mean_loss, train
from autollm.models import Model
from benchmarks.workloads import ALPHABET, SIZES, WORKLOADS, checked, examples_of, fresh_model

BUDGET = 1.0  # seconds


@pytest.mark.visits(4)
@pytest.mark.parametrize("size", SIZES)
def test_one_second(measure_once: Any, size: str) -> None:
    """Steps in exactly one second, and the mean loss over all examples after it."""
    workload = checked(size)
    model = fresh_model(workload)

    def run() -> Run:
        return train(model, examples_of(workload), workload.plan(Budget(BUDGET)))

    def facts(done: Run) -> dict[str, Any]:
        loss = mean_loss(model, examples_of(workload))
        assert math.isfinite(loss)
        return {"work": [done.steps], "loss": [loss]}

    measure_once(run, "steps/s", facts)


@cache
def trained() -> Model:
    """A model that has learnt the names."""
    workload = checked(SIZES[0])
    model = fresh_model(workload)
    train(model, examples_of(workload), workload.plan(Budget(steps=2000)))
    return model


def test_sampling(measure: Any) -> None:
    """Words invented, a thousand at a time."""
    model, context = trained(), WORKLOADS[SIZES[0]].config.context

    def names(count: int) -> list[str]:
        return dream(model, ALPHABET, context, count, np.random.default_rng(0), longest=32)

    invented = names(100)
    assert len(invented) == 100 and all(name and set(name) <= set(ALPHABET.characters) for name in invented)

    def run(n: int) -> None:
        for _ in range(n):
            names(1000)

    measure(run, tuple, "names/s", per_call=1000)
