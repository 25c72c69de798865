"""From words to a judged model: what is held out, what the seed decides, and what the figures say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from autollm import train as train_command
from autollm.errors import InputError
from autollm.learning import experiment, sampling
from autollm.learning.alphabet import Alphabet
from autollm.learning.batches import batches
from autollm.learning.examples import Examples, examples_for, make_sequences, make_windows
from autollm.learning.experiment import (
    Corpus,
    Samples,
    dream_words,
    judge,
    judged_at_once,
    learn,
    some_of,
    tokens_per_second,
)
from autollm.learning.plan import Budget, make_plan
from autollm.learning.training import Run, mean_loss, train
from autollm.learning.words import Words, read_words, split
from autollm.models import MODELS, build, configure, nets, parameters

NAMES = Words(read_words("names-32k").distinct[:1200], 0)
each_model = pytest.mark.parametrize("name", MODELS)
each_net = pytest.mark.parametrize("name", nets())


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
    assert Corpus.of(NAMES, 200, seed=1).held_out == second


@pytest.mark.parametrize(
    ("words", "held_out"), [(999, 0), (1000, 100), (1009, 100), (9_999, 999), (10_010, 1000), (32_000, 1000)]
)
def test_how_many_are_held_out(words, held_out):
    corpus = Corpus.of(Words(read_words("names-32k").distinct[:words], 0), None, seed=0)
    assert (len(corpus.training), len(corpus.held_out)) == (words - held_out, held_out)
    help_text = " ".join(train_command.build_parser().format_help().split())
    assert "to judge by (default: of 1000 or more 1 in 10, up to 1000)" in help_text, "as it is said"


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
    judgement = judge(learned)

    def loss(words):
        examples = examples_for(learned.model, words, corpus.alphabet, plan.config.context)
        return mean_loss(learned.model, examples)

    assert judgement.held_out_loss == loss(corpus.held_out)
    assert judgement.final_loss == loss(corpus.training)
    assert judgement.held_out_loss != judgement.final_loss
    assert judgement.judged == len(learned.examples)


@each_net
def test_words_held_out_are_not_learned_from(name):
    """Whatever they are: the model that is learned is the same."""
    corpus = Corpus.of(NAMES, None, seed=0)
    others = replace(corpus, held_out=corpus.held_out[:1])
    np.testing.assert_array_equal(
        values(learn(plan_of(name), corpus).model), values(learn(plan_of(name), others).model)
    )


# --- the seed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in nets() if name != "bigram"])  # which begins with zeros
def test_the_seed_decides_the_initial_values(name):
    first, second, again = (values(build(configure(name), 27, seed)) for seed in (0, 1, 0))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - second).max() > 0.1


@each_net
def test_the_plans_seed_is_that_of_the_initial_values(name):
    """After one step that is too small to see, the model is the one that was built."""
    corpus = Corpus.of(NAMES, None, seed=0)
    for seed in (3, 4):
        learned = learn(plan_of(name, steps=1, seed=seed, lr=1e-12), corpus)
        start = values(build(configure(name), corpus.alphabet.size, seed))
        np.testing.assert_allclose(values(learned.model), start, rtol=0, atol=1e-9)


@each_net
def test_the_seed_decides_the_batches(name):
    """Of models that begin with the same values."""
    corpus, config = Corpus.of(NAMES, None, seed=0), configure(name)

    def result(seed):
        model = build(config, corpus.alphabet.size, seed=0)
        examples = examples_for(model, corpus.training, corpus.alphabet, config.context)
        train(model, examples, plan_of(name, seed=seed))
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
    first, second, again = (dream_words(replace(learned, plan=plan_of(seed=s)), 20).words for s in (0, 1, 0))
    assert first == again
    assert len(set(first) & set(second)) < 5


def test_as_many_words_are_dreamed_as_are_asked_for(monkeypatch):
    """Also if that takes several goes."""
    monkeypatch.setattr(sampling, "MOST_AT_ONCE", 8)
    assert len(dream_words(learn(plan_of(steps=1), Corpus.of(NAMES, None, seed=0)), 20).words) == 20


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
    assert len(learned.examples) == examples
    assert (learned.run.steps, learned.run.interrupted, judge(learned).held_out_loss) == (5, False, None)
    assert learned.tokens_per_second == pytest.approx(5 * 8 * tokens / learned.run.seconds)
    assert learned.parameters == values(learned.model).size


def test_dreamed_words_end_at_twice_the_longest_of_the_list():
    """Letters of the prefix do not count."""
    corpus = Corpus.of(Words(["ab", "ba", "abab"], 0), None, seed=0)
    learned = learn(plan_of(steps=1), corpus)
    learned.model.W.v[...] = 0
    learned.model.E.v[...] = 1
    learned.model.W.v[1:] = 1  # END scores 0, letters 96
    samples = dream_words(learned, 3, prefix="aa")
    assert {len(word) for word in samples.words} == {10}
    assert all(word.startswith("aa") for word in samples.words)


def test_dreaming_stops_when_it_is_told_to():
    learned = learn(plan_of(steps=1), Corpus.of(Words(["ab", "ba"], 0), None, seed=0))
    never_given = sampling.Wanted(shortest=1000)
    asked = []
    samples = dream_words(learned, 3, wanted=never_given, stop=lambda: asked.append("once") or True)
    assert (samples.words, asked) == ([], ["once"])


@pytest.mark.parametrize(("words", "longest"), [(["ab", "ba"], 4), (["ababab", "ba"], 6)])
def test_the_longest_word_is_of_all_that_a_model_has_learned_from(words, longest):
    known = learn(plan_of(steps=1), Corpus.of(Words(["abab", "b"], 0), None, seed=0)).checkpoint
    assert Corpus.of(Words(words, 0), None, seed=0, known=known).longest == longest


def test_a_curve_begins_untrained_and_falls():
    corpus = Corpus.of(NAMES, None, seed=0)
    seen = []
    learned = learn(plan_of(steps=2000), corpus, lambda _, seconds, *__: seen.append(seconds), moments=4)
    untrained = build(configure("bag"), corpus.alphabet.size, 0)
    unseen = examples_for(untrained, corpus.held_out, corpus.alphabet, 3)
    assert learned.curve[0] == (0.0, mean_loss(untrained, unseen))
    assert 2 <= len(learned.curve) <= 4, "the loss at the end is the judgement's"
    times = [seconds for seconds, _ in learned.curve]
    assert times == sorted(times) and times[-1] < learned.run.seconds
    assert set(times[1:]) <= set(seen), "by the clock of the training"
    assert judge(learned).held_out_loss <= learned.curve[-1][1] < learned.curve[0][1] - 0.3
    assert learn(plan_of(), corpus).curve == []
    assert learn(plan_of(), Corpus.of(NAMES, 0, seed=0), moments=4).curve == []


# --- judging takes less than learning -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("vocabulary", "judged"), [(27, 1000), (2**16, 1000), (2**17, 500), (2**26, 1), (2**30, 1)]
)
def test_how_many_examples_are_judged(vocabulary, judged):
    """All, unless they have more than 2**26 scores together; then evenly spread ones."""
    examples = Examples(np.arange(4000, dtype=np.int32).reshape(1000, 4), first=3)
    found = some_of(examples, vocabulary)
    assert judged / 2 < len(found) <= judged
    stride = 1000 // judged
    np.testing.assert_array_equal(found.rows, examples.rows[::stride])


def test_of_a_long_list_some_are_judged():
    """About as many letters as our own list has."""
    letters = Examples(np.zeros((2**20, 2), np.int32), first=1)
    assert len(some_of(letters, 27)) == 2**18


@pytest.mark.parametrize(("most", "judged"), [(999, 500), (1000, 1000), (1001, 1000)])
def test_all_are_judged_that_may_be(monkeypatch, most, judged):
    monkeypatch.setattr(experiment, "MOST_JUDGED", most)
    assert len(some_of(Examples(np.zeros((1000, 4), np.int32), first=3), 27)) == judged


def test_lists_such_as_ours_are_judged_whole():
    words = read_words("names-32k").distinct
    alphabet = Alphabet.of(words)
    for make in (make_windows, make_sequences):
        examples = make(words, alphabet, 16)
        assert len(some_of(examples, alphabet.size)) == len(examples)


@pytest.mark.parametrize("name", ["bag", "gpt"])
def test_the_loss_of_some_is_near_the_loss_of_all(name, monkeypatch):
    learned = learn(plan_of(name, steps=100), Corpus.of(NAMES, 100, seed=0))
    whole = judge(learned)
    monkeypatch.setattr(experiment, "MOST_JUDGED", 2000)
    some = judge(learned)
    assert len(learned.examples) == whole.judged > 2 * some.judged > 0
    assert some.final_loss != whole.final_loss
    assert some.final_loss == pytest.approx(whole.final_loss, abs=0.05)


def test_scores_that_are_judged_together_have_a_bounded_size():
    assert judged_at_once(27) == 4096
    assert judged_at_once(100_000) == 335
    assert judged_at_once(10**9) == 1


# --- a plan ------------------------------------------------------------------------------------------


@each_net
def test_a_plan_has_what_suits_the_model(name):
    plan, recipe = plan_of(name), MODELS[name].recipe
    assert (plan.batch, plan.optimiser) == (recipe.batch, recipe.optimiser)
    assert (plan.schedule, plan.clip) == ("linear", None)
    assert callable(recipe.lr) or recipe.lr == plan.lr


@pytest.mark.parametrize(
    ("setting", "value"),
    [("batch", 7), ("optimiser", "momentum"), ("lr", 0.02), ("schedule", "cosine"), ("clip", 0.01)],
)
def test_every_setting_of_a_plan_has_an_effect(setting, value):
    """It is in the plan, and it changes what is learned."""
    corpus = Corpus.of(NAMES, None, seed=0)

    def result(**settings):
        model = build(configure("bag"), corpus.alphabet.size)
        train(model, examples_for(model, corpus.training, corpus.alphabet, 3), plan_of(**settings))
        return values(model)

    assert getattr(plan_of(**{setting: value}), setting) == value
    assert np.abs(result(**{setting: value}) - result()).max() > 1e-4


def test_a_budget_is_a_second_unless_told_otherwise():
    assert make_plan(configure("bag")).budget == Budget(seconds=1.0, steps=None)


def test_an_optimiser_that_is_not_the_models_own_has_a_rate_of_its_own():
    assert plan_of("bag").lr == pytest.approx(0.5)
    assert plan_of("bag", optimiser="adam").lr == 0.01
    assert plan_of("mlp", optimiser="sgd").lr == 0.3
    assert plan_of("mlp", optimiser="momentum").lr == 0.03
    assert plan_of("mlp", optimiser="sgd", lr=0.2).lr == 0.2
