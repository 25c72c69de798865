"""The test table: one row per primitive, from which all its tests are generated.

A row gives the inputs' shapes by letters (each test draws the sizes), the call, and what it should
compute, in NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import autollm
from autollm.node import Node, Param


@dataclass(frozen=True)
class Row:
    """`call(*floats, *ids)` must equal `reference(*floats, *ids)`, the floats being Nodes or Params."""

    floats: dict[str, str]  # name -> shape, "VD" for (V, D)
    call: Callable[..., Node]
    reference: Callable[..., Any]
    ids: dict[str, tuple[str, str]] = field(default_factory=dict)  # name -> (shape, limit)


def log_softmax(x: np.ndarray) -> np.ndarray:
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


ROWS = {
    "gather_rows": Row(
        {"table": "VD"}, autollm.gather_rows, lambda table, ids: table[ids], {"ids": ("BK", "V")}
    ),
    "sum_over_k": Row({"x": "BKD"}, autollm.sum_over_k, lambda x: x.sum(axis=1)),
    "embedding_bag": Row(
        {"table": "VD"},
        autollm.embedding_bag,
        lambda table, ids: table[ids].sum(axis=1),
        {"ids": ("BK", "V")},
    ),
    "matmul_wh": Row({"w": "VD", "h": "BD"}, autollm.matmul_wh, lambda w, h: h @ w.T),
    "xent_from_logits": Row(
        {"logits": "BV"},
        autollm.xent_from_logits,
        lambda logits, targets: -log_softmax(logits)[np.arange(len(targets)), targets].mean(),
        {"targets": ("B", "V")},
    ),
}


@dataclass
class Case:
    """A row with sizes and random inputs."""

    row: Row
    floats: dict[str, np.ndarray]
    ids: dict[str, np.ndarray]

    @classmethod
    def draw(cls, row: Row, sizes: dict[str, int], seed: int, dtype: Any = np.float32) -> Case:
        rng = np.random.default_rng(seed)
        shape = {name: tuple(sizes[letter] for letter in axes) for name, axes in row.floats.items()}
        floats = {name: rng.standard_normal(shape[name]).astype(dtype) for name in row.floats}
        ids = {
            name: rng.integers(0, sizes[limit], tuple(sizes[letter] for letter in axes), np.int32)
            for name, (axes, limit) in row.ids.items()
        }
        return cls(row, floats, ids)

    def expected(self) -> np.ndarray:
        floats = (value.astype(np.float64) for value in self.floats.values())
        return np.asarray(self.row.reference(*floats, *self.ids.values()))

    def run(self, u: Any = None, wrap: Any = Param) -> tuple[Any, list[np.ndarray]]:
        """The output's value and, for an upstream sensitivity `u`, every float input's gradient."""
        inputs = [wrap(value) for value in self.floats.values()]
        out = self.row.call(*inputs, *self.ids.values())
        value = out.v
        if u is not None:
            out.back(u)
        return value, [x.grad for x in inputs]


class Probe(Node):
    """An input that is a Node and remembers the gradient that reached it, and how often."""

    __slots__ = ("calls", "grad")

    def __init__(self, v: np.ndarray) -> None:
        self.calls = 0
        self.grad = np.zeros_like(v)
        super().__init__(v, self._receive)

    def _receive(self, g: np.ndarray) -> None:
        self.calls += 1
        self.grad = np.array(g)


def letters(row: Row) -> list[str]:
    """The letters of all sizes that a row needs."""
    axes = [*row.floats.values(), *(axes + limit for axes, limit in row.ids.values())]
    return sorted(set("".join(axes)))
