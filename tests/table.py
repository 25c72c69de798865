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
from autollm.node import Node


@dataclass(frozen=True)
class Row:
    """`call(*floats, *ids)` must equal `reference(*floats, *ids)`, the floats being Nodes or Params."""

    floats: dict[str, str]  # name -> shape, "VD" for (V, D)
    call: Callable[..., Node]
    reference: Callable[..., Any]
    ids: dict[str, tuple[str, str]] = field(default_factory=dict)  # name -> (shape, limit)
    lowest: int = 0  # the lowest id allowed
    backwards: int = 1  # how many backward kernels one back(u) runs
    view: bool = False  # the value is the input's memory in another shape
    may_be_longer: tuple[tuple[str, int], ...] = ()  # (input, axis) that may exceed its letter's size
    deviations: dict[str, float] = field(default_factory=dict)  # standard deviations of inputs, if not 1
    score: Callable[[np.ndarray, float], None] | None = None  # makes the scores of a softmax about that high


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def attention(qkv: np.ndarray) -> np.ndarray:
    q, k, v = (qkv[:, :, i].swapaxes(1, 2) for i in range(3))  # (B, H, T, D)
    scores = q @ k.swapaxes(2, 3) / np.sqrt(q.shape[-1])
    scores[..., ~np.tri(q.shape[2], dtype=bool)] = -np.inf
    return (softmax(scores) @ v).swapaxes(1, 2)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def rnn(r: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Elman 1990: h[t] = tanh(x[t] + r @ h[t-1])."""
    h, states = np.zeros_like(x[:, :0].sum(axis=1)), np.empty_like(x)
    for t in range(x.shape[1]):
        h = states[:, t] = np.tanh(x[:, t] + h @ r.T)
    return states


def gru(r: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Cho et al. 2014, eqs. (5) to (8), with z and 1 - z exchanged."""
    h, states = np.zeros_like(x[:, :0, 0].sum(axis=1)), np.empty_like(x[:, :, 0])
    for t in range(x.shape[1]):
        reset, z = sigmoid(x[:, t, 0] + h @ r[0].T), sigmoid(x[:, t, 1] + h @ r[1].T)
        h = states[:, t] = (1 - z) * h + z * np.tanh(x[:, t, 2] + (reset * h) @ r[2].T)
    return states


def layer_norm(gain: np.ndarray, bias: np.ndarray, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=1, keepdims=True)
    return gain * centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5) + bias


def cross_entropy(logits: np.ndarray, targets: np.ndarray) -> Any:
    kept = targets >= 0
    losses = -log_softmax(logits)[np.arange(len(targets)), targets]
    return losses[kept].sum() / max(kept.sum(), 1)


def score_logits(logits: np.ndarray, height: float) -> None:
    logits += height


def score_attention(qkv: np.ndarray, height: float) -> None:
    """Every key is 1 everywhere; the queries are small numbers and what makes the products that high."""
    qkv[:, :, 1] = 1
    qkv[:, :, 0] += height / np.sqrt(qkv.shape[-1])


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
        cross_entropy,
        {"targets": ("B", "V")},
        lowest=-1,
        score=score_logits,
    ),
    "linear": Row({"w": "VD", "b": "V", "h": "BD"}, autollm.linear, lambda w, b, h: h @ w.T + b),
    "add_bias": Row({"bias": "D", "x": "BD"}, autollm.add_bias, lambda bias, x: x + bias),
    "add_positions": Row(
        {"positions": "TD", "x": "BTD"},
        autollm.add_positions,
        lambda positions, x: x + positions,
        may_be_longer=(("positions", 0),),
    ),
    "concat": Row(
        {"a": "BD", "b": "BK", "c": "BH"},
        autollm.concat,
        lambda *parts: np.concatenate(parts, axis=1),
        backwards=3,
    ),
    "reshape": Row(
        {"x": "BKD"},
        lambda x: autollm.reshape(x, -1, x.v.shape[-1]),
        lambda x: x.reshape(-1, x.shape[-1]),
        backwards=0,
        view=True,
    ),
    "add": Row({"a": "BD", "b": "BD"}, autollm.add, lambda a, b: a + b, backwards=0),
    "mul": Row({"a": "BD", "b": "BD"}, autollm.mul, lambda a, b: a * b),
    "blend": Row({"a": "BD", "b": "BD", "z": "BD"}, autollm.blend, lambda a, b, z: (1 - z) * a + z * b),
    "relu": Row({"x": "BD"}, autollm.relu, lambda x: np.maximum(x, 0)),
    "sigmoid": Row({"x": "BD"}, autollm.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    "tanh": Row({"x": "BD"}, autollm.tanh, np.tanh),
    "gelu": Row(
        {"x": "BD"},
        autollm.gelu,
        lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    ),
    "rms_norm": Row(
        {"x": "BD"}, autollm.rms_norm, lambda x: x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-5)
    ),
    "layer_norm": Row({"gain": "D", "bias": "D", "x": "BD"}, autollm.layer_norm, layer_norm),
    "causal_attention": Row({"qkv": "BT3HD"}, autollm.causal_attention, attention, score=score_attention),
    "rnn": Row({"r": "HH", "x": "BTH"}, autollm.rnn, rnn, deviations={"r": 0.1}),
    "gru": Row({"r": "3HH", "x": "BT3H"}, autollm.gru, gru, deviations={"r": 0.1}),
}
