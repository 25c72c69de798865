"""Drawing random batches of examples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from autollm.buffers import Ids
from autollm.kernels.examples import draw_batches, draw_words
from autollm.learning.examples import Examples


def batches(examples: Examples, batch: int, seed: int) -> Iterator[list[tuple[Ids, Ids]]]:
    """Endless blocks of random batches, each batch contexts (B, K) and targets (B,), or, of whole words,
    (B, T) and (B * T,), cut to the longest word of the batch.

    Drawn with replacement, many at a time: one call fills a block. A block's arrays are filled anew
    for the next one, so a batch is valid until then. Raises ValueError for a batch below 1.
    """
    if batch < 1:
        raise ValueError(f"a batch must have at least 1 example, got {batch}")
    context = examples.contexts.shape[1]
    count = min(max(2**16 // (batch * (context + 1)), 1), 64)
    bits = random_bits(seed, count * batch)
    if examples.targets.ndim == 2:
        return _blocks_of_words(examples, count, batch, bits)
    return _blocks_of_windows(examples.windows, count, batch, bits)


def random_bits(seed: int, size: int) -> Iterator[np.ndarray]:
    """Endless arrays of `size` uint32; a bit generator's stream is the same in every version of numpy."""
    random = np.random.PCG64(seed)
    while True:
        yield random.random_raw((size + 1) // 2).view(np.uint32)[:size]


def _blocks_of_windows(
    windows: Ids, count: int, batch: int, bits: Iterator[np.ndarray]
) -> Iterator[list[tuple[Ids, Ids]]]:
    contexts = np.empty((count, batch, windows.shape[1] - 1), np.int32)
    targets = np.empty((count, batch), np.int32)
    block = list(zip(contexts, targets, strict=True))
    while True:
        draw_batches(windows, next(bits), contexts, targets)
        yield block


def _blocks_of_words(
    examples: Examples, count: int, batch: int, bits: Iterator[np.ndarray]
) -> Iterator[list[tuple[Ids, Ids]]]:
    letters = np.empty((count, batch * examples.contexts.shape[1]), np.int32)
    nexts = np.empty_like(letters)
    longest = np.empty(count, np.int64)
    while True:
        draw_words(examples.contexts, examples.targets, next(bits), letters, nexts, longest)
        yield [
            (letters[i, : batch * width].reshape(batch, width), nexts[i, : batch * width])
            for i, width in enumerate(longest.tolist())
        ]
