"""What a command tells besides its results: remarks on standard error, and a live line."""

from __future__ import annotations

import contextlib
import sys
import time

from autollm.interrupts import interrupts

WIDTH = 70  # of the live line


def printable(text: str) -> str:
    """The text with its control characters spelled out: a file's name may hold any."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(line: str) -> None:
    """Write a line on standard error. One that cannot be written is not worth ending a run for."""
    _write(f"{printable(line)}\n")


def _write(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # a full disk; a reader that has gone; a closed stream
        sys.stderr.write(text)
        sys.stderr.flush()


class Remarks:
    """Remarks, unless they are not wanted, and a live line while a person watches."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.task = ""  # what the live line begins with
        self.watched = not quiet and sys.stderr.isatty()
        self._shown = 0.0  # when the live line was last written

    def __call__(self, remark: str) -> None:
        if not self.quiet:
            say(remark)

    def watch(self, step: int, seconds: float, loss: float, used: float) -> None:
        """Look at a training that goes on: show how far it is, ten times a second, if a person watches.
        Raises KeyboardInterrupt, which ends it, if a signal has come."""
        if interrupts.came:
            raise KeyboardInterrupt
        if self.watched and time.perf_counter() - self._shown > 0.1:
            self.show(f"{used:4.0%}  loss {loss:.3f}  {step:,} steps  {step / seconds:,.0f} steps/s")

    def show(self, line: str) -> None:
        """Put a line where the last one was shown, if a person watches."""
        if self.watched:
            self._shown = time.perf_counter()
            _write(f"\r{self.task + line:<{WIDTH}}")

    def end_progress(self) -> None:
        """Wipe the live line."""
        if self._shown:
            self._shown = 0.0
            _write(f"\r{'':<{WIDTH}}\r")
