"""The characters of a list of words, as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from unicodedata import category

from autollm.errors import InputError

END = 0


@dataclass(frozen=True)
class Alphabet:
    """The characters of a list of words, sorted; character i is token i + 1, and token 0 is END."""

    characters: str

    def __post_init__(self) -> None:
        characters = self.characters
        if not isinstance(characters, str) or not characters or list(characters) != sorted(set(characters)):
            raise InputError("an alphabet is a string of distinct characters in order, of one at least")
        if any(category(character) in ("Cc", "Cs") for character in characters):
            raise InputError("an alphabet has no control characters and no halves of characters")

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
