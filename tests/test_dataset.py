"""From text to examples, for any list of words."""

from __future__ import annotations

import hashlib
import io
import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from unicodedata import category

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autollm.errors import InputError
from autollm.learning import words as words_module
from autollm.learning.alphabet import END, FORBIDDEN, Alphabet
from autollm.learning.batches import batches
from autollm.learning.examples import PADDING, Examples, make_sequences, make_windows
from autollm.learning.words import read_words

# Any text that a word may be: no control characters, no surrogates, no spaces at the ends, composed.
some_word = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=12
).filter(lambda word: word == word.strip())


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def slow_windows(words, alphabet, context):
    """What make_windows does, said plainly."""
    contexts, targets = [], []
    for word in words:
        window = [END] * context
        for token in [*alphabet.encode(word), END]:
            contexts.append(window)
            targets.append(token)
            window = [*window[1:], token]
    return np.array(contexts), np.array(targets)


def slow_sequences(words, alphabet, context):
    """What a model that reads whole words is given, and what it is to say, said plainly: pieces of at most
    `context` letters, the shortest first."""
    pieces = []
    for word in words:
        given, said = [END, *alphabet.encode(word)], [*alphabet.encode(word), END]
        while given:
            pieces.append((given[:context], said[:context]))
            given, said = given[context:], said[context:]
    return sorted(pieces, key=lambda piece: len(piece[0]))


def test_the_80_names():
    names = read_words("names")
    assert len(names.distinct) == 80
    assert names.repeated == 0
    assert Alphabet.of(names.distinct).characters == "abcdefghijklmnopqrstuvwxyz"


def test_the_larger_list_is_what_its_description_says():
    folder = Path(__file__).parent.parent / "data"
    content, about = (folder / "names-32k.txt").read_bytes(), (folder / "README.md").read_text("utf-8")
    assert hashlib.sha256(content).hexdigest() in about
    assert b"\r" not in content and content.endswith(b"\n")
    words = read_words("names-32k")
    assert (len(words.distinct), words.repeated) == (32_000, 0)
    assert f"| Letters | {sum(map(len, words.distinct)):,};" in about
    assert f"The last one kept, `{words.distinct[-1]}`" in about
    left_out = re.findall(r"`(\w+)`", about.partition("**Left out**")[2].partition("otherwise")[0])
    assert len(left_out) == 26 and "26 placeholders" in about
    assert not set(left_out) & set(words.distinct)


def test_the_names_most_given_are_kept(monkeypatch):
    """Of all years and both sexes together, those of a to z; ties in alphabetical order."""
    monkeypatch.setitem(sys.modules, "pyarrow", SimpleNamespace(parquet=None))  # which only its command needs
    built = runpy.run_path(str(Path(__file__).parent.parent / "data" / "build_names_32k.py"))
    rows = [("Emma", 3), ("Liam", 5), ("emma", 3), ("Unknown", 99), ("Zoé", 99), ("Bo", 5), ("Al", 1)]
    assert built["most_given"](rows, 3) == ["emma", "bo", "liam"]
    with pytest.raises(SystemExit, match="the source has only 4 names, 5 are wanted"):
        built["most_given"](rows, 5)


def test_the_example_of_the_seed():
    """e, m, m -> a"""
    alphabet = Alphabet.of(["emma", "b"])
    examples = make_windows(["emma", "b"], alphabet, 3)
    *context, target = examples.rows[3].tolist()
    assert alphabet.decode(context) == "emm"
    assert alphabet.decode([target]) == "a"
    assert examples.rows[4, -1] == END
    assert len(examples) == 7


