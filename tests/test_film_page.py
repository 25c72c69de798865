"""The page of a film in a real browser, which computes what Python does and can be used by all."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

pytest.importorskip("selenium", reason="the page is looked at by selenium")

from film_pages import By, Page, moments_of, needs_chrome
from selenium.webdriver import Keys
from test_film import HOSTILE, filmed, unpacked, words_of

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


# --- it computes what Python does ----------------------------------------------------------------------


def test_chances_are_those_of_python(opened):
    context = opened.film["context"]
    for moment in moments_of(opened.film):
        model, alphabet = model_at(opened.film, moment)
        for beginning in ["a", "em", "emm", "sophi", "zzz"]:
            tokens = alphabet.encode(beginning)
            row = np.array([([0] * context + tokens)[-context:]], np.int32)
            scores = model(row).v[0].astype(np.float64)
            expected = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
            chances = opened.run("return chancesOf(bagAt(arguments[0]), arguments[1])", moment, tokens)
            np.testing.assert_allclose(chances, expected, atol=1e-4)


def test_words_dreamed_are_those_of_python(opened):
    film = opened.film
    script = "return dreamed(bagAt(arguments[0]), arguments[1], dice(arguments[2]))"
    for moment in moments_of(film):
        model, alphabet = model_at(film, moment)
        for seed in range(5):
            for prefix in ("", "ma"):
                words = dream(
                    model, alphabet, film["context"], 1, Dice(seed), longest=film["longest"], prefix=prefix
                )
                assert opened.run(script, moment, alphabet.encode(prefix), seed) == words[0]


def test_eight_words_are_dreamed_by_dice_of_their_own(opened):
    """The same dice at the start, at a moment and in the end; other ones when they are asked for."""
    film = opened.film
    moments = moments_of(film)
    opened.media(prefers_reduced_motion="reduce")  # words are there at once
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


@pytest.mark.parametrize("word", ["emma", "ana", "bb"])
def test_the_blame_is_the_gradient_of_python(opened, word):
    film = opened.film
    tokens = Alphabet("".join(film["letters"].values())).encode(word)
    context, target = [0, 0, 0, *tokens[:-1]][-3:], tokens[-1]
    typed = opened["typed"]
    typed.clear()
    typed.send_keys(word[:-1])
    opened.run("byId('target').value = arguments[0]", target)
    for moment in moments_of(film):
        opened.run("show(arguments[0])", moment)
        loss, E, W = gradient(film, moment, context, target)
        blame = opened.run("return blameOf(bagAt(arguments[0]), ...arguments[1])", moment, [context, target])
        as_array = {
            name: np.array([[row[str(d)] for d in range(len(row))] for row in blame[name]])
            if isinstance(blame[name][0], dict)
            else np.array(blame[name])
            for name in ("E", "W")
        }
        np.testing.assert_allclose(as_array["E"], E, atol=1e-4)
        np.testing.assert_allclose(as_array["W"], W, atol=1e-4)
        assert number(opened["loss-here"].text) == pytest.approx(loss, abs=6e-4)
        for table, row in (("E", context[-1]), ("W", target)):
            opened.run(
                "byId('check-table').value = arguments[0]; byId('check-letter').value = arguments[1];"
                "byId('check-place').value = 3; byId('check-place').dispatchEvent(new Event('input'))",
                table,
                row,
            )
            bucket = number(opened["bucket"].text)
            assert bucket == pytest.approx((E if table == "E" else W)[row, 2], abs=1e-4)
            slope = number(opened["check"].find_element(By.TAG_NAME, "b").text.split()[0])
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


# --- it can be used ------------------------------------------------------------------------------------


def test_it_plays_to_the_end(opened):
    assert opened.moment() == 0
    start = opened["meaning"].text
    opened.run("byId('speed').value = '1'")
    opened["play"].click()
    opened.wait(lambda: opened.moment() == len(opened.film["steps"]) - 1 and opened["play"].text == "Play")
    assert opened["meaning"].text != start
    assert f"{opened.film['loss'][-1]:.2f}" in opened["meaning"].text


def test_it_plays_from_where_it_stands_and_at_the_speed_that_is_chosen(chrome, tmp_path, bag):
    """By a clock of the test's own: `frame(ms)` is what is drawn so many milliseconds after the start."""
    last = len(bag["steps"]) - 1
    opened = Page(chrome, tmp_path, bag | {"seconds": [moment / 100 for moment in range(last + 1)]})
    opened.run(
        "window.requestAnimationFrame = (next) => ((window.frame = next), 1); performance.now = () => 0"
    )

    def shown(start, speed, *milliseconds):
        opened.run("show(arguments[0]); byId('speed').value = arguments[1]", start, speed)
        opened["play"].click()
        moments = [opened.moment()]
        for one in milliseconds:
            opened.run("frame(arguments[0])", one)
            moments.append(opened.moment())
        if opened["play"].text == "Pause":
            opened["play"].click()
        return moments

    assert shown(5, "moments", 299, 301, 650, 10**6) == [5, 5, 6, 7, last]
    assert shown(last, "moments", 301) == [0, 1], "from the end it begins again"
    for speed in (1, 0.1):
        assert shown(5, str(speed), 39 / speed, 41 / speed) == [5, 8, 9]
    assert opened.errors() == []


