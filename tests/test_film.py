"""What is recorded of a training, for its film."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from films import NAMES, filmed, told_of_steps, unpacked, words_of
from hypothesis import given
from hypothesis import strategies as st

from autollm.film import record
from autollm.film.record import Answers, Recorder, beginnings, least_loss, moments_of_a_bag, packed
from autollm.learning.alphabet import Alphabet
from autollm.learning.experiment import Corpus, learn
from autollm.learning.plan import Budget, make_plan
from autollm.learning.training import mean_loss
from autollm.models import build, configure, parameters


def test_the_moments_are_about_forty_and_denser_at_the_start():
    plan = make_plan(configure("bag"))
    corpus = Corpus.of(NAMES, None, seed=0)
    recorder = Recorder(plan, corpus)
    a_second = told_of_steps(recorder, 10_000, 10_000)
    learn(make_plan(configure("bag"), Budget(steps=1)), corpus, record=a_second)
    steps = [moment.steps for moment in recorder.moments][:41]
    assert steps[0] == 0 and steps[-1] == 10_000
    assert len(set(steps)) == 41
    gaps = np.diff(steps)
    assert gaps[0] < 10 and (np.diff(gaps) >= -1).all() and gaps[-1] > 400


def test_every_moment_is_the_model_as_it_was():
    film, learned = filmed(steps=300)
    assert film["steps"][0] == 0 and film["steps"][-1] == 300 == learned.run.steps
    assert len(set(film["steps"])) == len(film["steps"]), "no moment is there twice"
    for name, param in parameters(learned.model).items():
        scale = film["seen"][name][-1][0]
        off = np.abs(unpacked(film["seen"][name][-1]) - param.v.reshape(-1)).max()
        assert off <= scale / 2**18 * 1.01
    fresh, _ = filmed(steps=1)
    assert film["seen"]["E"][0] == fresh["seen"]["E"][0], "the first moment is before the first step"
    assert film["loss"][0] == pytest.approx(math.log(27), abs=0.05) and film["loss"][-1] < 2.8
    assert film["loss"][-1] == pytest.approx(mean_loss(learned.model, learned.examples), abs=1e-5)


def test_the_map_is_centred_where_letters_are_read_and_blind_guessing_is_by_all_tokens():
    film, learned = filmed()
    E, alphabet = learned.model.E.v.astype(np.float64), learned.corpus.alphabet
    contexts = learned.examples.rows[:, :-1]
    np.testing.assert_allclose(film["seen"]["centre"], E[contexts].mean(axis=(0, 1)), atol=1e-5)
    assert film["blind"] == pytest.approx(np.log(alphabet.size))
    np.testing.assert_allclose(
        np.array(film["seen"]["axes"]) @ np.array(film["seen"]["axes"]).T, np.eye(2), atol=1e-6
    )


def test_the_map_shows_the_two_directions_of_the_widest_spread():
    """Where a letter counts as often as it was read."""
    film, learned = filmed()
    axes, E = np.array(film["seen"]["axes"]), learned.model.E.v.astype(np.float64)
    read = E[learned.examples.rows[:, :-1].reshape(-1)]
    spread = np.cov(read.T, bias=True)
    assert film["seen"]["often"] == np.bincount(learned.examples.rows[:, :-1].reshape(-1)).tolist()
    assert np.trace(axes @ spread @ axes.T) == pytest.approx(np.linalg.eigvalsh(spread)[-2:].sum(), rel=1e-4)


@pytest.mark.parametrize("model", ["mlp", "gpt"])
def test_the_chances_are_the_models_own(model):
    """Of the letter after a beginning, and of none but letters at the start of a word."""
    corpus, plan = Corpus.of(NAMES, None, seed=0), make_plan(configure(model, context=4))
    net = build(plan.config, corpus.alphabet.size)
    for param in parameters(net).values():
        param.v[...] *= 30  # scores whose powers no number holds
    eye = Answers(net, corpus, plan)
    for beginning, (chances, _) in zip(eye.beginnings, eye.look(), strict=True):
        letters = [0] * (4 if model == "mlp" else 1) + corpus.alphabet.encode(beginning)
        scores = net(np.array([letters[-4:]], np.int32)).v[-1].astype(np.float64)
        scores[0] -= 0 if beginning else np.inf
        powers = np.exp(scores - scores.max())
        np.testing.assert_allclose(chances, powers / powers.sum(), atol=1e-6)


@pytest.mark.parametrize("model", ["bag", "gpt"])
def test_recording_changes_nothing(model):
    _, recorded = filmed(model=model, steps=100)
    plan = make_plan(configure(model), Budget(steps=100))
    alone = learn(plan, Corpus.of(NAMES, None, seed=0))
    for name, param in parameters(alone.model).items():
        assert np.array_equal(param.v, parameters(recorded.model)[name].v)


def test_a_run_that_was_stopped_shows_what_there_is():
    def stop(step, *_):
        if step >= 200:
            raise KeyboardInterrupt

    film, learned = filmed(steps=2000, watch=stop)
    assert learned.run.interrupted and film["interrupted"]
    assert film["steps"][0] == 0 and film["steps"][-1] == learned.run.steps >= 200
    assert len(film["steps"]) > 2, "also what was before it was stopped"


def test_held_out_words_have_a_loss_of_their_own():
    film, learned = filmed(held_out=20, steps=200)
    assert len(film["heldOut"]) == len(film["loss"])
    assert film["heldOut"][-1] == pytest.approx(mean_loss(learned.model, learned.held_out), abs=1e-5)
    assert filmed(steps=1)[0]["heldOut"] == []


@pytest.mark.parametrize("context", [1, 3, 40])
def test_nobody_can_be_below_the_least_loss(context):
    followers: dict[str, Counter] = {}
    for word in NAMES.distinct:
        text = "." * context + word + "."
        for i in range(context, len(text)):
            followers.setdefault(text[i - context : i], Counter())[text[i]] += 1
    total = sum(sum(counter.values()) for counter in followers.values())
    nats = -sum(n * math.log(n / sum(c.values())) for c in followers.values() for n in c.values()) / total
    assert least_loss(Corpus.of(NAMES, None, seed=0), context) == pytest.approx(nats)


def test_the_least_loss_is_that_of_the_words_to_learn_from():
    corpus = Corpus.of(NAMES, 20, seed=0)
    assert least_loss(corpus, 3) == least_loss(replace(corpus, held_out=[]), 3)


def test_other_models_leave_their_answers():
    film, _ = filmed(model="mlp", steps=200)
    answers = film["seen"]["answers"]
    assert len({answer["beginning"] for answer in answers}) == len(answers) == 5
    assert answers[0]["beginning"] == ""
    for answer in answers:
        for chances, words in zip(answer["chances"], answer["words"], strict=True):
            assert unpacked(chances).sum() == pytest.approx(1, abs=1e-3)
            assert len(words) == 4
            assert all(word.startswith(answer["beginning"]) for word in words)
    assert unpacked(answers[0]["chances"][-1])[0] == 0, "a word has a letter"
    assert answers[0]["words"][0] != answers[0]["words"][-1]


def test_the_dice_of_the_answers_are_those_of_the_seed():
    """Of one model, which has learned nothing."""
    corpus, config = Corpus.of(NAMES, None, seed=0), configure("mlp")
    model = build(config, corpus.alphabet.size)
    first, second, again = (Answers(model, corpus, make_plan(config, seed=s)).look() for s in (0, 1, 0))
    for (_, words), (_, others), (_, same) in zip(first, second, again, strict=True):
        assert words == same != others


def test_a_dreamed_word_is_shown_as_far_as_there_is_room(monkeypatch):
    corpus, config = Corpus.of(NAMES, None, seed=0), configure("mlp")
    words = ["a" * length for length in (record.LONGEST, record.LONGEST + 1)]
    monkeypatch.setattr(record, "dream", lambda *_, **__: words)
    eye = Answers(build(config, corpus.alphabet.size), corpus, make_plan(config))
    assert eye.look()[0][1] == [words[0], "a" * (record.LONGEST - 1) + "…"]


def test_what_is_shown_of_a_dreamed_word_is_counted_in_whole_letters(monkeypatch):
    pytest.importorskip("regex")
    corpus = Corpus.of(words_of(["किमि", "मिकि"]), None, seed=0, whole_graphemes=True)
    words = ["कि" * length for length in (record.LONGEST, record.LONGEST + 1)]
    monkeypatch.setattr(record, "dream", lambda *_, **__: words)
    plan = make_plan(configure("mlp"))
    eye = Answers(build(plan.config, corpus.alphabet.size), corpus, plan)
    assert eye.look()[0][1] == [words[0], "कि" * (record.LONGEST - 1) + "…"]


@pytest.mark.parametrize(("most", "step"), [(399, 2), (400, 1), (401, 1), (133, 4)])
def test_of_many_words_some_are_counted_evenly_spread(monkeypatch, most, step):
    """So many that they have at most so many letters."""
    words = [f"{i:04}" for i in range(100)]
    monkeypatch.setattr(record, "MOST_COUNTED", most)
    assert record.few_words(words) == words[::step]


def test_beginnings_are_the_commonest_of_longer_words():
    corpus = Corpus(Alphabet("abcd"), ["a", "b", "d", "cab", "ca", "cb", "ba", "bab", "cacd"], [], 4)
    assert beginnings(corpus) == ["", "c", "b", "ca", "cac"]


@pytest.mark.parametrize("dim", [1, 15, 16, 33, 34, 100, 154, 155])
def test_a_bag_is_recorded_as_often_as_there_is_room(dim):
    """The moment before the first step included."""
    numbers = 2 * 27 * dim
    count, too_large = moments_of_a_bag(make_plan(configure("bag", dim=dim)), 27)
    if too_large:
        assert numbers * (1 + record.FEWEST_MOMENTS) > record.MOST_NUMBERS
    else:
        assert (1 + count) * numbers <= record.MOST_NUMBERS
        assert count == record.MOMENTS or (2 + count) * numbers > record.MOST_NUMBERS


def test_a_bag_is_taken_apart_as_far_back_as_there_is_room():
    plans = [make_plan(configure("bag", context=context, dim=60)) for context in range(1, 20)]
    furthest = [plan.config.context for plan in plans if not moments_of_a_bag(plan, 27)[1]]
    assert furthest == list(range(1, record.MOST_LETTERS_BACK + 1))
    assert {moments_of_a_bag(plan, 27)[0] for plan in plans[len(furthest) :]} == {record.MOMENTS}


def test_a_loss_beyond_all_bounds_is_a_number_all_the_same():
    """JSON has no infinity."""
    plan, corpus = make_plan(configure("bag"), Budget(steps=1)), Corpus.of(NAMES, 10, seed=0)
    recorder = Recorder(plan, corpus)
    learned = learn(plan, corpus, record=recorder.begin)
    recorder.moments[0] = replace(recorder.moments[0], loss=math.inf, held_out=math.inf)
    film = recorder.told(learned)
    assert film["loss"][0] == film["heldOut"][0] == 1000.0


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20))
def test_packed_numbers_are_off_by_half_a_step_at_most(numbers):
    array = np.array(numbers, np.float32)
    assert (
        np.abs(unpacked(packed(array)) - array).max() <= (np.abs(array).max() or 1) / (2**17 - 1) / 2 * 1.0001
    )
