"""The training step as others write it: that it is the same step, and the command that measures it."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from commands import python

from autollm import cli
from autollm.learning.optim import Adam
from autollm.models import configure
from autollm.models.bag import ReorderedBag
from benchmarks.peers import Task, in_c
from benchmarks.peers import __main__ as command
from benchmarks.peers.reference import deviation
from benchmarks.workloads import SIZES, Workload

ROOT = Path(__file__).parent.parent
OURS = command.PEERS["autollm"].load()


class Doubled(command.PEERS["numpy"].load()):
    """A peer that learns twice as fast as it should."""

    def step(self, chosen, rate):
        super().step(chosen, 2 * rate)


class Idle(command.PEERS["numpy"].load()):
    """A peer that is very fast when nobody looks."""

    def run(self, steps):
        pass


@pytest.fixture
def warm(monkeypatch):
    """The command's processes start warm."""

    def run(line, env, **_):
        assert line[0] == sys.executable
        return python(*line[1:], warm="autollm", env=env)

    monkeypatch.setattr(command, "subprocess", SimpleNamespace(run=run))


def replace(monkeypatch, peer):
    """Put `peer` in the place of NumPy."""
    monkeypatch.setattr(command.Entry, "load", lambda entry: peer if "numpy" in entry.place else OURS)


PAIRS = [
    (name, workload)
    for name, entry in command.PEERS.items()
    for workload in (SIZES[0], *command.MEASURED[len(SIZES) :])
    if entry.trains(workload) and name != "torch-compiled"  # whose minutes only the command itself takes
]


def skip_if_missing(name):
    entry = command.PEERS[name]
    if not entry.is_there():
        pytest.skip(f"{entry.title} ({entry.module or entry.program} is not installed)")


@pytest.mark.parametrize(("name", "workload"), PAIRS)
def test_a_peer_makes_the_same_steps(name, workload):
    """The same parameters after given steps, and after drawn ones as small a loss as ours."""
    skip_if_missing(name)
    limit = 1e-5 if workload in SIZES else 2e-4  # Adam makes much of small differences
    assert deviation(command.PEERS[name].load(), Task.named(workload)) < limit
    assert command.rate(name, workload, 0.01) > 0


@pytest.mark.parametrize("name", ["numpy", "c"])
@pytest.mark.parametrize("size", SIZES[1:])
def test_a_peer_makes_the_same_steps_at_other_sizes(name, size):
    skip_if_missing(name)
    assert deviation(command.PEERS[name].load(), Task.named(size)) < 1e-4


@cache
def macros(*options, source=os.devnull):
    """What is defined after a C source, for these options."""
    command = [*in_c.COMPILER, *options, "-dM", "-E", "-x", "c", source]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def runs_here(flag):
    """Whether this processor has what a processor named by the flag has."""
    here = macros("-march=native")
    return all(f"{name} 1" in here for name in ("__AVX2__", "__FMA__", "__AVX512F__") if name in macros(flag))


@pytest.mark.parametrize(
    "flag", ["-march=native", "-march=skylake-avx512", "-march=haswell", "-march=x86-64"]
)
@pytest.mark.parametrize("sizes", [(64, 3, 32), (200, 5, 96), (5, 16, 64), (129, 1, 128)])
def test_the_c_makes_the_same_steps_on_every_processor_and_at_sizes_off_the_tiles(monkeypatch, flag, sizes):
    skip_if_missing("c")
    if not (re.search("x86_64|amd64", os.uname().machine) and runs_here(flag)):
        pytest.skip(f"this processor cannot run what is compiled with {flag}")
    if flag != "-march=native" and tiles(flag) == tiles("-march=native"):
        pytest.skip("-march=native makes the same of bag.c")
    monkeypatch.setattr(in_c, "PROCESSOR", [flag, "-O0"])  # which compiles in less time than -O3
    B, K, D = sizes
    task = Task.of(Workload(B, configure(context=K, dim=D), 0.5 / K, golden=0.0))
    assert deviation(in_c.InC, task, steps=5) < 1e-5


