"""Softmax and cross-entropy in one kernel: the derivative comes with the loss.

logits, surprise and dlogits (B, V) float32, targets (B,) int32.
"""

import numpy as np

from autollm.kernels.errors import IdError, ShapeError
from autollm.kernels.kernel import check_ids, helper, kernel
from autollm.kernels.simd import (
    LANES,
    exp,
    load,
    load_first,
    max_lanes,
    maximum,
    splat,
    store,
    store_first,
    sum_lanes,
)


@helper
def check_xent(logits, targets, surprise):
    B, V = logits.shape
    if targets.shape[0] != B or surprise.shape[0] != B or surprise.shape[1] != V:
        raise ShapeError(
            "xent_from_logits: logits and surprise (B, V), targets (B,) must agree; "
            "got ({}, {}), ({}, {}), ({},)",
            B, V, surprise.shape[0], surprise.shape[1], targets.shape[0],
        )  # fmt: skip


@helper
def mean_surprise(logits, targets, count, surprise):
    """The sum of -log softmax(logits[b])[targets[b]] over the rows with a target that is not negative,
    divided by their number, `count`; surprise = (softmax(logits) - onehot(targets)) / count in those
    rows, 0 in the others.
    """
    B, V = logits.shape
    mean = logits.dtype.type(1.0 / count)
    full = max(V - 1, 0) // LANES * LANES  # a row is some full vectors and a last one, of 1 to LANES lanes
    left = V - full
    peaks = np.empty(B, logits.dtype)
    for b in range(B):
        end = b * V + full
        highest = load_first(logits, end, left, -np.inf)
        for i in range(b * V, end, LANES):
            highest = maximum(highest, load(logits, i))
        peaks[b] = max_lanes(highest)

    loss, product = 0.0, 1.0  # one log of a product of many sums z, not a log of each: 1 <= z <= V
    for b in range(B):
        end = b * V + full
        if targets[b] < 0:
            for i in range(b * V, end, LANES):
                store(splat(0.0), surprise, i)
            store_first(splat(0.0), surprise, end, left)
            continue
        last = exp(load_first(logits, end, left, -np.inf) - splat(peaks[b]))
        total = last
        for i in range(b * V, end, LANES):
            power = exp(load(logits, i) - splat(peaks[b]))
            store(power, surprise, i)
            total = total + power
        z = sum_lanes(total)
        scale = splat(mean / z)
        for i in range(b * V, end, LANES):
            store(load(surprise, i) * scale, surprise, i)
        store_first(last * scale, surprise, end, left)
        loss += np.float64(peaks[b]) - np.float64(logits[b, targets[b]])
        product *= np.float64(z)
        if not product < 1e200:  # also when it is NaN
            loss += np.log(product)
            product = 1.0
    for b in range(B):
        if targets[b] >= 0:
            surprise[b, targets[b]] -= mean
    return (loss + np.log(product)) / count


@kernel("(f4[:, ::1], i4[::1], f4[:, ::1])")
def xent_from_logits_forward(logits, targets, surprise):
    """Return the mean of -log softmax(logits[b])[targets[b]] in nats, as float64, and fill
    surprise = (softmax(logits) - onehot(targets)) / B.
    """
    check_xent(logits, targets, surprise)
    check_ids(targets, logits.shape[1])
    return mean_surprise(logits, targets, logits.shape[0], surprise)


@kernel("(f4[:, ::1], i4[::1], f4[:, ::1])")
def masked_xent_from_logits_forward(logits, targets, surprise):
    """As xent_from_logits_forward, over the rows whose target is not -1; surprise is 0 in the others."""
    check_xent(logits, targets, surprise)
    count = 0
    for b in range(targets.shape[0]):
        if targets[b] < -1 or targets[b] >= logits.shape[1]:
            raise IdError("id {} at position {} is outside -1..{}", targets[b], b, logits.shape[1] - 1)
        count += targets[b] >= 0
    return mean_surprise(logits, targets, max(count, 1), surprise)


@kernel("(f4[:, ::1], f8, f4[:, ::1])")
def xent_from_logits_backward(surprise, g, dlogits):
    """dlogits += g * surprise"""
    B, V = surprise.shape
    if dlogits.shape != surprise.shape:
        raise ShapeError(
            "xent_from_logits: surprise and dlogits (B, V) must agree; got ({}, {}), ({}, {})",
            B, V, dlogits.shape[0], dlogits.shape[1],
        )  # fmt: skip
    scale = surprise.dtype.type(g)
    for b in range(B):
        for v in range(V):
            dlogits[b, v] += scale * surprise[b, v]
