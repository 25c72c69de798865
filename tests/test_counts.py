"""Counting, against Kneser and Ney's definitions said slowly, and by hand."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autollm.kernels import counts as kernels
from autollm.kernels.kernel import dispatcher_of
from autollm.learning.alphabet import END, Alphabet
from autollm.learning.words import read_words, split
from autollm.models import counts as module
from autollm.models.counts import NO_TARGETS, TABLES, Counts, fitted_discounts
from autollm.models.model import Initial

some_words = st.lists(st.text("abc", min_size=1, max_size=6), min_size=1, max_size=8)


def text_of(words):
    """END, a word, END, ..., END; words are lists of tokens."""
    return np.array([END] + [token for word in words for token in (*word, END)], np.int32)


def tokens(words):
    return [["abc".index(letter) + 1 for letter in word] for word in words]


class Slow:
    """The definitions, over all (context, letter) that occur: lists and dictionaries, no tree."""

    def __init__(self, words, vocabulary, context):
        self.V, self.K = vocabulary, context
        self.seen = Counter()  # whole contexts: back to the first END, or `context` letters
        for word in words:
            sentence = [END, *word, END]
            for t in range(1, len(sentence)):
                self.seen[tuple(sentence[max(t - context, 0) : t]), sentence[t]] += 1
        self.D = [fitted_discounts(self.counts_of_length(n)) for n in range(context + 1)]

    def is_whole(self, h):
        return len(h) == self.K or (len(h) > 0 and h[0] == END)

    def count(self, h, w):
        """How often w followed a whole context h; of a shorter one, how many letters x there are in x h w."""
        if self.is_whole(h):
            return self.seen[h, w]
        longer = ((g, v) for (g, v), n in self.seen.items() if n > 0 and v == w and len(g) > len(h))
        return len({g[len(g) - len(h) - 1] for g, _ in longer if g[len(g) - len(h) :] == h})

    def counts_of_length(self, n):
        grams = {(g[len(g) - n :], w) for g, w in self.seen if len(g) >= n}
        return np.array([self.count(h, w) for h, w in grams], np.int64)

    def p(self, h):
        """Of every letter: Chen and Goodman 1999, eqs. 24 and 27."""
        lower = self.p(h[1:]) if h else [1 / self.V] * self.V
        c = [self.count(h, w) for w in range(self.V)]
        if sum(c) == 0:
            return lower
        D = self.D[len(h)]
        gamma = sum(D[min(n, 3)] for n in c) / sum(c)
        return [(n - D[min(n, 3)]) / sum(c) + gamma * below for n, below in zip(c, lower, strict=True)]

    def row(self, h):
        """The probabilities behind letters h, of which those before the last END, and before `context`
        letters, do not matter."""
        h = tuple(h[max(len(h) - self.K, 0) :])
        if END in h:
            h = h[len(h) - 1 - h[::-1].index(END) :]
        return self.p(h)


def learned(words, vocabulary, context):
    model = Counts(vocabulary, Initial(0), context=context)
    model.learn(text_of(words))
    return model


@given(some_words, st.integers(0, 4))
def test_probabilities_are_what_the_definitions_say(words, context):
    """Behind every context there can be: seen, unseen, at the beginning of a word."""
    words, V = tokens(words), 4
    model, slow = learned(words, V, context), Slow(words, V, context)
    rows = np.array(list(itertools.product(range(V), repeat=max(min(context, 3), 1))), np.int32)
    if context == 4:
        rows = np.concatenate([np.full((len(rows), 1), 1, np.int32), rows], axis=1)
    p = np.exp(model(rows).v.astype(np.float64))
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(p, [slow.row(row) for row in rows.tolist()], rtol=1e-4)


@given(some_words, st.integers(0, 4))
def test_leaving_a_target_out_is_as_if_it_had_not_been_counted(words, context):
    """Of every place of every word. The discounts stay those of all words."""
    words, V = tokens(words), 4
    model = learned(words, V, context)
    for word in words:
        sentence = [END, *word, END]
        rows, targets = np.array([sentence[:-1]], np.int32), np.array(sentence[1:], np.int32)
        p = np.exp(model.log_p(rows, 0, targets).astype(np.float64))
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
        for t in range(len(word) + 1):
            slow = Slow(words, V, context)
            slow.seen[tuple(sentence[max(t + 1 - context, 0) : t + 1]), sentence[t + 1]] -= 1
            np.testing.assert_allclose(p[t], slow.row(sentence[: t + 1]), rtol=1e-4)


def test_counts_by_hand():
    """The words ab, ab, b, behind one letter at most."""
    model = learned(tokens(["ab", "ab", "b"]), 3, 1)
    assert model.tables["nodes"].tolist() == [3, 1]  # behind END, a and b; the root
    assert model.letters[:3].tolist() == [END, 1, 2]
    followers = np.split(model.followers, model.first_follower[1:-1])
    counts = np.split(model.times, model.first_follower[1:-1])
    found = [dict(zip(f.tolist(), c.tolist(), strict=True)) for f, c in zip(followers, counts, strict=True)]
    assert found == [
        {1: 2, 2: 1},  # words begin with a twice, with b once
        {2: 2},  # behind a stood b twice
        {END: 3},  # three words ended behind b
        {1: 1, 2: 2, END: 1},  # a stood behind END only, b behind END and a, END behind b
    ]
    # At the root n1, n2 = 2, 1 and none is 3: Y = 2/4, D1 = 1 - 2 Y 1/2 = 1/2, D2 = 1, half of 2.
    # It has the sum 4, and gamma = (D1 + D2 + D1) / 4 = 1/2 of it goes to 3 letters alike.
    end, a, b = 0.5 / 4 + 0.5 / 3, 0.5 / 4 + 0.5 / 3, 1 / 4 + 0.5 / 3
    # Behind a letter n1, n2, n3 = 1, 2, 1: Y = 1/5, D1 = 1 - 2 Y 2/1 = 0.2, D2 = 2 - 3 Y 1/2 = 1.7.
    # END has the sum 3, and gamma = (D1 + D2) / 3 = 1.9 / 3.
    expected = [1.9 / 3 * end, 0.3 / 3 + 1.9 / 3 * a, 0.8 / 3 + 1.9 / 3 * b]
    np.testing.assert_allclose(np.exp(model(np.array([[END]], np.int32)).v[0]), expected, rtol=1e-5)
    # a has the sum 2, and gamma = D2 / 2. With one b less, the sum is 1, and gamma = D1.
    p = np.exp(model(np.array([[1]], np.int32)).v[0])
    np.testing.assert_allclose(p[2], 0.3 / 2 + 1.7 / 2 * b, rtol=1e-5)
    p = np.exp(model.log_p(np.array([[1]], np.int32), 0, np.array([2], np.int32))[0])
    np.testing.assert_allclose(p[2], 0.8 + 0.2 * b, rtol=1e-5)


@pytest.mark.parametrize(
    ("how_many", "expected"),
    [
        # n1, n2, n3, n4 = 8, 4, 2, 1: Y = 8 / 16, D1 = 1 - 2/2 * 4/8, D2 = 2 - 3/2 * 2/4, D3+ = 3 - 4/2 * 1/2
        ([8, 4, 2, 1], [0, 0.5, 1.25, 2.0]),
        ([8, 4, 2, 0], [0, 0.5, 1.25, 1.5]),  # none of 4: D3+ is not known
        ([0, 4, 2, 1], [0, 0.5, 2.0, 3.0]),  # none of 1: Y = 0
        ([1, 4, 40, 1], [0, 1 / 9, 1.0, 3 - 4 / 9 / 40]),  # D2 would be 2 - 3/9 * 10, below 0
        ([], [0, 0.5, 1.0, 1.5]),
    ],
)
def test_discounts_by_hand(how_many, expected):
    counts = np.repeat(np.arange(1, len(how_many) + 1), how_many)
    np.testing.assert_allclose(fitted_discounts(np.append(counts, [7, 9])), expected)


def names():
    """Text and tokens of the training and of the held-out words."""
    words = read_words("names-32k").distinct
    alphabet = Alphabet.of(words)
    kept, others = split(words, 1000, 0)
    return [[alphabet.encode(word) for word in part] for part in (kept, others)]


def mean_loss(model, words, leave_out):
    text = text_of(words)
    log_p = model.log_p(text[None, :-1], 0, text[1:].copy() if leave_out else NO_TARGETS)
    return -log_p[np.arange(len(log_p)), text[1:]].mean()


def test_names_held_out_and_left_out():
    """Leave-one-out is honest: it makes the words that were counted as surprising as others."""
    kept, others = names()
    model = learned(kept, 27, 4)
    held_out = mean_loss(model, others, False)
    assert 1.9 < held_out < 1.965
    some = kept[::3]
    assert abs(mean_loss(model, some, True) - held_out) < 0.01
    assert mean_loss(model, some, False) < held_out - 0.1


def test_memory_is_in_proportion_to_what_is_distinct():
    """A node for every context, a count for every n-gram; not for every place."""
    words = tokens(["abcab", "abc", "cab"])
    once, often = learned(words, 4, 3), learned(words * 50, 4, 3)
    for name in TABLES:
        assert len(once.tables[name]) == len(often.tables[name])
    grams = defaultdict(set)
    for word in words:
        sentence = [END, *word, END]
        for t in range(1, len(sentence)):
            for start in range(max(t - 3, 0), t + 1):
                grams[tuple(sentence[start:t])].add(sentence[t])
    assert len(once.letters) == len(grams)
    assert len(once.times) == sum(map(len, grams.values()))


def test_before_it_has_learned_every_letter_is_as_likely():
    np.testing.assert_allclose(
        Counts(5, Initial(0), context=3)(np.array([[0, 1, 2]], np.int32)).v, -np.log(5), rtol=1e-6
    )


@pytest.mark.parametrize("letters", [2, 2000])
@pytest.mark.parametrize("context", [4, 50])
def test_long_words_and_large_alphabets(letters, context):
    V = 3000
    words = np.random.default_rng(0).integers(1, V, (2, letters)).tolist()
    model = learned(words, V, context)
    text = text_of(words)
    p = np.exp(model.log_p(text[None, :-1], 0, NO_TARGETS)[:100].astype(np.float64))
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-4)
    assert p[0, words[0][0]] > 0.1  # there are but two beginnings


def test_a_probability_too_small_for_a_float_has_a_logarithm():
    """A hundred letters stand before every run of a's: each of 29 contexts leaves 1/70 to its shorter one."""
    a, b = 1, 2
    words = [[x, *[a] * run, b] for run in range(1, 30) for x in range(3, 103)]
    log_p = learned(words, 103, 29)(np.array([[a] * 29], np.int32)).v
    np.testing.assert_allclose(log_p[0, 50], np.log(1e-30), rtol=1e-6)
    np.testing.assert_allclose(np.exp(log_p.astype(np.float64)).sum(), 1, rtol=1e-5)


