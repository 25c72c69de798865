"""Dreaming new words from a trained model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from autollm.buffers import Array, Ids
from autollm.errors import InputError
from autollm.kernels.sampling import choose
from autollm.learning.alphabet import END, Alphabet
from autollm.models import MAX_SIZE, Model, reads_words

MOST_AT_ONCE = 4096  # words dreamed together: more would gain no speed
MOST_TOKENS = 2**22  # of all words that are dreamed together
MOST_SCORES = 2**25  # that a model works out at once


def dream(
    model: Model,
    alphabet: Alphabet,
    context: int,
    count: int,
    rng: np.random.Generator,
    *,
    longest: int,
    temperature: float = 1.0,
    prefix: str = "",
    top_k: int = 0,
) -> list[str]:
    """Invent `count` words, many at once, one letter at a time.

    Words begin with `prefix`, have at least one letter, and are cut off 2 * `longest` letters after the
    prefix, the longest word learned from having `longest` letters. `temperature` > 0 divides the logits
    (small: the likeliest letters only; large: anything goes). `top_k` > 0 allows only the k likeliest
    letters. Raises InputError for a letter not in the alphabet, a temperature that is none, or a model whose
    scores are no numbers.
    """
    if not 0 < temperature < math.inf:
        raise InputError(f"the temperature must be a finite number above 0, not {temperature}")
    temperature = max(temperature, 1e-300)  # whose inverse is still a number; the likeliest letter is certain
    start = alphabet.encode(prefix)
    size = len(start) + min(2 * longest, MAX_SIZE)
    at_once = words_at_once(model, alphabet.size, context, size)
    words: list[str] = []
    while len(words) < count:
        tokens = _dream_at_once(
            model, context, min(at_once, count - len(words)), rng, start, size, temperature, top_k
        )
        lengths = (tokens == END).argmax(axis=1)
        words += [alphabet.decode(row[:n]) for row, n in zip(tokens.tolist(), lengths, strict=True)]
    return words


@dataclass(frozen=True)
class Wanted:
    """Which of the dreamed words are wanted."""

    shortest: int = 1  # letters
    longest: int | None = None  # letters; None: any number
    not_in: frozenset[str] | None = None  # none of these, and none twice; None: whichever come
    letters: Callable[[str], int] = len  # of a word

    def choose(self, words: Iterable[str], seen: set[str]) -> list[str]:
        """Those that are wanted, when those in `seen` are there already; it learns of new ones."""
        chosen = []
        for word in words:
            letters = self.letters(word)
            if letters < self.shortest or (self.longest and letters > self.longest):
                continue
            if self.not_in is not None and (word in self.not_in or word in seen):
                continue
            seen.add(word)
            chosen.append(word)
        return chosen


ANY = Wanted()


def dream_wanted(
    dream_some: Callable[[int], list[str]], count: int, wanted: Wanted, stop: Callable[[], bool] = bool
) -> list[str]:
    """`count` words that are wanted, of those that `dream_some` makes. Fewer if `stop` says so after some, or
    if more than 10,000 words and 20 for each that is asked for would have to be dreamed."""
    words: list[str] = []
    seen: set[str] = set()
    dreamed, ask = 0, count
    while len(words) < count and dreamed < 10_000 + 20 * count:
        ask = min(ask, MOST_AT_ONCE)
        words += wanted.choose(dream_some(ask), seen)
        dreamed += ask
        ask = count - dreamed if dreamed < count else max(2 * (count - len(words)), 256)
        if stop():
            break
    return words[:count]


def words_at_once(model: Model, vocabulary: int, context: int, size: int) -> int:
    """How many words of `size` letters at most are dreamed together, so that they fit into some 200 MB."""
    scores = vocabulary * (min(context, size) if reads_words(model) else 1)
    return max(min(MOST_AT_ONCE, MOST_TOKENS // (context + size + 1), MOST_SCORES // scores), 1)


def _dream_at_once(
    model: Model,
    context: int,
    count: int,
    rng: np.random.Generator,
    start: list[int],
    size: int,
    temperature: float,
    top_k: int,
) -> Ids:
    """Tokens (count, size + 1) of words that begin with `start`, each ended by one END at least."""
    # `context` columns of END come before a word, and one closes it.
    tokens = np.full((count, context + size + 1), END, np.int32)
    words = tokens[:, context:]
    words[:, : len(start)] = start
    chosen = np.empty(count, np.int32)
    alive = np.ones(count, bool)
    for place in range(len(start), size):
        logits = next_scores(model, tokens[:, : context + place], context)
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
    return words


def keep_likeliest(logits: Array, top_k: int) -> None:
    """Put -inf in place of all but the `top_k` highest of every row (B, V), and their equals; 0: keep all."""
    if 0 < top_k < logits.shape[1]:
        least = np.partition(logits, -top_k, axis=1)[:, -top_k, None]
        logits[logits < least] = -np.inf


def next_scores(model: Model, tokens: Ids, context: int) -> Array:
    """Logits (B, V) of what follows tokens (B, context + n): as many END, then n letters."""
    B, length = tokens.shape
    if not reads_words(model):
        scores: Array = model(np.ascontiguousarray(tokens[:, -context:])).v
        return scores
    read = min(length - context + 1, context)  # a word begins with one END
    logits = model(np.ascontiguousarray(tokens[:, -read:])).v
    return np.ascontiguousarray(logits.reshape(B, read, logits.shape[1])[:, -1])
