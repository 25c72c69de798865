"""The parts of `python -m benchmarks.peers`: what a peer is given, who measures it, and what is told."""

from __future__ import annotations

import ctypes
import json
import os
import runpy
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from autollm import cli
from autollm.learning.examples import PADDING
from autollm.models import parameters
from benchmarks.peers import Task, by_numpy, in_c
from benchmarks.peers import __main__ as command
from benchmarks.peers.reference import deviation
from benchmarks.workloads import SIZES, WORKLOADS

SIZE = SIZES[0]
InputError = command.InputError


# --- what a peer is given ---------------------------------------------------------------------------


def test_a_task_is_all_that_a_peer_has_to_know():
    """Of windows: what stands in the contexts, and what comes next."""
    task = Task.named(SIZE)
    contexts, targets = task.examples.rows[:, :-1], task.examples.rows[:, -1]
    assert np.array_equal(task.targets[:, 0], targets) and task.targets.shape == (len(targets), 1)
    assert task.counts.sum() == contexts.size and task.counts.dtype == np.float32
    for row in (0, 7, len(contexts) - 1):
        assert task.counts[row].tolist() == np.bincount(contexts[row], minlength=27).tolist()
        assert task.letters[row].argmax(axis=1).tolist() == contexts[row].tolist()
    assert task.letters.sum() == contexts.size
    start, again = task.start, task.start
    start["E"][:] = 7
    assert not (again["E"] == 7).any() and not (task.model.E.v == 7).any(), "each peer starts from its own"


def test_a_task_of_whole_words_has_padding_that_is_no_letter_to_be_predicted():
    task = Task.named("gpt-16x16x32")
    letters, targets = task.examples.rows[:, :-1], task.targets
    assert targets.shape == letters.shape and (targets == PADDING).any()
    assert (task.letters.sum(axis=2) == 1).all()
    assert np.array_equal(task.letters.argmax(axis=2), np.where(letters == PADDING, 0, letters))


@pytest.mark.parametrize(
    "change",
    [{"optimiser": "adamw"}, {"schedule": "constant"}, {"clip": 1.0}],
    ids=lambda change: next(iter(change)),
)
def test_a_plan_that_peers_do_not_have_is_refused(monkeypatch, change):
    task = Task.named(SIZE)
    plan = task.plan(7)
    assert plan.budget.steps == 7 and plan.optimiser == "sgd"
    monkeypatch.setattr(type(task.workload), "plan", lambda *_: replace(plan, **change))
    with pytest.raises(ValueError, match="no clipping"):
        task.plan(7)


# --- what peers do ----------------------------------------------------------------------------------


def test_numpy_draws_every_batch_anew_from_all_examples(monkeypatch):
    """With the rates of so many steps, and from one run to the next."""
    task, steps = Task.named(SIZE), []
    peer = by_numpy.ByNumpy(task)
    monkeypatch.setattr(peer, "step", lambda chosen, rate: steps.append((chosen.copy(), rate)))
    peer.run(150)
    peer.run(100)
    batches = [tuple(chosen.tolist()) for chosen, _ in steps]
    assert len(set(batches)) == 250 and {len(batch) for batch in batches} == {64}
    assert {row for batch in batches for row in batch} == set(range(len(task.examples)))
    assert [rate for _, rate in steps] == [*task.rates(150), *task.rates(100)]


def large(task):
    """The task from a state in which logits are some hundreds, whose powers no float holds."""
    for param in parameters(task.model).values():
        param.v *= 60
    return task


def test_numpy_stays_with_numbers_however_large_the_logits():
    task = large(Task.named(SIZE))
    peer = by_numpy.ByNumpy(task)
    peer.follow(np.arange(3 * 64).reshape(3, 64))
    assert all(np.isfinite(value).all() for value in peer.weights().values())


@pytest.fixture(scope="module")
def c(tmp_path_factory):
    """The C, compiled once, for examples of which only the last has the last letter."""
    if not command.PEERS["c"].is_there():
        pytest.skip("no C compiler is installed")
    task = Task.named(SIZE)
    rows = np.minimum(task.examples.rows, 25)
    rows[-1] = 26
    library, compile_to = tmp_path_factory.mktemp("c") / "bag.so", in_c.compile_to
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            in_c,
            "compile_to",
            lambda target, sizes: (compile_to(library, sizes), shutil.copy(library, target)),
        )
        found = in_c.InC(Task(task.workload, replace(task.examples, rows=rows), task.model))
    found.library = library
    return found


def begin(c, task):
    """The C at the beginning of a task."""
    start = task.start
    c.bag.begin(in_c.place(c.windows), ctypes.c_int64(len(c.windows)), *map(in_c.place, start.values()))


