"""The training step, its parts, and the ceiling: the same step without Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autollm.bricks.cross_entropy import xent_from_logits
from autollm.buffers import Ids
from autollm.learning.batches import batches
from autollm.learning.optim import SGD
from autollm.learning.training import mean_loss
from autollm.models import parameters
from benchmarks.calibrators import OF_STEPS
from benchmarks.ceiling import arguments, train_compiled
from benchmarks.reference import bag_loss
from benchmarks.tracing import kernels_of
from benchmarks.workloads import (
    GOLDEN_STEPS,
    SIZES,
    WORKLOADS,
    block_of,
    checked,
    examples_of,
    fresh_model,
    golden_loss,
    run_steps,
)

each_size = pytest.mark.parametrize("size", SIZES)


@pytest.mark.parametrize("size", WORKLOADS)
def test_step(measure: Any, size: str) -> None:
    """Draw, forward, backward, update: `autollm.train.train` as a user calls it."""
    workload = checked(size)
    beside = OF_STEPS if size in SIZES else None
    measure(run_steps, lambda: (fresh_model(workload), workload), "steps/s", beside=beside)


@each_size
def test_ceiling(measure: Any, size: str) -> None:
    """The step's kernels in one compiled loop."""
    workload = checked(size)
    known = set(train_compiled.py_func.__code__.co_names)
    assert set(kernels_of(size)) <= known, "a step calls kernels that the ceiling does not"
    model = fresh_model(workload)
    train_compiled(GOLDEN_STEPS, *arguments(model, workload))
    assert np.isclose(mean_loss(model, examples_of(workload)), golden_loss(size), rtol=1e-5)
    measure(train_compiled, lambda: arguments(fresh_model(workload), workload), "steps/s")


def first_batch(size: str) -> tuple[Any, Ids, Ids]:
    """A model in the saved state, and the contexts and targets of a batch."""
    workload = checked(size)
    contexts, targets = next(batches(examples_of(workload), workload.batch, seed=0))[0]
    return fresh_model(workload), contexts, targets


@each_size
def test_forward(measure: Any, size: str) -> None:
    """From a batch to its loss."""
    model, contexts, targets = first_batch(size)
    expected, _, _ = bag_loss(model, contexts, targets)
    assert np.isclose(xent_from_logits(model(contexts), targets).v, expected, rtol=1e-5)

    def run(n: int) -> None:
        for _ in range(n):
            xent_from_logits(model(contexts), targets)

    measure(run, tuple, "batches/s")


@each_size
def test_forward_backward(measure: Any, size: str) -> None:
    """From a batch to its loss and the gradients, which add up."""
    model, contexts, targets = first_batch(size)
    xent_from_logits(model(contexts), targets).back(1.0)
    _, dE, dW = bag_loss(model, contexts, targets)
    assert np.allclose(model.E.grad, dE, atol=1e-6) and np.allclose(model.W.grad, dW, atol=1e-6)

    def run(n: int) -> None:
        for _ in range(n):
            xent_from_logits(model(contexts), targets).back(1.0)

    measure(run, tuple, "batches/s")


@each_size
def test_update(measure: Any, size: str) -> None:
    """One update of all parameters."""
    model = fresh_model(WORKLOADS[size])
    optimiser = SGD(parameters(model).values())
    before = optimiser.values.copy()
    optimiser.grads[:] = 0.5
    optimiser.step(0.1)
    assert np.allclose(optimiser.values, before - 0.05) and not optimiser.grads.any()

    def run(n: int) -> None:
        for _ in range(n):
            optimiser.step(0.1)

    measure(run, tuple, "updates/s")


@each_size
def test_draw(measure: Any, size: str) -> None:
    """Drawing batches, a block at a time."""
    workload = WORKLOADS[size]
    examples, block = examples_of(workload), block_of(workload)
    known = rows_of(*examples.pairs())
    for contexts, targets in next(batches(examples, workload.batch, seed=0)):
        assert rows_of(contexts, targets) <= known

    def run(n: int) -> None:
        blocks = batches(examples, workload.batch, seed=0)
        for _ in range(n):
            next(blocks)

    measure(run, tuple, "batches/s", per_call=block)


def rows_of(contexts: Ids, targets: Ids) -> set[tuple[int, ...]]:
    """Examples as a set of tuples."""
    return {(*context, target) for context, target in zip(contexts.tolist(), targets.tolist(), strict=True)}
