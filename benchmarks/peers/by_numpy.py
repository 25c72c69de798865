"""NumPy: forward, and the derivatives by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.peers import RATE, Rows, Task


class ByNumpy:
    def __init__(self, task: Task) -> None:
        self.counts, self.targets, self.B = task.counts, task.examples.targets, task.workload.batch
        self.E, self.W = task.start
        self.places, self.share = np.arange(self.B), np.float32(RATE / self.B)
        self.random = np.random.default_rng(0)

    def follow(self, rows: Rows) -> None:
        for chosen in rows:
            self.step(chosen)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step(self.random.integers(len(self.targets), size=self.B))

    def step(self, chosen: Rows) -> None:
        bag = self.counts[chosen]  # (B, V)
        h = bag @ self.E  # (B, D)
        p = h @ self.W.T  # (B, V)
        p -= p.max(axis=1, keepdims=True)
        np.exp(p, out=p)
        p /= p.sum(axis=1, keepdims=True)
        p[self.places, self.targets[chosen]] -= 1
        p *= self.share
        dh = p @ self.W
        self.W -= p.T @ h
        self.E -= bag.T @ dh

    def weights(self) -> tuple[Any, Any]:
        return self.E, self.W
