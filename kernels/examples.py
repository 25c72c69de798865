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
        N < 1 or targets.shape[0] != N or bits.shape[0] != n * B
        or batch_contexts.shape[0] != n or batch_contexts.shape[1] != B or batch_contexts.shape[2] != K
    ):
        raise ShapeError(
            "draw_batches: contexts (N, K), targets (N,), bits (n * B,), batch_contexts (n, B, K), "
            "batch_targets (n, B) must agree, and N be 1 at least; "
            "got ({}, {}), ({},), ({},), ({}, {}, {}), ({}, {})",
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


@kernel("(i4[:, ::1], i4[:, ::1], u4[::1], i4[:, ::1], i4[:, ::1], i8[::1])")
def draw_words(letters, nexts, bits, batch_letters, batch_nexts, longest):
    """Fill batches with words chosen by random bits, as `draw_batches` does: bits (n * B,), letters and
    nexts (N, T), nexts -1 where a word is over, batch_letters and batch_nexts (n, B * T), longest (n,).

    Batch i is cut to its longest word: longest[i] columns, in the first B * longest[i] places of row i.
    """
    (N, T), n = letters.shape, longest.shape[0]
    B = bits.shape[0] // n
    # fmt: off
    if (
        N < 1 or T < 1 or nexts.shape != letters.shape or bits.shape[0] != n * B
        or batch_letters.shape[0] != n or batch_letters.shape[1] != B * T
        or batch_nexts.shape != batch_letters.shape
    ):
        raise ShapeError(
            "draw_words: letters and nexts (N, T), bits (n * B,), batch_letters and batch_nexts (n, B * T), "
            "longest (n,) must agree, and N and T be 1 at least; "
            "got ({}, {}), ({}, {}), ({},), ({}, {}), ({}, {}), ({},)",
            N, T, nexts.shape[0], nexts.shape[1], bits.shape[0], batch_letters.shape[0],
            batch_letters.shape[1], batch_nexts.shape[0], batch_nexts.shape[1], n,
        )
    # fmt: on
    rows = np.empty(B, np.int64)
    for i in range(n):
        width = 1
        for b in range(B):
            rows[b] = (np.int64(bits[i * B + b]) * N) >> 32
            while width < T and nexts[rows[b], width] >= 0:
                width += 1
        longest[i] = width
        for b in range(B):
            for t in range(width):
                batch_letters[i, b * width + t] = letters[rows[b], t]
                batch_nexts[i, b * width + t] = nexts[rows[b], t]
