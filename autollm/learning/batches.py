"""Drawing random batches of examples."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from autollm.buffers import Ids
from autollm.kernels.examples import draw
from autollm.learning.examples import Examples


def batches(examples: Examples, batch: int, seed: int) -> Iterator[list[tuple[Ids, Ids]]]:
    """Endless blocks of random batches, each what `Examples.pairs` would give for `batch` examples.

    Drawn with replacement, many at a time: one call fills a block. A block's arrays are filled anew
    for the next one, so a batch is valid until then. Raises ValueError for a batch below 1.
    """
    if batch < 1:
        raise ValueError(f"a batch must have at least 1 example, got {batch}")
    rows, first = examples.rows, examples.first
    count = batches_in_a_block(examples, batch)
    letters = np.empty((count, batch * (rows.shape[1] - 1)), np.int32)
    targets = np.empty((count, batch * (rows.shape[1] - first)), np.int32)
    widths = np.empty(count, np.int64)

    @cache
    def pair(i: int, width: int) -> tuple[Ids, Ids]:
        """Batch i, whose longest row has `width` letters."""
        size = batch * (width + 1 - first)
        return letters[i, : batch * width].reshape(batch, width), targets[i, :size]

    for bits in random_bits(seed, count * batch):
        draw(rows, bits, first, letters, targets, widths)
        yield list(map(pair, range(count), widths.tolist()))


def batches_in_a_block(examples: Examples, batch: int) -> int:
    """How many batches are drawn at a time: 64, or fewer if that would be more than 2**16 tokens."""
    width: int = examples.rows.shape[1]
    return min(max(2**16 // (batch * width), 1), 64)


def random_bits(seed: int, size: int) -> Iterator[np.ndarray]:
    """Endless arrays of `size` uint32; a bit generator's stream is the same in every version of numpy."""
    random = np.random.PCG64(seed)
    while True:
        yield random.random_raw((size + 1) // 2).view(np.uint32)[:size]
