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


@helper
def ask_for(rows, bits):
    """Ask for both ends of the row that these bits choose."""
    N, width = rows.shape
    start = row_of(bits, N) * width
    prefetch(rows, start)
    prefetch(rows, start + width - 1)


@kernel("rows i4 (N, W), bits u4 (D), first i8, letters i4 (n, L), targets i4 (n, M), widths i8 (n)")
def draw(rows, bits, first, letters, targets, widths):
    """Fill n batches of B with rows of W = K + 1 tokens, those from column `first` on being targets, which
    D = n * B random bits choose. There is room for L = B * K letters and M = B * (W - first) targets.

    Batch i is cut to its longest row, which has widths[i] letters. It fills the beginning of letters[i] as
    (B, widths[i]) and of targets[i] as (B, widths[i] + 1 - first). Where a row is over it holds -1, which
    becomes 0 among the letters.
    """
    N, K, n = rows.shape[0], rows.shape[1] - 1, widths.shape[0]
    B = bits.shape[0] // max(n, 1)
    # fmt: off
    if (
        N < 1 or first < 1 or first > K or bits.shape[0] != n * B or letters.shape[1] != B * K
        or targets.shape[1] != B * (K + 1 - first)
    ):
        raise ShapeError(
            "draw: rows (N, K + 1), bits (n * B,), letters (n, B * K), targets (n, B * (K + 1 - first)) "
            "must agree, N be 1 at least, and first from 1 to K; "
            "got ({}, {}), ({},), ({}, {}), ({}, {}), first {}",
            N, K + 1, bits.shape[0], n, letters.shape[1], n, targets.shape[1], first,
        )
    # fmt: on
    for i in range(min(AHEAD, n * B)):
        ask_for(rows, bits[i])
    chosen = np.empty(B, np.int64)
    for i in range(n):
        width = first
        for b in range(B):
            if i * B + b + AHEAD < n * B:
                ask_for(rows, bits[i * B + b + AHEAD])
            chosen[b] = row_of(bits[i * B + b], N)
            while width < K and rows[chosen[b], width + 1] >= 0:
                width += 1
        widths[i] = width
        several = width + 1 - first
        for b in range(B):
            for t in range(width):
                letters[i, b * width + t] = max(rows[chosen[b], t], np.int32(0))
            for t in range(several):
                targets[i, b * several + t] = rows[chosen[b], first + t]
