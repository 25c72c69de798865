"""What is measured: the workloads, the saved state every round starts from, the golden losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from autollm.learning.alphabet import Alphabet
from autollm.learning.batches import batches_in_a_block
from autollm.learning.examples import Examples, examples_for, make_text
from autollm.learning.plan import Budget, Plan, make_plan
from autollm.learning.training import Run, mean_loss, train
from autollm.learning.words import read_words
from autollm.models import Config, Model, build, configure, parameters
from autollm.models.bag import ReorderedBag
from autollm.models.counts import counts_of
from autollm.models.model import Initial

GOLDEN_STEPS = 20
GOLDEN_TOLERANCE = 1e-3  # relative; machines differ in how they round, so not to the last bit

WORDS = read_words("names").distinct
ALPHABET = Alphabet.of(WORDS)


def reordered(config: Any, vocabulary: int) -> Model:
    """The bag with its products in the cheaper order."""
    return ReorderedBag(vocabulary, Initial(0), **config.sizes)


@dataclass(frozen=True)
class Workload:
    """A model, its sizes, how it learns, the mean loss that the golden steps must end with, and for a bag the
    least loss that there is (`reference.least_loss`)."""

    batch: int
    config: Config
    rate: float
    golden: float
    make: Callable[[Config, int], Model] = build
    optimiser: str = "sgd"
    least: float | None = None

    def plan(self, budget: Budget) -> Plan:
        """How it is trained, for so long."""
        return make_plan(self.config, budget, batch=self.batch, lr=self.rate, optimiser=self.optimiser)


MICROGPT = configure("gpt", context=16, dim=16, heads=4, layers=1)  # 4,192 parameters

# Named by batch B x context K x embedding D. For another model, add a row here: `step[...]` measures it.
WORKLOADS = {
    "64x3x32": Workload(64, configure(context=3, dim=32), 1.0, 2.991647, least=1.984230),
    "256x8x64": Workload(256, configure(context=8, dim=64), 0.3, 2.822099, least=1.860867),
    "1024x16x128": Workload(1024, configure(context=16, dim=128), 0.1, 2.891073, least=1.859737),
    "64x3x32-reordered": Workload(64, configure(context=3, dim=32), 1.0, 2.991647, reordered),
    "256x8x64-reordered": Workload(256, configure(context=8, dim=64), 0.3, 2.822099, reordered),
    "1024x16x128-reordered": Workload(1024, configure(context=16, dim=128), 0.1, 2.891073, reordered),
    "mlp-256x8x32": Workload(256, configure("mlp"), 0.01, 2.230724, optimiser="adam"),
    "mlp-256x8x32-on-counts": Workload(256, configure("mlp", True), 0.01, 1.430464, optimiser="adam"),
    "rnn-32x16x16": Workload(32, configure("rnn"), 0.01, 2.587741, optimiser="adam"),
    "gru-64x16x16": Workload(64, configure("gru"), 0.01, 2.673734, optimiser="adam"),
    "gpt-1x16x16": Workload(1, MICROGPT, 0.01, 2.958073, optimiser="adam"),
    "gpt-16x16x16": Workload(16, MICROGPT, 0.01, 2.495184, optimiser="adam"),
    "gpt-16x16x32": Workload(16, configure("gpt"), 0.01, 2.219391, optimiser="adam"),
}
# The bag in its plain order, of which more is measured than the step.
SIZES = [name for name, one in WORKLOADS.items() if one.make is build and one.config.model == "bag"]
# What a copy on every core trains; and, where different models train side by side, how many steps a second of
# each count as one core's work: about what an AMD EPYC (Zen 5) does.
RATED = ("64x3x32", "mlp-256x8x32", "gpt-16x16x32")
MIXED = {"64x3x32": 130_000, "mlp-256x8x32": 8_000, "gru-64x16x16": 1_000, "gpt-16x16x32": 7_000}


@cache
def examples_of(workload: Workload) -> Examples:
    """The examples of the 80 names as this workload's model reads them."""
    model = workload.make(workload.config, ALPHABET.size)
    return examples_for(model, WORDS, ALPHABET, workload.config.context)


def block_of(workload: Workload) -> int:
    """How many batches are drawn at a time."""
    return batches_in_a_block(examples_of(workload), workload.batch)


def fresh_model(workload: Workload) -> Model:
    """A new model in the saved state: uniform values with a standard deviation of 0.1, and words counted.

    The values come from a bit generator's raw stream, which is the same in every version of numpy.
    """
    model = workload.make(workload.config, ALPHABET.size)
    if counts := counts_of(model):
        counts.learn(make_text(WORDS, ALPHABET))
    bits = np.random.PCG64(1)
    for param in parameters(model).values():
        uniform = bits.random_raw(param.v.size) / 2**64
        param.v[...] = (0.1 * np.sqrt(12) * (uniform - 0.5)).reshape(param.v.shape)
    return model


def run_steps(steps: int, model: Model, workload: Workload) -> None:
    """Train by so many steps."""
    train(model, examples_of(workload), workload.plan(Budget(steps=steps)))


def run_seconds(seconds: float, model: Model, workload: Workload) -> Run:
    """Train for so long."""
    return train(model, examples_of(workload), workload.plan(Budget(seconds)))


@cache
def golden_loss(name: str) -> float:
    """The mean loss over all examples after the golden steps, in nats per letter."""
    workload = WORKLOADS[name]
    model = fresh_model(workload)
    run_steps(GOLDEN_STEPS, model, workload)
    return mean_loss(model, examples_of(workload))


def checked(name: str) -> Workload:
    """The workload of that name; AssertionError if it does not learn as it should."""
    workload, loss = WORKLOADS[name], golden_loss(name)
    assert abs(loss - workload.golden) <= GOLDEN_TOLERANCE * workload.golden, (
        f"{name}: the loss after {GOLDEN_STEPS} steps is {loss:.6f}, not {workload.golden:.6f}"
    )
    return workload
