"""What the page of a film draws and writes, number by number."""

from __future__ import annotations

import re

import numpy as np
import pytest

pytest.importorskip("selenium", reason="the page is looked at by selenium")

from film_pages import Guess, Page, moments_of, needs_chrome, percent, texts
from films import filmed, unpacked, words_of

pytestmark = needs_chrome


# --- the loss ------------------------------------------------------------------------------------------


CURVE = """
const at = (one, ...names) => names.map((name) => Number(one.getAttribute(name)));
const all = (selector) => Array.from(document.querySelectorAll('#curve ' + selector));
const points = (line) => line.getAttribute('points').split(' ').map((one) => one.split(',').map(Number));
return {
  width: document.getElementById('curve').clientWidth,
  ticks: all('.tick').map((one) => at(one, 'x1', 'x2', 'y1', 'y2')),
  limits: all('.limit').map((one) => at(one, 'x1', 'x2', 'y1', 'y2')),
  texts: all('text').map((one) => [one.textContent, ...at(one, 'x', 'y'), one.getAttribute('text-anchor')]),
  lines: Object.fromEntries(
    all('polyline:not(.ahead)').map((one) => [one.getAttribute('class'), points(one)]),
  ),
  ahead: all('polyline.ahead').map(points),
  dots: Object.fromEntries(all('circle').map((one) => [one.getAttribute('class'), at(one, 'cx', 'cy')])),
  role: all('svg')[0].getAttribute('role'),
  label: all('svg')[0].getAttribute('aria-label'),
};
"""


@pytest.mark.parametrize("held_out", [False, True])
def test_the_curve_of_the_loss(chrome, tmp_path, bag, held_out):
    """Time by its square root; losses upwards, with what is known of them as lines across."""
    last = len(bag["steps"]) - 1
    seconds = [0.4 * (moment / last) ** 3 for moment in range(last + 1)]
    others = [loss + 0.25 + moment / 100 for moment, loss in enumerate(bag["loss"])] if held_out else []
    film = bag | {"seconds": seconds, "heldOut": others}
    page = Page(chrome, tmp_path, film)
    page.wait(lambda: page.run("return document.querySelectorAll('#curve circle').length") == 1 + held_out)
    for moment in (0, 7, last):
        page.run("show(arguments[0])", moment)
        drawn = page.run(CURVE)
        assert (drawn["role"], drawn["label"]) == ("img", "How the loss falls in time")
        (left, *_), *_, (right, *_) = drawn["ticks"]
        assert 0 < left < right < drawn["width"]
        parts = np.array([0, 0.01, 0.1, 0.4, 1])
        assert [tick[0] for tick in drawn["ticks"]] == pytest.approx(left + (right - left) * np.sqrt(parts))
        assert all(x1 == x2 and y2 == y1 + 5 for x1, x2, y1, y2 in drawn["ticks"])
        numbers = [one for one in drawn["texts"] if re.fullmatch(r"[\d.]+", one[0]) and one[3] == "end"]
        scale = np.polyfit([float(text) for text, *_ in numbers], [y - 4 for _, _, y, _ in numbers], 1)
        assert scale[0] < 0 and 3 <= len(numbers) <= 7, "upwards, and not too many"
        times = [one for one in drawn["texts"] if one not in numbers and ":" not in one[0]]
        assert [text for text, *_ in times] == ["0", "0.004", "0.04", "0.16", "0.4 s"]
        for losses, name in ((film["loss"], "loss"), (others, "loss held-out")):
            if not losses:
                assert name not in drawn["lines"] and name not in drawn["dots"]
                continue
            x = left + (right - left) * np.sqrt(np.array(seconds) / seconds[-1])
            expected = np.stack([x, np.polyval(scale, losses)], axis=1)
            np.testing.assert_allclose(drawn["lines"][name], expected[: moment + 1], rtol=1e-6)
            assert drawn["dots"][name] == pytest.approx(expected[moment])
            assert any(np.allclose(ahead, expected) for ahead in drawn["ahead"]), "what is to come is there"
            assert (expected >= 0).all() and (expected[:, 1] < 226).all()
        limits = [(film["blind"], "guessing blindly"), (film["least"], "the least possible")]
        told = [one for one in drawn["texts"] if ":" in one[0]]
        for line, (text, x, y, _), (loss, name) in zip(drawn["limits"], told, limits, strict=True):
            height = np.polyval(scale, loss)
            assert line == pytest.approx([left, right, height, height])
            assert text == f"{name}: {loss:.2f}" and x == pytest.approx(right) and abs(y - height) < 20
            assert (y < height) == (name == "guessing blindly")
    assert page.errors() == []


