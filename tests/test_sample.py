"""Dreaming words."""

from __future__ import annotations

import numpy as np
import pytest
from table import softmax

from autollm.errors import InputError
from autollm.kernels.sampling import choose
from autollm.learning.alphabet import END, Alphabet
from autollm.learning.sampling import MOST_AT_ONCE, dream, keep_likeliest, words_at_once
from autollm.node import Node
from autollm.sample import build_parser

ALPHABET = Alphabet("abc")
RNG = np.random.default_rng


def always(logits):
    """A model with the same logits everywhere."""
    return lambda contexts: Node(np.tile(np.array(logits, np.float32), (len(contexts), 1)))


def chosen_shares(logits, temperature=1.0, top_k=0, count=20_000):
    rows = np.tile(np.array(logits, np.float32), (count, 1))
    chosen = np.empty(count, np.int32)
    keep_likeliest(rows, top_k)
    choose(rows, RNG(0).random(count), temperature, chosen)
    return np.bincount(chosen, minlength=len(logits)) / count


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_choices_follow_the_softmax(temperature):
    logits = np.array([0.0, 1.0, -1.0, 2.0])
    np.testing.assert_allclose(chosen_shares(logits, temperature), softmax(logits / temperature), atol=0.015)


def test_top_k_keeps_the_likeliest():
    shares = chosen_shares([0.0, 1.0, -1.0, 2.0], top_k=2)
    np.testing.assert_allclose(
        shares, [0, *softmax(np.array([1.0, 2.0]))[[0]], 0, *softmax(np.array([1.0, 2.0]))[[1]]], atol=0.015
    )
    assert chosen_shares([0.0, 1.0, -1.0, 2.0], top_k=1).tolist() == [0, 0, 0, 1]
    assert [share > 0 for share in chosen_shares([0.0, 1.0, -1.0, 2.0], top_k=3)] == [1, 1, 0, 1]
    assert (chosen_shares([0.0, 1.0, -1.0, 2.0], top_k=99) > 0).all()


@pytest.mark.parametrize("temperature", [5e-324, 1e-310, 1e-300, 1e-9])
def test_the_lowest_temperatures_leave_the_likeliest(temperature):
    words = dream(always([0.0, 5.0, -5.0, 4.9]), ALPHABET, 2, 20, RNG(0), longest=2, temperature=temperature)
    assert words == ["aaaa"] * 20


@pytest.mark.parametrize(
    ("kind", "vocabulary", "context", "size", "expected"),
    [
        ("window", 27, 3, 30, 4096),  # an ordinary list
        ("sequence", 27, 16, 30, 4096),
        ("window", 27, 1_000_000, 30, 4),  # 4 million tokens
        ("window", 27, 3, 20_000, 209),
        ("window", 50_000, 3, 30, 671),  # 32 million scores
        ("sequence", 5000, 16, 30, 419),
        ("window", 10**8, 10**8, 10**8, 1),
    ],
)
def test_words_are_dreamed_together_as_far_as_memory_allows(kind, vocabulary, context, size, expected):
    class Reads:
        sequence = kind == "sequence"

    assert words_at_once(Reads(), vocabulary, context, size) == expected


@pytest.mark.parametrize("temperature", [1e-300, 1e-9, 1e9, 1e300])
def test_extreme_temperatures(temperature):
    shares = chosen_shares([0.0, 5.0, -5.0], temperature)
    expected = [0, 1, 0] if temperature < 1 else [1 / 3] * 3
    np.testing.assert_allclose(shares, expected, atol=0.015)


def test_the_largest_random_number_chooses_something_likely():
    chosen = np.empty(1, np.int32)
    choose(np.array([[0, 0, -np.inf]], np.float32), np.array([1 - 2**-53]), 1.0, chosen)
    assert chosen[0] == 1


def test_words_have_a_letter_an_end_and_a_limit():
    ends = [50.0, 0.0, -50.0, -50.0]  # END is all but certain, and if not END then a
    assert dream(always(ends), ALPHABET, 3, 5, RNG(0), longest=32) == ["a"] * 5
    endless = [-50.0, 0.0, -50.0, -50.0]
    assert dream(always(endless), ALPHABET, 3, 2, RNG(0), longest=4) == ["a" * 8] * 2


def test_a_first_letter_is_one_of_the_likeliest_letters():
    """The end is not among them, since it cannot come first."""
    words = dream(always([9.0, 2.0, 1.0, -9.0]), ALPHABET, 2, 50, RNG(0), longest=4, top_k=2)
    assert set(words) == {"a", "b"}