@given(some_words, st.integers(0, 3))
def test_compiled_and_plain_python_count_and_guess_the_same(words, context):
    words = tokens(words)
    text = text_of(words)

    def run():
        model = learned(words, 4, context)
        return model, model.log_p(text[None, :-1], 0, text[1:].copy())

    compiled, log_p = run()
    plain_kernels = {
        name: dispatcher_of(kernel).py_func
        for name, kernel in vars(module).items()
        if hasattr(dispatcher_of(kernel), "py_func")
    }
    assert len(plain_kernels) == 5
    with mock.patch.multiple(module, **plain_kernels):
        plain, plain_log_p = run()
    for name in TABLES:
        np.testing.assert_array_equal(compiled.tables[name], plain.tables[name])
    np.testing.assert_array_equal(compiled.sums, plain.sums)
    np.testing.assert_allclose(log_p, plain_log_p, rtol=1e-4, atol=1e-5)


def test_logarithms():
    x = np.exp(np.random.default_rng(0).uniform(-70, 1e-6, 10_000)).astype(np.float32)
    x[:5] = 0, 1e-30, 2 / 3, 1, 1.000001
    expected = np.log(np.maximum(x.astype(np.float64), 1e-30))
    kernels.logarithms(x)
    np.testing.assert_allclose(x, expected, rtol=1e-6, atol=2e-7)