def test_the_c_draws_every_batch_anew_from_all_examples(c, monkeypatch):
    """Two runs from one state end apart, as their batches do; and every letter that can be read is."""
    found = []
    for _ in range(2):
        begin(c, c.task)
        c.run(5)
        found.append(c.weights()["E"])
    assert not np.array_equal(*found)
    monkeypatch.setattr(in_c, "compile_to", lambda target, sizes: shutil.copy(c.library, target))
    fresh = in_c.InC(c.task)
    fresh.run(300)
    moved = (fresh.weights()["E"] != c.task.start["E"]).any(axis=1)
    assert np.array_equal(moved, c.task.counts.any(axis=0)) and moved[26]


def test_the_c_learns_as_we_do_by_the_same_rates(c):
    """At a rate that falls: with the first for all steps, the loss would end elsewhere."""
    begin(c, c.task)
    rates = np.zeros(40, np.float32)
    rates[0] = 0.5
    c.bag.run(in_c.place(rates), ctypes.c_int64(1))
    begin(c, c.task)
    before = c.weights()
    c.bag.run(in_c.place(rates[1:]), ctypes.c_int64(39))
    assert all(np.array_equal(before[name], value) for name, value in c.weights().items()), "rates of 0"
    c.bag.run(in_c.place(rates), ctypes.c_int64(40))
    after = c.weights()
    begin(c, c.task)
    c.bag.run(in_c.place(rates[:1]), ctypes.c_int64(1))
    apart = np.abs(after["E"] - before["E"]).max(), np.abs(c.weights()["E"] - before["E"]).max()
    assert 0 < apart[0] < 3 * apart[1], "one step has moved it, not forty"


def test_the_c_stays_with_numbers_however_large_the_logits(c):
    task = large(Task.named(SIZE))
    begin(c, task)
    rows = np.arange(3 * 64, dtype=np.int64).reshape(3, 64)
    c.follow(rows)
    peer = by_numpy.ByNumpy(task)
    peer.follow(rows)
    for name, value in c.weights().items():
        np.testing.assert_allclose(value, peer.weights()[name], rtol=1e-3, atol=1e-2)


def test_the_c_is_compiled_for_this_task_with_all_that_makes_it_fast(monkeypatch):
    asked = []
    monkeypatch.setattr(in_c, "PROCESSOR", ["-mcpu=abacus"])
    monkeypatch.setattr(in_c, "COMPILER", ["ccache", "cc"])
    done = subprocess.CompletedProcess(
        [], 1, "", "In file bag.c\nbag.c:1: error: oh\nbag.c:2: error: ah\nmade 2\n"
    )
    monkeypatch.setattr(in_c.subprocess, "run", lambda line, **_: asked.append(line) or done)
    with pytest.raises(InputError, match=r"^ccache cannot compile bag\.c: bag\.c:1: error: oh$"):
        in_c.InC(Task.named(SIZE))
    (line,) = asked
    assert line[:2] == ["ccache", "cc"] and {"-O3", "-shared", "-fPIC", "-mcpu=abacus"} <= {*line}
    assert {"-DB=64", "-DK=3", "-DD=32", "-DV=27"} <= {*line} and line[-1].endswith("bag.c")
    assert "-ffast-math" not in line, "which would change how others compute in this process"
    done.stderr = "one\nlast\n"
    with pytest.raises(InputError, match=r"bag\.c: last$"):
        in_c.InC(Task.named(SIZE))


@pytest.mark.parametrize(
    ("given", "compiler", "processor"),
    [
        ({}, ["cc"], ["-march=native"]),
        ({"CC": "", "CFLAGS": ""}, ["cc"], ["-march=native"]),
        ({"CC": "gcc -m64", "CFLAGS": "-march=haswell -g"}, ["gcc", "-m64"], ["-march=haswell", "-g"]),
    ],
)
def test_the_compiler_and_the_processor_are_those_of_the_environment(monkeypatch, given, compiler, processor):
    for name in ("CC", "CFLAGS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    found = runpy.run_path(in_c.__file__)
    assert (found["COMPILER"], found["PROCESSOR"]) == (compiler, processor)


def test_ours_makes_as_many_steps_as_it_is_asked(monkeypatch):
    made = []
    ours = command.PEERS["autollm"].load()(Task.named(SIZE))
    monkeypatch.setattr(
        "benchmarks.peers.ours.train", lambda model, examples, plan: made.append(plan.budget.steps)
    )
    ours.run(70)
    assert made == [70]


@pytest.mark.parametrize("off", [0.25, -0.25])
def test_the_deviation_is_that_of_the_worst_parameter(off):
    class Off(command.PEERS["numpy"].load()):
        def weights(self):
            return {"E": self.E, "W": self.W + np.where(np.arange(32) == 3, off, 0)}

    seen = []

    class Watched(command.PEERS["numpy"].load()):
        def follow(self, rows):
            seen.append(rows)
            super().follow(rows)

    assert deviation(Off, Task.named(SIZE)) == pytest.approx(0.25, abs=1e-4)
    assert deviation(Watched, Task.named(SIZE)) < 1e-4
    (rows,) = seen
    assert rows.shape == (20, 64) and len(np.unique(rows)) > 400, "twenty different batches"


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
