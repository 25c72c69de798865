"""The rows about whole processes: which are started, and what they are asked to tell."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import commands
import pytest

pytest.importorskip("pytest_benchmark", reason="the benchmark extra is not installed")

from autollm import interrupts
from benchmarks import test_processes as rows

TOLD = {"compile_seconds": 0.25, "compiled_kernels": 7, "peak_memory_mb": [150.0]}


class Measured:
    """In place of `measure_once`: runs once, and keeps what a row says about itself."""

    def __call__(self, run, unit, facts=lambda told: {}):
        self.unit = unit
        started.append("the clock")
        self.facts = facts(run())


started = []


def test_the_peak_of_memory_is_told_and_not_what_is_left_of_it():
    code = "held = b'1' * 300_000_000\ndel held\n"
    assert json.loads(commands.python("-c", code + rows.TELL_PEAK).stdout)["peak_memory_mb"][0] > 300


@pytest.fixture
def measured(monkeypatch):
    """Processes are noted, and not started."""

    def python(*arguments, **environment):
        started.append((arguments, environment))
        return TOLD | {"peak_memory_mb": [100.0 if "autollm" not in arguments[-1] else 150.0]}

    monkeypatch.setattr(rows, "python", python)
    started.clear()
    return Measured()


@pytest.mark.parametrize("code", ["pass", "import numba", "import autollm.train"])
def test_an_import_is_all_that_is_timed(measured, code):
    rows.test_import(measured, code)
    assert (measured.unit, measured.facts, started) == ("ms", {}, ["the clock", (("-c", code), {})])


def test_a_warm_step_follows_one_that_is_not_timed(measured):
    rows.test_first_step_warm(measured)
    assert started == [(rows.FIRST_STEP, {}), "the clock", (rows.FIRST_STEP, {})]
    assert measured.unit == "ms" and measured.facts == {"kernel_seconds": [0.25], "compiled_kernels": 7}


def test_a_cold_step_finds_an_empty_cache(measured, monkeypatch):
    rows.test_first_step_cold(measured)
    clock, (code, environment) = started
    assert (clock, code) == ("the clock", rows.FIRST_STEP)
    assert list(environment) == ["NUMBA_CACHE_DIR"] and not Path(environment["NUMBA_CACHE_DIR"]).exists()
    assert measured.unit == "ms" and measured.facts == {"kernel_seconds": [0.25], "compiled_kernels": 7}


def test_memory_is_told_beside_that_of_a_process_that_is_idle(measured):
    rows.test_default_run(measured)
    (idle, _), _, (run, _) = started
    assert idle == ("-c", "import numba" + rows.TELL_PEAK) and run == (
        "-c",
        rows.DEFAULT_RUN + rows.TELL_PEAK,
    )
    assert measured.unit == "ms"
    assert (measured.facts["peak_memory_mb"], measured.facts["idle_memory_mb"]) == ([150.0], [100.0])


def test_from_prompt_to_prompt_a_user_sees_it_all(monkeypatch):
    """The default command in the project's folder, but for one step; a run that is not timed goes before."""
    monkeypatch.setattr(
        rows.subprocess, "run", lambda command, **settings: started.append((command, settings))
    )
    started.clear()
    measured = Measured()
    rows.test_prompt_to_prompt(measured)
    first, clock, second = started
    assert first == second and clock == "the clock" and measured.unit == "ms"
    assert second == (
        [sys.executable, "-m", "autollm.train", "--steps", "1"],
        {"cwd": rows.ROOT, "capture_output": True, "check": True},
    )


def test_what_the_processes_are_asked_to_train(monkeypatch):
    """One step, or the default run, started as the command is; both tell what they did as JSON alone."""
    import autollm.train

    assert (
        *("-m", "autollm.train", "--steps", "1", "--samples", "0"),
        *("--quiet", "--json"),
    ) == rows.FIRST_STEP
    asked = []
    monkeypatch.setattr(autollm.train, "main", asked.append)
    monkeypatch.setattr(sys, "argv", ["-c"])
    exec(rows.DEFAULT_RUN, {})
    assert asked == [["--quiet", "--json"]] and interrupts.is_command()
    name, package = (rows.DEFAULT_RUN.index(text) for text in ("sys.argv", "autollm.train"))
    assert name < package, "which looks at the name when it is imported"


def test_a_process_tells_by_its_last_line(monkeypatch):
    """It runs in the project's folder, with this environment and what is added to it."""
    monkeypatch.setenv("AUTOLLM_TEST", "inherited")
    code = (
        "import json, os; print('something else');"
        "print(json.dumps([os.getcwd(), os.environ['AUTOLLM_TEST'], os.environ['MORE']]))"
    )
    assert rows.python("-c", code, MORE="added") == [str(rows.ROOT), "inherited", "added"]
    assert rows.python("-c", "pass") == {}
    with pytest.raises(rows.subprocess.CalledProcessError):
        rows.python("-c", "raise SystemExit(3)")


def test_the_most_memory_is_told_in_megabytes(capsys):
    """Of which this process, with all that it has loaded, has some hundred."""
    exec(rows.TELL_PEAK, {})
    (peak,) = json.loads(capsys.readouterr().out)["peak_memory_mb"]
    assert 30 < peak < 30_000
    status = Path("/proc/self/status")
    if status.exists():
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        assert peak > 0.9 * pages * os.sysconf("SC_PAGE_SIZE") / 1e6, "no less than it holds now"
