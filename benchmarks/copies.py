"""Warm processes that train when they are told to, each on a core of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autollm.errors import InputError

ROOT = Path(__file__).parent.parent
WORKER = Path(__file__).with_name("worker.py")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def cores() -> list[int | str]:
    """The cores that this process may use; where the system cannot pin, "any" for each."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return ["any"] * (os.cpu_count() or 1)


class Copy:
    """One such process."""

    def __init__(self, core: int | str, python: str = sys.executable, root: Path | None = ROOT) -> None:
        """`root` is the clone to run; with None it is whatever that Python has installed."""
        environment = {**os.environ, **ONE_THREAD}
        others = environment.pop("PYTHONPATH", "")
        if root is not None:
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(root), others)))
        self.name = f"{python} in {root}" if root else python
        try:
            self.process = subprocess.Popen(
                [python, "-P", str(WORKER), str(core)],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is for the one that gives the orders
            )
        except OSError as error:
            raise InputError(f"cannot run {python}: {error.strerror}") from None

    def order(self, workload: str, **amount: float) -> None:
        """Have it train by `steps=n` or for `seconds=s`; the answer is fetched by `answer`."""
        assert self.process.stdin
        with contextlib.suppress(OSError):  # it has ended; `answer` says so
            self.process.stdin.write(json.dumps({"workload": workload, **amount}) + "\n")
            self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What the process says next. Raises InputError if that is an error, or nothing."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        try:
            content: dict[str, Any] = json.loads(line) if line else {"error": "it has ended"}
        except ValueError:
            content = {"error": f"it said {line[:80]!r}"}
        if "error" in content:
            raise InputError(f"{self.name}: {content['error']}")
        return content

    def speed(self, workload: str, **amount: float) -> float:
        """Train; steps per second."""
        self.order(workload, **amount)
        told = self.answer()
        return float(told["steps"] / told["seconds"])

    def close(self) -> None:
        """End the process, and wait until it has."""
        for stream in (self.process.stdin, self.process.stdout):
            assert stream
            with contextlib.suppress(OSError):
                stream.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Copies:
    """A copy on every core."""

    def __init__(self) -> None:
        self.all = [Copy(core) for core in cores()]
        for copy in self.all:
            copy.answer()

    def __len__(self) -> int:
        return len(self.all)

    def train(self, workloads: Sequence[str], seconds: float) -> list[dict[str, Any]]:
        """Have every copy train a workload for so long, all at once; what each did."""
        for copy, workload in zip(self.all, workloads, strict=True):
            copy.order(workload, seconds=seconds)
        return [copy.answer() for copy in self.all]

    def close(self) -> None:
        for copy in self.all:
            copy.close()
