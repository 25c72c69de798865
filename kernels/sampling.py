"""Choosing the next letter."""

import numpy as np

from autollm.kernels.errors import ShapeError
from autollm.kernels.kernel import kernel


@kernel("(f4[:, ::1], f8[::1], f8, i4[::1])")
def choose(logits, uniforms, temperature, chosen):
    """chosen[b] ~ softmax(logits[b] / temperature): logits (B, V), uniforms (B,) in [0, 1), chosen (B,).

    The choice is where the running sum of the weights passes uniforms[b] times their total. Raises
    ValueError for a row whose highest number is NaN or infinite.
    """
    B, V = logits.shape
    if uniforms.shape[0] != B or chosen.shape[0] != B:
        raise ShapeError(
            "choose: logits (B, V), uniforms (B,), chosen (B,) must agree; got ({}, {}), ({},), ({},)",
            B, V, uniforms.shape[0], chosen.shape[0],
        )  # fmt: skip
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
