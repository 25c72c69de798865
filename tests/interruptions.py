"""Signals at random moments of a run: `python tests/interruptions.py 200 [SEED]`.

Every run is a process of its own, which trains and saves. A signal comes at a moment drawn over the whole
run: importing, loading kernels, training, saving, judging, dreaming, printing. The run has to end with
128 + the signal, with one line at most besides its remarks, without a file left over; and if it had begun
to learn, with its results printed and a model saved that can be read. Moments begin when the process
handles signals: before that it is Python alone that decides, for some hundredths of a second.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from autollm.learning import checkpoint

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TRAINING = ("--seconds", "0.3", "--samples", "5000", "--model", "bag")


def start(folder: Path) -> subprocess.Popen[str]:
    """A run that has come so far that it handles signals."""
    command = [sys.executable, "-m", "autollm", "train", *TRAINING, "--save", str(folder / "model")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_as_in_a_terminal
    )
    while process.poll() is None and not _handles_signals(process.pid):
        time.sleep(0.001)
    return process


def _as_in_a_terminal() -> None:
    """Whoever starts this script may have it ignore signals (`nohup`, `&`); the runs must not."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def _handles_signals(pid: int) -> bool:
    try:
        caught = re.search(r"SigCgt:\t(\w+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return False
    return bool(caught and int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


def interrupt(moment: float, number: int) -> tuple[str, str]:
    """Send a signal `moment` seconds after the start of a run; how far it was, and what is wrong."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process = start(folder)
        try:
            out, err = process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            out, err = process.communicate(timeout=120)
        left, status = os.listdir(folder), process.returncode
        wrong = []
        told = [line for line in err.splitlines() if line.startswith("autollm: ")]
        if status not in (0, 128 + number, -number):
            wrong.append(f"status {status}")
        if "Traceback" in err or len(told) > 1:
            wrong.append(f"told {err[-300:]!r}")
        if status and set(left) - {"model"}:
            wrong.append(f"left {left}")
        if not status and left != ["model"]:
            wrong.append(f"left {left} after success")
        if left == ["model"]:
            checkpoint.load(str(folder / "model"))
        if "saved to" in err and "Samples:" not in out and not told:
            wrong.append("saved, but nothing printed")
        if "Samples:" in out and left != ["model"]:
            wrong.append("printed, but not saved")
        stage = "over" if not status else "learned" if out else "at the start"
        return stage, "; ".join(wrong)


def main(count: int, seed: int) -> int:
    """Interrupt `count` runs; the exit status is 1 if something was wrong with one of them."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        start(Path(folder)).communicate()
        whole = time.perf_counter() - begin
    draw, stages, failures = random.Random(seed), Counter[str](), 0
    print(f"{count} moments of {whole:.2f} s, seed {seed}")
    for _ in range(count):
        moment, number = draw.uniform(0, whole), draw.choice(SIGNALS)
        stage, wrong = interrupt(moment, number)
        stages[stage] += 1
        if wrong:
            failures += 1
            print(f"{signal.Signals(number).name} after {moment:.3f} s: {wrong}")
    print(f"{failures} of {count} went wrong; {dict(stages)}")
    return int(failures > 0)


if __name__ == "__main__":
    amount, *rest = map(int, sys.argv[1:] or [200])
    sys.exit(main(amount, rest[0] if rest else random.randrange(10**6)))
