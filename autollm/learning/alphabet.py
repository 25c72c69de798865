"""The letters of a list of words, as numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from unicodedata import category

from autollm.errors import InputError

END = 0
FIRST_STAND_IN, LAST_STAND_IN = "\U000f0000", "\U000ffffd"  # private characters: no text gives them a meaning
JOINER = "\u200d"
FORBIDDEN = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]")  # Unicode's categories Cc and Cs, for good


@dataclass(frozen=True)
class Alphabet:
    """The characters of a list of words, sorted; character i is token i + 1, and token 0 is END.

    A grapheme is what a reader takes for one letter: "क्षि" is four characters, a family of emoji seven. In an
    alphabet of whole graphemes, those of several characters have private characters that stand for them.
    """

    characters: str
    graphemes: tuple[str, ...] = ()  # of several characters, sorted; FIRST_STAND_IN stands for the first

    def __post_init__(self) -> None:
        characters = self.characters
        if not isinstance(characters, str) or not characters or list(characters) != sorted(set(characters)):
            raise InputError("an alphabet is a string of distinct characters in order, of one at least")
        several = self.graphemes
        if not all(isinstance(one, str) and len(one) > 1 for one in several) or (
            list(several) != sorted(set(several))
        ):
            raise InputError("the graphemes of an alphabet are strings of several characters, in order")
        if FORBIDDEN.search(characters + "".join(several)):
            raise InputError("an alphabet has no control characters and no halves of characters")
        if not characters.endswith("".join(self._stand_ins.values())):
            raise InputError("an alphabet has one private character for each of its graphemes")

    @classmethod
    def of(cls, words: list[str], whole_graphemes: bool = False) -> Alphabet:
        """The alphabet of some words. Raises InputError if whole graphemes are wanted, and cannot be had."""
        if not whole_graphemes:
            return cls("".join(sorted(set("".join(words)))))
        letters = {one for word in words for one in graphemes_of(word)}
        several = tuple(sorted(letter for letter in letters if len(letter) > 1))
        if several and max(letters) >= FIRST_STAND_IN:
            raise InputError("--graphemes: private characters, from U+F0000 on, cannot be in the words")
        if len(several) > ord(LAST_STAND_IN) - ord(FIRST_STAND_IN):
            raise InputError(
                f"--graphemes: the words have {len(several):,} different ones, which is too many"
            )
        single = sorted(letters.difference(several))
        stand_ins = [chr(ord(FIRST_STAND_IN) + i) for i in range(len(several))]
        return cls("".join(single + stand_ins), several)

    @property
    def size(self) -> int:
        """V: the number of tokens, END included."""
        return len(self.characters) + 1

    @property
    def text(self) -> str:
        """All letters, as they are read."""
        return self.decode(list(range(1, self.size)))

    @property
    def has_parts(self) -> bool:
        """Whether some characters are only parts of what a reader takes for a letter: marks, joiners."""
        return any(one == JOINER or category(one).startswith("M") for one in self.characters)

    def fold(self, word: str) -> str:
        """The word with one character for each of its letters."""
        if not self.graphemes or word.isascii():
            return word
        return "".join(self._stand_ins.get(one, one) for one in graphemes_of(word))

    def letters(self, word: str) -> int:
        """How many letters a word has."""
        return len(self.fold(word))

    def encode(self, word: str) -> list[int]:
        """The tokens of a word, without END. Raises InputError for a character not in the alphabet."""
        folded = self.fold(word)
        for character in folded:
            if character not in self._token:
                shown = self.text if self.size <= 100 else self.text[:99] + "…"
                raise InputError(f"{character!r} in {word[:40]!r} is not in the alphabet: {shown}")
        return [self._token[character] for character in folded]

    @cached_property
    def _token(self) -> dict[str, int]:
        return {character: i for i, character in enumerate(self.characters, 1)}

    @cached_property
    def _stand_ins(self) -> dict[str, str]:
        return {one: chr(ord(FIRST_STAND_IN) + i) for i, one in enumerate(self.graphemes)}

    @cached_property
    def _letter(self) -> list[str]:
        """What every token after END spells."""
        single = len(self.characters) - len(self.graphemes)
        return [*self.characters[:single], *self.graphemes]

    def decode(self, tokens: list[int]) -> str:
        """The word that tokens (without END) spell."""
        return "".join(self._letter[token - 1] for token in tokens)


def graphemes_of(word: str) -> list[str]:
    """A word in extended grapheme clusters (Unicode Standard Annex 29). Raises InputError without `regex`."""
    try:
        import regex  # only lists with such letters need it
    except ImportError:
        raise InputError("whole graphemes need regex: pip install 'autollm[graphemes]'") from None
    found: list[str] = regex.findall(r"\X", word)
    return found
