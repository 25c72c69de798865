"""The page of a film in a real browser computes what Python does."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

pytest.importorskip("selenium", reason="the page is looked at by selenium")

from film_pages import moments_of, needs_chrome
from films import unpacked

from autollm.bricks.cross_entropy import xent_from_logits
from autollm.learning.alphabet import Alphabet
from autollm.learning.sampling import dream
from autollm.models import build, configure, parameters
from autollm.node import Param

pytestmark = needs_chrome


def model_at(film, moment):
    """The model of a moment, in Python."""
    alphabet = Alphabet("".join(film["letters"].values()))
    model = build(configure("bag", **film["sizes"]), alphabet.size)
    for name, param in parameters(model).items():
        param.v = unpacked(film["seen"][name][moment]).reshape(param.v.shape)
    return model, alphabet


class Dice:
    """mulberry32 (Tommy Ettinger, 2017), as a random generator that `dream` can use."""

    def __init__(self, seed):
        self.state = seed

    def random(self, count):
        assert count == 1
        self.state = (self.state + 0x6D2B79F5) % 2**32
        t = (self.state ^ self.state >> 15) * (self.state | 1) % 2**32
        t ^= (t + (t ^ t >> 7) * (t | 61)) % 2**32
        return np.array([(t ^ t >> 14) / 2**32])


def test_chances_are_those_of_python(opened):
    context = opened.film["context"]
    script = "return arguments[1].map((tokens) => chancesOf(bagAt(arguments[0]), tokens))"
    for moment in moments_of(opened.film):
        model, alphabet = model_at(opened.film, moment)
        beginnings = [alphabet.encode(beginning) for beginning in ["a", "em", "emm", "sophi", "zzz"]]
        for tokens, chances in zip(beginnings, opened.run(script, moment, beginnings), strict=True):
            row = np.array([([0] * context + tokens)[-context:]], np.int32)
            scores = model(row).v[0].astype(np.float64)
            expected = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
            np.testing.assert_allclose(chances, expected, atol=1e-4)


def test_words_dreamed_are_those_of_python(opened):
    film = opened.film
    script = "return arguments[1].map(([seed, tokens]) => dreamed(bagAt(arguments[0]), tokens, dice(seed)))"
    for moment in moments_of(film):
        model, alphabet = model_at(film, moment)
        asked = [(seed, prefix) for seed in range(5) for prefix in ("", "ma")]
        words = [
            dream(model, alphabet, film["context"], 1, Dice(seed), longest=film["longest"], prefix=prefix)[0]
            for seed, prefix in asked
        ]
        in_tokens = [[seed, alphabet.encode(prefix)] for seed, prefix in asked]
        assert opened.run(script, moment, in_tokens) == words


def test_eight_words_are_dreamed_by_dice_of_their_own(opened):
    """The same dice at the start, at a moment and in the end; other ones when they are asked for."""
    film = opened.film
    moments = moments_of(film)
    opened.run("show(arguments[0])", moments[1])
    for dice in (1, 2):
        for column, moment in zip(("dream-start", "dream-now", "dream-end"), moments, strict=True):
            model, alphabet = model_at(film, moment)
            options = {"longest": film["longest"], "prefix": film["beginning"]}
            words = [
                dream(model, alphabet, film["context"], 1, Dice(1000 * dice + i), **options)[0]
                for i in range(8)
            ]
            assert opened[column].text.split() == words
        opened["dice"].click()


def test_letters_that_are_nearest_on_the_map_are_named(opened):
    """Where far ones are drawn nearer, by the square root; those that were rarely read are left out."""
    seen, letters = opened.film["seen"], opened.film["letters"]
    axes, often, last = np.array(seen["axes"]), np.array(seen["often"]), len(opened.film["steps"]) - 1
    codes = np.array([unpacked(one).reshape(len(often), -1) for one in seen["E"]])
    flat = (codes - seen["centre"]) @ axes.T  # (moments, V, 2)
    far = np.linalg.norm(flat, axis=2, keepdims=True)
    spots = flat / np.sqrt(1.12 * far.max() * far)
    opened.run("show(LAST)")
    known = [token for token in range(1, len(often)) if often[token] * 2 * len(often) > often.sum()]
    pairs = sorted(
        itertools.combinations(known, 2),
        key=lambda pair: np.linalg.norm(spots[last, pair[0]] - spots[last, pair[1]]),
    )
    found = []
    for pair in pairs:
        if len(found) < 3 and not {*pair} & {*itertools.chain(*found)}:
            found.append(pair)
    told = ", ".join(f"{letters[str(a)]} and {letters[str(b)]}" for a, b in found)
    assert opened["alike"].text == f"Nearest to each other now: {told}."


def gradient(film, moment, context, target):
    """Loss, E's bucket and W's, as Python's backward pass fills them."""
    model, _ = model_at(film, moment)
    loss = xent_from_logits(model(np.array([context], np.int32)), np.array([target], np.int32))
    loss.back(1.0)
    return loss.v, model.E.grad, model.W.grad


