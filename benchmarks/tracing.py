"""Which kernels a training step calls, with what, and how often: seen by watching a real one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from numba import njit
from numba.core.dispatcher import Dispatcher

from autollm.buffers import aligned
from autollm.kernels.kernel import dispatcher_of
from benchmarks.workloads import ALPHABET, WORKLOADS, Workload, block_of, fresh_model, run_steps

Sizes = tuple[int, int, int, int]

EXP = 20  # operations of an e**x, as simd_llvm.py has it

# Operations per call of the kernels that compute. The others are measured by the bytes of their arguments,
# each array counted once.
FLOPS: dict[str, Callable[[int, int, int, int], int]] = {
    "embedding_bag_forward": lambda B, K, D, V: B * K * D,
    "embedding_bag_backward": lambda B, K, D, V: B * K * D,
    "matmul_wh_forward": lambda B, K, D, V: 2 * B * V * D,
    "matmul_wh_backward": lambda B, K, D, V: 4 * B * V * D,
    "xent_from_logits_forward": lambda B, K, D, V: (EXP + 4) * B * V,  # largest, difference, sum, scale
    "sgd_update": lambda B, K, D, V: 2 * 2 * V * D,
}
KERNELS = ("draw", *FLOPS)  # all that a bag's step calls


@dataclass
class Call:
    """A kernel with copies of the arguments of one call, before and after it, and its calls per step."""

    kernel: Any
    before: tuple[Any, ...]
    after: tuple[Any, ...]
    per_step: float = 0.0

    def fresh_arguments(self) -> tuple[Any, ...]:
        """The arguments as they were before the call, free to be overwritten."""
        return _copies(self.before)

    def work(self, name: str, workload: Workload) -> tuple[float, str]:
        """What one call does, in units of 1e9: operations (GFLOP/s) or bytes (GB/s)."""
        if name in FLOPS:
            config: Any = workload.config
            sizes = (workload.batch, config.context, config.sizes["dim"], ALPHABET.size)
            return FLOPS[name](*sizes) / 1e9, "GFLOP/s"
        return sum(a.nbytes for a in self.before if isinstance(a, np.ndarray)) / 1e9, "GB/s"


@cache
def kernels_of(name: str) -> dict[str, Call]:
    """The kernels that a block of this workload's training steps calls, by name."""
    workload, calls = WORKLOADS[name], dict[str, Call]()
    steps = block_of(workload)

    def watched(kernel: Any) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            before = _copies(args)
            result = kernel(*args)
            entry = calls.setdefault(kernel.__name__, Call(kernel, before, _copies(args)))
            entry.per_step += 1 / steps
            return result

        return call

    with pytest.MonkeyPatch.context() as patch:
        modules = [module for name, module in sys.modules.items() if name.startswith("autollm.")]
        for module in modules:
            if ".kernels" not in module.__name__:
                for key, value in list(vars(module).items()):
                    if isinstance(dispatcher_of(value), Dispatcher):
                        patch.setattr(module, key, watched(value))
        run_steps(steps, fresh_model(workload), workload)
    return calls


@cache
def repeat(kernel: Any) -> Any:
    """A compiled loop that calls `kernel` with the same arguments: its time without Python's dispatch.

    The loop also writes to an array that could be any of the arguments, or else a compiler might see
    that every turn does the same, and do it once.
    """

    compiled = dispatcher_of(kernel)

    @njit
    def loop(times: int, beat: Any, arguments: Any) -> None:
        for i in range(times):
            beat[0] = i
            compiled(*arguments)

    return loop


def _copies(args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_copy(a) if isinstance(a, np.ndarray) else a for a in args)


def _copy(array: np.ndarray) -> np.ndarray:
    """A copy that begins at a cache line, as most arrays of a step do."""
    if array.dtype != np.float32:
        return array.copy()
    copy = aligned(array.shape)
    copy[...] = array
    return copy