def test_words_begin_with_the_prefix():
    words = dream(always([0.0, 0, 0, 0]), ALPHABET, 2, 50, RNG(0), longest=6, prefix="cab")
    assert all(word.startswith("cab") for word in words)
    assert "cab" in words and len(set(words)) > 5
    long = dream(always([-50.0, 0, 0, 0]), ALPHABET, 2, 2, RNG(0), prefix="cab" * 40, longest=3)
    assert all(word.startswith("cab" * 40) and len(word) == 126 for word in long), "a prefix is never cut"
    with pytest.raises(InputError, match="'x' in 'ax' is not in the alphabet: abc"):
        dream(always([0.0, 0, 0, 0]), ALPHABET, 2, 1, RNG(0), longest=3, prefix="ax")


@pytest.mark.parametrize("context", [1, 2, 5])
def test_a_model_sees_the_letters_before(context):
    """A model that says: after a comes b, after b comes c, after c the end."""
    seen = []

    def model(contexts):
        seen.append(contexts.copy())
        logits = np.full((len(contexts), 4), -100, np.float32)
        logits[np.arange(len(contexts)), (contexts[:, -1] + 1) % 4] = 100
        return Node(logits)

    assert dream(model, ALPHABET, context, 1, RNG(0), longest=32) == ["abc"]
    expected = [[END] * context, *([([END] * context + [1, 2, 3])[i : i + context] for i in (1, 2, 3)])]
    np.testing.assert_array_equal(np.concatenate(seen), expected)


@pytest.mark.parametrize("context", [1, 2, 3, 4, 5])
def test_a_model_of_whole_words_sees_the_letters_before(context):
    """The same model, which reads a word from its beginning, or, of a longer one, its end."""
    seen = []

    class Follows:
        sequence = True

        def __call__(self, words):
            seen.append(words[0].tolist())
            logits = np.full((*words.shape, 4), -100, np.float32)
            np.put_along_axis(logits, (words[:, :, None] + 1) % 4, 100, axis=2)
            return Node(logits.reshape(-1, 4))

    assert dream(Follows(), ALPHABET, context, 3, RNG(0), longest=32) == ["abc"] * 3
    assert seen == [[END, 1, 2, 3][:length][-context:] for length in (1, 2, 3, 4)]


def test_no_words():
    assert dream(always([0.0, 0, 0, 0]), ALPHABET, 2, 0, RNG(0), longest=32) == []


def test_very_many_words():
    count = MOST_AT_ONCE + 3
    words = dream(always([0.0, 0, 0, 0]), ALPHABET, 2, count, RNG(0), longest=2, prefix="c")
    assert len(words) == count
    assert all(word.startswith("c") for word in words) and len(set(words)) > 20


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf])
def test_a_temperature_that_is_none(temperature):
    with pytest.raises(InputError, match="temperature must be a finite number above 0"):
        dream(always([0.0, 0, 0, 0]), ALPHABET, 2, 1, RNG(0), longest=3, temperature=temperature)


@pytest.mark.parametrize("height", [-2000, 2000])
def test_letters_are_chosen_by_how_scores_differ_however_high_they_are(height):
    """e**2000 is more than a float holds, e**-2000 less."""
    rng = np.random.default_rng(0)
    logits, uniforms = rng.integers(0, 4, (100, 5)).astype(np.float32), rng.random(100)
    chosen, shifted = np.empty(100, np.int32), np.empty(100, np.int32)
    choose(logits, uniforms, 0.7, chosen)
    choose(logits + np.float32(height), uniforms, 0.7, shifted)
    np.testing.assert_array_equal(chosen, shifted)
    assert len(set(chosen)) == 5


def test_what_rounding_leaves_goes_to_a_letter_that_has_a_chance():
    """The last one has none, and the running sum of the others may end a little below their total."""
    logits = np.random.default_rng(0).standard_normal((2000, 30)).astype(np.float32)
    logits[:, -1] = -np.inf
    chosen = np.empty(2000, np.int32)
    choose(logits, np.full(2000, np.nextafter(1, 0)), 1.0, chosen)
    assert (chosen < 29).all() and (chosen > 20).all()


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_scores_that_are_no_numbers(score):
    """A letter chosen by them would be whatever the memory held."""
    scores = [0.0, 0.0, score, 0.0]
    with pytest.raises(InputError, match="scores are NaN or infinite"):
        dream(always(scores), ALPHABET, 2, 1, RNG(0), longest=32)
    with pytest.raises(ValueError, match="no letter has a chance"), np.errstate(invalid="ignore"):
        choose(np.array([scores], np.float32), np.zeros(1), 1.0, np.empty(1, np.int32))


def test_a_prefix_is_composed_as_words_are():
    assert build_parser().parse_args(["model", "--prefix", "e\u0301"]).prefix == "é"
