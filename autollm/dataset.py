"""From a list of words to an alphabet, to examples, to batches.

Every place in a word is an example: the K tokens before it (its context) and the token that stands
there (its target). Token 0 is END: it fills the context before a word begins and is the target when
it is over; the letters are 1, 2, ... So END can never be confused with a character of a word.

For a model that reads whole words an example is a word: what it reads is END and the letters, what it
is to predict is the letters and END.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path

import numpy as np

from autollm.errors import InputError
from autollm.kernels.examples import draw_batches, draw_words
from autollm.primitives import Ids

END = 0
LEFT_OUT = -1  # the target where a word is over and padding begins
MAX_BYTES = 256 * 2**20
BUILT_IN = {"names": "names.txt", "names-32k": "names-32k.txt"}


@dataclass(frozen=True)
class Words:
    """Distinct words in the order given, and how many repetitions were left out."""

    distinct: list[str]
    repeated: int


def read_words(source: str) -> Words:
    """Read one word a line from a UTF-8 file, a built-in list ("names-32k"), or "-" (standard input).

    Blank lines are skipped, spaces at either end of a line are dropped, composed and decomposed
    characters are made the same (Unicode NFC). Raises InputError for anything that is not such a list.
    """
    data = _read_bytes(source)
    if len(data) > MAX_BYTES:
        raise InputError(f"{source}: more than {MAX_BYTES >> 20} MB, the most that a word list may have")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{source}: not UTF-8 text (byte 0x{data[error.start]:02x} at position {error.start})"
        ) from None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    words = [word for line in lines if (word := unicodedata.normalize("NFC", line.strip()))]
    for number, word in enumerate(words, 1):
        if not word.isprintable() and any(unicodedata.category(c) == "Cc" for c in word):
            raise InputError(
                f"{source}: not a text file (control characters in word {number}: {word[:20]!r})"
            )
    distinct = list(dict.fromkeys(words))
    if len(distinct) < 2:
        found = f"only one, {distinct[0][:40]!r}" if distinct else "none"
        raise InputError(f"{source}: at least 2 different words are needed, one a line; found {found}")
    return Words(distinct, len(words) - len(distinct))


def _read_bytes(source: str) -> bytes:
    try:
        if source == "-":
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        if source in BUILT_IN and not Path(source).exists():
            return (resources.files("autollm.data") / BUILT_IN[source]).read_bytes()
        with open(source, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        known = " or ".join(BUILT_IN)
        raise InputError(
            f"cannot read {source!r}: {reason}; give a text file with one word a line, {known}, or -"
        ) from None


@dataclass(frozen=True)
class Alphabet:
    """The characters of a list of words, sorted; character i is token i + 1, and token 0 is END."""

    characters: str

    def __post_init__(self) -> None:
        characters = self.characters
        if not isinstance(characters, str) or not characters or list(characters) != sorted(set(characters)):
            raise InputError("an alphabet is a string of distinct characters in order, of one at least")

    @classmethod
    def of(cls, words: list[str]) -> Alphabet:
        return cls("".join(sorted(set("".join(words)))))

    @property
    def size(self) -> int:
        """V: the number of tokens, END included."""
        return len(self.characters) + 1

    def encode(self, word: str) -> list[int]:
        """The tokens of a word, without END. Raises InputError for a character not in the alphabet."""
        for character in word:
            if character not in self._token:
                shown = self.characters if self.size <= 100 else self.characters[:99] + "…"
                raise InputError(f"{character!r} in {word[:40]!r} is not in the alphabet: {shown}")
        return [self._token[character] for character in word]

    @cached_property
    def _token(self) -> dict[str, int]:
        return {character: i for i, character in enumerate(self.characters, 1)}

    def decode(self, tokens: list[int]) -> str:
        """The word that tokens (without END) spell."""
        return "".join(self.characters[token - 1] for token in tokens)


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


def split(words: list[str], held_out: int, seed: int) -> tuple[list[str], list[str]]:
    """The words to learn from, and `held_out` others, chosen by the seed; both in the order given."""
    keys = np.random.PCG64([seed, 2]).random_raw(len(words))
    chosen = set(np.argsort(keys, kind="stable")[:held_out].tolist())
    kept = [word for i, word in enumerate(words) if i not in chosen]
    return kept, [words[i] for i in sorted(chosen)]


def _ramps(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start, start + 1, ... for each start, as many as its length says, one after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


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
