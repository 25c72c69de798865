"""The command: every peer in a process of its own, in turn, several times."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from shutil import which
from statistics import median

from autollm import cli
from autollm.errors import InputError
from autollm.learning.training import mean_loss
from autollm.models import parameters
from autollm.remarks import Remarks
from autollm.tables import number, table
from benchmarks.peers import Peer, Task
from benchmarks.peers.in_c import COMPILER
from benchmarks.peers.reference import deviation
from benchmarks.workloads import ALPHABET, SIZES, WORKLOADS

OURS = "autollm"
NUMPY = "numpy"
# What is measured, by name in the benchmark suite. Another model needs a row here, and a function in each
# module of a peer that is to train it.
MEASURED = [*SIZES, "mlp-256x8x32", "gpt-16x16x32"]
PRODUCT_BOUND = 1e6  # of a bag: from so many multiplications and additions in a step's products
WARM_UP = 500  # steps before the clock runs; after them a peer must have learned as much as we have
DEVIATION_LIMIT = 1e-3  # of a parameter after the given steps, from the reference
LOSS_LIMIT = 0.2  # nats, of the 0.8 that are learned by then; batches, and so losses, differ
ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "JAX_PLATFORMS": "cpu",
    "NPROC": "1",  # for XLA's pool of threads
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
}


@dataclass(frozen=True)
class Entry:
    """How a peer is called in the table, where its class is, and what it needs to be there."""

    title: str
    place: str  # module:class in this package
    module: str = ""  # that it needs
    program: str = ""  # that it needs
    models: tuple[str, ...] = ("bag",)  # that it trains

    def trains(self, name: str) -> bool:
        return WORKLOADS[name].config.model in self.models

    def load(self) -> type[Peer]:
        module, name = self.place.split(":")
        peer: type[Peer] = getattr(importlib.import_module(f"benchmarks.peers.{module}"), name)
        return peer

    def is_there(self) -> bool:
        module_is_there = not self.module or find_spec(self.module) is not None
        return module_is_there and (not self.program or which(self.program) is not None)


ALL = ("bag", "mlp", "gpt")
PEERS = {
    OURS: Entry("AutoLLM", "ours:Ours", models=ALL),
    "reordered": Entry("AutoLLM, reordered", "ours:Reordered"),
    "c": Entry("C, vectors by hand", "in_c:InC", program=COMPILER[0]),
    "jax-scan": Entry("JAX, 100 steps in a scan", "by_jax:JaxScan", "jax", models=ALL),
    NUMPY: Entry("NumPy, derivatives by hand", "by_numpy:ByNumpy"),
    "jax": Entry("JAX, one jitted step", "by_jax:JaxStep", "jax", models=ALL),
    "torch": Entry("PyTorch, eager", "by_torch:ByTorch", "torch", models=ALL),
    "torch-compiled": Entry("PyTorch, torch.compile", "by_torch:Compiled", "torch", "g++", models=ALL),
}


def build_parser() -> argparse.ArgumentParser:
    parser = cli.Parser(
        prog="python -m benchmarks.peers",
        description="Steps per second of a training step, written in other ways, beside ours: each on one\n"
        "core in a process of its own, in turn, after it was held against the same steps of a\n"
        "reference. Seconds are of processor time, so that what else runs on the machine weighs\n"
        "less. The ratio is ours to theirs, the median over the rounds: below 1, they are\n"
        "faster. What is not installed is left out; `pip install -e '.[peers]'` brings JAX and\n"
        "PyTorch, the variable CC names the C compiler, and CFLAGS the processor to compile\n"
        "for, instead of -march=native. PyTorch compiles for up to a minute each time.",
        epilog="example:  python -m benchmarks.peers --peers numpy,jax-scan --rounds 5 --markdown",
    )
    option = parser.add_argument
    option("--peers", type=cli.some(PEERS), metavar="NAME,...",
           help=f"which, beside ours: {', '.join(PEERS)} (default: all that are there)")  # fmt: skip
    option("--workloads", type=cli.some(MEASURED), default=MEASURED, metavar="NAME,...",
           help="the bag's batch x context x embedding, or a model's defaults: "
                f"{', '.join(MEASURED)} (default: all)")  # fmt: skip
    option("--rounds", type=cli.whole(1, 1000), default=3, metavar="N",
           help="how often each is measured; medians are shown (default: %(default)s)")  # fmt: skip
    option("--seconds", type=cli.positive_float, default=0.5, metavar="S",
           help="how long each time (default: %(default)s)")  # fmt: skip
    option("--markdown", action="store_true", help="a table to paste")
    option("--worker", choices=PEERS, help=argparse.SUPPRESS)
    return parser


def rate(name: str, workload: str, seconds: float) -> float:
    """A peer's steps per second. Raises InputError if it does not train as it should."""
    peer = PEERS[name].load()
    apart = deviation(peer, Task.named(workload))
    if not apart < DEVIATION_LIMIT:
        raise InputError(f"{name}, {workload}: a parameter is {apart:.2g} from the reference")
    trained, ours = peer(Task.named(workload)), PEERS[OURS].load()(Task.named(workload))
    losses = []
    for one in (trained, ours):
        one.run(WARM_UP)
        losses.append(loss(one, workload))
    if not abs(losses[0] - losses[1]) < LOSS_LIMIT:
        raise InputError(
            f"{name}, {workload}: the loss after {WARM_UP} steps is {losses[0]:.3f}, not {losses[1]:.3f}"
        )
    return timed(trained, seconds)


