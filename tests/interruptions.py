"""Signals at random moments of a run: `python tests/interruptions.py 200 [SEED]`.

Every run is a process of its own, which trains and saves. A signal comes at a moment drawn over the whole
run: importing, loading kernels, training, saving, judging, dreaming, printing. The run has to end with 128 +
the signal, with one line at most besides its remarks, without a file left over; and if it had begun to
learn, with its results printed and a model saved that can be read. Moments begin when the process handles
signals: before that it is Python alone that decides, for some hundredths of a second.
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


def start(folder: Path) -> subprocess.Popen[bytes]:
    """A run that has come so far that it handles signals."""
    command = [sys.executable, "-m", "autollm", "train", *TRAINING, "--save", str(folder / "model")]
    process = subprocess.Popen(
        command, bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=_as_in_a_terminal
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


def wait_until_ready(process: subprocess.Popen[bytes]) -> bytes:
    """Let a run come so far that it trains; the remarks up to there."""
    remarks = b""
    while line := process.stderr.readline():
        remarks += line
        if line.startswith(b"ready"):
            break
    return remarks


def interrupt(ready: bool, moment: float, number: int) -> tuple[str, str]:
    """Send a signal `moment` seconds after the start of a run, or after it was ready to train; how far it
    was, and what is wrong."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process = start(folder)
        begun = wait_until_ready(process) if ready else b""
        try:
            printed, rest = process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            printed, rest = process.communicate(timeout=120)
        out, err = printed.decode(), (begun + rest).decode()
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
    """Interrupt `count` runs, half of them when they train; the exit status is 1 if something was wrong."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        process = start(Path(folder))
        wait_until_ready(process)
        start_up = time.perf_counter() - began
        process.communicate()
        rest = time.perf_counter() - began - start_up
    draw, stages, failures = random.Random(seed), Counter[str](), 0
    print(f"{count} moments of {start_up:.2f} s and of the {rest:.2f} s after that, seed {seed}")
    for i in range(count):
        ready, number = i % 2 == 1, draw.choice(SIGNALS)
        moment = draw.uniform(0, rest if ready else start_up)
        stage, wrong = interrupt(ready, moment, number)
        stages[stage] += 1
        if wrong:
            failures += 1
            print(f"{signal.Signals(number).name} after {moment:.3f} s: {wrong}")
    print(f"{failures} of {count} went wrong; {dict(stages)}")
    return int(failures > 0)


if __name__ == "__main__":
    amount, *rest = map(int, sys.argv[1:] or [200])
    sys.exit(main(amount, rest[0] if rest else random.randrange(10**6)))
