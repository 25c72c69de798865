"""One update of all parameters at once, over flat vectors.

values, grads, speeds (P,) and moments (2, P) float32. Every update leaves the gradients at 0.
"""

import numpy as np

from autollm.kernels.errors import ShapeError
from autollm.kernels.kernel import kernel


@kernel("(f4[::1], f4[::1], f8)")
def sgd_update(values, grads, rate):
    """values -= rate * grads, then grads = 0; both (P,)."""
    if grads.shape != values.shape:
        raise ShapeError(
            "sgd: values and grads must agree; got ({},), ({},)", values.shape[0], grads.shape[0]
        )
    step = values.dtype.type(rate)
    for i in range(values.shape[0]):
        values[i] -= step * grads[i]
        grads[i] = 0


@kernel("(f4[::1], f4[::1], f4[::1], f8, f8)")
def momentum_update(values, grads, speeds, rate, keep):
    """speeds = keep * speeds + grads; values -= rate * speeds; then grads = 0."""
    if grads.shape != values.shape or speeds.shape != values.shape:
        raise ShapeError(
            "momentum: values, grads and speeds must agree; got ({},), ({},), ({},)",
            values.shape[0], grads.shape[0], speeds.shape[0],
        )  # fmt: skip
    step, kept = values.dtype.type(rate), values.dtype.type(keep)
    for i in range(values.shape[0]):
        speeds[i] = kept * speeds[i] + grads[i]
        values[i] -= step * speeds[i]
        grads[i] = 0


@kernel("(f4[::1], f4[::1], f4[:, ::1], i8, f8, f8, f8, f8)")
def adam_update(values, grads, moments, count, rate, beta1, beta2, decay):
    """Update number `count` (1, 2, ...), with m, v = moments:

    m = beta1 * m + (1 - beta1) * grads;  v = beta2 * v + (1 - beta2) * grads**2
    values -= rate * (m / (1 - beta1**count) / (sqrt(v / (1 - beta2**count)) + 1e-8) + decay * values)
    """
    if grads.shape != values.shape or moments.shape[0] != 2 or moments.shape[1] != values.shape[0]:
        raise ShapeError(
            "adam: values (P,), grads (P,) and moments (2, P) must agree; got ({},), ({},), ({}, {})",
            values.shape[0], grads.shape[0], moments.shape[0], moments.shape[1],
        )  # fmt: skip
    real = values.dtype.type
    keep, gain = real(beta1), real(1.0 - beta1)
    keep_square, gain_square = real(beta2), real(1.0 - beta2)
    step, shrink = real(rate / (1.0 - beta1**count)), real(rate * decay)
    correction, epsilon = real(1.0 / np.sqrt(1.0 - beta2**count)), real(1e-8)
    for i in range(values.shape[0]):
        g = grads[i]
        m = keep * moments[0, i] + gain * g
        v = keep_square * moments[1, i] + gain_square * g * g
        values[i] -= step * m / (correction * np.sqrt(v) + epsilon) + shrink * values[i]
        moments[0, i] = m
        moments[1, i] = v
        grads[i] = 0


@kernel("(f4[::1], f8)")
def clip_to_norm(grads, limit):
    """Scale grads down to a length (Euclidean norm) of `limit` if they are longer; return their length."""
    total = 0.0
    for i in range(grads.shape[0]):
        g = np.float64(grads[i])  # whose square is never too large
        total += g * g
    norm = np.sqrt(total)
    if norm > limit:
        scale = grads.dtype.type(limit / norm)
        for i in range(grads.shape[0]):
            grads[i] *= scale
    return norm
