"""What a film tells of its training: facts with known answers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from films import NAMES, filmed, unpacked, words_of

from autollm.film import record
from autollm.film.record import Answers, Recorder, beginnings, few_of
from autollm.learning.experiment import Corpus, learn
from autollm.learning.plan import Budget, make_plan
from autollm.learning.training import mean_loss
from autollm.models import build, configure

SIX = words_of(["anna", "ana", "hannah", "bob", "otto", "ava"])


def recorded(words=NAMES, model="bag", held_out=None, steps=5, sizes=(), **more):
    """A film with its recorder, and what was learned."""
    plan = make_plan(configure(model, **dict(sizes)), Budget(steps=steps), **more)
    corpus = Corpus.of(words, held_out, seed=0)
    recorder = Recorder(plan, corpus)
    learned = learn(plan, corpus, record=recorder.begin)
    return recorder.told(learned), recorder, learned


def test_what_was_trained_and_how():
    sizes = {"context": 2, "dim": 5}
    film, recorder, learned = recorded(SIX, steps=7, sizes=sizes, batch=17, lr=0.3, optimiser="adam")
    told = {
        "model": "bag", "sizes": sizes, "context": 2, "batch": 17, "rate": 0.3, "optimiser": "adam",
        "parameters": 2 * 8 * 5, "words": 6, "vocabulary": 8, "longest": 6, "interrupted": False,
        "tooLarge": "", "beginning": max(beginnings(recorder.corpus), key=len), "heldOut": [],
    }  # fmt: skip
    assert {name: film[name] for name in told} == told and len(film["beginning"]) == 3
    assert film["letters"] == {str(i): letter for i, letter in enumerate("abhnotv", 1)}
    assert film["seconds"] == [pytest.approx(one.seconds, abs=6e-7) for one in recorder.moments]
    assert film["seconds"][0] == 0 < film["seconds"][-1] <= learned.run.seconds + 1e-6
    assert film["loss"] == [pytest.approx(one.loss, abs=6e-6) for one in recorder.moments]
    assert film["steps"] == [one.steps for one in recorder.moments]
    assert set(film) == {*told, "letters", "seconds", "loss", "steps", "blind", "least", "seen"}


def test_words_that_are_held_out_are_not_counted():
    film, recorder, _ = recorded(held_out=20)
    assert film["words"] == 60 and film["least"] == record.least_loss(recorder.corpus, 3)
    assert film["heldOut"] == [pytest.approx(one.held_out, abs=6e-6) for one in recorder.moments]


def test_a_net_on_counts_is_called_so():
    plan = make_plan(configure("mlp", True, context=2), Budget(steps=1))
    recorder = Recorder(plan, Corpus.of(SIX, None, seed=0))
    film = recorder.told(learn(plan, recorder.corpus, record=recorder.begin))
    assert (film["model"], film["context"], film["sizes"]["context"]) == ("mlp+counts", 4, 2)


def test_a_bag_of_one_number_has_one_direction():
    axes = np.array(recorded(sizes={"dim": 1})[0]["seen"]["axes"])
    assert axes.shape == (2, 1) and np.abs(axes[:, 0]).tolist() == [1.0, 0.0]


def test_the_moments_come_when_their_part_of_the_budget_is_used():
    """Neither before nor one step later: moment n of 40 when (n / 40)**2 of it is."""
    _, recorder, learned = recorded()
    recorder.moments.clear()
    watch = recorder.begin(learned.model, learned.examples, None)
    ends = [(number / 40) ** 2 for number in range(1, 41)]
    for number, end in enumerate(ends, 1):
        watch(number, 0.0, 0.0, end - 1e-9)
        assert len(recorder.moments) == number
        watch(number, number / 8, 0.0, end)
        assert (recorder.moments[-1].steps, recorder.moments[-1].seconds) == (number, number / 8)
        assert len(recorder.moments) == number + 1
    recorder.moments.clear()
    watch = recorder.begin(learned.model, learned.examples, None)
    for used in (ends[9] + 1e-9, ends[10] - 1e-9, ends[10]):
        watch(1, 0.0, 0.0, used)
    assert len(recorder.moments) == 3, "moments that were passed are not made up for"


@pytest.mark.parametrize("most", [1, 7, 100, 10**6])
def test_the_examples_to_look_at_are_spread_evenly_and_as_many_as_there_is_time_for(monkeypatch, most):
    monkeypatch.setattr(record, "MOST_JUDGED", most)
    _, _, learned = recorded()
    every = -(-len(learned.examples.rows) // most)
    few = few_of(learned.examples)
    np.testing.assert_array_equal(few.rows, learned.examples.rows[::every])
    assert len(few.rows) <= most


def test_held_out_words_are_judged_by_as_many_examples_as_the_others(monkeypatch):
    monkeypatch.setattr(record, "MOST_JUDGED", 5)
    film, _, learned = recorded(held_out=20)
    for found, examples in (("loss", learned.examples), ("heldOut", learned.held_out)):
        assert film[found][-1] == pytest.approx(mean_loss(learned.model, few_of(examples)), abs=1e-5)
        assert film[found][-1] != pytest.approx(mean_loss(learned.model, examples), abs=1e-5)


@pytest.mark.parametrize(
    ("sizes", "moments"),
    [({"dim": 32}, 40), ({"dim": 33}, 40), ({"dim": 34}, 39), ({"dim": 154}, 8), ({"dim": 155}, None),
     ({"context": 12}, 40), ({"context": 13}, None)],
)  # fmt: skip
def test_how_many_moments_a_page_has_room_for(sizes, moments):
    """Of 75,000 numbers; with fewer than eight, or more than twelve letters back, none is taken apart."""
    count, too_large = record.moments_of_a_bag(make_plan(configure("bag", **sizes)), 27)
    assert (None if too_large else count) == moments


def test_how_much_is_shown_of_answers():
    """Four words after each beginning, of thirty letters at most, and 32 bars."""
    assert (record.DREAMS, record.LONGEST, record.MOST_BARS) == (4, 30, 32)


def test_the_answers_are_packed_moment_by_moment():
    film, recorder, _ = recorded(model="mlp", steps=5)
    assert film["letters"] == {
        str(token): letter for token, letter in enumerate("abcdefghijklmnopqrstuvwxyz", 1)
    }
    for i, answer in enumerate(film["seen"]["answers"]):
        assert answer["letters"] == list(range(27))
        for packed, words, moment in zip(answer["chances"], answer["words"], recorder.moments, strict=True):
            chances, dreamed = moment.seen[i]
            np.testing.assert_allclose(unpacked(packed), chances, atol=1e-5)
            assert words == dreamed


def test_a_dream_is_asked_for_words_as_long_as_those_it_learned(monkeypatch):
    asked = []
    monkeypatch.setattr(record, "dream", lambda *given, **named: asked.append((given[2:4], named)) or [])
    for word, longest in (("hannah", 6), ("x" * 100, record.LONGEST)):
        corpus, config = Corpus.of(words_of(["ana", "anna", word]), None, seed=0), configure("mlp", context=2)
        Answers(build(config, corpus.alphabet.size), corpus, make_plan(config)).look()
        assert asked == [((2, 4), {"longest": longest, "prefix": one}) for one in beginnings(corpus)]
        asked.clear()


def test_no_moment_is_told_twice():
    """The end is a moment of its own only if the last was before it."""
    plan, corpus = make_plan(configure("bag"), Budget(steps=3)), Corpus.of(NAMES, None, seed=0)
    recorder = Recorder(plan, corpus)
    learned = learn(plan, corpus, record=recorder.begin)
    assert recorder.told(learned)["steps"] == [0, 3]
    later = replace(learned, run=replace(learned.run, steps=9, seconds=8.5))
    film = recorder.told(later)
    assert (film["steps"], film["seconds"][-1]) == ([0, 3, 9], 8.5)


def test_of_a_model_without_numbers_there_are_answers_all_the_same():
    film, _ = filmed(model="counts", steps=1)
    assert film["parameters"] == 0 and film["optimiser"] == make_plan(configure("counts")).optimiser
    assert math.isfinite(film["loss"][-1]) and film["loss"][-1] < film["loss"][0]
