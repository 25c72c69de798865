"""Reading a list of words."""

from __future__ import annotations

import sys
import unicodedata
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np

from autollm.errors import InputError
from autollm.learning.formats import MISSING, decode, entries

MAX_BYTES = 256 * 2**20
BUILT_IN = {"names": "names.txt", "names-32k": "names-32k.txt"}
# Letters and symbols that look like nothing: fillers of Hangul, the empty pattern of Braille.
BLANK = "\u115f\u1160\u2800\u3164\uffa0"


@dataclass(frozen=True)
class Words:
    """Distinct words in the order given, how many repetitions were left out, and what was noticed."""

    distinct: list[str]
    repeated: int
    remarks: list[str] = field(default_factory=list)


def read_words(
    source: str, *, encoding: str | None = None, column: int | None = None, skip_bad_lines: bool = False
) -> Words:
    """Read one word a line from a text file, a built-in list ("names-32k"), or "-" (standard input).

    Text is UTF-8 unless `encoding` says otherwise. Blank lines are skipped, spaces at either end of a line
    are dropped, composed and decomposed characters are made the same (Unicode NFC). Other formats are
    noticed: see `formats.entries`, also for `column`. Raises InputError for anything that is not such a
    list; with `skip_bad_lines`, lines that cannot be read are left out and counted instead.
    """
    data = _read_bytes(source)
    if len(data) > MAX_BYTES:
        raise InputError(f"{source}: more than {MAX_BYTES >> 20} MB, the most that a word list may have")
    try:
        found, remarks = entries(decode(data, encoding, skip_bad_lines), column, skip_bad_lines)
        words, bad = [], 0
        for number, entry in found:
            word = unicodedata.normalize("NFC", entry.strip())
            fault = "" if word.isascii() and word.isprintable() else _fault(word)
            if skip_bad_lines and MISSING in word:
                fault = "cannot be read"
            if fault and not skip_bad_lines:
                raise InputError(f"line {number} {fault}: {word[:20]!r}; --skip-bad-lines leaves it out")
            bad += bool(fault)
            if word and not fault:
                words.append(word)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    if bad:
        remarks.append(f"{bad} bad lines left out")
    if source in BUILT_IN and Path(source).exists():
        remarks.append(f"this is the built-in list; ./{source} is the file that is here")
    distinct = list(dict.fromkeys(words))
    if len(distinct) < 2:
        read = f"only one, {distinct[0][:40]!r}" if distinct else "none"
        raise InputError(f"{source}: at least 2 different words are needed, one a line; found {read}")
    return Words(distinct, len(words) - len(distinct), remarks)


def _fault(word: str) -> str:
    """What is wrong with a word; nothing with an empty one."""
    if not word.isprintable():
        kinds = {unicodedata.category(character) for character in word}
        if "Cc" in kinds:
            return "holds control characters, as no text does"
        if "Cs" in kinds:
            return "holds half a character (a lone surrogate)"
        if kinds <= {"Cf", "Zs", "Zl", "Zp"}:
            return "has nothing visible"
    return "has nothing visible" if word and not word.strip(BLANK) else ""


def _read_bytes(source: str) -> bytes:
    try:
        if source == "-":
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        if source in BUILT_IN:
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
    training = [word for i, word in enumerate(words) if i not in chosen]
    return training, [words[i] for i in sorted(chosen)]
