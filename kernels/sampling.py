"""Choosing the next letter."""

import numpy as np

from autollm.kernels.kernel import kernel


@kernel("logits (B, V), uniforms f8 (B), temperature f8, chosen i4 (B)")
def choose(logits, uniforms, temperature, chosen):
    """chosen[b] ~ softmax(logits[b] / temperature), where the uniforms are in [0, 1).

    The choice is where the running sum of the weights passes uniforms[b] times their total. Raises
    ValueError for a row whose highest number is NaN or infinite.
    """
    B, V = logits.shape
    weights = np.empty(V)
    for b in range(B):
        top = -np.inf
        for v in range(V):
            top = max(top, np.float64(logits[b, v]))
        total = 0.0
        for v in range(V):
            weights[v] = np.exp((logits[b, v] - top) / temperature)
            total += weights[v]
        if not total > 0.0:
            raise ValueError("choose: no letter has a chance; the scores are NaN or infinite")
        remaining = uniforms[b] * total
        for v in range(V):
            if weights[v] > 0.0:
                chosen[b] = v  # also where rounding leaves a remainder after the last weight
                remaining -= weights[v]
                if remaining < 0.0:
                    break
