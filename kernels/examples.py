"""Drawing batches of examples, many at a time."""

import numpy as np

from autollm.kernels.jit import ShapeError, kernel


@kernel("(i4[:, ::1], i4[::1], u4[::1], i4[:, :, ::1], i4[:, ::1])")
def draw_batches(contexts, targets, bits, batch_contexts, batch_targets):
    """Fill batches with examples chosen by random bits: bits (n*B,), contexts (N, K), targets (N,),
    batch_contexts (n, B, K), batch_targets (n, B).

    32 random bits become a row number by multiplying with N and keeping the upper half (Lemire,
    "Fast Random Integer Generation in an Interval", 2019), a bias of N / 2^32 at most.
    """
    (N, K), (n, B) = contexts.shape, batch_targets.shape
    # fmt: off
    if (
        targets.shape[0] != N or bits.shape[0] != n * B
        or batch_contexts.shape[0] != n or batch_contexts.shape[1] != B or batch_contexts.shape[2] != K
    ):
        raise ShapeError(
            "draw_batches: contexts (N, K), targets (N,), bits (n * B,), batch_contexts (n, B, K), "
            "batch_targets (n, B) must agree; got ({}, {}), ({},), ({},), ({}, {}, {}), ({}, {})",
            N, K, targets.shape[0], bits.shape[0],
            batch_contexts.shape[0], batch_contexts.shape[1], batch_contexts.shape[2], n, B,
        )
    # fmt: on
    for i in range(n):
        for b in range(B):
            row = (np.int64(bits[i * B + b]) * N) >> 32
            for k in range(K):
                batch_contexts[i, b, k] = contexts[row, k]
            batch_targets[i, b] = targets[row]
