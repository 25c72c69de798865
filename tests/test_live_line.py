"""The line that a person sees while a command works."""

from __future__ import annotations

import io
import os
import re
import signal
import sys

import pytest
from commands import on_a_terminal

from autollm import ladder, remarks
from autollm.errors import DivergedError
from autollm.interrupts import interrupts

posix = pytest.mark.skipif(os.name != "posix", reason="needs signals, /dev/full, shells")


class Screen(io.TextIOWrapper):
    """A terminal in this process, and what it got."""

    def __init__(self, encoding="utf-8"):
        super().__init__(io.BytesIO(), encoding=encoding, newline="")

    def isatty(self):
        return True

    @property
    def shown(self):
        """What a person sees: all that was written and flushed."""
        return self.buffer.getvalue().decode()


def watched(monkeypatch):
    """What tells of a training, and the screen on which a person watches from now on."""
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    return remarks.Remarks(quiet=False), screen


def test_a_live_line_says_what_is_trained_and_how_far_it_is(monkeypatch):
    tell, screen = watched(monkeypatch)
    tell.task = "bag  "
    tell.watch(1500, 0.5, 2.34567, 0.25)
    tell.watch(1600, 0.5, 2.34567, 0.26)  # within a tenth of a second, so it is not shown
    line = f"\r{'bag   25%  loss 2.346  1,500 steps  3,000 steps/s':<70}"
    assert screen.shown == line
    tell.end_progress()
    tell.end_progress()
    assert screen.shown == line + "\r" + " " * 70 + "\r", "it is wiped, once"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_what_is_watched(monkeypatch, number):
    tell, screen = watched(monkeypatch)
    monkeypatch.setattr(interrupts, "came", number)
    with pytest.raises(KeyboardInterrupt):
        tell.watch(1500, 0.5, 2.3, 0.25)
    assert screen.shown == ""


def test_the_ladders_live_line_begins_with_the_models_name(monkeypatch):
    _, screen = watched(monkeypatch)
    assert ladder.main(["--data", "names", "--models", "bigram,bag", "--steps", "3"]) == 0
    assert re.findall(r"\r(\w+) +100%  loss", screen.shown) == ["bigram", "bag"]


def test_the_live_line_of_a_model_that_failed_is_wiped(monkeypatch):
    def diverge(plan, corpus, watch, moments):
        watch(1, 1.0, 2.0, 0.5)
        raise DivergedError("the loss is nan")

    monkeypatch.setattr(ladder, "learn", diverge)
    _, screen = watched(monkeypatch)
    assert ladder.main(["--data", "names", "--models", "bag", "--steps", "3"]) == 1
    assert screen.shown.endswith("\r" + " " * 70 + "\r")


@posix
def test_a_live_line_while_a_person_watches():
    done, shown = on_a_terminal("train", "--steps", "2000", "--samples", "1")
    assert done.returncode == 0
    lines = shown.split(b"\r")
    assert re.fullmatch(rb" *\d+%  loss \d\.\d{3}  [\d,]+ steps  [\d,]+ steps/s *", lines[-3])
    assert lines[-2] == b" " * len(lines[-3]), "it is wiped at the end"
    assert lines[-1].endswith(b"samples are new (100%)\n") or b"steps per second" in lines[-1]
    _, shown = on_a_terminal("train", "--steps", "2000", "--samples", "1", "--quiet")
    assert shown == b""
