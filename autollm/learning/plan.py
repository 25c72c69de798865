"""How a model is to be trained."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from autollm.errors import InputError
from autollm.learning.optim import OPTIMISERS, RATES, SCHEDULES
from autollm.models import MODELS, Config
from autollm.models.model import Recipe

# Of a model that has nothing to train; nobody looks at it.
NO_STEPS = Recipe(optimiser="sgd", lr=1.0, batch=1)


@dataclass(frozen=True)
class Budget:
    """How long to train: seconds of clock time, or a number of steps."""

    seconds: float = 1.0
    steps: int | None = None

    def __post_init__(self) -> None:
        if not (self.seconds > 0 and (self.steps is None or self.steps > 0)):
            raise ValueError(f"a budget must be above 0: seconds={self.seconds}, steps={self.steps}")

    def less(self, seconds: float) -> Budget:
        """What is left when so many seconds are gone; a number of steps stays what it is."""
        return Budget(max(self.seconds - seconds, 1e-9), self.steps)

    def clock(self) -> tuple[Callable[[], float], float]:
        """A clock to be read after every step, and how far it may go: one that ticks once a reading,
        or one that shows the time."""
        if self.steps is not None:
            return itertools.count().__next__, self.steps
        return time.perf_counter, self.seconds


@dataclass(frozen=True)
class Plan:
    """A model and how to train it. Raises ValueError for a setting that makes no sense."""

    config: Config
    budget: Budget
    seed: int
    optimiser: str  # of optim.OPTIMISERS
    lr: float  # the learning rate at its highest
    batch: int  # examples in a step
    schedule: str = "linear"  # of optim.SCHEDULES
    clip: float | None = None  # the longest that a gradient may be (its Euclidean norm); None: any length

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"a batch must have at least 1 example, got {self.batch}")
        for name, value in (("lr", self.lr), ("clip", self.clip)):
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be a finite number above 0, got {value}")
        for name, known in ((self.optimiser, OPTIMISERS), (self.schedule, SCHEDULES)):
            if name not in known:
                raise ValueError(f"there is no {name!r}; there are {', '.join(known)}")


def make_plan(config: Config, budget: Budget = Budget(), seed: int = 0, **settings: Any) -> Plan:
    """A plan with these settings (batch, optimiser, lr, schedule, clip), and with what suits the model for
    those that are not given, or given as None."""
    recipe = MODELS[config.model].recipe or NO_STEPS
    given = {name: value for name, value in settings.items() if value is not None}
    if recipe is NO_STEPS and given:
        raise InputError(f"{config.model} has no {' or '.join(given)}: it learns by counting")
    chosen = asdict(recipe) | given
    if "lr" not in given:
        if chosen["optimiser"] != recipe.optimiser:
            chosen["lr"] = RATES.get(chosen["optimiser"])
        elif callable(recipe.lr):
            chosen["lr"] = recipe.lr(config.sizes["context"], chosen["batch"])
        if config.counts and chosen["lr"]:  # there is less to learn: of 5,000 names this brings 0.007
            chosen["lr"] /= 2
    return Plan(config, budget, seed, **chosen)