@pytest.mark.parametrize(("context", "back"), [(1, "a letter"), (3, "3 letters")])
def test_the_loss_in_words(chrome, tmp_path, bag, context, back):
    """A loss of log(n) is as unsure as n letters; from ten on whole ones are told."""
    film, _ = filmed(steps=20, context=context)
    film |= {"loss": [np.log(25)] * len(film["steps"]), "heldOut": [np.log(4.26)] * len(film["steps"])}
    film |= {"least": np.log(2.5)}
    first, second = (
        "The loss is 3.22 nats: it is as unsure as if it had to guess between 25 letters. ",
        (
            "On words it has never seen (the dashed line) 1.45 nats: it is as unsure as if it had to guess "
            "between 4.3 letters. "
        ),
    )
    end = f"Guessing blindly is between 27; whoever knows all words by heart, and sees {back}, between 2.5."
    page = Page(chrome, tmp_path, film)
    page.wait(lambda: page["meaning"].text)
    assert page["meaning"].text == first + second + end
    assert page.run("film.heldOut = []; return lossInWords(0)") == first + end


# --- bars and words ------------------------------------------------------------------------------------


BARS = """
const [place, says] = [byId(arguments[0]), byId(arguments[1])];
const bars = Array.from(place.children, (one) => [
  one.children[1].textContent, one.title, parseFloat(one.children[0].style.getPropertyValue('--height')),
]);
return [bars, says.textContent, place.getAttribute('aria-label')];
"""


def check_bars(page, place, says, names, chances):
    """A bar for each, as high as its chance is to the likeliest; the three likeliest in words too."""
    drawn, said, label = page.run(BARS, place, says)
    spelled = ["the end of the word" if name == "·" else name for name in names]
    assert [name for name, _, _ in drawn] == names
    assert [title for _, title, _ in drawn] == [
        f"{name} {percent(chance)}" for name, chance in zip(names, chances, strict=True)
    ]
    heights = 100 * np.array(chances) / max(*chances, 0.25)
    np.testing.assert_allclose([height for *_, height in drawn], heights, atol=1e-3)
    three = np.argsort(-np.array(chances), kind="stable")[:3]
    told = f"Likeliest: {', '.join(f'{spelled[i]} {percent(chances[i])}' for i in three)}."
    assert said.startswith(told) and label == told


def test_the_bars_are_the_chances(opened):
    film = opened.film
    names = ["·", *film["letters"].values()]
    for typed in ("em", "sophi", ""):
        opened.give(typed=typed)
        tokens = [names.index(letter) for letter in typed]
        for moment in moments_of(film):
            opened.run("show(arguments[0])", moment)
            chances = Guess(film, moment, [0, 0, 0, *tokens][-3:]).chances
            if not typed:
                chances[0] = 0
            check_bars(opened, "bars", "likeliest", names, chances / chances.sum())
    assert opened["bars"].aria_role in ("img", "image")


def test_the_bars_of_another_model_are_its_answers_at_that_moment(chrome, tmp_path):
    film, _ = filmed(model="mlp", steps=100)
    page = Page(chrome, tmp_path, film)
    assert texts(page, "#beginning option")[0] == "(nothing yet)"
    for i in (0, 3):
        answer = film["seen"]["answers"][i]
        page.give(beginning=i)
        for moment in moments_of(film):
            page.run("show(arguments[0])", moment)
            names = [["·", *film["letters"].values()][token] for token in answer["letters"]]
            check_bars(page, "answer-bars", "answer-likeliest", names, unpacked(answer["chances"][moment]))
            columns = [texts(page, f"#answer-{when} li") for when in ("start", "now", "end")]
            assert columns == [answer["words"][one] for one in (0, moment, -1)]
    assert page["answer-bars"].aria_role in ("img", "image")
    assert texts(page, "#beginning option")[3] == film["seen"]["answers"][3]["beginning"]
    assert page.run("return ['guess', 'places', 'blame'].map((id) => byId(id).hidden)") == [True] * 3
    assert not page["too-large"].is_displayed() and "these are the" not in page["answer-likeliest"].text
    some = film["seen"]["answers"][0]
    few = {
        "beginning": "",
        "letters": [1, 5],
        "words": some["words"],
        "chances": [[0.5, "////gA"]] * len(some["words"]),
    }
    page = Page(chrome, tmp_path, film | {"seen": {"answers": [few]}})
    assert page["answer-likeliest"].text.endswith(
        " Of 27 letters, these are the 2 that are likeliest in the end."
    )
    page.run("show(0)")
    check_bars(page, "answer-bars", "answer-likeliest", ["a", "e"], unpacked(few["chances"][0]))
    assert page.errors() == []