@pytest.mark.parametrize(
    ("flag", "lanes", "rows"),
    [("-march=skylake-avx512", 16, 8), ("-march=haswell", 8, 6), ("-march=x86-64", 4, 6)],
)
def test_the_c_has_vectors_as_wide_as_the_registers_and_tiles_that_fit_them(flag, lanes, rows):
    skip_if_missing("c")
    if not re.search("x86_64|amd64", os.uname().machine):
        pytest.skip("these are names of x86 processors")
    assert tiles(flag) == {f"#define LANES {lanes}", f"#define ROWS {rows}"}


def tiles(flag):
    """What bag.c makes of the registers that there are with a flag: its widths of vectors and tiles."""
    source = str(Path(in_c.__file__).with_name("bag.c"))
    sizes = [f"-D{name}={size}" for name, size in zip("BKDV", (64, 3, 32, 27), strict=True)]
    return set(re.findall(r"#define (?:LANES|ROWS) .*", macros(flag, *sizes, source=source)))


def test_where_products_are_most_of_a_step_who_is_slower_than_numpy_is_not_at_its_best():
    rates = {
        ("autollm", SIZES[0]): [9.0], ("numpy", SIZES[0]): [5.0], ("torch", SIZES[0]): [1.0],
        ("autollm", SIZES[2]): [9.0] * 3, ("numpy", SIZES[2]): [4.0, 1.0, 5.0],
        ("torch", SIZES[2]): [2.0, 9.0, 3.0], ("jax", SIZES[2]): [2.0, 2.0, 6.0],
    }  # fmt: skip
    (line,) = command.not_at_their_best(rates)
    assert line == (
        "PyTorch, eager is not at its best here: at 1024x16x128, which is mostly products, "
        "0.60 times as fast as NumPy"
    )
    without = {pair: found for pair, found in rates.items() if pair[0] != "numpy"}
    assert command.not_at_their_best(without) == []
    assert [command.product_bound(size) for size in SIZES] == [False, True, True]


def test_every_model_has_a_table_and_who_does_not_train_it_has_no_row(monkeypatch, capsys):
    def measure(options):
        return {("autollm", SIZES[0]): [8.0], ("numpy", SIZES[0]): [2.0],
                ("autollm", "mlp-256x8x32"): [6.0], ("jax", "mlp-256x8x32"): [3.0]}  # fmt: skip

    monkeypatch.setattr(command, "measure", measure)
    assert command.main([]) == 0
    bag, mlp = capsys.readouterr().out.split("\n\n")
    assert [line.split()[-2:] for line in bag.splitlines()[1:]] == [["8", "1.00"], ["2", "4.00"]]
    assert [line.split()[-2:] for line in mlp.splitlines()[1:]] == [["6", "1.00"], ["3", "2.00"]]
    assert "mlp-256x8x32" in mlp and "NumPy" not in mlp


def test_rates_of_learning_are_those_of_training(monkeypatch):
    """Every step of `train` asks for the rate that peers are told."""
    task, asked = Task.named("mlp-256x8x32"), []
    monkeypatch.setattr(Adam, "step", lambda optimiser, rate: asked.append(rate))
    OURS(task).run(7)
    np.testing.assert_allclose(task.rates(7), asked, rtol=1e-6)
    assert asked[0] == task.workload.rate


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

    monkeypatch.setattr(command.time, "process_time", lambda: now[0])
    assert command.timed(Counting(), 5.0) == pytest.approx(500)
    assert 5.0 <= now[0] < 6.5


