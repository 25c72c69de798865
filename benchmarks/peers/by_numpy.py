"""NumPy: forward, and the derivatives by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.peers import RATE, Rows, Task

DRAWN_AT_ONCE = 64  # steps


class ByNumpy:
    def __init__(self, task: Task) -> None:
        self.counts, self.targets, self.B = task.counts, task.examples.rows[:, -1], task.workload.batch
        self.E, self.W = task.start
        self.places, self.share = np.arange(self.B), np.float32(RATE / self.B)
        self.bag, self.p = (np.empty((self.B, self.counts.shape[1]), np.float32) for _ in range(2))
        self.h, self.dh = (np.empty((self.B, self.E.shape[1]), np.float32) for _ in range(2))
        self.random = np.random.default_rng(0)

    def follow(self, rows: Rows) -> None:
        for chosen in rows:
            self.step(chosen)

    def run(self, steps: int) -> None:
        for start in range(0, steps, DRAWN_AT_ONCE):
            count = min(steps - start, DRAWN_AT_ONCE)
            self.follow(self.random.integers(len(self.targets), size=(count, self.B)))

    def step(self, chosen: Rows) -> None:
        bag, h, p, dh = self.bag, self.h, self.p, self.dh
        np.take(self.counts, chosen, axis=0, out=bag)  # (B, V)
        np.matmul(bag, self.E, out=h)  # (B, D)
        np.matmul(h, self.W.T, out=p)  # (B, V)
        p -= p.max(axis=1, keepdims=True)
        np.exp(p, out=p)
        p *= self.share / p.sum(axis=1, keepdims=True)
        p[self.places, self.targets[chosen]] -= self.share
        np.matmul(p, self.W, out=dh)
        self.W -= p.T @ h
        self.E -= bag.T @ dh

    def weights(self) -> tuple[Any, Any]:
        return self.E, self.W
