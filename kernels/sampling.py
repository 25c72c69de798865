"""Choosing the next letter."""

import numpy as np

from autollm.kernels.jit import ShapeError, kernel


@kernel("(f4[:, ::1], f8[::1], f8, i8, i4[::1])")
def choose(logits, uniforms, temperature, top_k, chosen):
    """chosen[b] ~ softmax(logits[b] / temperature): logits (B, V), uniforms (B,) in [0, 1), chosen (B,).

    With 0 < top_k < V only the k likeliest (and their equals) can be chosen. The choice is where the
    running sum of the weights passes uniforms[b] times their total.
    """
    B, V = logits.shape
    if uniforms.shape[0] != B or chosen.shape[0] != B:
        raise ShapeError(
            "choose: logits (B, V), uniforms (B,), chosen (B,) must agree; got ({}, {}), ({},), ({},)",
            B, V, uniforms.shape[0], chosen.shape[0],
        )  # fmt: skip
    weights = np.empty(V)
    for b in range(B):
        top = np.float64(logits[b].max())
        floor = np.sort(logits[b])[V - top_k] if 0 < top_k < V else np.float32(-np.inf)
        total = 0.0
        for v in range(V):
            weights[v] = np.exp((logits[b, v] - top) / temperature) if logits[b, v] >= floor else 0.0
            total += weights[v]
        remaining = uniforms[b] * total
        for v in range(V):
            if weights[v] > 0.0:
                chosen[b] = v  # also where rounding leaves a remainder after the last weight
                remaining -= weights[v]
                if remaining < 0.0:
                    break