def test_rounds_are_taken_in_turn_and_in_one_thread(monkeypatch, capsys):
    calls = []

    def run(arguments, env, **settings):
        calls.append(arguments[arguments.index("--worker") + 1])
        assert {env[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NPROC")} == {"1"}
        return subprocess.CompletedProcess(arguments, 0, f'{{"{SIZES[0]}": {len(calls)}}}', "")

    monkeypatch.setattr(command.subprocess, "run", run)
    assert command.main(["--peers", "numpy", "--rounds", "3", "--workloads", SIZES[0]]) == 0
    assert calls == ["autollm", "numpy"] * 3
    ours, numpy = capsys.readouterr().out.splitlines()[1:]
    assert ours.split()[-2:] == ["3", "1.00"], "the median of 1, 3 and 5"
    assert numpy.split()[-2:] == ["4", "0.75"]


def test_a_worker_stays_on_one_core_before_it_starts_a_thread(monkeypatch, capsys):
    done = []
    monkeypatch.setattr(command, "stay_on_one_core", lambda: done.append("stays"))
    monkeypatch.setattr(command, "rate", lambda *_: done.append("trains") or 5.0)
    assert command.main(["--worker", "numpy", "--workloads", SIZES[0]]) == 0
    assert done == ["stays", "trains"]
    assert json.loads(capsys.readouterr().out) == {SIZES[0]: 5.0}


def test_the_table(capsys, monkeypatch, warm):
    torch = command.Entry("PyTorch, eager", "by_torch:ByTorch", module="no_such")
    some = {"autollm": command.PEERS["autollm"], "torch": torch, "numpy": command.PEERS["numpy"]}
    monkeypatch.setattr(command, "PEERS", some)
    quick = ["--workloads", SIZES[0], "--seconds", "0.02", "--rounds", "1"]
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
        (["--workloads", "1x1x1"], "there is no '1x1x1'; there are 64x3x32,"),
        (["--rounds", "0"], "'0' is not a whole number from 1 to 1000"),
        (["--seconds", "nan"], "'nan' is not a finite number above 0"),
    ],
)
def test_options_that_cannot_be(capsys, arguments, message):
    assert cli.run(lambda: command.main(arguments)) == 2
    out, err = capsys.readouterr()
    assert not out and message in err and err.count("\n") == 1


def test_a_compiler_that_fails_ends_in_one_line(capsys, monkeypatch, warm):
    monkeypatch.setenv("CC", "false")
    monkeypatch.chdir(ROOT)  # where the processes are started that measure
    monkeypatch.setattr(command, "OURS", "c")  # so that no other comes first
    assert cli.run(lambda: command.main(["--peers", "c", "--workloads", SIZES[0], "--rounds", "1"])) == 2
    out, err = capsys.readouterr()
    message = "autollm: error: C, vectors by hand: false cannot compile bag.c: exit status 1\n"
    assert (out, err) == ("", message)


@pytest.mark.parametrize(
    ("compiler", "message"),
    [
        ("true -x", "true makes nothing of bag.c"),
        ("sh -c 'while [ $1 != -o ]; do shift; done; echo > $2' cc", "cannot load what sh made of bag.c: "),
        ("no/such", "cannot run the C compiler no/such: No such file or directory"),
    ],
)
def test_what_else_a_compiler_can_do_wrong(monkeypatch, compiler, message):
    monkeypatch.setattr(in_c, "COMPILER", shlex.split(compiler))
    with pytest.raises(command.InputError, match=f"(?i)^{message}"):
        in_c.InC(Task.named(SIZES[0]))


def test_a_compiler_that_is_not_installed(capsys, monkeypatch):
    entry = dataclasses.replace(command.PEERS["c"], program="no/such")
    monkeypatch.setitem(command.PEERS, "c", entry)
    assert cli.run(lambda: command.main(["--peers", "c"])) == 2
    assert capsys.readouterr().err == (
        "autollm: error: --peers c: C, vectors by hand (no/such is not installed)\n"
    )


def test_a_peer_that_crashes_ends_in_one_line(capsys, monkeypatch):
    crashed = subprocess.CompletedProcess([], -11, "", "")
    monkeypatch.setattr(command.subprocess, "run", lambda *_, **__: crashed)
    assert cli.run(lambda: command.main(["--peers", "numpy"])) == 2
    assert capsys.readouterr().err == "autollm: error: AutoLLM: ended by SIGSEGV\n"


def test_tasks_are_fresh():
    one, other = Task.named(SIZES[0]), Task.named(SIZES[0])
    one.model.E.v[...] = 0
    assert other.start["E"].any()
