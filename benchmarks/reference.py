"""The bag once more, in plain NumPy and float64: what timed code is checked against."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from autollm.buffers import Ids
from autollm.learning.examples import Examples
from autollm.models.bag import Bag
from benchmarks.workloads import ALPHABET

Matrix = npt.NDArray[np.float64]


def softmax_loss(logits: Matrix, targets: npt.NDArray[np.int32]) -> tuple[float, Matrix]:
    """The mean cross-entropy in nats, and its derivative by the logits."""
    rows = np.arange(len(targets))
    logits = logits - logits.max(axis=1, keepdims=True)
    weights = np.exp(logits)
    totals = weights.sum(axis=1)
    loss = float(np.mean(np.log(totals) - logits[rows, targets]))
    dlogits = weights / totals[:, None]
    dlogits[rows, targets] -= 1
    return loss, dlogits / len(targets)


def bag_loss(model: Bag, contexts: Ids, targets: Ids) -> tuple[float, Matrix, Matrix]:
    """The mean loss of a bag, and its derivatives by E and W."""
    E, W = model.E.v.astype(np.float64), model.W.v.astype(np.float64)
    h = E[contexts].sum(axis=1)
    loss, dlogits = softmax_loss(h @ W.T, targets)
    dh = dlogits @ W
    dE = np.array([(contexts == letter).sum(axis=1) @ dh for letter in range(len(E))])
    return loss, dE, dlogits.T @ h


def letter_counts(examples: Examples) -> Matrix:
    """How often each letter stands in each context: (N, V)."""
    counts = np.zeros((len(examples), ALPHABET.size))
    np.add.at(counts, (np.arange(len(examples))[:, None], examples.rows[:, :-1]), 1.0)
    return counts


def least_loss(examples: Examples) -> float:
    """The least loss that any bag can have on examples, in nats per letter. Needs SciPy.

    The loss depends on E and W through M = E @ W.T alone, and is convex in M. What is searched for is M in
    coordinates in which letters that often stand together are no longer alike: there it takes few steps.
    """
    from scipy.optimize import minimize

    inputs, _, _ = np.linalg.svd(letter_counts(examples), full_matrices=False)  # (N, V), orthonormal
    inputs *= np.sqrt(len(inputs))

    def loss_and_slope(flat: Matrix) -> tuple[float, Matrix]:
        loss, dlogits = softmax_loss(inputs @ flat.reshape(len(inputs.T), -1), examples.rows[:, -1])
        return loss, (inputs.T @ dlogits).ravel()

    start = np.zeros(inputs.shape[1] * ALPHABET.size)
    best = minimize(loss_and_slope, start, jac=True, method="L-BFGS-B", options={"maxcor": 60})
    return float(best.fun)
