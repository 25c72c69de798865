"""The training step as others write it: that it is the same step, and the command that measures it."""

from __future__ import annotations

import re

import numpy as np
import pytest

from autollm import cli
from benchmarks.peers import Task, deviation
from benchmarks.peers import __main__ as command
from benchmarks.workloads import SIZES

OURS = command.PEERS["autollm"].load()


@pytest.mark.parametrize("name", command.PEERS)
def test_a_peer_makes_the_same_steps(name):
    entry = command.PEERS[name]
    if not entry.is_there():
        pytest.skip(f"{entry.needs} is not installed")
    assert deviation(entry.load(), SIZES[0]) < 1e-5


def test_a_step_that_is_not_the_same_is_seen():
    class Doubled(command.PEERS["numpy"].load()):
        def __init__(self, task):
            super().__init__(task)
            self.share *= np.float32(2)

    assert deviation(Doubled, SIZES[0]) > command.DEVIATION_LIMIT


def test_a_peer_that_does_not_learn_is_not_measured(monkeypatch):
    class Idle(command.PEERS["numpy"].load()):
        def run(self, steps):
            """Be very fast."""

    monkeypatch.setattr(command.Entry, "load", lambda entry: Idle if "numpy" in entry.place else OURS)
    with pytest.raises(command.InputError, match=r"the loss after 500 steps is 3\.\d+, not 2\.\d+"):
        command.rate("numpy", SIZES[0], 0.01)


def test_the_table(capsys, monkeypatch):
    torch = command.Entry("PyTorch, eager", "by_torch:ByTorch", "no-such")
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
    assert err == "left out: PyTorch, eager (no-such is not installed)\n"
    assert cli.run(lambda: command.main([*quick, "--peers", "torch"])) == 2
    assert capsys.readouterr().err == (
        "autollm: error: --peers torch: PyTorch, eager (no-such is not installed)\n"
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


def test_a_compiler_that_fails_ends_in_one_line(capsys, monkeypatch):
    monkeypatch.setenv("CC", "false")
    arguments = ["--peers", "c", "--sizes", SIZES[0], "--seconds", "0.02", "--rounds", "1"]
    assert cli.run(lambda: command.main(arguments)) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1
    assert err.startswith("autollm: error: C, vectors by hand: false cannot compile ")


def test_tasks_are_fresh():
    one, other = Task.named(SIZES[0]), Task.named(SIZES[0])
    one.model.E.v[...] = 0
    assert other.start[0].any()
