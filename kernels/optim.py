"""One update of all parameters at once, over flat vectors. Every update leaves the gradients at 0."""

import numpy as np

from autollm.kernels.kernel import helper, kernel
from autollm.kernels.simd import LANES, load_first, sqrt, store_first


@helper
def check_rate(rate):
    """Raise ValueError for a learning rate that would leave nothing of the values."""
    if not np.isfinite(rate):
        raise ValueError("the learning rate is NaN or infinite")


@kernel("values (P), grads (P), rate f8")
def sgd_update(values, grads, rate):
    """values -= rate * grads, then grads = 0."""
    check_rate(rate)
    step = values.dtype.type(rate)
    for i in range(values.shape[0]):
        values[i] -= step * grads[i]
        grads[i] = 0


@kernel("values (P), grads (P), speeds (P), rate f8, keep f8")
def momentum_update(values, grads, speeds, rate, keep):
    """speeds = keep * speeds + grads; values -= rate * speeds; then grads = 0."""
    check_rate(rate)
    step, kept = values.dtype.type(rate), values.dtype.type(keep)
    for i in range(values.shape[0]):
        speeds[i] = kept * speeds[i] + grads[i]
        values[i] -= step * speeds[i]
        grads[i] = 0


@kernel("values (P), grads (P), moments (2, P), count i8, rate f8, beta1 f8, beta2 f8, decay f8")
def adam_update(values, grads, moments, count, rate, beta1, beta2, decay):
    """Update number `count` (1, 2, ...), with m, v = moments:

    m = beta1 * m + (1 - beta1) * grads;  v = beta2 * v + (1 - beta2) * grads**2
    values -= rate * (m / (1 - beta1**count) / (sqrt(v / (1 - beta2**count)) + 1e-8) + decay * values)
    """
    check_rate(rate)
    real = values.dtype.type
    keep, gain = real(beta1), real(1.0 - beta1)
    keep_square, gain_square = real(beta2), real(1.0 - beta2)
    step, shrink = real(rate / (1.0 - beta1**count)), real(rate * decay)
    correction, epsilon = real(1.0 / np.sqrt(1.0 - beta2**count)), real(1e-8)
    P = values.size
    for i in range(0, P, LANES):
        n = P - i
        g, value = load_first(grads, i, n), load_first(values, i, n)
        m = keep * load_first(moments, i, n) + gain * g
        v = keep_square * load_first(moments, P + i, n) + gain_square * g * g
        store_first(m, moments, i, n)
        store_first(v, moments, P + i, n)
        store_first(value - (step * m / (correction * sqrt(v) + epsilon) + shrink * value), values, i, n)
        store_first(0.0, grads, i, n)


@kernel("grads (P), limit f8")
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
