"""The parts of `python -m benchmarks.peers`: what a peer is given, and what it does."""

from __future__ import annotations

import ctypes
import runpy
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from autollm.learning.examples import PADDING
from autollm.models import parameters
from benchmarks.peers import Task, by_numpy, in_c
from benchmarks.peers import __main__ as command
from benchmarks.peers.reference import deviation
from benchmarks.workloads import SIZES

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
def c():
    """The C, for examples of which only the last has the last letter."""
    if not command.PEERS["c"].is_there():
        pytest.skip("no C compiler is installed")
    task = Task.named(SIZE)
    rows = np.minimum(task.examples.rows, 25)
    rows[-1] = 26
    return in_c.InC(Task(task.workload, replace(task.examples, rows=rows), task.model))


def begin(c, task):
    """The C at the beginning of a task."""
    start = task.start
    c.bag.begin(in_c.place(c.windows), ctypes.c_int64(len(c.windows)), *map(in_c.place, start.values()))


def test_every_bag_in_c_has_weights_of_its_own(c):
    first, second = in_c.InC(c.task), in_c.InC(c.task)
    first.run(5)
    np.testing.assert_array_equal(second.weights()["E"], c.task.start["E"])
    assert (first.weights()["E"] != c.task.start["E"]).any()


def test_the_c_draws_every_batch_anew_from_all_examples(c):
    """Two runs from one state end apart, as their batches do; and every letter that can be read is."""
    found = []
    for _ in range(2):
        begin(c, c.task)
        c.run(5)
        found.append(c.weights()["E"])
    assert not np.array_equal(*found)
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