def test_tables_come_back():
    words = tokens(["abcab", "abc", "cab"])
    model, other = learned(words, 4, 3), Counts(4, 3)
    other.tables = model.tables
    rows = np.array(list(itertools.product(range(4), repeat=3)), np.int32)
    np.testing.assert_array_equal(other(rows).v, model(rows).v)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("damage", ["longer", "shorter", "negative", "larger", "none", "type", "axes"])
def test_damaged_tables_are_refused(name, damage):
    """Nothing that a file may hold lets guessing read or write outside an array."""
    model = learned(tokens(["abcab", "abc", "cab"]), 4, 3)
    table = model.tables[name].copy()
    if damage == "negative":
        table[len(table) // 2] = -1
    elif damage == "larger":
        table[len(table) // 2] = 2**31 - 1
    damaged = {
        "longer": np.append(table, table[:1]),
        "shorter": table[1:],
        "none": table[:0],
        "type": table.astype(np.int64),
        "axes": table[None],
    }.get(damage, table)
    with pytest.raises(ValueError, match="the tables"):
        model.tables = model.tables | {name: damaged}
    with pytest.raises(ValueError, match="the tables are no counts of 3 letters behind 3"):
        Counts(3, Initial(0), context=3).tables = model.tables
    with pytest.raises(ValueError, match="the tables are no counts of 4 letters behind 2"):
        Counts(4, Initial(0), context=2).tables = model.tables


@pytest.mark.parametrize(
    ("name", "numbers"), [("letters", [4]), ("followers", [4]), ("times", [0]), ("times", [2**30, 2**30])]
)
def test_numbers_just_beyond_what_tables_may_hold_are_refused(name, numbers):
    model = learned(tokens(["abcab", "abc", "cab"]), 4, 3)
    table = model.tables[name].copy()
    table[: len(numbers)] = numbers
    with pytest.raises(ValueError, match="the tables are no counts of 4 letters behind 3"):
        model.tables = model.tables | {name: table}


def test_a_context_longer_than_every_word_costs_nothing():
    words = tokens(["abcab", "abc", "cab"])
    assert len(learned(words, 4, 10**6).discounts) == 7
    rows = np.array([[0, 0, 0, 0, 1, 2, 3]], np.int32)
    np.testing.assert_array_equal(learned(words, 4, 10**6)(rows).v, learned(words, 4, 6)(rows).v)


def test_letters_that_there_are_not():
    model = learned([[1, 2]], 3, 2)
    for bad in (-1, 3):
        with pytest.raises(IndexError, match=rf"id {bad} at position 1 is outside 0..2"):
            model(np.array([[0, bad]], np.int32))
        with pytest.raises(IndexError, match=rf"id {bad} at position 1 is outside 0..2"):
            Counts(3, Initial(0), context=2).learn(np.array([0, bad, 0], np.int32))


def ints(*shape):
    return np.zeros(shape, np.int32)


def test_kernels_refuse_arrays_that_do_not_agree():
    text, places = ints(4), np.array([1, 2, 3], np.int32)
    with pytest.raises(ValueError, match=r"sort_places: .* got .*places \(3\), .*out \(2\)"):
        kernels.sort_places(text, places, 1, ints(2), ints(2))
    with pytest.raises(ValueError, match="measure_contexts"):
        kernels.measure_contexts(text, places, 1, ints(3), ints(2))
    for bad in (0, 4):
        with pytest.raises(IndexError, match=rf"place {bad} is outside 1..3"):
            kernels.sort_places(text, np.array([bad], np.int32), 1, ints(2), ints(1))

    with pytest.raises(IndexError, match="-1 letters back is not back"):
        kernels.sort_places(text, places, -1, ints(2), ints(3))

    def level(nodes=1, deeper=1, size=3, depth=0, **other):
        arrays = {"lengths": ints(3), "shared": ints(3), "first": ints(deeper), "below": ints(0)}
        arrays |= {"counts": ints(size)} | {name: np.array(one, np.int32) for name, one in other.items()}
        kernels.count_level(
            text, places, arrays["lengths"], arrays["shared"], depth, arrays["first"], arrays["below"],
            ints(2), ints(nodes), ints(nodes + 1), ints(nodes + 1), ints(size), arrays["counts"],
        )  # fmt: skip

    level()
    for depth in (-1, 2):
        with pytest.raises(IndexError, match=rf"there are not {depth} letters before place 1"):
            level(depth=depth, lengths=[2**31 - 1] * 3)
    for first, stop in ((-1, 0), (0, 2)):
        with pytest.raises(IndexError, match=rf"followers {first}..{stop} are not among those below"):
            level(lengths=[1, 1, 1], first=[first, stop], below=[1])
    for bad in (-1, 2):
        with pytest.raises(IndexError, match=rf"id {bad} at position 0 is outside 0..1"):
            level(below=[bad])
    with pytest.raises(ValueError, match="there are 1 nodes, not 2"):
        level(nodes=2)
    with pytest.raises(ValueError, match="more than 0 nodes"):
        level(nodes=0)
    with pytest.raises(ValueError, match="more than 0 followers"):
        level(size=0)
    with pytest.raises(ValueError, match="must agree"):
        level(counts=[0, 0])
    with pytest.raises(ValueError, match="must agree"):
        level(shared=[0, 0])
    with pytest.raises(ValueError, match="weigh"):
        kernels.weigh(ints(2), ints(0), np.zeros(4, np.float32), ints(2, 4), np.zeros(0, np.float32))
    for first, stop in ((-1, 1), (0, 2)):  # of one follower
        bounds = np.array([first, stop], np.int32)
        with pytest.raises(ValueError, match="weigh: 2 first followers, of 1, do not agree with 1 nodes"):
            kernels.weigh(bounds, ints(1), np.zeros(4, np.float32), ints(1, 4), np.zeros(1, np.float32))
    model = learned([[1, 2]], 3, 2)
    for rows, first, targets in (((2, 2), 2, 0), ((2, 2), -1, 0), ((2, 2), 1, 3)):
        with pytest.raises(ValueError, match="guess"):
            model.log_p(ints(*rows), first, ints(targets))