def loss(peer: Peer, workload: str) -> float:
    """The mean loss over all examples with a peer's parameters."""
    task, weights = Task.named(workload), peer.weights()
    for name, param in parameters(task.model).items():
        param.v[...] = weights[name]
    return mean_loss(task.model, task.examples)


def timed(peer: Peer, seconds: float) -> float:
    """Steps per second of the processor's time, in bursts of about a tenth of the time.

    On one core that is the time on the clock, less what other processes take of it.
    """
    steps, burst = 0, 100
    start = time.process_time()
    while (elapsed := time.process_time() - start) < seconds:
        if steps and burst * elapsed < 0.1 * seconds * steps:
            burst *= 2
        peer.run(burst)
        steps += burst
    return steps / elapsed


def stay_on_one_core() -> None:
    """Let this process and all threads that it will start run on one core, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def measure(options: argparse.Namespace) -> dict[tuple[str, str], list[float]]:
    """Rates of every peer at every workload that it trains, a round after the other."""
    talk = Remarks(quiet=False)
    names = list(dict.fromkeys([OURS, *(options.peers or PEERS)]))
    for name in names:
        if not PEERS[name].is_there():
            missing = f"{PEERS[name].title} ({PEERS[name].module or PEERS[name].program} is not installed)"
            if options.peers:
                raise InputError(f"--peers {name}: {missing}")
            talk(f"left out: {missing}")
    todo = {name: [w for w in options.workloads if PEERS[name].trains(w)] for name in names}
    todo = {name: workloads for name, workloads in todo.items() if workloads and PEERS[name].is_there()}
    rates: dict[tuple[str, str], list[float]] = {(n, w): [] for n, ws in todo.items() for w in ws}
    try:
        for count in range(options.rounds):
            for name, workloads in todo.items():
                talk.show(f"round {count + 1} of {options.rounds}: {PEERS[name].title}")
                for workload, found in in_own_process(name, workloads, options.seconds).items():
                    rates[name, workload].append(found)
    finally:
        talk.end_progress()
    return rates


def in_own_process(name: str, workloads: list[str], seconds: float) -> dict[str, float]:
    """A peer's rates at some workloads. Raises InputError with what the process said if it fails."""
    command = [sys.executable, "-m", "benchmarks.peers", "--worker", name]
    command += ["--workloads", ",".join(workloads), "--seconds", str(seconds)]
    done = subprocess.run(command, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True)
    if done.returncode < 0:
        raise InputError(f"{PEERS[name].title}: ended by {signal.Signals(-done.returncode).name}")
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise InputError(f"{PEERS[name].title}: {said[-1].removeprefix('autollm: error: ')}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def median_ratio(rates: dict[tuple[str, str], list[float]], one: str, other: str, workload: str) -> float:
    """How often one peer's rate is the other's, the median over the rounds."""
    return median(a / b for a, b in zip(rates[one, workload], rates[other, workload], strict=True))


def tables(rates: dict[tuple[str, str], list[float]], markdown: bool) -> str:
    """A table for each model, of its workloads."""
    parts = []
    for model in dict.fromkeys(WORKLOADS[workload].config.model for _, workload in rates):
        own = {pair: found for pair, found in rates.items() if WORKLOADS[pair[1]].config.model == model}
        workloads = list(dict.fromkeys(workload for _, workload in own))
        rows = []
        for name in dict.fromkeys(name for name, _ in own):
            cells = [PEERS[name].title]
            for w in workloads:
                cells += [number(median(own[name, w])), f"{median_ratio(own, OURS, name, w):.2f}"]
            rows.append(cells)
        header = ["steps per second, and ours to theirs", *(c for w in workloads for c in (w, "ratio"))]
        parts.append(table(header, rows, markdown=markdown))
    return "\n\n".join(parts)


def product_bound(workload: str) -> bool:
    """Whether a bag's step is mostly products: three, each of 2 B D V additions and multiplications."""
    one = WORKLOADS[workload]
    return 6 * one.batch * one.config.sizes["dim"] * ALPHABET.size > PRODUCT_BOUND


def not_at_their_best(rates: dict[tuple[str, str], list[float]]) -> list[str]:
    """A line for every rival that is slower than NumPy where a step is mostly products, which a library of
    NumPy's does well: one that is slower has something else in its way."""
    lines = []
    for name, workload in rates:
        if name in (OURS, NUMPY) or (NUMPY, workload) not in rates or not product_bound(workload):
            continue
        ratio = median_ratio(rates, name, NUMPY, workload)
        if ratio < 1:
            lines.append(
                f"{PEERS[name].title} is not at its best here: at {workload}, which is mostly products, "
                f"{ratio:.2f} times as fast as NumPy"
            )
    return lines


def main(argv: list[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    if options.worker:
        stay_on_one_core()
        print(json.dumps({w: rate(options.worker, w, options.seconds) for w in options.workloads}))
        return 0
    rates = measure(options)
    print(tables(rates, options.markdown))
    if notes := not_at_their_best(rates):
        print("", *notes, sep="\n")
    return 0


if __name__ == "__main__":
    cli.end(main)