def test_what_was_trained_is_said_in_words(chrome, tmp_path, bag):
    told = (
        f"The model “bag” (context 3, dim 32) read 80 words and took 2,000 steps of 64 examples in "
        f"{bag['seconds'][-1]:.3f} seconds, at a rate of 0.5 (sgd). All that it knows is in 1,728 numbers."
    )
    assert Page(chrome, tmp_path, bag)["facts"].text == told
    stopped = Page(chrome, tmp_path, bag | {"interrupted": True})
    assert stopped["facts"].text == f"{told} It was stopped before its time."
    counted = Page(chrome, tmp_path, bag | {"parameters": 0})
    assert counted["facts"].text.endswith(f"read 80 words and counted for {bag['seconds'][-1]:.3f} seconds.")
    assert counted.errors() == []


def test_it_plays_moment_by_moment_and_pauses(opened):
    opened["play"].click()
    assert opened["play"].text == "Pause"
    opened.wait(lambda: opened.moment() >= 2)
    opened["play"].click()
    assert opened["play"].text == "Play"
    assert 2 <= opened.moment() < len(opened.film["steps"]) - 1


def test_keys_move_it(opened):
    last = len(opened.film["steps"]) - 1
    body = opened.chrome.find_element(By.TAG_NAME, "body")
    for key, moment in [
        (Keys.ARROW_RIGHT, 1),
        (Keys.ARROW_RIGHT, 2),
        (Keys.ARROW_LEFT, 1),
        (Keys.END, last),
        (Keys.ARROW_RIGHT, last),
        (Keys.HOME, 0),
        (Keys.ARROW_LEFT, 0),
    ]:
        body.send_keys(key)
        assert opened.moment() == moment
    opened["time"].send_keys(Keys.ARROW_RIGHT)
    assert opened.moment() == 1, "and the slider is moved by keys once, not twice"
    assert f"step {opened.film['steps'][1]}" in opened["clock"].text
    opened["typed"].send_keys(Keys.HOME, " ", Keys.ARROW_RIGHT)
    assert opened.moment() == 1 and opened["play"].text == "Play", "in a text, keys are for the text"


def test_everything_is_reached_by_the_tab_key(opened):
    opened.run(
        "window.reached = []; const tell = (event) => reached.push(event.target.id || event.target.tagName);"
        "document.addEventListener('focusin', tell)"
    )
    opened.chrome.switch_to.active_element.send_keys(Keys.TAB * 20)
    reached = set(opened.run("return reached"))
    used = {"play", "speed", "time", "typed", "dream", "dice", "target", "place", "less", "check-table"}
    assert used | {"check-letter", "check-place", "SUMMARY"} <= reached


