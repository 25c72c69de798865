"""AutoLLM: through the Node graph, as a user calls it."""

from __future__ import annotations

from dataclasses import replace

from autollm.bricks.cross_entropy import xent_from_logits
from autollm.learning.optim import OPTIMISERS
from autollm.learning.training import train
from autollm.models import Model, parameters
from benchmarks.peers import Rows, Task, Weights
from benchmarks.workloads import fresh_model, reordered


class Ours:
    def __init__(self, task: Task) -> None:
        self.task, self.model = task, self.build(task)

    def build(self, task: Task) -> Model:
        return task.model

    def follow(self, rows: Rows) -> None:
        plan = self.task.plan(len(rows))
        params = parameters(self.model).values()
        optimiser = OPTIMISERS[plan.optimiser](params, self.task.examples.targets)
        for chosen, rate in zip(rows, self.task.rates(len(rows)).tolist(), strict=True):
            letters, targets = self.task.examples[chosen].pairs()
            xent_from_logits(self.model(letters), targets).back(1.0)
            optimiser.step(rate)

    def run(self, steps: int) -> None:
        train(self.model, self.task.examples, self.task.plan(steps))

    def weights(self) -> Weights:
        return {name: param.v for name, param in parameters(self.model).items()}


class Reordered(Ours):
    def build(self, task: Task) -> Model:
        return fresh_model(replace(task.workload, make=reordered))
