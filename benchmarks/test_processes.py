"""What a user waits for and pays for: whole processes, timed from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent  # where `autollm` can be imported from, installed or not

# Tells the most memory that the process has held, in MB. Linux counts what a parent held towards a
# child's getrusage, so there the process's own account is read.
TELL_PEAK = """
import json, sys
try:
    with open("/proc/self/status") as status:
        peak = int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1e3
except OSError:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
print(json.dumps({"peak_memory_mb": [peak]}))
"""
FIRST_STEP = ("-m", "autollm.train", "--steps", "1", "--samples", "0", "--quiet", "--json")
# As the command starts, which does without what others may need.
AS_A_COMMAND = "import sys; sys.argv = ['autollm']; from autollm.train import main; "
DEFAULT_RUN = AS_A_COMMAND + "main(['--quiet', '--json'])"


def python(*arguments: str, **environment: str) -> dict[str, Any]:
    """Run a new interpreter; the last line that it prints is a dict."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}


def about_kernels(run: dict[str, Any]) -> dict[str, Any]:
    """What a training run says about its kernels."""
    return {"kernel_seconds": [run["compile_seconds"]], "compiled_kernels": run["compiled_kernels"]}


@pytest.mark.visits(5)
@pytest.mark.parametrize("code", ["pass", "import numba", "import autollm.train"])
def test_import(measure_once: Any, code: str) -> None:
    """A process that only imports. The first two are the floors for the third."""
    measure_once(lambda: python("-c", code), "ms")


@pytest.mark.visits(5)
def test_first_step_warm(measure_once: Any) -> None:
    """Start, load the kernels from the cache, make the first step, and end."""
    python(*FIRST_STEP)  # fills the cache if nobody has
    measure_once(lambda: python(*FIRST_STEP), "ms", about_kernels)


@pytest.mark.visits(5)
def test_prompt_to_prompt(measure_once: Any) -> None:
    """The default command with one step, not a second of them: what a user waits for besides training."""
    command = [sys.executable, "-m", "autollm.train", "--steps", "1"]

    def run() -> None:
        subprocess.run(command, cwd=ROOT, capture_output=True, check=True)

    run()  # fills the cache if nobody has
    measure_once(run, "ms")


@pytest.mark.visits(3)
def test_first_step_cold(measure_once: Any) -> None:
    """The same with an empty cache: every kernel is compiled."""
    with tempfile.TemporaryDirectory() as empty:
        measure_once(lambda: python(*FIRST_STEP, NUMBA_CACHE_DIR=empty), "ms", about_kernels)


@pytest.mark.visits(3)
def test_default_run(measure_once: Any) -> None:
    """`python -m autollm.train`: its peak memory, beside that of a process that only imports numba."""
    idle = python("-c", "import numba" + TELL_PEAK)["peak_memory_mb"]
    run = DEFAULT_RUN + TELL_PEAK
    measure_once(lambda: python("-c", run), "ms", lambda told: told | {"idle_memory_mb": idle})
