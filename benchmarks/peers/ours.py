"""AutoLLM: through the Node graph, as a user calls it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from autollm.bricks.cross_entropy import xent_from_logits
from autollm.learning.optim import SGD
from autollm.learning.plan import Budget
from autollm.learning.training import train
from autollm.models import Model, parameters
from benchmarks.peers import RATE, Rows, Task
from benchmarks.workloads import fresh_model, reordered


class Ours:
    def __init__(self, task: Task) -> None:
        self.task, self.model = task, self.build(task)
        self.optimiser = SGD(parameters(self.model).values())

    def build(self, task: Task) -> Model:
        return task.model

    def follow(self, rows: Rows) -> None:
        for chosen in rows:
            contexts, targets = self.task.examples[chosen].pairs()
            xent_from_logits(self.model(contexts), targets).back(1.0)
            self.optimiser.step(RATE)

    def run(self, steps: int) -> None:
        workload = replace(self.task.workload, rate=RATE)
        plan = replace(workload.plan(Budget(steps=steps)), schedule="constant")
        train(self.model, self.task.examples, plan)

    def weights(self) -> tuple[Any, Any]:
        bag: Any = self.model
        return bag.E.v, bag.W.v


class Reordered(Ours):
    def build(self, task: Task) -> Model:
        return fresh_model(replace(task.workload, make=reordered))
