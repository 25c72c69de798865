"""The page of a film in a real browser can be used by all, and looks right everywhere."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("selenium", reason="the page is looked at by selenium")

from film_pages import By, Page, moments_of, needs_chrome
from films import HOSTILE, filmed, unpacked, words_of
from selenium.webdriver import Keys

pytestmark = needs_chrome


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
    script = """
    window.requestAnimationFrame = (next) => ((window.frame = next), 1);
    performance.now = () => 0;
    const [start, speed, milliseconds] = arguments;
    show(start);
    byId('speed').value = speed;
    byId('play').click();
    const moments = [momentNow(), ...milliseconds.map((one) => (frame(one), momentNow()))];
    if (byId('play').textContent === 'Pause') byId('play').click();
    return moments;
    """

    def shown(start, speed, *milliseconds):
        return opened.run(script, start, speed, milliseconds)

    assert shown(5, "moments", 299, 301, 650, 10**6) == [5, 5, 6, 7, last]
    assert shown(last, "moments", 301) == [0, 1], "from the end it begins again"
    for speed in (1, 0.1):
        assert shown(5, str(speed), 39 / speed, 41 / speed) == [5, 8, 9]
    assert opened.errors() == []


def test_what_was_trained_is_said_in_words(chrome, tmp_path, bag):
    told = (
        f"The model “bag” (context 3, dim 8) read 80 words and took 2,000 steps of 64 examples in "
        f"{bag['seconds'][-1]:.3f} seconds, at a rate of 0.5 (sgd). All that it knows is in 432 numbers."
    )
    page = Page(chrome, tmp_path, bag)
    assert page["facts"].text == told
    stopped = page.run("film.interrupted = true; return factsInWords()")
    assert stopped == f"{told} It was stopped before its time."
    counted = page.run("film.parameters = 0; return factsInWords()")
    assert counted.endswith(f"read 80 words and counted for {bag['seconds'][-1]:.3f} seconds.")
    assert page.errors() == []


# What plays from here on began 280 ms ago, where a moment takes 300.
NEARLY_OVER = "const began = performance.now() - 280; performance.now = () => began"


def test_it_plays_moment_by_moment_and_pauses(opened):
    opened.run(NEARLY_OVER)
    opened["play"].click()
    assert opened["play"].text == "Pause"
    opened.wait(lambda: opened.moment() >= 1)
    opened["play"].click()
    assert opened["play"].text == "Play"
    assert 1 <= opened.moment() < len(opened.film["steps"]) - 1


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
    opened.frame()
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


def test_nothing_scrolls_sideways(chrome, tmp_path):
    page = Page(chrome, tmp_path, filmed(steps=200)[0])  # with codes as long as they are when nobody asks
    page.frame()
    page.run("byId('teacher').open = true; show(LAST)")
    sticking_out = """return Array.from(document.querySelectorAll('main *:not(svg *), nav *'))
        .filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
        .map((one) => one.tagName + '#' + one.id)"""
    drawn_anew = """return innerWidth === arguments[0]
        && document.querySelector('#curve svg').clientWidth === byId('curve').clientWidth"""
    for width in (1920, 700, 360):
        page.resize(width)
        page.wait(lambda width=width: page.run(drawn_anew, width))
        assert page.run("return document.documentElement.scrollWidth <= innerWidth"), width
        assert page.run(sticking_out) == [], width
    assert page.errors() == []


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
    names = ["paper", "card", "ink", "soft", "line", "accent", "plus", "minus"]
    script = """const style = getComputedStyle(document.documentElement);
        return arguments[0].map((name) => style.getPropertyValue(`--${name}`).trim())"""
    colours = dict(zip(names, opened.run(script, names), strict=True))
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
    opened.give(typed="</script><b🦄🧒🏽של")
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


# What is seen of every answer, at the last moment and at the second: three columns, and what is likeliest.
ANSWERS = """
const seen = (name) => byId(name).innerText.trim();
const look = (moment) => {
  show(moment);
  const columns = ['start', 'now', 'end'].map((when) => seen(`answer-${when}`).split('\\n'));
  return [...columns, seen('answer-likeliest')];
};
return Array.from(byId('beginning').options, (option) => {
  byId('beginning').value = option.value;
  byId('beginning').dispatchEvent(new Event('change', { bubbles: true }));
  return [look(LAST), look(1)];
});
"""


@pytest.mark.parametrize(
    ("model", "sizes", "held_out"), [("mlp", {}, 20), ("bag", {"dim": 1000}, 0), ("counts", {}, 20)]
)
def test_another_model_shows_its_answers(chrome, tmp_path, model, sizes, held_out):
    film, _ = filmed(model=model, steps=300, held_out=held_out, **sizes)
    opened = Page(chrome, tmp_path, film)
    opened.frame()
    opened.run("show(LAST)")
    assert not opened["blame"].is_displayed() and not opened["guess"].is_displayed()
    assert opened["too-large"].is_displayed() == (model == "bag")
    assert ("never seen" in opened["meaning"].text) == bool(held_out)
    for answer, (last, second) in zip(film["seen"]["answers"], opened.run(ANSWERS), strict=True):
        *columns, told = last
        assert columns == [answer["words"][moment] for moment in (0, -1, -1)]
        likeliest = ["the end of the word", *film["letters"].values()][
            answer["letters"][int(np.argmax(unpacked(answer["chances"][-1])))]
        ]
        assert told.startswith(f"Likeliest: {likeliest} ")
        *columns, _ = second
        assert columns == [answer["words"][moment] for moment in (0, 1, -1)]
    opened.resize(360)
    opened.wait(lambda: opened.run("return document.querySelector('#curve svg').clientWidth") < 360)
    assert opened.run("return document.documentElement.scrollWidth <= innerWidth")
    assert opened.errors() == []


def test_the_shortest_film_plays(chrome, tmp_path):
    film, _ = filmed(steps=1)
    opened = Page(chrome, tmp_path, film)
    opened.run(NEARLY_OVER)
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
