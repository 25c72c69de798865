"""From a list of words to an alphabet, to examples, to batches.

Every place in a word is an example: the K tokens before it (its context) and the token that stands
there (its target). Token 0 is END: it fills the context before a word begins and is the target when
it is over; the letters are 1, 2, ... So END can never be confused with a character of a word.

For a model that reads whole words an example is a word: what it reads is END and the letters, what it
is to predict is the letters and END.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from autollm.buffers import Ids
from autollm.errors import InputError
from autollm.learning.alphabet import END, Alphabet

LEFT_OUT = -1  # the target where a word is over and padding begins


@dataclass(frozen=True)
class Examples:
    """contexts (N, K) and targets (N,), int32: every place of every word, in order.

    Or whole words: contexts and targets (N, T), padded with END and LEFT_OUT, the shortest word first.
    """

    contexts: Ids
    targets: Ids

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def windows(self) -> Ids:
        """contexts and, in the last column, targets: (N, K + 1), a copy. An example is in one place there."""
        return np.column_stack([self.contexts, self.targets])

    def parts(self, size: int) -> Iterator[tuple[Ids, Ids, int]]:
        """All examples, about `size` targets at a time: contexts, targets (flat), how many count."""
        step = max(size // self.targets[0].size, 1)
        for start in range(0, len(self), step):
            contexts, targets = self.contexts[start : start + step], self.targets[start : start + step]
            if targets.ndim == 2:  # cut to the longest word, which is the last
                width = int((targets[-1] != LEFT_OUT).sum())
                contexts = np.ascontiguousarray(contexts[:, :width])
                targets = np.ascontiguousarray(targets[:, :width]).reshape(-1)
            yield contexts, targets, int((targets != LEFT_OUT).sum())


def make_examples(words: list[str], alphabet: Alphabet, context: int) -> Examples:
    """The examples of all words: for each word of L letters, L + 1 of them (the last says END).

    With the words laid out in a row, K times END before each and after the last, every example is a
    window of K + 1 tokens. Raises InputError for a character not in the alphabet, or for no words.
    """
    if not words:
        raise InputError("no words to make examples of")
    letters = np.array([len(word) for word in words])
    starts = np.concatenate([[0], np.cumsum(letters + context)[:-1]])  # where a word's first window is
    row = np.full(int(letters.sum()) + context * (len(words) + 1), END, np.int32)
    text = np.frombuffer("".join(words).encode("utf-32-le"), np.uint32)
    characters = np.frombuffer(alphabet.characters.encode("utf-32-le"), np.uint32)
    tokens = np.searchsorted(characters, text)
    if (characters.take(tokens, mode="clip") != text).any():
        for word in words:
            alphabet.encode(word)  # says which character is not in the alphabet
    row[_ramps(starts + context, letters)] = tokens + 1
    windows = np.lib.stride_tricks.sliding_window_view(row, context + 1)
    chosen = windows[_ramps(starts, letters + 1)]
    return Examples(np.ascontiguousarray(chosen[:, :context]), np.ascontiguousarray(chosen[:, context]))


def make_sequences(words: list[str], alphabet: Alphabet, context: int) -> Examples:
    """The words themselves, as examples (N, T) for a model that looks at most `context` letters back.

    A word of L letters has L + 1 targets; more than `context` are cut into pieces of so many.
    """
    pieces: list[tuple[list[int], list[int]]] = []
    for word in words:
        tokens = alphabet.encode(word)
        for start in range(0, len(tokens) + 1, context):
            stop = start + context
            pieces.append(([END, *tokens][start:stop], [*tokens, END][start:stop]))
    pieces.sort(key=lambda piece: len(piece[1]))
    shape = len(pieces), len(pieces[-1][1])
    examples = Examples(np.full(shape, END, np.int32), np.full(shape, LEFT_OUT, np.int32))
    for i, (letters, nexts) in enumerate(pieces):
        examples.contexts[i, : len(letters)] = letters
        examples.targets[i, : len(nexts)] = nexts
    return examples


def _ramps(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start, start + 1, ... for each start, as many as its length says, one after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))
