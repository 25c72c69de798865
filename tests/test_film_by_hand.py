"""The page of a film under the hands of those who use it: keys, buttons, names, looks."""

from __future__ import annotations

import pytest

pytest.importorskip("selenium", reason="the page is looked at by selenium")

from film_pages import By, Page, needs_chrome
from selenium.webdriver import Keys

pytestmark = needs_chrome


def test_every_key_does_its_own_thing_and_nothing_else(opened):
    """Also where the focus is on a button; with Ctrl, Alt or Meta, keys are the browser's."""
    last = len(opened.film["steps"]) - 1
    pressed = {}  # where it begins, the key, where the focus is, what else is pressed: what comes of it
    for where in (None, "dream", "teacher > summary"):
        for key, moment in (("ArrowLeft", 4), ("ArrowRight", 6), ("Home", 0), ("End", last)):
            pressed[5, key, where, None] = [moment, True, "Play"]
        pressed[5, " ", where, None] = [5, False, "Play"] if where else [5, True, "Pause"]
        pressed[5, "x", where, None] = [5, False, "Play"]
    for where in ("typed", "speed", "target", "place", "time"):
        pressed |= {(5, key, where, None): [5, False, "Play"] for key in ("ArrowLeft", "Home", " ")}
    for modifier in ("altKey", "ctrlKey", "metaKey"):
        pressed |= {(5, key, None, modifier): [5, False, "Play"] for key in ("ArrowLeft", " ")}
    pressed |= {
        (0, "ArrowLeft", None, None): [0, True, "Play"],
        (last, "End", None, None): [last, True, "Play"],
    }
    pressed |= {(last, "ArrowRight", None, None): [last, True, "Play"]}
    script = """
    return arguments[0].map(([start, key, where, modifier]) => {
      show(start);
      const event = new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true, [modifier]: true});
      (where ? document.querySelector('#' + where) : document.body).dispatchEvent(event);
      const found = [momentNow(), event.defaultPrevented, byId('play').textContent];
      stop();
      return found;
    });
    """
    found = opened.run(script, list(map(list, pressed)))
    assert dict(zip(pressed, found, strict=True)) == pressed


def test_who_takes_over_stops_the_film(opened):
    opened.run(
        "window.frames_ = new Map(); let number = 0;"
        "window.requestAnimationFrame = (next) => (frames_.set(++number, next), number);"
        "window.cancelAnimationFrame = (which) => frames_.delete(which);"
        "show(4); byId('speed').value = 'moments'; byId('play').click()"
    )
    state = "return [byId('play').textContent, frames_.size, playing !== null]"
    assert opened.run(state) == ["Pause", 1, True]
    for deed in (
        "byId('play').click()",
        "byId('speed').dispatchEvent(new Event('change'))",
        "byId('time').value = 3; byId('time').dispatchEvent(new Event('input'))",
        "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft', bubbles: true}))",
    ):
        assert opened.run(f"{deed}; {state}") == ["Play", 0, False], deed
        assert opened.run(f"byId('play').click(); {state}") == ["Pause", 1, True], "and it can go on"


@pytest.mark.parametrize(("longest", "digits"), [(0.05, 5), (2.0, 3)])
def test_the_clock_says_when_and_at_which_step(chrome, tmp_path, bag, longest, digits):
    last = len(bag["steps"]) - 1
    seconds = [longest * moment / last for moment in range(last + 1)]
    steps = [1500 * moment for moment in range(last + 1)]
    page = Page(chrome, tmp_path, bag | {"seconds": seconds, "steps": steps})
    assert page["time"].get_attribute("max") == str(last)
    script = """show(arguments[0]);
        return [byId('clock').innerText, byId('time').getAttribute('aria-valuetext'), momentNow()]"""
    for moment in (0, 7, last):
        clock = f"{seconds[moment]:.{digits}f} s, step {steps[moment]:,}"
        assert page.run(script, moment) == [clock, clock, moment]
    page.run("byId('time').value = 9; byId('time').dispatchEvent(new Event('input'))")
    assert page["clock"].text.endswith("step 13,500") and page.errors() == []


