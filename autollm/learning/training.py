"""The training loop."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from autollm.bricks.cross_entropy import xent_from_logits
from autollm.errors import DivergedError
from autollm.learning.batches import batches
from autollm.learning.examples import Examples
from autollm.learning.optim import OPTIMISERS, SCHEDULES, Optimiser
from autollm.learning.optim import clip as clip_gradient
from autollm.learning.plan import Plan
from autollm.models import Model, parameters
from autollm.models.counts import OnCounts
from autollm.node import Node

Watch = Callable[[int, float, float, float], None]  # of steps, seconds, loss, used part of the budget


@dataclass(frozen=True)
class Run:
    """What a training run came to."""

    steps: int
    seconds: float
    interrupted: bool


def train(model: Model, examples: Examples, plan: Plan, watch: Watch | None = None) -> Run:
    """Train `model` in place on random batches of `examples` until the plan's budget is used.

    The learning rate is `lr * schedule(used)`, when a part `used` of the budget is gone. A gradient longer
    than `clip` is cut to that length. `watch(steps, seconds, loss, used)` is called now and then; the time it
    takes is not counted. Ctrl-C ends training early. Raises DivergedError when the loss is no longer a
    reasonable number.
    """
    optimiser = OPTIMISERS[plan.optimiser](parameters(model).values(), examples.targets)
    schedule = SCHEDULES[plan.schedule]
    update = update_function(optimiser, plan.clip)
    on_counts = model if isinstance(model, OnCounts) else None
    blocks = batches(examples, plan.batch, plan.seed)
    step, interrupted, used = 0, False, 0.0
    loss: Node | None
    start = time.perf_counter()
    clock, amount = plan.budget.clock()
    began = clock()
    try:
        while used < 1.0:
            for letters, targets in next(blocks):
                # Counts that know a target must not tell it.
                loss = xent_from_logits(on_counts(letters, targets) if on_counts else model(letters), targets)
                loss.back(1.0)
                value = loss.v
                del loss  # and all that led to it: the next step may write to the same memory
                update(plan.lr * schedule(used))
                step += 1
                used = (clock() - began) / amount
                if used >= 1.0:
                    break
            check_loss(value, step, plan.lr)
            if watch:
                stopped = time.perf_counter()
                watch(step, stopped - start, value, used)
                pause = time.perf_counter() - stopped
                start += pause
                if plan.budget.steps is None:
                    began += pause
    except KeyboardInterrupt as interruption:
        interrupted = True
        with warnings.catch_warnings():  # that copies did not report: a backward pass was cut off
            warnings.simplefilter("ignore")
            loss = interruption.__traceback__ = None
    return Run(step, time.perf_counter() - start, interrupted)


def update_function(optimiser: Optimiser, clip: float | None) -> Callable[[float], None]:
    """What updates all parameters at a given rate, clipping the gradient first if there is a limit."""
    if clip is None:
        return optimiser.step

    def clip_and_step(rate: float) -> None:
        clip_gradient(optimiser, clip)
        optimiser.step(rate)

    return clip_and_step


def check_loss(loss: float, steps: int, lr: float) -> None:
    """Raise DivergedError for a NaN, infinite or absurd loss: pure guessing costs ln(V), under 14 nats."""
    if not loss < 1000.0:
        raise DivergedError(f"the loss is {loss:g} after {steps} steps; try a --lr below {lr:g}")


def mean_loss(model: Model, examples: Examples, size: int = 4096) -> float:
    """The mean loss over all examples, in nats per letter, worked out for about `size` targets at a time."""
    total, count = 0.0, 0
    for part in examples.parts(size):
        letters, targets = part.pairs()
        total += xent_from_logits(model(letters), targets).v * part.targets
        count += part.targets
    return total / count