def test_words_are_written_letter_by_letter_when_they_are_dreamed_and_at_once_otherwise(opened):
    """By a clock of the test's own: `next()` is what happens 90 ms later."""
    opened.media(prefers_reduced_motion="no-preference")
    opened.run("window.later = []; window.setTimeout = (next, ms) => later.push([next, ms])")
    whole = texts(opened, "#dream-end li")
    assert len(whole) == 8 and all(whole)
    opened["dream"].click()
    written = [texts(opened, "#dream-end li")]
    for _ in range(4):
        assert opened.run("return later.length > 0 && later.every(([, ms]) => ms === 90)")
        opened.run("const now = later; window.later = []; for (const [next] of now) next()")
        written.append(texts(opened, "#dream-end li"))
    assert written == [[word[:count] for word in whole] for count in range(5)]
    opened.give(typed="so")
    others = texts(opened, "#dream-end li")
    assert all(word.startswith("so") for word in others), "at once"
    while opened.run(
        "const now = later; window.later = []; for (const [next] of now) next(); return later.length"
    ):
        pass
    assert texts(opened, "#dream-end li") == others, "and the old ones do not come back"
    assert not opened.run("return document.querySelector('#dream-end li bdi.word') === null")
    opened.run("writeWords(byId('dream-end'), ['🦊é'], true); later.pop()[0]()")
    assert texts(opened, "#dream-end li") == ["🦊"], "a letter of two halves comes whole"


def test_dreams_of_a_moment_change_with_the_moment_and_others_do_not(opened):
    start, end = (texts(opened, f"#dream-{when} li") for when in ("start", "end"))
    now = []
    for moment in (0, 5, len(opened.film["steps"]) - 1):
        opened.run("show(arguments[0])", moment)
        now.append(texts(opened, "#dream-now li"))
        assert [texts(opened, f"#dream-{when} li") for when in ("start", "end")] == [start, end]
    assert now[0] == start != now[1] != now[2] == end


def test_what_was_never_seen_is_named_and_what_is_composed_otherwise_is_the_same(chrome, tmp_path):
    film, _ = filmed(words_of(["zoé", "noé", "a b", "ab"]), steps=20)
    page = Page(chrome, tmp_path, film)
    page.give(typed="oe\u0301")
    assert (page["unknown"].text, page["context"].text) == ("", "·oé")
    page.give(typed="qoxé")
    assert page["unknown"].text == "It has never seen q x, and leaves it out."
    assert page["context"].text == "·oé"
    page.give(typed="a b")
    assert (page["unknown"].text, page["context"].text) == ("", "a␣b"), "a space is shown"
    assert "␣" in texts(page, "#bars bdi") and page["unknown"].get_attribute("role") == "status"
    assert page.errors() == []


# --- the map -------------------------------------------------------------------------------------------


def test_the_map_shows_every_letter_in_its_place_with_where_it_came_from(opened):
    film, seen = opened.film, opened.film["seen"]
    count = len(film["steps"])
    codes = np.array([unpacked(one).reshape(27, -1) for one in seen["E"]])
    flat = (codes - seen["centre"]) @ np.array(seen["axes"]).T
    far = np.linalg.norm(flat, axis=2, keepdims=True)
    spots = flat / np.sqrt(1.12 * far.max() * far)
    width = opened.run("return byId('map').clientWidth")
    opened.wait(lambda: opened.run("return document.querySelectorAll('#map text').length") == 27)
    places = np.stack([width / 2 * (1 + spots[..., 0]), min(width, 420) / 2 * (1 - spots[..., 1])], axis=2)
    script = """return [
      Array.from(document.querySelectorAll('#map text'), (one) => [one.textContent, Number(one.getAttribute('x')), Number(one.getAttribute('y'))]),
      Array.from(document.querySelectorAll('#map .trail'), (one) => one.getAttribute('points').split(' ').map((at) => at.split(',').map(Number))),
    ]"""  # noqa: E501
    for moment in (0, 5, count - 1):
        opened.run("show(arguments[0])", moment)
        letters, trails = opened.run(script)
        assert [name for name, _, _ in letters] == ["·", *film["letters"].values()]
        np.testing.assert_allclose([at for _, *at in letters], places[moment] + [0, 6], rtol=1e-5)
        for token, trail in enumerate(trails):
            np.testing.assert_allclose(trail, places[max(moment - 12, 0) : moment + 1, token], rtol=1e-5)
    assert opened["dim"].text == "8"
