"""From words to examples, which are rows of tokens.

Token 0 is END, the letters are 1, 2, ... A word is written as END, its letters, END, and every token after
the first is to be predicted from those before it. For a window model an example is a window of K + 1
tokens, of which the last is to be predicted; before the beginning of a word there is END as often as
needed. For a sequence model it is a whole word, of which every token after the first is to be predicted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from autollm.buffers import Ids
from autollm.errors import InputError
from autollm.learning.alphabet import END, Alphabet
from autollm.models import Model, reads_words

PADDING = -1  # what fills a row after the end of its word; as a target it is left out


@dataclass(frozen=True)
class Examples:
    """Rows of tokens (N, K + 1) int32; those from column `first` on are to be predicted from all before.

    In windows `first` is K, in whole words 1; these come in order of length, with PADDING after the end.
    """

    rows: Ids
    first: int

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: slice | Ids) -> Examples:
        """Some of the examples."""
        return Examples(self.rows[chosen], self.first)

    @property
    def targets(self) -> int:
        """How many tokens are to be predicted."""
        return int((self.rows[:, self.first :] != PADDING).sum())

    def pairs(self) -> tuple[Ids, Ids]:
        """What a model is given and what it is to say, cut to the longest row: letters (N, K), and targets
        (N * (K + 1 - first),), one row's after the other's."""
        width = self.first + int((self.rows[:, self.first :] != PADDING).any(axis=0).sum())
        letters = np.ascontiguousarray(self.rows[:, : width - 1])
        if self.first < width - 1:
            letters = np.where(letters == PADDING, np.int32(END), letters)
        return letters, np.ascontiguousarray(self.rows[:, self.first : width]).reshape(-1)

    def parts(self, size: int) -> Iterator[Examples]:
        """All examples, about `size` targets at a time."""
        step = max(size // (self.rows.shape[1] - self.first), 1)
        return (self[start : start + step] for start in range(0, len(self), step))


def examples_for(model: Model, words: list[str], alphabet: Alphabet, context: int) -> Examples:
    """Examples of the kind that the model reads: windows, or whole words."""
    make = make_sequences if reads_words(model) else make_windows
    return make(words, alphabet, context)


def make_windows(words: list[str], alphabet: Alphabet, context: int) -> Examples:
    """A window (K + 1,) for every letter of every word, and for its end, in order.

    Raises InputError for a character not in the alphabet, or for no words.
    """
    tokens, starts, lengths = _in_a_row(words, alphabet, context)
    windows = np.lib.stride_tricks.sliding_window_view(tokens, context + 1)
    return Examples(windows[_counting(starts, lengths + 1)], context)


def make_text(words: list[str], alphabet: Alphabet) -> Ids:
    """END, the first word, END, the second one, ..., END: what counts are made of, (N,).

    Raises InputError for a character not in the alphabet, or for no words.
    """
    return _in_a_row(words, alphabet, 1)[0]


def make_sequences(words: list[str], alphabet: Alphabet, context: int) -> Examples:
    """The words themselves, the shortest first; those with more than `context` targets in pieces of so many,
    each beginning with the last token of the piece before.

    Raises InputError for a character not in the alphabet, or for no words.
    """
    tokens, starts, lengths = _in_a_row(words, alphabet, 1)
    pieces = lengths // context + 1  # of L + 1 targets, at most `context` each
    offsets = context * _counting(np.zeros_like(pieces), pieces)
    targets = np.minimum(np.repeat(lengths + 1, pieces) - offsets, context)
    order = np.argsort(targets, kind="stable")
    width = int(targets[order[-1]]) + 1
    padded = np.concatenate([tokens, np.full(width, PADDING, np.int32)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, width)
    rows = windows[(np.repeat(starts, pieces) + offsets)[order]]
    rows[np.arange(width) > targets[order, None]] = PADDING
    return Examples(rows, 1)


def _in_a_row(words: list[str], alphabet: Alphabet, gap: int) -> tuple[Ids, np.ndarray, np.ndarray]:
    """The tokens of all words, with `gap` times END before each and after the last; for each word where the
    END before it begin, and how many letters it has."""
    if not words:
        raise InputError("no words to make examples of")
    words = [alphabet.fold(word) for word in words]
    lengths = np.array([len(word) for word in words])
    starts = np.cumsum(lengths + gap) - (lengths + gap)
    text = np.frombuffer("".join(words).encode("utf-32-le"), np.uint32)
    characters = np.frombuffer(alphabet.characters.encode("utf-32-le"), np.uint32)
    numbers = np.searchsorted(characters, text)
    if (characters.take(numbers, mode="clip") != text).any():
        for word in words:
            alphabet.encode(word)  # says which character is not in the alphabet
    tokens = np.full(int(lengths.sum()) + gap * (len(words) + 1), END, np.int32)
    tokens[_counting(starts + gap, lengths)] = numbers + 1
    return tokens, starts, lengths


def _counting(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start, start + 1, ... for each start, as many as its length says, one after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))
