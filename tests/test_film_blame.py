"""One guess, taken apart by the page: every number of it, and of whom it blames."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("selenium", reason="the page is looked at by selenium")

from film_pages import Guess, fixed, needs_chrome, percent, signed, texts

pytestmark = needs_chrome


# What `look` finds at each step, from the last to the first.
AT_EVERY_STEP = """
const found = [];
for (let step = 8; step >= 1; step--) {
  found.push(look());
  byId('less').click();
}
return found;
"""
BRICKS = """
const is = (one, name) => one.classList.contains(name);
const bricks = () => Array.from(document.querySelectorAll('#bricks .brick:not(.wide)'), (brick) => [
  brick.querySelector('h3').textContent,
  Array.from(brick.querySelectorAll('.line'), (line) => ({
    name: line.querySelector('.name').textContent,
    blamed: is(line, 'blamed'), later: is(line, 'later'), new: is(line, 'new'),
    digits: line.querySelector('.digits').textContent,
    cells: Array.from(line.querySelectorAll('.cell'), (one) => [
      one.title, is(one, 'here'), is(one, 'plus'), is(one, 'minus'), one.style.getPropertyValue('--strength'),
    ]),
  })),
]);
const look = () => ({
  bricks: bricks(),
  loss: [byId('loss-here').textContent, is(byId('loss-here').parentElement, 'later')],
  calls: Array.from(byId('calls').children, (one) => one.getAttribute('aria-current')),
  stage: byId('stage').textContent,
  disabled: [byId('less').disabled, byId('more').disabled],
});
"""


def line(name, numbers, followed, step, now, blamed):
    """A line of a brick, as it should be."""
    largest = np.abs(numbers).max() or 1
    return {
        "name": f"← {name}" if blamed else name,
        "blamed": blamed,
        "later": now < step,
        "new": now == step,
        "digits": signed(numbers[followed]),
        "cells": [
            [
                f"number {d + 1}: {signed(number, 4)}", d == followed, bool(number >= 0), bool(number < 0),
                f"{int(100 * abs(number) / largest + 0.5)}%",
            ]
            for d, number in enumerate(numbers)
        ],
    }  # fmt: skip


@pytest.mark.parametrize(("typed", "moment", "followed"), [("emm", 0, 1), ("an", 20, 8)])
def test_every_line_of_the_bricks(opened, typed, moment, followed):
    """Codes, mix and rows of W, and the blame of each, seen from the step on that makes them."""
    names = ["·", *opened.film["letters"].values()]
    context = ([0] * 3 + [names.index(letter) for letter in typed])[-3:]
    target = names.index("n")
    opened.give(typed=typed, target=target, place=followed)
    opened.run("show(arguments[0])", moment)
    guess, d = Guess(opened.film, moment, context, target), followed - 1
    wrong = max(set(range(27)) - {target}, key=lambda token: guess.chances[token])
    rows = (target, wrong)
    assert opened["context"].text == "".join(names[token] for token in context)
    words = texts(opened, "#calls li span")
    for now, seen in zip(range(8, 0, -1), opened.run(BRICKS + AT_EVERY_STEP), strict=True):
        assert dict(seen["bricks"]) == {
            "1. gather_rows": [
                *(line(names[token], guess.E[token], d, 1, now, False) for token in context),
                *(line(names[token], guess.of_E[token], d, 8, now, True) for token in dict.fromkeys(context)),
            ],
            "2. sum_over_k": [
                line("mix", guess.mix, d, 2, now, False), line("mix", guess.of_mix, d, 7, now, True)
            ],
            "3. matmul_wh": [
                *(line(f"W {names[token]}", guess.W[token], d, 3, now, False) for token in rows),
                *(line(f"W {names[token]}", guess.of_W[token], d, 6, now, True) for token in rows),
            ],
            "4. xent_from_logits": [],
        }  # fmt: skip
        assert seen["loss"] == [fixed(guess.loss), now < 4]
        assert seen["calls"] == ["step" if i == now else None for i in range(1, 9)]
        assert seen["stage"] == f"Step {now} of 8: {words[now - 1]}."
        assert seen["disabled"] == [now == 1, now == 8]


SCORES = """
const look = () => Array.from(document.querySelectorAll('.scores > div'), (one) => [
  one.classList.contains('right'), one.children[0].textContent,
  ...Array.from(one.children).slice(1).map((cell) => [
    cell.textContent, cell.classList.contains('later'), cell.classList.contains('minus'),
    cell.style.getPropertyValue('--strength'),
  ]),
]);
"""


def test_the_table_of_scores(opened):
    names = ["·", *opened.film["letters"].values()]
    target, moment = names.index("y"), 12
    opened.give(typed="em", target=target)
    opened.run("show(arguments[0])", moment)
    guess = Guess(opened.film, moment, [0, names.index("e"), names.index("m")], target)
    assert texts(opened, "#target option") == ["the end of the word", *names[1:]]

    def strength(part):
        return f"{int(100 * min(abs(part), 1) + 0.5)}%"

    for now, seen in zip(range(8, 0, -1), opened.run(SCORES + AT_EVERY_STEP), strict=True):
        assert seen == [
            [
                token == target, names[token],
                [fixed(score, 2), now < 3, bool(score < 0), strength(score / np.abs(guess.scores).max())],
                [percent(chance).replace("under 1", "<1"), now < 4, False, ""],
                [signed(blame), now < 5, bool(blame < 0), strength(blame)],
            ]
            for token, (score, chance, blame) in enumerate(
                zip(guess.scores, guess.chances, guess.of_scores, strict=True)
            )
        ]  # fmt: skip


def test_one_number_is_nudged(opened):
    """Of the row and the place that are chosen; the place is the followed one, until another is typed."""
    film, names = opened.film, ["·", *opened.film["letters"].values()]
    opened.run("show(9)")
    opened.give(typed="an")
    target = int(opened["target"].get_property("value"))
    context = [0, names.index("a"), names.index("n")]
    assert opened["check-letter"].get_property("value") == str(context[-1]), "the last that was typed"
    assert texts(opened, "#check-letter option") == names and texts(opened, "#check-table option") == [
        "E",
        "W",
    ]
    guess = Guess(film, 9, context, target)

    def told(table, row, d):
        made, bucket = getattr(guess, table)[row], getattr(guess, f"of_{table}")[row, d]
        nudged = Guess(film, 9, context, target)
        getattr(nudged, table)[row, d] += 0.001
        scores = nudged.W @ nudged.E[context].sum(axis=0)
        after = np.log(np.exp(scores).sum()) - scores[target]
        return (
            f"This number is {fixed(made[d], 4)}. If it grows by 0.001, the loss goes from "
            f"{fixed(guess.loss, 6)} to {fixed(after, 6)}: {signed((after - guess.loss) / 0.001, 4)} for "
            f"every 1. The bucket says {signed(bucket, 4)}."
        )

    assert opened["check"].text == told("E", context[-1], 0)
    for name, value, expected in (
        ("place", 5, told("E", context[-1], 4)),
        ("check_place", 8, told("E", context[-1], 7)),
        ("check_table", "W", told("W", context[-1], 7)),
        ("check_letter", target, told("W", target, 7)),
        ("check_place", 99, told("W", target, 7)),
        ("check_place", "", told("W", target, 0)),
    ):
        opened.give(**{name: value})
        assert opened["check"].text == expected, name
        assert opened["place"].get_property("value") == "5" if name != "place" else True
    opened.give(place=3)
    assert opened["check-place"].get_property("value") == "3"
    assert [opened[name].get_attribute("max") for name in ("place", "check-place")] == ["8", "8"]
    other = next(token for token in (1, 2) if token != target)
    opened.give(target=other)
    loss = Guess(film, 9, context, other).loss
    assert opened["loss-here"].text == fixed(loss) and f"from {fixed(loss, 6)} to" in opened["check"].text


def test_the_right_letter_is_at_first_what_follows_most_often_in_the_end(opened):
    names = ["·", *opened.film["letters"].values()]
    tokens = [names.index(letter) for letter in opened.film["beginning"]]
    last = Guess(opened.film, len(opened.film["steps"]) - 1, ([0] * 3 + tokens)[-3:])
    assert int(opened["target"].get_property("value")) == last.chances.argmax()
    assert opened["typed"].get_property("value") == opened.film["beginning"]
    assert opened["stage"].text.startswith("Step 8 of 8: ")