@given(st.lists(some_word, min_size=2, max_size=20, unique=True), st.integers(1, 15))
def test_examples_of_any_words(words, context):
    alphabet = Alphabet.of(words)
    examples = make_windows(words, alphabet, context)
    assert examples.rows.dtype == np.int32
    assert examples.rows.flags.c_contiguous and examples.rows.flags.writeable
    for array, expected in zip(examples.pairs(), slow_windows(words, alphabet, context), strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == np.int32 and array.flags.c_contiguous
    assert examples.targets == len(examples) == sum(map(len, words)) + len(words)


@given(st.lists(some_word, min_size=1, max_size=20), st.integers(1, 15))
def test_sequences_of_any_words(words, context):
    alphabet = Alphabet.of(words)
    examples = make_sequences(words, alphabet, context)
    pairs = [part.pairs() for part in examples.parts(1)]
    assert [(letters[0].tolist(), targets.tolist()) for letters, targets in pairs] == slow_sequences(
        words, alphabet, context
    )
    assert examples.targets == sum(map(len, words)) + len(words)
    for part in examples.parts(7 * context):
        letters, targets = part.pairs()
        assert letters.dtype == targets.dtype == np.int32
        assert letters.flags.c_contiguous and targets.flags.c_contiguous
        for i in range(len(part)):  # as when it comes alone, and then padding
            (alone,), said = part[i : i + 1].pairs()
            padding = letters.shape[1] - len(alone)
            assert letters[i].tolist() == [*alone.tolist(), *[END] * padding]
            assert targets.reshape(letters.shape)[i].tolist() == [*said.tolist(), *[PADDING] * padding]


@pytest.mark.parametrize("context", [1, 2, 3, 4, 20])
@pytest.mark.parametrize("batch", [1, 5])
def test_batches_of_sequences_are_sequences_cut_to_the_longest(context, batch):
    words = ["abc", "c", "cab", "bb", "abcabcabc"]
    alphabet = Alphabet("abc")
    pieces = [(tuple(given), tuple(said)) for given, said in slow_sequences(words, alphabet, context)]
    examples, drawn = make_sequences(words, alphabet, context), set()
    stream = batches(examples, batch, seed=0)
    for letters, targets in (pair for _ in range(3) for pair in next(stream)):
        assert letters.shape[0] == batch and targets.shape == (letters.size,)
        lengths = []
        for row, said in zip(letters.tolist(), targets.reshape(letters.shape).tolist(), strict=True):
            length = sum(token >= 0 for token in said)
            assert set(said[length:]) <= {PADDING} and set(row[length:]) <= {END}
            drawn.add((tuple(row[:length]), tuple(said[:length])))
            lengths.append(length)
        assert max(lengths) == letters.shape[1]
    assert drawn == set(pieces)


@given(st.lists(some_word, min_size=2, max_size=20))
def test_words_survive_their_tokens(words):
    alphabet = Alphabet.of(words)
    for word in words:
        assert alphabet.decode(alphabet.encode(word)) == word
        assert END not in alphabet.encode(word)


@pytest.mark.parametrize(
    ("content", "words", "repeated"),
    [
        ("emma\nolivia\n", ["emma", "olivia"], 0),
        ("emma\r\nolivia\r\n", ["emma", "olivia"], 0),
        ("emma\rolivia", ["emma", "olivia"], 0),
        ("\ufeffemma\nolivia", ["emma", "olivia"], 0),
        ("\n\n  emma \n\n\tolivia\n \n", ["emma", "olivia"], 0),
        ("emma\nolivia\nemma\nemma", ["emma", "olivia"], 2),
        ("Zoë\nZoe\u0308\nstraße", ["Zoë", "straße"], 1),
        ("Привет\n中文\n🦊🐻\n", ["Привет", "中文", "🦊🐻"], 0),
        ("New York\nSt. John's\nR2-D2\n...\n", ["New York", "St. John's", "R2-D2", "..."], 0),
        ("a\u2028b\nc\n", ["a\u2028b", "c"], 0),
    ],
)
def test_files(tmp_path, content, words, repeated):
    read = read_words(write(tmp_path / "words.txt", content))
    assert read.distinct == words
    assert read.repeated == repeated


@pytest.mark.parametrize("name", ["missing.txt", ".", "a\0b", "x" * 300])
def test_paths_that_cannot_be_read(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^cannot read .*; give a text file"):
        read_words(name)


def test_a_file_without_end_is_refused(monkeypatch):
    assert words_module.MAX_BYTES == 256 * 2**20
    monkeypatch.setattr(words_module, "MAX_BYTES", 2 * 2**20)
    with pytest.raises(InputError, match="more than 2 MB"):
        read_words("/dev/zero") if sys.platform == "linux" else pytest.skip("needs /dev/zero")


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO("été\nhiver\n".encode())))
    assert read_words("-").distinct == ["été", "hiver"]


@pytest.mark.parametrize("source", ["file", "-"])
def test_a_list_may_have_so_many_bytes_and_no_more(tmp_path, monkeypatch, source):
    monkeypatch.setattr(words_module, "MAX_BYTES", 5)
    for content, fits in ((b"a\nb\nc", True), (b"a\nb\ncd", False)):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
        path = "-" if source == "-" else write(tmp_path / "words.txt", content)
        if fits:
            assert read_words(path).distinct == ["a", "b", "c"]
        else:
            with pytest.raises(InputError, match="the most that a word list may have"):
                read_words(path)


