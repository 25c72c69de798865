"""A process that trains when it is told to: warm, on a core of its own, with its orders on standard input.

    python -P worker.py CORE        CORE: a number, or "any"

An order is a line of JSON, {"workload": name} with {"steps": n} or {"seconds": s}; the answer is a line too,
{"steps": n, "seconds": s}, or {"error": why}; to {"golden": 1} it is {"loss": after these steps}. Steps that
were ordered are timed in processor time, which does not count others on the core; ordered seconds are those
of a clock. The first answer, before any order, is {"ready": true}. It ends with its input. It runs with the
autollm that its Python finds, which may be another version than the one that started it, and with that
version's benchmarks if they are beside it.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

# Where the processor's time comes in ticks of 16 ms (Windows), the clock is better for a burst.
_seconds = time.process_time if time.get_clock_info("process_time").resolution < 1e-3 else time.perf_counter


def find_benchmarks() -> None:
    """Let `benchmarks` be imported from beside autollm, or else from beside this file."""
    import autollm
    import autollm.kernels

    root = Path(autollm.__file__).parents[1]
    kernels = Path(str(autollm.kernels.__file__)).parent
    if kernels not in (root / "kernels", root / "autollm" / "kernels"):
        raise ImportError(f"autollm is in {root}, but its kernels are in {kernels}")
    has_own = (root / "benchmarks" / "workloads.py").exists()
    sys.path.append(str(root if has_own else Path(__file__).parents[1]))


def obey(order: dict[str, Any]) -> dict[str, Any]:
    """Train a fresh model as ordered; how many steps were made, in how long."""
    from benchmarks import workloads

    workload = workloads.WORKLOADS[order["workload"]]
    model = workloads.fresh_model(workload)
    if "golden" in order:
        return {"loss": workloads.golden_loss(order["workload"])}
    scatter = [np.empty(random.randrange(1, 4096), np.uint8) for _ in range(100)]  # other addresses
    if "steps" in order:
        start = _seconds()
        workloads.run_steps(order["steps"], model, workload)
        seconds = _seconds() - start
        return {"steps": order["steps"], "seconds": seconds}
    run = workloads.run_seconds(order["seconds"], model, workload)
    del scatter
    return {"steps": run.steps, "seconds": run.seconds}


def answer(content: dict[str, Any]) -> None:
    print(json.dumps(content), flush=True)


def main() -> None:
    if sys.argv[1] != "any" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(sys.argv[1])})
    try:
        find_benchmarks()
        answer({"ready": True})
        for line in sys.stdin:
            answer(obey(json.loads(line)))
    except Exception as error:
        answer({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
    os._exit(0)  # at once: Python would first take numba and LLVM apart, for 0.15 s
