"""The parts of `python -m benchmarks.peers`: who measures the peers, and what is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from autollm import cli
from benchmarks.peers import Task
from benchmarks.peers import __main__ as command
from benchmarks.workloads import SIZES, WORKLOADS

SIZE = SIZES[0]
InputError = command.InputError


# --- who measures it --------------------------------------------------------------------------------


class Peer:
    """A peer that says how many steps it made."""

    def __init__(self, task):
        self.made = 0

    def run(self, steps):
        self.made += steps


@pytest.fixture
def judged(monkeypatch):
    """Peers whose deviation and losses are made up: `judged(apart, theirs, ours)` is what `rate` says."""
    monkeypatch.setattr(command.Entry, "load", lambda entry: type(entry.place, (Peer,), {}))

    def rate(apart, theirs, ours, timed=None):
        losses = {command.PEERS["numpy"].place: theirs, command.PEERS["autollm"].place: ours}
        monkeypatch.setattr(command, "deviation", lambda peer, task: apart)
        monkeypatch.setattr(command, "loss", lambda peer, workload: losses[type(peer).__name__])
        monkeypatch.setattr(command, "timed", lambda peer, seconds: (type(peer).__name__, peer.made, seconds))
        return command.rate("numpy", SIZE, 0.75)

    return rate


def test_a_peer_is_timed_when_it_has_learned_what_we_have(judged):
    assert judged(0.0, 2.5, 2.5) == (command.PEERS["numpy"].place, 500, 0.75)
    assert judged(0.0009, 2.5, 2.69) and judged(0.0, 2.69, 2.5)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ((0.0011, 2.5, 2.5), f"numpy, {SIZE}: a parameter is 0.0011 from the reference"),
        ((float("nan"), 2.5, 2.5), "a parameter is nan from the reference"),
        ((0.0, 2.75, 2.5), f"numpy, {SIZE}: the loss after 500 steps is 2.750, not 2.500"),
        ((0.0, 2.25, 2.5), "the loss after 500 steps is 2.250, not 2.500"),
        ((0.0, float("nan"), 2.5), "the loss after 500 steps is nan, not 2.500"),
    ],
)
def test_a_peer_that_has_not_is_not_timed(judged, facts, message):
    with pytest.raises(InputError, match=message):
        judged(*facts)


def test_the_loss_is_that_of_the_peers_own_parameters():
    class Nothing(Peer):
        def weights(self):
            return {"E": np.zeros((27, 32)), "W": np.zeros((27, 32))}

    assert command.loss(Nothing(None), SIZE) == pytest.approx(np.log(27))
    ours = command.PEERS["autollm"].load()(Task.named(SIZE))
    assert command.loss(ours, SIZE) < np.log(27) + 0.1 and command.loss(ours, SIZE) != pytest.approx(
        np.log(27)
    )


def test_time_is_the_processors_in_bursts_that_grow(monkeypatch):
    """A step takes a millisecond of the processor, and ten on the clock, beside others."""
    now, bursts = [0.0], []

    class Steady:
        def run(self, steps):
            bursts.append(steps)
            now[0] += steps / 1000

    monkeypatch.setattr(command.time, "process_time", lambda: now[0])
    monkeypatch.setattr(command.time, "perf_counter", lambda: 10 * now[0])
    assert command.timed(Steady(), 10.0) == pytest.approx(1000)
    assert 10 <= now[0] <= 11.6 and bursts[:5] == [100, 200, 400, 800, 1600] and max(bursts) == 1600


def test_all_threads_stay_on_the_last_core(monkeypatch):
    pinned = []
    monkeypatch.setattr(command.os, "sched_getaffinity", lambda pid: {2, 5, 3}, raising=False)
    monkeypatch.setattr(command.os, "sched_setaffinity", lambda *where: pinned.append(where), raising=False)
    command.stay_on_one_core()
    assert pinned == [(0, {5})]


def done(status=0, out="", err=""):
    return subprocess.CompletedProcess([], status, out, err)


def test_a_process_of_its_own_is_told_what_to_measure(monkeypatch):
    asked = []
    answer = done(out='chatter\n{"a": 1.5, "b": 2.5}\n')
    monkeypatch.setattr(command.subprocess, "run", lambda line, **more: asked.append((line, more)) or answer)
    monkeypatch.setenv("AUTOLLM_TEST", "inherited")
    monkeypatch.setenv("OMP_NUM_THREADS", "8")  # not inherited
    assert command.in_own_process("numpy", ["a", "b"], 0.25) == {"a": 1.5, "b": 2.5}
    ((line, more),) = asked
    where = "--worker", "numpy", "--workloads", "a,b", "--seconds", "0.25"
    assert line == [sys.executable, "-m", "benchmarks.peers", *where]
    threads = ("OMP", "OPENBLAS", "MKL")
    assert more["env"] == {
        **os.environ, **{f"{name}_NUM_THREADS": "1" for name in threads}, "JAX_PLATFORMS": "cpu",
        "NPROC": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false", "TORCHINDUCTOR_COMPILE_THREADS": "1",
    }  # fmt: skip
    assert more["capture_output"] and more["text"]


@pytest.mark.parametrize(
    ("ended", "message"),
    [
        (done(-9), "NumPy, derivatives by hand: ended by SIGKILL"),
        (done(2, err="a warning\nautollm: error: it is off\n"), "NumPy, derivatives by hand: it is off"),
        (done(1, err="Traceback\n  line\nKeyError: 'x'\n"), "NumPy, derivatives by hand: KeyError: 'x'"),
        (done(3), "NumPy, derivatives by hand: exit status 3"),
    ],
)
def test_a_process_that_fails_says_why(monkeypatch, ended, message):
    monkeypatch.setattr(command.subprocess, "run", lambda *_, **__: ended)
    with pytest.raises(InputError) as found:
        command.in_own_process("numpy", [SIZE], 0.25)
    assert str(found.value) == message


@pytest.fixture
def processes(monkeypatch):
    """Every peer is there, and every process answers at once; what each was asked."""
    asked = []

    def answer(name, workloads, seconds):
        asked.append((name, workloads, seconds))
        return {workload: float(len(asked)) for workload in workloads}

    monkeypatch.setattr(command.Entry, "is_there", lambda entry: entry.module != "torch")
    monkeypatch.setattr(command, "in_own_process", answer)
    return asked


def test_who_is_measured_at_what(processes, capsys):
    """We first, then those that are asked for, each at what it trains; or all that are there."""
    models = ["--workloads", f"{SIZE},mlp-256x8x32"]
    assert command.main(["--peers", "jax,numpy", "--rounds", "2", "--seconds", "0.25", *models]) == 0
    both = [SIZE, "mlp-256x8x32"]
    one_round = [("autollm", both, 0.25), ("jax", both, 0.25), ("numpy", [SIZE], 0.25)]
    assert processes == one_round * 2
    processes.clear()
    assert command.main(["--rounds", "1", "--workloads", "mlp-256x8x32"]) == 0
    assert [name for name, *_ in processes] == ["autollm", "jax-scan", "jax"]
    err = capsys.readouterr().err
    assert "left out: PyTorch, eager (torch is not installed)" in err
    processes.clear()
    assert command.main([]) == 0
    assert processes[0] == ("autollm", command.MEASURED, 0.5)
    assert len(processes) == 3 * 6, "three rounds of all that are there"
    assert cli.run(lambda: command.main(["--peers", "torch"])) == 2


def test_a_peer_may_be_named_twice_or_be_us(processes):
    assert command.main(["--peers", "numpy,autollm", "--rounds", "1", "--workloads", SIZE]) == 0
    assert [name for name, *_ in processes] == ["autollm", "numpy"]


@pytest.mark.parametrize(
    ("module", "program", "there"),
    [
        ("", "", True),
        ("json", "", True),
        ("no_such", "", False),
        ("", "no/such", False),
        ("json", "no/such", False),
    ],
)
def test_a_peer_is_there_if_all_that_it_needs_is(module, program, there):
    assert command.Entry("title", "x:Y", module=module, program=program).is_there() is there


def test_who_trains_which_model():
    for entry in command.PEERS.values():
        for workload in command.MEASURED:
            assert entry.trains(workload) == (WORKLOADS[workload].config.model in entry.models)
    assert [name for name, entry in command.PEERS.items() if entry.trains("gpt-16x16x32")] == [
        "autollm", "jax-scan", "jax", "torch", "torch-compiled"
    ]  # fmt: skip


# --- what is told -----------------------------------------------------------------------------------


def test_rates_and_ratios_are_medians_over_the_rounds(monkeypatch, capsys):
    """Each round's rates are divided by each other: their ratios are 4, 1 and 2."""
    rates = {("autollm", SIZE): [8.0, 3.0, 10.0], ("numpy", SIZE): [2.0, 3.0, 5.0]}
    monkeypatch.setattr(command, "measure", lambda options: rates)
    assert command.main(["--markdown"]) == 0
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()
    ]
    assert lines[0][1:] == [SIZE, "ratio"]
    assert lines[2:] == [["AutoLLM", "8", "1.00"], ["NumPy, derivatives by hand", "3", "2.00"]]


def test_who_is_not_at_its_best_is_told_after_the_tables(monkeypatch, capsys):
    large = SIZES[2]
    rates = {("autollm", large): [9.0], ("numpy", large): [4.0], ("c", large): [3.0], ("jax", large): [4.5]}
    monkeypatch.setattr(command, "measure", lambda options: rates)
    assert command.main([]) == 0
    _, note = capsys.readouterr().out.split("\n\n")
    assert "jax" not in note and note.count("\n") == 1
    assert note.startswith("C, vectors by hand is not at its best here") and "0.75 times" in note
    rates.pop(("c", large))
    assert command.main([]) == 0 and "\n\n" not in capsys.readouterr().out


def test_a_worker_tells_the_rates_of_what_it_was_asked(monkeypatch, capsys):
    monkeypatch.setattr(command, "stay_on_one_core", lambda: None)
    monkeypatch.setattr(command, "rate", lambda name, workload, seconds: [name, workload, seconds])
    arguments = ["--worker", "c", "--workloads", f"{SIZE},{SIZES[1]}", "--seconds", "0.25"]
    assert command.main(arguments) == 0
    assert json.loads(capsys.readouterr().out) == {size: ["c", size, 0.25] for size in SIZES[:2]}