def test_everything_that_is_used_has_a_name(opened):
    """For those who hear the page, too."""
    controls = opened.chrome.find_elements(By.CSS_SELECTOR, "button, select, input")
    ids = opened.run("return arguments[0].map((one) => one.id)", controls)
    named = [(one.accessible_name.strip(), one.aria_role) for one in controls]
    assert dict(zip(ids, named, strict=True)) == {
        "play": ("Play", "button"), "speed": ("Speed", "combobox"), "time": ("Moment", "slider"),
        "typed": ("Type the beginning of a word:", "textbox"), "dream": ("Dream", "button"),
        "dice": ("Other dice", "button"), "target": ("the right next letter", "combobox"),
        "place": ("We follow number of each code.", "spinbutton"), "less": ("Step back", "button"),
        "more": ("Next step", "button"), "check-table": ("Table", "combobox"),
        "check-letter": ("row of", "combobox"), "check-place": ("number", "spinbutton"),
        "beginning": ("", "none"),  # which another model shows
    }  # fmt: skip
    assert opened.run("return document.documentElement.lang") == "en"
    assert opened.run("return byId('clock').htmlFor.value") == "time"
    assert [opened[name].get_attribute("role") for name in ("stage", "unknown")] == ["status"] * 2
    options = opened.run("return Array.from(byId('speed').options, (one) => [one.value, one.textContent])")
    assert options == [["moments", "moment by moment"], ["0.1", "10 times slower"], ["1", "real speed"]]
    for columns in ("dream", "answer"):
        heads = opened.run(
            "return ['start', 'now', 'end'].map((when) => byId(arguments[0] + '-' + when)"
            ".previousElementSibling.textContent)",
            columns,
        )
        assert heads == ["at the start", "at this moment", "at the end"]
    sections = ("guess", "places", "blame", "answers", "falling")
    assert [opened[name].is_displayed() for name in sections] == [True, True, True, False, True]
    signs = "return Array.from(document.querySelectorAll('.legend .cell'), (one) => [one.className, one.nextSibling.textContent.trim()])"  # noqa: E501
    assert opened.run(signs) == [["cell plus", "above 0"], ["cell minus", "below 0"]]
    assert int(opened["typed"].get_attribute("maxlength")) >= 20


def test_what_classes_look_like(opened):
    """What has not come yet is not seen; what is new, followed or right has a frame; signs have colours."""
    opened.frame()
    opened.run("show(9); byId('less').click()")
    style = """
    const look = (selector) => getComputedStyle(document.querySelector(selector));
    const bar = document.querySelectorAll('#bars i')[arguments[0]];
    return {
      later: look('#bricks .later').visibility, seen: look('#bricks .line:not(.later)').visibility,
      new: look('#bricks .new').outlineStyle, here: look('.cell.here').outlineStyle,
      other: look('.cell:not(.here)').outlineStyle,
      right: look('.score.right').borderTopColor, wrong: look('.score:not(.right)').borderTopColor,
      plus: look('.cell.plus').getPropertyValue('--hue'), minus: look('.cell.minus').getPropertyValue('--hue'),
      basis: getComputedStyle(bar).flexBasis, height: bar.style.getPropertyValue('--height'),
      current: look('#calls [aria-current]').borderLeftColor, call: look('#calls li:not([aria-current])').borderLeftColor,
      arrow: getComputedStyle(document.querySelector('.tint.blamed'), '::before').content,
      dashed: look('#curve .limit').strokeDasharray, solid: look('polyline.loss').strokeDasharray,
    };
    """  # noqa: E501
    found = opened.run(style, 5)
    assert (found["later"], found["seen"]) == ("hidden", "visible")
    assert found["new"] == found["here"] == "solid" and found["other"] == "none"
    for one, other in (("right", "wrong"), ("plus", "minus"), ("current", "call"), ("dashed", "solid")):
        assert found[one] != found[other], one
    assert found["arrow"] == '"← "'
    assert float(found["basis"].strip("%")) == pytest.approx(float(found["height"].strip("%")), rel=1e-3)
    opened["typed"].send_keys(Keys.TAB)
    outline = "return getComputedStyle(document.activeElement)"
    assert opened.run(f"{outline}.outlineStyle") == "solid"
    assert float(opened.run("return parseFloat(getComputedStyle(document.activeElement).outlineWidth)")) >= 2
