"""Dreaming new words from a trained model."""

from __future__ import annotations

import functools
import math

import numpy as np

from autollm.buffers import Array, Ids
from autollm.errors import InputError
from autollm.kernels.sampling import choose
from autollm.learning.alphabet import END, Alphabet
from autollm.models import Model, reads_words

AT_ONCE = 4096  # words dreamed together: more would need memory, and gain no speed


def dream(
    model: Model,
    alphabet: Alphabet,
    context: int,
    count: int,
    rng: np.random.Generator,
    *,
    temperature: float = 1.0,
    prefix: str = "",
    top_k: int = 0,
    max_letters: int = 64,
) -> list[str]:
    """Invent `count` words, many at once, one letter at a time.

    `temperature` > 0 divides the logits (small: the likeliest letters only; large: anything goes).
    `top_k` > 0 allows only the k likeliest letters. Words begin with `prefix`, have at least one
    letter, and are cut off at `max_letters`. Raises InputError for a letter not in the alphabet, a
    temperature that is none, or a model whose scores are no numbers.
    """
    if not 0 < temperature < math.inf:
        raise InputError(f"the temperature must be a finite number above 0, not {temperature}")
    if count > AT_ONCE:
        more = functools.partial(
            dream, temperature=temperature, prefix=prefix, top_k=top_k, max_letters=max_letters
        )
        parts = (min(AT_ONCE, count - done) for done in range(0, count, AT_ONCE))
        return [word for n in parts for word in more(model, alphabet, context, n, rng)]
    start = alphabet.encode(prefix)[:max_letters]
    # `context` columns of END come before a word, and one closes it.
    tokens = np.full((count, context + max_letters + 1), END, np.int32)
    words = tokens[:, context:]
    words[:, : len(start)] = start
    chosen = np.empty(count, np.int32)
    alive = np.ones(count, bool)
    for place in range(len(start), max_letters):
        logits = _scores(model, tokens[:, : context + place], context)
        if place == 0:
            logits[:, END] = -np.inf
        keep_likeliest(logits, top_k)
        if not np.isfinite(logits.max(axis=1)).all():
            raise InputError("the model's scores are NaN or infinite: its parameters are too large")
        choose(logits, rng.random(count), temperature, chosen)
        alive &= chosen != END
        if not alive.any():
            break
        words[alive, place] = chosen[alive]
    lengths = (words == END).argmax(axis=1)
    return [alphabet.decode(word[:length]) for word, length in zip(words.tolist(), lengths, strict=True)]


def keep_likeliest(logits: Array, top_k: int) -> None:
    """Put -inf in place of all but the `top_k` highest of every row (B, V), and their equals; 0: keep all."""
    if 0 < top_k < logits.shape[1]:
        least = np.partition(logits, -top_k, axis=1)[:, -top_k, None]
        logits[logits < least] = -np.inf


def _scores(model: Model, tokens: Ids, context: int) -> Array:
    """Logits (B, V) of what follows tokens (B, context + n): as many END, then n letters."""
    B, length = tokens.shape
    if not reads_words(model):
        scores: Array = model(np.ascontiguousarray(tokens[:, -context:])).v
        return scores
    read = min(length - context + 1, context)  # a word begins with one END
    logits = model(np.ascontiguousarray(tokens[:, -read:])).v
    return np.ascontiguousarray(logits.reshape(B, read, logits.shape[1])[:, -1])
