"""NumPy: forward, and the derivatives by hand."""

from __future__ import annotations

import numpy as np

from benchmarks.peers import Rows, Task, Weights

DRAWN_AT_ONCE = 64  # steps


class ByNumpy:
    def __init__(self, task: Task) -> None:
        self.task, self.B, self.places = task, task.workload.batch, np.arange(task.workload.batch)
        self.counts, self.targets = task.counts, task.targets[:, 0]
        self.E, self.W = task.start["E"], task.start["W"]
        self.bag, self.p = (np.empty((self.B, self.counts.shape[1]), np.float32) for _ in range(2))
        self.h, self.dh = (np.empty((self.B, self.E.shape[1]), np.float32) for _ in range(2))
        self.random = np.random.default_rng(0)

    def follow(self, rows: Rows) -> None:
        for chosen, rate in zip(rows, self.task.rates(len(rows)), strict=True):
            self.step(chosen, rate)

    def run(self, steps: int) -> None:
        for first, rate in enumerate(self.task.rates(steps)):
            if first % DRAWN_AT_ONCE == 0:
                rows = self.random.integers(len(self.targets), size=(DRAWN_AT_ONCE, self.B))
            self.step(rows[first % DRAWN_AT_ONCE], rate)

    def step(self, chosen: Rows, rate: np.float32) -> None:
        bag, h, p, dh, share = self.bag, self.h, self.p, self.dh, rate / np.float32(self.B)
        np.take(self.counts, chosen, axis=0, out=bag)  # (B, V)
        np.matmul(bag, self.E, out=h)  # (B, D)
        np.matmul(h, self.W.T, out=p)  # (B, V)
        p -= p.max(axis=1, keepdims=True)
        np.exp(p, out=p)
        p *= share / p.sum(axis=1, keepdims=True)
        p[self.places, self.targets[chosen]] -= share
        np.matmul(p, self.W, out=dh)
        self.W -= p.T @ h
        self.E -= bag.T @ dh

    def weights(self) -> Weights:
        return {"E": self.E, "W": self.W}
