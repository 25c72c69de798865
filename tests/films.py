"""Films of trainings, as the page has them."""

from __future__ import annotations

import numpy as np

from autollm.film import record
from autollm.film.record import Recorder
from autollm.learning.experiment import Corpus, learn
from autollm.learning.plan import Budget, make_plan
from autollm.learning.words import Words, read_words
from autollm.models import configure

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "\"'&amp;\\",
    "<b>bold</b>",
    "שלום",
    "🦄🧒🏽",
    "[[FILM]]",
]


def words_of(texts):
    return Words(list(dict.fromkeys(texts)), 0)


NAMES = read_words("names")


def filmed(words=NAMES, model="bag", steps=300, watch=None, held_out=None, graphemes=False, **sizes):
    """A film as the page has it, and what was learned."""
    plan = make_plan(configure(model, **sizes), Budget(steps=steps))
    corpus = Corpus.of(words, held_out, seed=0, whole_graphemes=graphemes)
    recorder = Recorder(plan, corpus)
    learned = learn(plan, corpus, watch, record=recorder.begin)
    return recorder.told(learned), learned


def told_of_steps(recorder, steps, whole):
    """What `learn` is to record with: it has heard of so many steps of `whole`, with a loss of 2, that nobody
    has made."""

    def record(model, examples, held_out):
        watch = recorder.begin(model, examples, held_out)
        for step in range(1, steps + 1):
            watch(step, step / steps, 2.0, step / whole)
        return watch

    return record


def unpacked(content):
    scale, text = content
    places = {chr(digit): i for i, digit in enumerate(record.DIGITS)}
    digits = [places[character] for character in text]
    whole = [(a << 12 | b << 6 | c) for a, b, c in zip(digits[::3], digits[1::3], digits[2::3], strict=True)]
    return scale * (np.array(whole) - 2**17) / (2**17 - 1)
