"""Drawing batches of examples, many at a time."""

import numpy as np

from autollm.kernels.checks import check_equal
from autollm.kernels.jit import kernel


@kernel("(i4[:, ::1], i4[::1], u4[::1], i4[:, :, ::1], i4[:, ::1])")
def draw_batches(contexts, targets, bits, batch_contexts, batch_targets):
    """Fill batches with examples chosen by random bits: bits (n*B,), contexts (N, K), targets (N,),
    batch_contexts (n, B, K), batch_targets (n, B).

    32 random bits become a row number by multiplying with N and keeping the upper half (Lemire,
    "Fast Random Integer Generation in an Interval", 2019), a bias of N / 2^32 at most.
    """
    (N, K), (n, B) = contexts.shape, batch_targets.shape
    check_equal("draw_batches: N of contexts and targets", targets.shape[0], N)
    check_equal("draw_batches: number of random bits", bits.shape[0], n * B)
    check_equal("draw_batches: number of batches", batch_contexts.shape[0], n)
    check_equal("draw_batches: B of contexts and targets", batch_contexts.shape[1], B)
    check_equal("draw_batches: K of contexts", batch_contexts.shape[2], K)
    for i in range(n):
        for b in range(B):
            row = (np.int64(bits[i * B + b]) * N) >> 32
            for k in range(K):
                batch_contexts[i, b, k] = contexts[row, k]
            batch_targets[i, b] = targets[row]
