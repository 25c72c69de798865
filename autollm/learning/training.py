"""The training loop."""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from autollm.bricks.cross_entropy import masked_xent_from_logits, xent_from_logits
from autollm.buffers import Ids
from autollm.errors import DivergedError
from autollm.learning.alphabet import Alphabet
from autollm.learning.batches import batches
from autollm.learning.examples import Examples, make_examples, make_sequences
from autollm.learning.optim import SGD, Optimiser, Schedule, linear
from autollm.learning.optim import clip as clip_gradient
from autollm.models import Model, parameters, reads_words
from autollm.node import Node, Param


@dataclass(frozen=True)
class Budget:
    """How long to train: seconds of clock time, or a number of steps."""

    seconds: float = 1.0
    steps: int | None = None

    def __post_init__(self) -> None:
        if not (self.seconds > 0 and (self.steps is None or self.steps > 0)):
            raise ValueError(f"a budget must be above 0: seconds={self.seconds}, steps={self.steps}")

    def clock(self) -> tuple[Callable[[], float], float]:
        """A clock to be read after every step, and how far it may go: one that ticks once a reading,
        or one that shows the time."""
        if self.steps is not None:
            return itertools.count().__next__, self.steps
        return time.perf_counter, self.seconds


Watch = Callable[[int, float, float, float], None]  # of steps, seconds, loss, used part of the budget


@dataclass(frozen=True)
class Run:
    """What a training run came to."""

    steps: int
    seconds: float
    interrupted: bool


def default_lr(context: int, batch: int) -> float:
    """A learning rate that suits the bag: it adds up K codes, so a step moves the logits K times as
    far; and a small batch's gradient is mostly noise."""
    return 1.5 / context * min(batch / 16, 1.0)


def train(
    model: Model,
    examples: Examples,
    *,
    budget: Budget = Budget(),
    batch: int = 64,
    lr: float | None = None,
    seed: int = 0,
    optimiser: Callable[[Iterable[Param]], Optimiser] = SGD,
    schedule: Schedule = linear,
    clip: float | None = None,
    watch: Watch | None = None,
) -> Run:
    """Train `model` in place on random batches of `examples` until the budget is used.

    The learning rate is `lr * schedule(used)`, when a part `used` of the budget is gone. A gradient longer
    than `clip` (its Euclidean norm) is cut to that length. `watch(steps, seconds, loss, used)` is called now
    and then; the time it takes is not counted. Ctrl-C ends training early. Raises DivergedError when the
    loss is no longer a reasonable number, ValueError for a batch below 1.
    """
    if lr is None:
        lr = default_lr(examples.contexts.shape[1], batch)
    update = update_function(optimiser(parameters(model).values()), clip)
    surprise = loss_function(model)
    blocks = batches(examples, batch, seed)
    step, interrupted, used = 0, False, 0.0
    loss: Node | None
    start = time.perf_counter()
    clock, amount = budget.clock()
    began = clock()
    try:
        while used < 1.0:
            for contexts, targets in next(blocks):
                loss = surprise(model(contexts), targets)
                loss.back(1.0)
                value = loss.v
                del loss  # and all that led to it: the next step may write to the same memory
                update(lr * schedule(used))
                step += 1
                used = (clock() - began) / amount
                if used >= 1.0:
                    break
            check_loss(value, step, lr)
            if watch:
                stopped = time.perf_counter()
                watch(step, stopped - start, value, used)
                pause = time.perf_counter() - stopped
                start += pause
                if budget.steps is None:
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


def mean_loss(model: Model, examples: Examples, chunk: int = 4096) -> float:
    """The mean loss over all examples, in nats per letter."""
    surprise = loss_function(model)
    total, letters = 0.0, 0
    for contexts, targets, count in examples.parts(chunk):
        total += surprise(model(contexts), targets).v * count
        letters += count
    return total / letters


def loss_function(model: Model) -> Callable[[Node, Ids], Node]:
    """The mean surprise at the targets; of whole words, without the places that only pad them."""
    return masked_xent_from_logits if reads_words(model) else xent_from_logits


def examples_for(model: Model, words: list[str], alphabet: Alphabet, context: int) -> Examples:
    """Examples of the kind that the model reads: windows, or whole words."""
    make = make_sequences if reads_words(model) else make_examples
    return make(words, alphabet, context)
