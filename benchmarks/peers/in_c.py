"""C: bag.c, compiled for one size and this processor. Needs `cc`."""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import RATE, Rows, Task

FLAGS = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC"]


def place(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


class InC:
    def __init__(self, task: Task) -> None:
        E, W = self.start = task.start
        (V, D), K = E.shape, task.examples.contexts.shape[1]
        sizes = {"B": task.workload.batch, "K": K, "D": D, "V": V}
        constants = [f"-D{name}={size}" for name, size in sizes.items()]
        with tempfile.TemporaryDirectory() as folder:
            library = os.path.join(folder, "bag.so")
            source = str(Path(__file__).with_name("bag.c"))
            subprocess.run(
                [os.environ.get("CC", "cc"), *FLAGS, *constants, "-o", library, source], check=True
            )
            self.library = ctypes.CDLL(library)
        self.windows = np.column_stack([task.examples.contexts, task.examples.targets])
        N = ctypes.c_int64(len(self.windows))
        self.library.begin(place(self.windows), N, ctypes.c_float(RATE), place(E), place(W))

    def follow(self, rows: Rows) -> None:
        self.library.follow(place(rows), ctypes.c_int64(len(rows)))

    def run(self, steps: int) -> None:
        self.library.run(ctypes.c_int64(steps))

    def weights(self) -> tuple[Any, Any]:
        E, W = (np.empty_like(values) for values in self.start)
        self.library.weights(place(E), place(W))
        return E, W
