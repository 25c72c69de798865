"""What the commands share: option types, one-line errors, exit statuses."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import io
import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from autollm.errors import DivergedError, InputError
from autollm.interrupts import interrupts
from autollm.remarks import say

INTERRUPTED = 130  # 128 + SIGINT
BROKEN_PIPE = 141  # 128 + SIGPIPE
_IMPORTED = time.perf_counter()


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see --help)")


def whole(low: int, high: int) -> Callable[[str], int]:
    """An option that counts something, from `low` to `high`."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from {low} to {high}")
        return value

    return convert


def positive_float(text: str) -> float:
    """An option that measures something: finite and above zero."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a finite number above 0")
    return value


def some(known: Iterable[str], kind: str = "") -> Callable[[str], list[str]]:
    """An option that names some of what is known, separated by commas."""
    names = list(known)

    def convert(text: str) -> list[str]:
        for name in text.split(","):
            if name not in names:
                what = f"{kind} {name[:40]!r}".lstrip()
                raise argparse.ArgumentTypeError(f"there is no {what}; there are {', '.join(names)}")
        return list(dict.fromkeys(text.split(",")))

    return convert


def seconds_since_start() -> float:
    """Seconds since this process was started; where the system does not tell, since this import."""
    try:
        with open("/proc/self/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])  # starttime, proc(5)
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return time.perf_counter() - _IMPORTED


def run(command: Callable[[], int]) -> int:
    """Run a command and return its exit status; expected errors become one line on standard error."""
    for stream, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, stream) is None:  # it was closed before the start
            setattr(sys, stream, open(os.devnull, mode))  # noqa: SIM115  (open to the end)
    warnings.showwarning = lambda message, *_: say(f"autollm: warning: {message}")
    _set_encoding()
    with interrupts.handled():
        return _status(command)


def _status(command: Callable[[], int]) -> int:
    try:
        try:
            status = command()
        finally:
            sys.stdout.flush()
    except SystemExit as end:  # --help
        return int(end.code or 0)
    except (InputError, DivergedError) as error:
        return _fail(str(error), 1 if isinstance(error, DivergedError) else 2)
    except MemoryError as error:
        return _fail(told_of_memory(error))
    except RecursionError:
        warnings.simplefilter("ignore")  # of copies that had not all reported by then
        return _fail("the model is too deep for Python: choose fewer --layers")
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:  # the reader has gone (`| head -1`): nobody is left to tell
        discard_stdout()
        return BROKEN_PIPE
    except OSError as error:  # standard output cannot be written: a full disk
        discard_stdout()
        return _fail(f"cannot write: {error.strerror}")
    return status or interrupts.status


def _fail(reason: str, status: int = 2) -> int:
    say(f"autollm: {reason}" if status == INTERRUPTED else f"autollm: error: {reason}")
    return status


def end(command: Callable[[], int]) -> NoReturn:
    """Run a command as the whole of this process, and end the process with its exit status.

    It ends at once: Python would first take numba and LLVM apart, for 0.15 s or more and for nobody.
    """
    status = run(command)
    atexit.register(_end_at_once, status)  # not here: a profiler has yet to write what it found
    sys.exit(status)


def _end_at_once(status: int) -> None:
    """The last exit function: call the others, flush, and leave Python nothing more to do."""
    atexit.unregister(_end_at_once)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # of what could not be written it was told
            stream.flush()
    os._exit(status)


def told_of_memory(error: MemoryError) -> str:
    """A MemoryError as a person may read it; most of them say nothing themselves."""
    return f"not enough memory: {error}".removesuffix(": ")


def _set_encoding() -> None:
    """Files and pipes get UTF-8; a terminal what it says it can show, and codes for the rest."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
        if not sys.stdout.isatty():
            sys.stdout.reconfigure(encoding="utf-8")


def print_json(facts: dict[str, Any]) -> None:
    """One JSON object, which is valid whatever the terminal can show."""
    print(json.dumps(facts, ensure_ascii=(sys.stdout.encoding or "").lower() != "utf-8"))


def discard_stdout() -> None:
    """Give what is still buffered somewhere to go, or the interpreter complains at its end."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