def test_typing_changes_the_bars_and_what_is_dreamed(opened):
    def bars():
        return opened.run("return Array.from(document.querySelectorAll('#bars div'), (bar) => bar.title)")

    typed = opened["typed"]
    before = bars()
    assert len(before) == 27
    typed.clear()
    typed.send_keys("em")
    assert bars() != before
    assert opened["context"].text == "·em"
    end = opened["dream-end"].text.split()
    assert len(end) == 8 and all(word.startswith("em") for word in end)
    typed.send_keys("ß1")
    assert "ß 1" in opened["unknown"].text and opened["context"].text == "·em"
    typed.send_keys(Keys.CONTROL, "a", Keys.NULL, Keys.DELETE)
    opened["dice"].click()
    assert bars()[0].endswith("under 1 %"), "a word has a letter"
    opened.wait(lambda: len(opened["dream-end"].text.split()) == 8)


def test_it_babbles_first_and_knows_more_in_the_end(opened):
    opened.run("show(LAST)")
    assert opened["dream-now"].text == opened["dream-end"].text != opened["dream-start"].text
    assert (
        "as unsure as" in opened["meaning"].text
        and "Guessing blindly is between 27" in opened["meaning"].text
    )


def test_less_motion_if_that_is_wanted(opened):
    style = "return getComputedStyle(document.querySelector('#bars i')).transitionDuration"
    opened.media(prefers_reduced_motion="no-preference")
    assert opened.run(style) != "0s"
    opened.media(prefers_reduced_motion="reduce")
    assert opened.run(style) == "0s"
    opened["dice"].click()
    assert len(opened["dream-end"].text.split()) == 8, "words are there at once"


# --- it looks right everywhere -------------------------------------------------------------------------


@pytest.mark.parametrize("width", [360, 700, 1920])
def test_nothing_scrolls_sideways(opened, width):
    opened.run("byId('teacher').open = true; show(LAST)")
    opened.resize(width)
    opened.wait(lambda: opened.run("return document.querySelector('#curve svg').clientWidth") < width)
    assert opened.run("return document.documentElement.scrollWidth <= innerWidth")
    sticking_out = """return Array.from(document.querySelectorAll('main *:not(svg *), nav *'))
        .filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
        .map((one) => one.tagName + '#' + one.id)"""
    assert opened.run(sticking_out) == []


