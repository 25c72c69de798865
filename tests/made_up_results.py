"""Results of benchmark runs that never happened: known numbers, for what reads and judges them."""

import json

import numpy as np

from benchmarks.compare.runs import SCHEMA, Series

VISITS, ROUNDS = 8, 2  # as many as the suite makes


def speeds(median, seed, spread=0.01):
    """Rounds of a benchmark: units of work per second, (visits, rounds)."""
    return median * (1 + spread * np.random.default_rng(seed).standard_normal((VISITS, ROUNDS)))


def series(median, seed, **options):
    return Series("steps/s", speeds(median, seed, **options), {"loss": []})


def entry(name, rounds, unit="steps/s", visits=VISITS, **facts):
    """What a file says of a benchmark: rounds of a second, in each of which so much was done."""
    rounds = np.ravel(rounds).tolist()
    extra = {"unit": unit, "work": rounds, "visits": visits, **facts}
    return {"name": f"test_{name}", "extra_info": extra, "stats": {"data": [1.0] * len(rounds)}}


def content(seed=0, steps=100_000.0, spread=0.01, **changes):
    """What `pytest --benchmark` leaves, as a dict. `changes` replace parts of its own block."""
    return {
        "datetime": f"2026-01-0{seed + 1}T10:00:00.000001",
        "machine_info": {"python": "3.11.7", "numba": "0.68.1", "cpu": {"brand": f"CPU {seed}", "cores": 2}},
        "benchmarks": [
            entry(f"step[{size}]", speeds(steps, seed, spread)) for size in ("64x3x32", "256x8x64")
        ],
        "autollm": {
            "schema": SCHEMA,
            "label": f"machine {seed}",
            "fingerprint": {"configuration": "c", "data": "d", "source": "s", "digest": "x"},
            "golden": {"64x3x32": 3.0, "256x8x64": 3.0},
            "optimum": {"64x3x32": 2.0, "256x8x64": 1.5},
            "probe": {"told": f"machine {seed} is quiet", "taken": 0.0},
            "noise": {"noisy": False, "why": []},
            "smoke": False,
            "complete": True,
            **changes,
        },
    }


def write(path, *arguments, **options):
    """A file of results; its name."""
    path.write_text(json.dumps(content(*arguments, **options)))
    return str(path)
