"""C: bag.c, compiled for one size and this processor, or for the one that CFLAGS says. Needs `cc`."""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from autollm.errors import InputError
from benchmarks.peers import Rows, Task, Weights

COMPILER = shlex.split(os.environ.get("CC") or "cc")
# What -ffast-math allows, by name: the option itself would change how the whole process, in which others
# compute too, treats numbers near 0.
FLOATS = "-fassociative-math -fno-signed-zeros -fno-trapping-math -freciprocal-math -ffinite-math-only"
PROCESSOR = shlex.split(os.environ.get("CFLAGS") or "-march=native")
FLAGS = ["-O3", *FLOATS.split(), "-fno-math-errno", "-shared", "-fPIC"]


def place(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


@cache
def compiled(command: tuple[str, ...]) -> bytes:
    """The library that a compiler makes of bag.c, made once in a process. Raises InputError with the first
    thing that the compiler says if it fails."""
    source = Path(__file__).with_name("bag.c")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "bag.so")
        arguments = [*command, "-o", str(library), str(source)]
        try:
            done = subprocess.run(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        except OSError as error:
            raise InputError(f"cannot run the C compiler {command[0]}: {error.strerror}") from None
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            first = next((line for line in said if "error" in line), said[-1])
            raise InputError(f"{command[0]} cannot compile {source.name}: {first}")
        try:
            return library.read_bytes()
        except OSError:
            raise InputError(f"{command[0]} makes nothing of {source.name}") from None


class InC:
    def __init__(self, task: Task) -> None:
        self.task, self.start = task, task.start
        E, W = self.start["E"], self.start["W"]
        (V, D), K = E.shape, task.workload.config.context
        sizes = {"B": task.workload.batch, "K": K, "D": D, "V": V}
        constants = [f"-D{name}={size}" for name, size in sizes.items()]
        content = compiled((*COMPILER, *FLAGS, *PROCESSOR, *constants))
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder, "bag.so")  # of its own, as are the variables in it
            library.write_bytes(content)
            try:
                self.bag = ctypes.CDLL(str(library))
            except OSError as error:
                raise InputError(f"cannot load what {COMPILER[0]} made of bag.c: {error}") from None
        self.windows = task.examples.rows  # C keeps a pointer to it
        N = ctypes.c_int64(len(self.windows))
        self.bag.begin(place(self.windows), N, place(E), place(W))

    def follow(self, rows: Rows) -> None:
        rates = self.task.rates(len(rows))  # named, so that it lives as long as C reads it
        self.bag.follow(place(rows), place(rates), ctypes.c_int64(len(rows)))

    def run(self, steps: int) -> None:
        rates = self.task.rates(steps)
        self.bag.run(place(rates), ctypes.c_int64(steps))

    def weights(self) -> Weights:
        found = {name: np.empty_like(value) for name, value in self.start.items()}
        self.bag.weights(place(found["E"]), place(found["W"]))
        return found