def luminance(colour):
    """WCAG 2.2, relative luminance of #rrggbb."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return np.dot([0.2126, 0.7152, 0.0722], linear)


def contrast(one, other):
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_wcag_aa(opened, scheme):
    opened.media(prefers_color_scheme=scheme)
    script = "return getComputedStyle(document.documentElement).getPropertyValue(arguments[0]).trim()"
    colours = {
        name: opened.run(script, f"--{name}")
        for name in ("paper", "card", "ink", "soft", "line", "accent", "plus", "minus")
    }
    assert (luminance(colours["paper"]) < 0.2) == (scheme == "dark")
    for text, ground in [("ink", "paper"), ("ink", "card"), ("soft", "paper"), ("soft", "card")]:
        assert contrast(colours[text], colours[ground]) >= 4.5
    assert contrast(colours["paper"], colours["accent"]) >= 4.5, "text on buttons"
    for shape in ("line", "accent", "plus", "minus"):
        assert contrast(colours[shape], colours["card"]) >= 3
    for hue in ("plus", "minus"):  # the strongest tint behind numbers: 40 %
        mix = [
            round(0.4 * int(colours[hue][i : i + 2], 16) + 0.6 * int(colours["paper"][i : i + 2], 16))
            for i in (1, 3, 5)
        ]
        assert contrast(colours["ink"], "#" + "".join(f"{part:02x}" for part in mix)) >= 4.5


# --- other films ---------------------------------------------------------------------------------------


def test_hostile_words_are_only_ever_text(chrome, tmp_path):
    film, _ = filmed(words_of(HOSTILE), steps=200)
    opened = Page(chrome, tmp_path, film)
    for moment in moments_of(film):
        opened.run("show(arguments[0])", moment)
    opened["typed"].clear()
    opened["typed"].send_keys("</script><b")
    opened.run("byId('typed').value += '🦄🧒🏽של'; byId('typed').dispatchEvent(new Event('input'))")
    assert opened["unknown"].text == ""
    assert len(opened.chrome.find_elements(By.TAG_NAME, "script")) == 2
    assert not opened.chrome.find_elements(By.CSS_SELECTOR, "#dream-end b, #bars b, #context b")
    assert "</script><b🦄🧒🏽של" in opened["dream-end"].get_property("textContent")
    assert opened.errors() == []


@pytest.mark.parametrize("model", ["bag", "mlp"])
def test_letters_of_several_characters_stay_whole(chrome, tmp_path, model):
    pytest.importorskip("regex", reason="it finds letters of several characters")
    family = "👩‍👩‍👧"
    film, _ = filmed(words_of([family + "क्षिab", "abक्षि" + family, "क्षिक्षिa"]), model=model, graphemes=True)
    assert set(film["letters"].values()) == {"a", "b", family, "क्षि"}
    opened = Page(chrome, tmp_path, film)
    if model == "bag":
        opened["typed"].clear()
        opened.run("byId('typed').value = arguments[0]", family + "क्षि")
        opened.run("byId('typed').dispatchEvent(new Event('input'))")
        assert opened["unknown"].text == "" and opened["context"].text == f"·{family}क्षि"
    else:
        shown = opened["answer-bars"].get_property("textContent")
        assert family in shown and "क्षि" in shown
    assert opened.errors() == []


@pytest.mark.parametrize(
    ("model", "sizes", "held_out"), [("mlp", {}, 20), ("bag", {"dim": 1000}, 0), ("counts", {}, 20)]
)
def test_another_model_shows_its_answers(chrome, tmp_path, model, sizes, held_out):
    film, _ = filmed(model=model, steps=300, held_out=held_out, **sizes)
    opened = Page(chrome, tmp_path, film)
    opened.run("show(LAST)")
    assert not opened["blame"].is_displayed() and not opened["guess"].is_displayed()
    assert opened["too-large"].is_displayed() == (model == "bag")
    answers = film["seen"]["answers"]
    for i, answer in enumerate(answers):
        opened.run(
            "byId('beginning').value = arguments[0]; byId('beginning').dispatchEvent(new Event('change'))", i
        )
        assert opened["answer-now"].text.split("\n") == answer["words"][-1]
        assert opened["answer-start"].text.split("\n") == answer["words"][0]
        likeliest = ["the end of the word", *film["letters"].values()][
            answer["letters"][int(np.argmax(unpacked(answer["chances"][-1])))]
        ]
        assert opened["answer-likeliest"].text.startswith(f"Likeliest: {likeliest} ")
        opened.run("show(1)")
        columns = [opened[f"answer-{when}"].text.split("\n") for when in ("start", "now", "end")]
        assert columns == [answer["words"][moment] for moment in (0, 1, -1)]
        opened.run("show(LAST)")
    assert ("never seen" in opened["meaning"].text) == bool(held_out)
    opened.resize(360)
    opened.wait(lambda: opened.run("return document.querySelector('#curve svg').clientWidth") < 360)
    assert opened.run("return document.documentElement.scrollWidth <= innerWidth")
    assert opened.errors() == []


def test_the_shortest_film_plays(chrome, tmp_path):
    film, _ = filmed(steps=1)
    opened = Page(chrome, tmp_path, film)
    opened["play"].click()
    opened.wait(lambda: opened.moment() == 1 and opened["play"].text == "Play")
    assert opened.errors() == []


def test_the_page_can_ask_nobody(chrome, tmp_path, bag):
    opened = Page(chrome, tmp_path, bag)
    script = """const done = arguments[0];
        document.addEventListener('securitypolicyviolation', (event) => done(event.effectiveDirective));
        fetch('https://example.invalid/').catch(() => 0)"""
    assert chrome.execute_async_script(script) == "connect-src"
    opened.errors()
