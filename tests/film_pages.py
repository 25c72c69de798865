"""A film in a real browser: what starts it, and what a page can be asked. The fixtures are in conftest.py."""

from __future__ import annotations

import shutil
import time
from functools import cached_property

import numpy as np
import pytest
from films import unpacked

from autollm.film import page

selenium = pytest.importorskip("selenium", reason="the page is looked at by selenium")

from selenium.webdriver import Chrome, ChromeOptions  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402

# The first of these that is there is taken. A headless shell is the same browser without its
# windows, and shows a page in less time.
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
IS_SHELL = bool(BROWSER) and BROWSER.endswith("headless-shell")
DRIVER = shutil.which("chromedriver")
needs_chrome = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="no Chromium with its chromedriver is installed"
)
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # What moves is drawn for every step on its way. Tests of motion ask for it.
    "--force-prefers-reduced-motion",
    # Every page that is opened would get processes and frames of its own, which takes longer than to show it.
    "--disable-site-isolation-trials",
    "--disable-features=IsolateOrigins,site-per-process,RenderDocument",
]
# Of a headless shell alone: it draws only when it is asked to (Page.frame), and takes a quarter less time.
WHEN_ASKED = ["--enable-begin-frame-control", "--run-all-compositor-stages-before-draw"]
PATIENCE = 60  # seconds, after which what a page should do has failed


def start(profile):
    """A browser that keeps what it is told in a folder."""
    options = ChromeOptions()
    options.binary_location = BROWSER
    arguments = [*ARGUMENTS, f"--user-data-dir={profile}"]
    if IS_SHELL:
        options.set_capability("browserName", "chrome-headless-shell")
        arguments += WHEN_ASKED
    for argument in arguments:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return Chrome(options=options, service=Service(DRIVER))


class Page:
    """A film, opened from a folder."""

    def __init__(self, chrome, folder, film):
        self.chrome, self.film = chrome, film
        path = folder / "film.html"
        path.write_bytes(page.page_of(film))
        self.resize(1200)
        chrome.get(path.as_uri())

    def resize(self, width):
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        self.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def media(self, **features):
        listed = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": listed})

    def run(self, script, *arguments):
        return self.chrome.execute_script(script, *arguments)

    def __getitem__(self, name):
        return Part(self, name)

    def give(self, **values):
        """Have controls hold these values, as if a user had chosen or typed them, and was still there."""
        script = """for (const [name, value] of arguments[0]) {
              const one = byId(name);
              one.value = value;
              const kinds = one.tagName === 'SELECT' ? ['input', 'change'] : ['input'];
              for (const kind of kinds) one.dispatchEvent(new Event(kind, { bubbles: true }));
            }"""
        self.run(script, [[name.replace("_", "-"), value] for name, value in values.items()])

    def moment(self):
        return self.run("return Number(byId('time').value)")

    def frame(self):
        """Wait until it has been drawn once more: before that nothing moves, and nothing knows its width."""
        if IS_SHELL:
            self.chrome.execute_cdp_cmd("HeadlessExperimental.beginFrame", {"noDisplayUpdates": True})
        else:
            self.chrome.execute_async_script(
                "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"
            )

    def wait(self, condition):
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, self.errors()
            self.frame()

    def errors(self):
        return [entry["message"] for entry in self.chrome.get_log("browser")]


class Part:
    """A part of a page: an element of Selenium, but for its text, which takes one request."""

    def __init__(self, page, name):
        self.page, self.name = page, name

    @property
    def text(self):
        script = "const part = byId(arguments[0]); return part.checkVisibility() ? part.innerText.trim() : ''"
        return self.page.run(script, self.name)

    @cached_property
    def element(self):
        return self.page.chrome.find_element(By.ID, self.name)

    def __getattr__(self, name):
        return getattr(self.element, name)


def moments_of(film):
    return [0, len(film["steps"]) // 3, len(film["steps"]) - 1]


def fixed(number, digits=3):
    return f"{number:.{digits}f}".replace("-", "−")


def signed(number, digits=3):
    return ("" if number < 0 else "+") + fixed(number, digits)


def percent(chance):
    return "under 1 %" if chance < 0.005 else f"{int(100 * chance + 0.5)} %"


def texts(page, selector):
    return page.run(
        "return Array.from(document.querySelectorAll(arguments[0]), (one) => one.textContent)", selector
    )


class Guess:
    """One guess of a bag, worked out in NumPy: every number of it, and of whom it blames."""

    def __init__(self, film, moment, context, target=None):
        shape = film["vocabulary"], -1
        self.E, self.W = (unpacked(film["seen"][name][moment]).reshape(shape) for name in "EW")
        self.mix = self.E[context].sum(axis=0)
        self.scores = self.W @ self.mix
        weights = np.exp(self.scores - self.scores.max())
        self.chances = weights / weights.sum()
        if target is not None:
            self.loss = -np.log(self.chances[target])
            self.of_scores = self.chances - np.eye(len(weights))[target]
            self.of_mix = self.of_scores @ self.W
            self.of_W = np.outer(self.of_scores, self.mix)
            self.of_E = np.array([context.count(token) * self.of_mix for token in range(len(weights))])
