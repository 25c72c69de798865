"""PyTorch, eager: its fastest way to call autograd and to update."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from benchmarks.peers import RATE, Rows, Task

torch.set_num_threads(1)


class ByTorch:
    def __init__(self, task: Task) -> None:
        self.counts, self.B = torch.tensor(task.counts), task.workload.batch
        self.targets = torch.tensor(task.examples.rows[:, -1]).long()
        self.E, self.W = (torch.tensor(values, requires_grad=True) for values in task.start)

    def follow(self, rows: Rows) -> None:
        for chosen in torch.tensor(rows):
            self.step(chosen)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step(torch.randint(len(self.targets), (self.B,)))

    def step(self, chosen: Any) -> None:
        logits = functional.linear(self.counts[chosen] @ self.E, self.W)
        loss = functional.cross_entropy(logits, self.targets[chosen])
        dE, dW = torch.autograd.grad(loss, (self.E, self.W))
        with torch.no_grad():
            self.E.sub_(dE, alpha=RATE)
            self.W.sub_(dW, alpha=RATE)

    def weights(self) -> tuple[Any, Any]:
        return self.E.detach().numpy(), self.W.detach().numpy()
