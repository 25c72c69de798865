"""Ctrl-C and its kin, SIGTERM and SIGHUP, at any moment of a command.

Python turns Ctrl-C into an exception, which can come up anywhere: in an import, in the midst of a save, in
code that swallows it. So a command does not let it. As long as there is nothing to lose, a signal ends the
process on the spot. Once something is being learned, it is noted, the command asks for it where it can stop,
and a second signal ends the process. While a file is written, signals are only noted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupts:
    """What has come to this process, and what is done about it."""

    def __init__(self) -> None:
        self.came = 0  # the first signal that was noted; 0: none
        self._learning = self._writing = False

    @property
    def status(self) -> int:
        """The exit status that tells of it: 128 + the signal, as a shell has it; 0: nothing came."""
        return self.came and 128 + self.came

    def install(self) -> dict[int, Any]:
        """Handle the signals from now on; returns what handled them before. Those that whoever started this
        process wants it to ignore (`nohup`, `&`) stay ignored."""
        self.came, self._learning, self._writing = 0, False, False
        if threading.current_thread() is not threading.main_thread():
            return {}  # where Python lets no handler be set
        wanted = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        return {number: signal.signal(number, self._handle) for number in wanted}

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signals in here, and give them back."""
        previous = self.install()
        try:
            yield
        finally:
            self.came, self._learning = 0, False
            for number, handler in previous.items():
                signal.signal(number, handler)

    def start_learning(self) -> None:
        """From now on there is something to lose."""
        self._learning = True

    @contextlib.contextmanager
    def put_off(self) -> Iterator[None]:
        """Only note signals in here, however many come."""
        before, self._writing = self._writing, True
        try:
            yield
        finally:
            self._writing = before

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._writing or (self._learning and not self.came):
            self.came = self.came or number
            return
        line = b"autollm: interrupted\n"
        with contextlib.suppress(OSError):
            os.write(2, b"\r" + line.replace(b"\n", b" " * 50 + b"\n") if os.isatty(2) else line)
        os._exit(128 + number)


interrupts = Interrupts()


def is_command() -> bool:
    """Whether this process was started as `autollm ...` or as `python -m autollm...`, of which the name is
    not yet known when the package is imported."""
    name, words = (sys.argv or [""])[0], sys.orig_argv
    if name == "-m":
        return words[words.index("-m") + 1].partition(".")[0] == "autollm" if "-m" in words else False
    return os.path.basename(name).partition(".")[0] == "autollm"
