"""Drawing batches of examples, many at a time.

32 random bits become a row number by multiplying with the number of rows N and keeping the upper half
(Lemire, "Fast Random Integer Generation in an Interval", 2019), a bias of N / 2^32 at most.
"""

import numpy as np

from autollm.kernels.errors import ShapeError
from autollm.kernels.kernel import helper, kernel
from autollm.kernels.simd import prefetch

AHEAD = 64  # how many draws before a row is read it is asked for: the rows of a long list are far away


@helper
def row_of(bits, rows):
    return (np.int64(bits) * rows) >> 32


@kernel("(i4[:, ::1], u4[::1], i4[:, :, ::1], i4[:, ::1])")
def draw_batches(windows, bits, contexts, targets):
    """Fill batches with examples chosen by random bits: windows (N, K + 1), of which the last column holds
    targets, bits (n * B,), contexts (n, B, K), targets (n, B).
    """
    (N, W), (n, B) = windows.shape, targets.shape
    K, draws = W - 1, n * B
    # fmt: off
    if (
        N < 1 or bits.shape[0] != draws
        or contexts.shape[0] != n or contexts.shape[1] != B or contexts.shape[2] != K
    ):
        raise ShapeError(
            "draw_batches: windows (N, K + 1), bits (n * B,), contexts (n, B, K), targets (n, B) must agree, "
            "and N be 1 at least; got ({}, {}), ({},), ({}, {}, {}), ({}, {})",
            N, W, bits.shape[0], contexts.shape[0], contexts.shape[1], contexts.shape[2], n, B,
        )
    # fmt: on
    flat_contexts, flat_targets = contexts.reshape(draws, K), targets.reshape(draws)
    for draw in range(-AHEAD, draws):
        if draw + AHEAD < draws:
            start = row_of(bits[draw + AHEAD], N) * W
            prefetch(windows, start)
            prefetch(windows, start + K)
        if draw >= 0:
            row = row_of(bits[draw], N)
            for k in range(K):
                flat_contexts[draw, k] = windows[row, k]
            flat_targets[draw] = windows[row, K]


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
            rows[b] = row_of(bits[i * B + b], N)
            while width < T and nexts[rows[b], width] >= 0:
                width += 1
        longest[i] = width
        for b in range(B):
            for t in range(width):
                batch_letters[i, b * width + t] = letters[rows[b], t]
                batch_nexts[i, b * width + t] = nexts[rows[b], t]
