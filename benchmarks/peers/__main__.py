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
from autollm.remarks import Remarks
from autollm.tables import number, table
from benchmarks.peers import Peer, Task, deviation
from benchmarks.peers.in_c import COMPILER
from benchmarks.workloads import SIZES

OURS = "autollm"
WARM_UP = 500  # steps before the clock runs; after them a peer must have learned as much as we have
DEVIATION_LIMIT = 1e-3  # of a parameter after the given steps, from the reference in float64
LOSS_LIMIT = 0.2  # nats, of the 0.8 that are learned by then; batches, and so losses, differ
ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "JAX_PLATFORMS": "cpu",
    "NPROC": "1",  # for XLA's pool of threads
}


@dataclass(frozen=True)
class Entry:
    """How a peer is called in the table, where its class is, and what it needs to be there."""

    title: str
    place: str  # module:class in this package
    module: str = ""  # that it needs
    program: str = ""  # that it needs

    def load(self) -> type[Peer]:
        module, name = self.place.split(":")
        peer: type[Peer] = getattr(importlib.import_module(f"benchmarks.peers.{module}"), name)
        return peer

    def is_there(self) -> bool:
        module_is_there = not self.module or find_spec(self.module) is not None
        return module_is_there and (not self.program or which(self.program) is not None)


PEERS = {
    OURS: Entry("AutoLLM", "ours:Ours"),
    "reordered": Entry("AutoLLM, reordered", "ours:Reordered"),
    "c": Entry("C, vectors by hand", "in_c:InC", program=COMPILER[0]),
    "jax-scan": Entry("JAX, 100 steps in a scan", "by_jax:JaxScan", "jax"),
    "numpy": Entry("NumPy, derivatives by hand", "by_numpy:ByNumpy"),
    "jax": Entry("JAX, one jitted step", "by_jax:JaxStep", "jax"),
    "torch": Entry("PyTorch, eager", "by_torch:ByTorch", "torch"),
}


def build_parser() -> argparse.ArgumentParser:
    parser = cli.Parser(
        prog="python -m benchmarks.peers",
        description="Steps per second of the bag's training step, written in other ways, beside ours: each\n"
        "on one core in a process of its own, in turn, after it was held against the same\n"
        "steps in float64. The ratio is ours to theirs, the median over the rounds: below 1,\n"
        "they are faster. What is not installed is left out; `pip install -e '.[peers]'` brings\n"
        "JAX and PyTorch, and the variable CC names the C compiler.",
        epilog="example:  python -m benchmarks.peers --peers numpy,jax-scan --rounds 5 --markdown",
    )
    option = parser.add_argument
    option("--peers", type=cli.some(PEERS), metavar="NAME,...",
           help=f"which, beside ours: {', '.join(PEERS)} (default: all that are there)")  # fmt: skip
    option("--sizes", type=cli.some(SIZES), default=list(SIZES), metavar="SIZE,...",
           help=f"batch x context x embedding: {', '.join(SIZES)} (default: all)")  # fmt: skip
    option("--rounds", type=cli.whole(1, 1000), default=3, metavar="N",
           help="how often each is measured; medians are shown (default: %(default)s)")  # fmt: skip
    option("--seconds", type=cli.positive_float, default=0.5, metavar="S",
           help="how long each time (default: %(default)s)")  # fmt: skip
    option("--markdown", action="store_true", help="a table to paste")
    option("--worker", choices=PEERS, help=argparse.SUPPRESS)
    return parser


def rate(name: str, size: str, seconds: float) -> float:
    """A peer's steps per second. Raises InputError if it does not train as it should."""
    peer, task = PEERS[name].load(), Task.named(size)
    apart = deviation(peer, size)
    if not apart < DEVIATION_LIMIT:
        raise InputError(f"{name}, {size}: a parameter is {apart:.2g} from the reference")
    trained, ours = peer(task), PEERS[OURS].load()(Task.named(size))
    losses = []
    for one in (trained, ours):
        one.run(WARM_UP)
        losses.append(loss(one, size))
    if not abs(losses[0] - losses[1]) < LOSS_LIMIT:
        raise InputError(
            f"{name}, {size}: the loss after {WARM_UP} steps is {losses[0]:.3f}, not {losses[1]:.3f}"
        )
    return timed(trained, seconds)


def loss(peer: Peer, size: str) -> float:
    """The mean loss over all examples with a peer's parameters."""
    task = Task.named(size)
    task.model.E.v[...], task.model.W.v[...] = peer.weights()  # type: ignore[attr-defined]
    return mean_loss(task.model, task.examples)


def timed(peer: Peer, seconds: float) -> float:
    """Steps per second, in bursts of about a tenth of the time."""
    steps, burst = 0, 100
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        peer.run(burst)
        steps += burst
        if elapsed == 0 or burst < 0.1 * seconds * steps / elapsed:
            burst *= 2
    return steps / elapsed


def stay_on_one_core() -> None:
    """Let this process and all threads that it will start run on one core, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def measure(options: argparse.Namespace) -> dict[tuple[str, str], list[float]]:
    """Rates of every peer at every size, a round after the other."""
    talk = Remarks(quiet=False)
    names = list(dict.fromkeys([OURS, *(options.peers or PEERS)]))
    for name in names:
        if not PEERS[name].is_there():
            missing = f"{PEERS[name].title} ({PEERS[name].module or PEERS[name].program} is not installed)"
            if options.peers:
                raise InputError(f"--peers {name}: {missing}")
            talk(f"left out: {missing}")
    names = [name for name in names if PEERS[name].is_there()]
    rates: dict[tuple[str, str], list[float]] = {(n, size): [] for n in names for size in options.sizes}
    try:
        for count in range(options.rounds):
            for name in names:
                talk.show(f"round {count + 1} of {options.rounds}: {PEERS[name].title}")
                for size, found in in_own_process(name, options).items():
                    rates[name, size].append(found)
    finally:
        talk.end_progress()
    return rates


def in_own_process(name: str, options: argparse.Namespace) -> dict[str, float]:
    """A peer's rates at every size. Raises InputError with what the process said if it fails."""
    command = [sys.executable, "-m", "benchmarks.peers", "--worker", name]
    command += ["--sizes", ",".join(options.sizes), "--seconds", str(options.seconds)]
    done = subprocess.run(command, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True)
    if done.returncode < 0:
        raise InputError(f"{PEERS[name].title}: ended by {signal.Signals(-done.returncode).name}")
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise InputError(f"{PEERS[name].title}: {said[-1].removeprefix('autollm: error: ')}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(argv: list[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    if options.worker:
        stay_on_one_core()
        print(json.dumps({size: rate(options.worker, size, options.seconds) for size in options.sizes}))
        return 0
    rates = measure(options)
    rows = []
    for name in dict.fromkeys(name for name, _ in rates):
        cells = [PEERS[name].title]
        for size in options.sizes:
            pairs = zip(rates[OURS, size], rates[name, size], strict=True)
            cells += [number(median(rates[name, size])), f"{median(a / b for a, b in pairs):.2f}"]
        rows.append(cells)
    header = ["steps per second, and ours to theirs", *(c for size in options.sizes for c in (size, "ratio"))]
    print(table(header, rows, markdown=options.markdown))
    return 0


if __name__ == "__main__":
    cli.end(main)
