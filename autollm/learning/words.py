"""Reading a list of words."""

from __future__ import annotations

import sys
import unicodedata
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from autollm.errors import InputError

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


def split(words: list[str], held_out: int, seed: int) -> tuple[list[str], list[str]]:
    """The words to learn from, and `held_out` others, chosen by the seed; both in the order given."""
    keys = np.random.PCG64([seed, 2]).random_raw(len(words))
    chosen = set(np.argsort(keys, kind="stable")[:held_out].tolist())
    kept = [word for i, word in enumerate(words) if i not in chosen]
    return kept, [words[i] for i in sorted(chosen)]
