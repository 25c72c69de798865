"""The training step as others write it: that it is the same step, and the command that measures it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from autollm import cli
from autollm.models.bag import ReorderedBag
from benchmarks.peers import Task, deviation
from benchmarks.peers import __main__ as command
from benchmarks.workloads import SIZES

ROOT = Path(__file__).parent.parent
OURS = command.PEERS["autollm"].load()


class Doubled(command.PEERS["numpy"].load()):
    """A peer that learns twice as fast as it should."""

    def __init__(self, task):
        super().__init__(task)
        self.share *= np.float32(2)


class Idle(command.PEERS["numpy"].load()):
    """A peer that is very fast when nobody looks."""

    def run(self, steps):
        pass


def replace(monkeypatch, peer):
    """Put `peer` in the place of NumPy."""
    monkeypatch.setattr(command.Entry, "load", lambda entry: peer if "numpy" in entry.place else OURS)


@pytest.mark.parametrize("name", command.PEERS)
def test_a_peer_makes_the_same_steps(name):
    if not command.PEERS[name].is_there():
        pytest.skip(f"{command.PEERS[name].title} is not installed")
    assert deviation(command.PEERS[name].load(), SIZES[0]) < 1e-5
    assert command.rate(name, SIZES[0], 0.01) > 0


@pytest.mark.parametrize("name", ["numpy", "c"])
@pytest.mark.parametrize("size", SIZES[1:])
def test_a_peer_makes_the_same_steps_at_other_sizes(name, size):
    if not command.PEERS[name].is_there():
        pytest.skip(f"{command.PEERS[name].title} is not installed")
    assert deviation(command.PEERS[name].load(), size) < 1e-4


def test_the_other_order_is_measured_in_the_other_order():
    assert type(command.PEERS["reordered"].load()(Task.named(SIZES[0])).model) is ReorderedBag


@pytest.mark.parametrize(
    ("peer", "message"),
    [(Doubled, r"a parameter is .* from the reference"), (Idle, r"after 500 steps is 3\.\d+, not 2\.\d+")],
)
def test_a_peer_that_does_something_else_is_not_measured(monkeypatch, peer, message):
    replace(monkeypatch, peer)
    with pytest.raises(command.InputError, match=message):
        command.rate("numpy", SIZES[0], 0.01)


def test_the_rate_is_steps_by_seconds(monkeypatch):
    """With a clock that only a step moves, by 2 ms."""
    now = [0.0]

    class Counting:
        def run(self, steps):
            now[0] += 0.002 * steps

    monkeypatch.setattr(command.time, "perf_counter", lambda: now[0])
    assert command.timed(Counting(), 5.0) == pytest.approx(500)
    assert 5.0 <= now[0] < 6.5


def test_rounds_are_taken_in_turn_and_in_one_thread(monkeypatch, capsys):
    calls = []

    def run(arguments, env, **settings):
        calls.append(arguments[arguments.index("--worker") + 1])
        assert {env[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NPROC")} == {"1"}
        return subprocess.CompletedProcess(arguments, 0, f'{{"{SIZES[0]}": {len(calls)}}}', "")

    monkeypatch.setattr(command.subprocess, "run", run)
    assert command.main(["--peers", "numpy", "--rounds", "3", "--sizes", SIZES[0]]) == 0
    assert calls == ["autollm", "numpy"] * 3
    ours, numpy = capsys.readouterr().out.splitlines()[1:]
    assert ours.split()[-2:] == ["3", "1.00"], "the median of 1, 3 and 5"
    assert numpy.split()[-2:] == ["4", "0.75"]


def test_the_table(capsys, monkeypatch):
    torch = command.Entry("PyTorch, eager", "by_torch:ByTorch", module="no_such")
    some = {"autollm": command.PEERS["autollm"], "torch": torch, "numpy": command.PEERS["numpy"]}
    monkeypatch.setattr(command, "PEERS", some)
    quick = ["--sizes", SIZES[0], "--seconds", "0.02", "--rounds", "1"]
    assert command.main([*quick, "--markdown"]) == 0
    out, err = capsys.readouterr()
    header, _, ours, numpy = (re.split(r"\s+\|\s+", line.strip("| ")) for line in out.splitlines())
    assert header[1:] == [SIZES[0], "ratio"]
    assert (ours[0], ours[2]) == ("AutoLLM", "1.00")
    assert numpy[0] == "NumPy, derivatives by hand"
    rates = [float(row[1].replace(",", "")) for row in (ours, numpy)]
    assert float(numpy[2]) == pytest.approx(rates[0] / rates[1], abs=0.01)
    assert err == "left out: PyTorch, eager (no_such is not installed)\n"
    assert cli.run(lambda: command.main([*quick, "--peers", "torch"])) == 2
    assert capsys.readouterr().err == (
        "autollm: error: --peers torch: PyTorch, eager (no_such is not installed)\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--peers", "fortran"], "there is no 'fortran'; there are autollm, reordered, c,"),
        (["--sizes", "1x1x1"], "there is no '1x1x1'; there are 64x3x32,"),
        (["--rounds", "0"], "'0' is not a whole number from 1 to 1000"),
        (["--seconds", "nan"], "'nan' is not a finite number above 0"),
    ],
)
def test_options_that_cannot_be(capsys, arguments, message):
    assert cli.run(lambda: command.main(arguments)) == 2
    out, err = capsys.readouterr()
    assert not out and message in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("compiler", "message"),
    [
        ("false", "C, vectors by hand: false cannot compile bag.c: exit status 1"),
        ("true -x", "C, vectors by hand: cannot load what true made of bag.c: "),
        ("no/such-compiler", "--peers c: C, vectors by hand (no/such-compiler is not installed)"),
    ],
)
def test_a_compiler_that_fails_ends_in_one_line(compiler, message):
    arguments = ["--peers", "c", "--sizes", SIZES[0], "--seconds", "0.02", "--rounds", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers", *arguments],
        capture_output=True, text=True, env=os.environ | {"CC": compiler}, cwd=ROOT,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"autollm: error: {message}")


def test_a_peer_that_crashes_ends_in_one_line(capsys, monkeypatch):
    crashed = subprocess.CompletedProcess([], -11, "", "")
    monkeypatch.setattr(command.subprocess, "run", lambda *_, **__: crashed)
    assert cli.run(lambda: command.main(["--peers", "numpy"])) == 2
    assert capsys.readouterr().err == "autollm: error: AutoLLM: ended by SIGSEGV\n"


def test_tasks_are_fresh():
    one, other = Task.named(SIZES[0]), Task.named(SIZES[0])
    one.model.E.v[...] = 0
    assert other.start[0].any()
