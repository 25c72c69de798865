"""Softmax and cross-entropy in one kernel: the derivative comes with the loss."""

import numpy as np

from autollm.kernels.errors import IdError
from autollm.kernels.kernel import helper, kernel
from autollm.kernels.simd import (
    LANES,
    exp,
    load,
    load_first,
    max_lanes,
    maximum,
    store,
    store_first,
    sum_lanes,
)


@helper
def count_targets(targets, V):
    """How many targets are not -1. Raises IdError for one outside -1..V-1."""
    count, lowest, highest = 0, np.int32(-1), np.int32(-1)
    for b in range(targets.size):
        lowest, highest = min(lowest, targets[b]), max(highest, targets[b])
        count += targets[b] >= 0
    if lowest < -1 or highest >= V:
        for b in range(targets.size):
            if targets[b] < -1 or targets[b] >= V:
                raise IdError("id {} at position {} is outside -1..{}", targets[b], b, V - 1)
    return count


@kernel("logits (B, V), targets i4 (B), dlogits (B, V)")
def xent_from_logits_forward(logits, targets, dlogits):
    """Return the mean of -log softmax(logits[b])[targets[b]] over the rows whose target is not -1, in nats,
    as float64, and 0 without any; dlogits = (softmax(logits) - onehot(targets)) / rows there, 0 elsewhere.
    """
    B, V = logits.shape
    count = max(count_targets(targets, V), 1)
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
                store(0.0, dlogits, i)
            store_first(0.0, dlogits, end, left)
            continue
        last = exp(load_first(logits, end, left, -np.inf) - peaks[b])
        total = last
        for i in range(b * V, end, LANES):
            power = exp(load(logits, i) - peaks[b])
            store(power, dlogits, i)
            total = total + power
        z = sum_lanes(total)
        scale = mean / z
        for i in range(b * V, end, LANES):
            store(load(dlogits, i) * scale, dlogits, i)
        store_first(last * scale, dlogits, end, left)
        loss += np.float64(peaks[b]) - np.float64(logits[b, targets[b]])
        product *= np.float64(z)
        if not product < 1e200:  # also when it is NaN
            loss += np.log(product)
            product = 1.0
    for b in range(B):
        if targets[b] >= 0:
            dlogits[b, targets[b]] -= mean
    return (loss + np.log(product)) / count


@kernel("dlogits (B, V), g f8, share (B, V), add i8")
def xent_from_logits_backward(dlogits, g, share, add):
    """share = g * dlogits, or += if add, with the dlogits that forward left."""
    B, V = dlogits.shape
    scale = dlogits.dtype.type(g)
    for b in range(B):
        for v in range(V):
            share[b, v] = share[b, v] + scale * dlogits[b, v] if add else scale * dlogits[b, v]
