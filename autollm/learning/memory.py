"""Whether a run fits into memory, before it begins."""

from __future__ import annotations

import os

from autollm.errors import InputError
from autollm.learning.experiment import Corpus, Plan


def check_memory(plan: Plan, corpus: Corpus, samples: int) -> None:
    """Raise InputError if a run needs more memory than the machine has."""
    try:
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return  # not known on this system; a MemoryError will tell
    needed = _bytes_needed(plan, corpus, samples)
    if needed > available:
        raise InputError(
            f"these sizes need about {needed / 1e9:,.1f} GB of memory, and this machine has "
            f"{available / 1e9:,.1f} GB: choose smaller --batch, --context, --dim, --hidden or --layers"
        )


def _bytes_needed(plan: Plan, corpus: Corpus, samples: int) -> int:
    """Roughly what a run will hold at once: examples, batches, a step's arrays, parameters."""
    words = len(corpus.training) + len(corpus.held_out)
    places = sum(map(len, corpus.training)) + sum(map(len, corpus.held_out)) + words
    config = plan.config
    B, K, V = plan.batch, config.context, corpus.alphabet.size
    D, H, layers = config.dim or 0, config.hidden or 0, config.layers or 0
    rows = places + words + samples  # of contexts; twice: apart, and in windows to draw from
    row = D + V + H + layers * (16 * D + K * (config.heads or 0))  # of a step's arrays
    params = V * (V + 2 * D + H) + H * (K * D + H) + K * D + 12 * layers * D * D
    return 4 * (2 * rows * (K + 1) + 2 * B * (K + 1) + 4 * max(B, 4096) * row + 4 * params)