def test_an_alphabet_has_every_character_but_controls_and_halves():
    for character in map(chr, range(2**16)):  # where all of them are
        refused = category(character) in ("Cc", "Cs")
        assert bool(FORBIDDEN.search(character)) == refused, repr(character)
    for character in "\x7f\ud800":
        with pytest.raises(InputError, match="no control characters and no halves"):
            Alphabet(character)


def test_of_a_large_alphabet_a_message_has_the_beginning():
    letters = "".join(map(chr, range(0x4E00, 0x4E00 + 101)))
    for count, told in ((99, letters[:99]), (100, letters[:99] + "…"), (101, letters[:99] + "…")):
        with pytest.raises(InputError, match=f"is not in the alphabet: {told}$"):
            Alphabet(letters[:count]).encode("a")


def test_a_letter_that_is_not_in_the_alphabet():
    with pytest.raises(InputError, match="'z' in 'az' is not in the alphabet: ab"):
        Alphabet("ab").encode("az")


@pytest.mark.parametrize("make", [make_windows, make_sequences])
@pytest.mark.parametrize("word", ["abd", "z"])
def test_examples_of_a_letter_that_is_not_in_the_alphabet(make, word):
    with pytest.raises(InputError, match=f"'{word[-1]}' in '{word}' is not in the alphabet: abc"):
        make(["ab", word], Alphabet("abc"), 2)


@pytest.mark.parametrize(
    ("shape", "first"), [((0, 4), 3), ((0, 4), 1), ((3, 1), 1), ((3, 4), 0), ((3, 4), 4)]
)
def test_batches_of_nothing_are_refused(shape, first):
    empty = Examples(np.zeros(shape, np.int32), first)
    with pytest.raises(ValueError, match="must agree, N be 1 at least, and first from 1 to K"):
        next(batches(empty, 2, seed=0))


def test_batches_of_no_examples_are_refused():
    with pytest.raises(ValueError, match="at least 1 example, got 0"):
        next(batches(make_windows(["ab"], Alphabet("ab"), 2), 0, seed=0))


@pytest.mark.parametrize("make", [make_windows, make_sequences])
def test_examples_of_no_words_are_refused(make):
    with pytest.raises(InputError, match="no words"):
        make([], Alphabet("abc"), 2)


def test_a_word_of_10000_letters(tmp_path):
    words = read_words(write(tmp_path / "long.txt", "ab" * 5000 + "\nc\n")).distinct
    examples = make_windows(words, Alphabet.of(words), 3)
    assert len(examples) == 10_003


def test_batches_are_examples_and_every_example_comes():
    alphabet = Alphabet.of(["ab", "b", "cab"])
    examples = make_windows(["ab", "b", "cab"], alphabet, 2)
    pairs = set(map(tuple, examples.rows.tolist()))
    drawn = set()
    for contexts, targets in next(batches(examples, 33, seed=0)):
        assert contexts.shape == (33, 2) and targets.shape == (33,)
        drawn |= {
            (*context, target) for context, target in zip(contexts.tolist(), targets.tolist(), strict=True)
        }
    assert drawn == pairs


def test_every_example_is_equally_likely():
    examples = make_windows(["ab", "b", "cab"], Alphabet("abc"), 3)  # 9 examples, all different
    rows = {tuple(row): i for i, row in enumerate(examples.rows.tolist())}
    assert len(rows) == 9
    counts = np.zeros(9)
    stream = batches(examples, 500, seed=1)
    for contexts, targets in (batch for _ in range(3) for batch in next(stream)):
        for row in np.column_stack([contexts, targets]).tolist():
            counts[rows[tuple(row)]] += 1
    expected = counts.sum() / 9
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert chi_squared < 26.1  # 8 degrees of freedom: more than this once in a thousand seeds


@pytest.mark.parametrize(("batch", "context"), [(1, 1), (64, 3), (1, 100_000), (70_000, 1)])
def test_blocks_of_batches_have_a_bounded_size(batch, context):
    examples = make_windows(["ab", "c"], Alphabet("abc"), context)
    block = next(batches(examples, batch, seed=0))
    assert 1 <= len(block) <= 64
    assert len(block) == 1 or sum(c.size + t.size for c, t in block) <= 2**16
