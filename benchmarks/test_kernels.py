"""Each kernel that a step calls: its rate, its shares of the step and of the processor's peak. And its matrix
products beside NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autollm.buffers import aligned
from autollm.kernels.kernel import kernel
from autollm.kernels.matmul import matmul_wh_forward, product
from benchmarks.calibrators import OF_KERNELS
from benchmarks.tracing import KERNELS, kernels_of, repeat
from benchmarks.workloads import SIZES, checked


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("size", SIZES)
def test_kernel(measure: Any, size: str, kernel: str) -> None:
    """In a compiled loop. The arguments are those of a real step, before and after which they were copied."""
    workload, call = checked(size), kernels_of(size)[kernel]
    loop, arguments, beat = repeat(call.kernel), call.fresh_arguments(), np.zeros(1, np.int64)
    loop(1, beat, arguments)
    for found, expected in zip(arguments, call.after, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)

    def run(n: int, *arguments: Any) -> None:
        loop(n, beat, arguments)

    work, unit = call.work(kernel, workload)
    measure(
        run,
        call.fresh_arguments,
        unit,
        per_call=work,
        seconds=1 / 3,
        relative_to=OF_KERNELS if unit == "GFLOP/s" else None,
        work_per_call=work,
        calls_per_step=call.per_step,
    )


# The two halves of `matmul_wh_backward`.


@kernel("g (B, V), h (B, D), out (V, D)")
def product_for_w(g: Any, h: Any, out: Any) -> None:
    """out = g.T @ h"""
    B, V = g.shape
    product(g, 1, V, B, h, out, False)


@kernel("g (B, V), w (V, D), out (B, D)")
def product_for_h(g: Any, w: Any, out: Any) -> None:
    """out = g @ w"""
    V = g.shape[1]
    product(g, V, 1, V, w, out, False)


@pytest.mark.parametrize("factors", ["h@W.T", "g.T@h", "g@W"])
@pytest.mark.parametrize("size", SIZES)
def test_product(measure: Any, size: str, factors: str) -> None:
    """As Python calls it, beside `np.dot` called in the same way, on one thread (conftest.py)."""
    checked(size)
    w, h, g = kernels_of(size)["matmul_wh_backward"].fresh_arguments()[:3]
    ours, arguments, (a, b) = {
        "h@W.T": (matmul_wh_forward, (w, h), (h, w.T)),
        "g.T@h": (product_for_w, (g, h), (g.T, h)),
        "g@W": (product_for_h, (g, w), (g, w)),
    }[factors]
    out = aligned((len(a), b.shape[1]))
    ours(*arguments, out)
    np.testing.assert_allclose(out, np.dot(a, b), rtol=1e-5, atol=1e-6)

    def run(n: int) -> None:
        for _ in range(n):
            ours(*arguments, out)

    def by_numpy(n: int) -> None:
        for _ in range(n):
            np.dot(a, b, out)

    work = 2 * out.size * len(b) / 1e9
    others = OF_KERNELS | {"of_numpy": (by_numpy, work)}
    measure(run, tuple, "GFLOP/s", per_call=work, seconds=1 / 3, relative_to=others)
