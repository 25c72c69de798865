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


@helper
def longest_of(rows, bits, first):
    """How many letters the longest of the rows has that these bits choose."""
    N, K = rows.shape[0], rows.shape[1] - 1
    width = first
    for b in range(bits.shape[0]):
        row = rows[row_of(bits[b], N)]
        while width < K and row[width + 1] >= 0:
            width += 1
    return width


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
    for d in range(min(AHEAD, n * B)):
        ask_for(rows, bits[d])
    for i in range(n):
        width = K if first == K else longest_of(rows, bits[i * B : (i + 1) * B], first)
        widths[i] = width
        batch_letters = letters[i, : B * width].reshape(B, width)
        batch_targets = targets[i, : B * (width + 1 - first)].reshape(B, width + 1 - first)
        for b in range(B):
            d = i * B + b
            if d + AHEAD < n * B:
                ask_for(rows, bits[d + AHEAD])
            row = row_of(bits[d], N)
            for t in range(width):
                batch_letters[b, t] = rows[row, t]
            batch_targets[b, 0] = rows[row, first]  # a window has no other
            for t in range(first + 1, width + 1):
                batch_targets[b, t - first] = rows[row, t]
        if first < K:
            for j in range(B * width):
                letters[i, j] = max(letters[i, j], np.int32(0))