# What the page computes of a guess, and what it says: its loss, and of two numbers the bucket and the slope.
BLAME = """
const [moment, context, target] = arguments;
show(moment);
const said = ([table, row]) => {
  byId('check-table').value = table;
  byId('check-letter').value = row;
  byId('check-place').value = 3;
  byId('check-place').dispatchEvent(new Event('input'));
  return [byId('bucket').textContent, byId('check').querySelector('b').textContent];
};
const { E, W } = blameOf(bagAt(moment), context, target);
const rows = (table) => table.map((row) => Array.from(row));
return {
  E: rows(E), W: rows(W), loss: byId('loss-here').textContent,
  said: { E: said(['E', context.at(-1)]), W: said(['W', target]) },
};
"""


@pytest.mark.parametrize("word", ["emma", "ana", "bb"])
def test_the_blame_is_the_gradient_of_python(opened, word):
    film = opened.film
    tokens = Alphabet("".join(film["letters"].values())).encode(word)
    context, target = [0, 0, 0, *tokens[:-1]][-3:], tokens[-1]
    opened.give(typed=word[:-1], target=target)
    for moment in moments_of(film):
        loss, E, W = gradient(film, moment, context, target)
        blame = opened.run(BLAME, moment, context, target)
        np.testing.assert_allclose(blame["E"], E, atol=1e-4)
        np.testing.assert_allclose(blame["W"], W, atol=1e-4)
        assert number(blame["loss"]) == pytest.approx(loss, abs=6e-4)
        for table, expected in (("E", E[context[-1], 2]), ("W", W[target, 2])):
            bucket, slope = (number(text.split()[0]) for text in blame["said"][table])
            assert bucket == pytest.approx(expected, abs=1e-4)
            assert slope == pytest.approx(bucket, abs=2e-3), "nudging the number says the same"


def test_two_rows_are_those_of_the_right_letter_and_of_the_likeliest_wrong_one(opened):
    film = opened.film
    for moment in moments_of(film):
        opened.run("show(arguments[0])", moment)
        model, alphabet = model_at(film, moment)
        tokens = alphabet.encode(film["beginning"])
        scores = model(np.array([([0] * film["context"] + tokens)[-film["context"] :]], np.int32)).v[0]
        target = int(opened["target"].get_property("value"))
        scores[target] = -np.inf
        names = opened.run(
            "const rows = document.querySelectorAll('#bricks .brick')[2].querySelectorAll('.line .name');"
            "return Array.from(rows, (name) => name.textContent)"
        )
        spelled = ["·", *film["letters"].values()]
        rows = [f"W {spelled[target]}", f"W {spelled[int(np.argmax(scores))]}"]
        assert names == [*rows, *(f"← {row}" for row in rows)]


def test_the_program_calls_back_in_the_order_that_is_shown(opened, monkeypatch):
    model, _ = model_at(opened.film, 0)
    called = []
    back = Param.back

    def noted(param, g):
        called.append("W" if param is model.W else "E")
        back(param, g)

    monkeypatch.setattr(Param, "back", noted)
    xent_from_logits(model(np.array([[1, 2, 3]], np.int32)), np.array([4], np.int32)).back(1.0)
    shown = opened.run("return CALLS.map(([code]) => code)")
    assert [re.search(r"([EW])\.back", code)[1] for code in shown if re.search(r"[EW]\.back", code)] == called
    assert called == ["W", "E"]


def number(text):
    return float(text.replace("−", "-"))


def test_the_steps_follow_the_calls_of_back(opened):
    script = """
    const found = [];
    byId('calls').querySelectorAll('li').forEach(() => byId('less').click());
    do {
      const current = document.querySelector('#calls [aria-current] code').textContent;
      found.push([current, document.querySelectorAll('#bricks .later').length]);
      if (byId('more').disabled) return found;
      byId('more').click();
    } while (found.length < 100);
    """
    seen, hidden = zip(*opened.run(script), strict=True)
    assert [call.split("(")[0].split(" = ")[-1] for call in seen] == [
        "gather_rows",
        "sum_over_k",
        "matmul_wh",
        "xent_from_logits",
        "loss.back",
        "logits.back",
        "h.back",
        "emb.back_same",
    ]
    assert hidden[-1] == 0 and all(a > b for a, b in itertools.pairwise(hidden))
