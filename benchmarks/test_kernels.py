"""Each kernel that a step calls, in a compiled loop: its rate, and its share of the step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.tracing import kernels_of, repeat
from benchmarks.workloads import SIZES, checked


@pytest.mark.parametrize("kernel", kernels_of(SIZES[0]))
@pytest.mark.parametrize("size", SIZES)
def test_kernel(measure: Any, size: str, kernel: str) -> None:
    """The arguments are those of a real step, before and after which they were copied."""
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
        work_per_call=work,
        calls_per_step=call.per_step,
    )
