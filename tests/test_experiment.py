"""From words to a judged model: what is held out, what the seed decides, and what the figures say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from autollm.errors import InputError
from autollm.learning.alphabet import Alphabet
from autollm.learning.batches import batches
from autollm.learning.experiment import (
    Corpus,
    Samples,
    dream_words,
    learn,
    make_plan,
    tokens_per_second,
    train_by,
)
from autollm.learning.training import Budget, Run, examples_for, mean_loss
from autollm.learning.words import Words, read_words, split
from autollm.models import MODELS, build, configure, parameters

NAMES = Words(read_words("names-32k").distinct[:1200], 0)
each_model = pytest.mark.parametrize("name", MODELS)


def plan_of(name="bag", steps=20, seed=0, **settings):
    return make_plan(configure(name), Budget(steps=steps), seed, **settings)


def values(model):
    return np.concatenate([param.v.ravel() for param in parameters(model).values()])


# --- what is held out --------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 100, 1198])
def test_every_word_is_learned_from_or_held_out(count):
    training, held_out = split(NAMES.distinct, count, seed=3)
    assert len(held_out) == count
    assert not set(training) & set(held_out)
    together = set(training) | set(held_out)
    assert [word for word in NAMES.distinct if word in together] == NAMES.distinct
    order = {word: i for i, word in enumerate(NAMES.distinct)}
    for part in (training, held_out):
        assert part == sorted(part, key=order.get)


def test_another_seed_holds_out_other_words():
    first, second, again = (split(NAMES.distinct, 200, seed)[1] for seed in (0, 1, 0))
    assert first == again
    assert 5 < len(set(first) & set(second)) < 80  # 200 of 1200, twice: 33 are expected in both


@pytest.mark.parametrize(
    ("words", "held_out"), [(999, 0), (1000, 100), (1009, 100), (9_999, 999), (10_010, 1000), (32_000, 1000)]
)
def test_how_many_are_held_out(words, held_out):
    corpus = Corpus.of(Words(read_words("names-32k").distinct[:words], 0), None, seed=0)
    assert (len(corpus.training), len(corpus.held_out)) == (words - held_out, held_out)


def test_two_words_must_be_left_to_learn_from():
    few = Words(["ab", "c", "def"], 0)
    assert len(Corpus.of(few, 1, seed=0).training) == 2
    with pytest.raises(InputError, match="--held-out 2 leaves fewer than 2 of 3 words to learn from"):
        Corpus.of(few, 2, seed=0)


def test_the_alphabet_and_the_longest_word_are_those_of_all_words():
    """For any seed: whichever word is held out."""
    for seed in range(6):
        corpus = Corpus.of(Words(["a", "bb", "cdefg"], 0), 1, seed)
        assert corpus.alphabet.characters == "abcdefg"
        assert corpus.longest == 5


@each_model
def test_the_losses_are_those_of_the_words_held_out_and_of_the_others(name):
    plan, corpus = plan_of(name), Corpus.of(NAMES, None, seed=0)
    learned = learn(plan, corpus)

    def loss(words):
        examples = examples_for(learned.model, words, corpus.alphabet, plan.config.context)
        return mean_loss(learned.model, examples)

    assert learned.held_out_loss == loss(corpus.held_out)
    assert learned.final_loss == loss(corpus.training)
    assert learned.held_out_loss != learned.final_loss


@each_model
def test_words_held_out_are_not_learned_from(name):
    """Whatever they are: the model that is learned is the same."""
    corpus = Corpus.of(NAMES, None, seed=0)
    others = replace(corpus, held_out=corpus.held_out[:1])
    np.testing.assert_array_equal(
        values(learn(plan_of(name), corpus).model), values(learn(plan_of(name), others).model)
    )


# --- the seed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in MODELS if name != "bigram"])  # which begins with zeros
def test_the_seed_decides_the_initial_values(name):
    first, second, again = (values(build(configure(name), 27, seed)) for seed in (0, 1, 0))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - second).max() > 0.1


@each_model
def test_the_plans_seed_is_that_of_the_initial_values(name):
    """After one step that is too small to see, the model is the one that was built."""
    corpus = Corpus.of(NAMES, None, seed=0)
    for seed in (3, 4):
        learned = learn(plan_of(name, steps=1, seed=seed, lr=1e-12), corpus)
        start = values(build(configure(name), corpus.alphabet.size, seed))
        np.testing.assert_allclose(values(learned.model), start, rtol=0, atol=1e-9)


@each_model
def test_the_seed_decides_the_batches(name):
    """Of models that begin with the same values."""
    corpus, config = Corpus.of(NAMES, None, seed=0), configure(name)

    def result(seed):
        model = build(config, corpus.alphabet.size, seed=0)
        examples = examples_for(model, corpus.training, corpus.alphabet, config.context)
        train_by(plan_of(name, seed=seed), model, examples)
        return values(model)

    np.testing.assert_array_equal(result(0), result(0))
    assert np.abs(result(0) - result(1)).max() > 1e-3


def test_two_seeds_draw_different_batches():
    alphabet = Alphabet.of(NAMES.distinct)
    for name in ("bag", "gpt"):
        examples = examples_for(build(configure(name), alphabet.size), NAMES.distinct, alphabet, 3)
        first, second, again = (next(batches(examples, 16, seed))[0][1].tolist() for seed in (0, 1, 0))
        assert first == again != second


def test_the_seed_decides_what_is_dreamed():
    """Of the same model."""
    corpus = Corpus.of(NAMES, None, seed=0)
    learned = learn(plan_of(), corpus)
    first, second, again = (dream_words(learned, plan_of(seed=s), corpus, 20).words for s in (0, 1, 0))
    assert first == again
    assert len(set(first) & set(second)) < 5


# --- what is made of it ------------------------------------------------------------------------------


def test_dreamed_words_are_sorted_by_where_they_are():
    corpus = Corpus(Alphabet("abc"), training=["a", "ab", "abc"], held_out=["b", "bc"], longest=3)
    words = ["bc", "ca", "a", "ca", "abc", "b", "a"]
    samples = Samples.sort(words, corpus)
    assert samples == Samples(words, in_training=["a", "abc", "a"], in_held_out=["bc", "b"], new=["ca", "ca"])


def test_tokens_per_second():
    run = Run(steps=500, seconds=2.0, interrupted=False)
    assert tokens_per_second(run, batch=64, tokens=1.0) == 16_000
    assert tokens_per_second(run, batch=10, tokens=7.5) == 18_750


@pytest.mark.parametrize(("name", "examples", "tokens"), [("bag", 10, 1.0), ("gpt", 3, 10 / 3)])
def test_what_was_learned_in_figures(name, examples, tokens):
    """Of ab, c and abcd: 7 letters and 3 ends, in 10 windows or 3 words."""
    words = Words(["ab", "c", "abcd"], 0)
    plan = plan_of(name, steps=5, batch=8)
    learned = learn(plan, Corpus.of(words, None, seed=0))
    assert learned.examples == examples
    assert (learned.run.steps, learned.run.interrupted, learned.held_out_loss) == (5, False, None)
    assert learned.tokens_per_second == pytest.approx(5 * 8 * tokens / learned.run.seconds)
    assert learned.parameters == values(learned.model).size


def test_dreamed_words_end_at_twice_the_longest_of_the_list():
    """Letters of the prefix do not count."""
    corpus = Corpus.of(Words(["ab", "ba", "abab"], 0), None, seed=0)
    learned = learn(plan_of(steps=1), corpus)
    learned.model.W.v[...] = 0
    learned.model.E.v[...] = 1
    learned.model.W.v[1:] = 1  # END scores 0, letters 96
    samples = dream_words(learned, plan_of(), corpus, 3, prefix="aa")
    assert {len(word) for word in samples.words} == {10}
    assert all(word.startswith("aa") for word in samples.words)


def test_a_curve_begins_untrained_and_ends_with_the_held_out_loss():
    corpus = Corpus.of(NAMES, None, seed=0)
    learned = learn(plan_of(steps=2000), corpus, moments=4)
    untrained = build(configure("bag"), corpus.alphabet.size, 0)
    unseen = examples_for(untrained, corpus.held_out, corpus.alphabet, 3)
    assert learned.curve[0] == (0.0, mean_loss(untrained, unseen))
    assert learned.curve[-1] == (learned.run.seconds, learned.held_out_loss)
    assert 3 <= len(learned.curve) <= 6
    times = [seconds for seconds, _ in learned.curve]
    assert times == sorted(times)
    assert learn(plan_of(), corpus).curve == []


# --- a plan ------------------------------------------------------------------------------------------


@each_model
def test_a_plan_has_what_suits_the_model(name):
    plan, kind = plan_of(name), MODELS[name]
    assert (plan.batch, plan.optimiser, plan.schedule, plan.clip) == (
        kind.batch, kind.optimiser, kind.schedule, kind.clip,
    )  # fmt: skip
    assert kind.lr in (None, plan.lr)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("batch", 7), ("optimiser", "momentum"), ("lr", 0.02), ("schedule", "cosine"), ("clip", 0.01)],
)
def test_every_setting_of_a_plan_has_an_effect(setting, value):
    """It is in the plan, and it changes what is learned."""
    corpus = Corpus.of(NAMES, None, seed=0)

    def result(**settings):
        model = build(configure("bag"), corpus.alphabet.size)
        train_by(plan_of(**settings), model, examples_for(model, corpus.training, corpus.alphabet, 3))
        return values(model)

    assert getattr(plan_of(**{setting: value}), setting) == value
    assert np.abs(result(**{setting: value}) - result()).max() > 1e-4


def test_an_optimiser_that_is_not_the_models_own_has_a_rate_of_its_own():
    assert plan_of("bag").lr == pytest.approx(0.5)
    assert plan_of("bag", optimiser="adam").lr == 0.01
    assert plan_of("mlp", optimiser="sgd").lr == 0.3
    assert plan_of("mlp", optimiser="sgd", lr=0.2).lr == 0.2
