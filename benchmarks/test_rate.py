"""Rate: a copy of the training on every core that this process may use, all at once.

`step[...]` is the speed of one copy. What many reach together depends on what they
share: caches, memory, heat.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.copies import Copies
from benchmarks.workloads import MIXED, RATED, checked

SECONDS = 5  # in rounds of the others


@pytest.fixture(scope="session")
def copies() -> Iterator[Copies]:
    """Warm processes, which wait from one visit to the next."""
    found = Copies()
    for name in dict.fromkeys((*RATED, *MIXED)):
        found.train([name] * len(found), 0.001)  # loads the kernels, makes the examples
    yield found
    found.close()


@pytest.mark.visits(4)
@pytest.mark.parametrize("size", RATED)
def test_rate(measure_once: Any, round_seconds: float, copies: Copies, size: str) -> None:
    """Steps per second of all copies together, beside those of one copy alone at the same moment."""
    checked(size)
    seconds = SECONDS * round_seconds
    alone = copies.all[0].speed(size, seconds=seconds)

    def facts(done: list[dict[str, Any]]) -> dict[str, Any]:
        slowest = min(one["steps"] / one["seconds"] for one in done)
        work = sum(one["steps"] for one in done)
        return {"work": [work], "copies": len(copies), "alone": [alone], "slowest": [slowest]}

    measure_once(lambda: copies.train([size] * len(copies), seconds), "steps/s", facts)


@pytest.mark.visits(4)
def test_rate_mixed(measure_once: Any, round_seconds: float, copies: Copies) -> None:
    """Every core another model, in turn, so that each core trains each of them for as long.

    A step of one model is not one of another, so each counts by the speed of a reference core.
    """
    names = list(MIXED)
    rounds = [[names[(i + turn) % len(names)] for i in range(len(copies))] for turn in range(len(names))]

    def run() -> list[tuple[str, int]]:
        done = [(each, copies.train(each, SECONDS * round_seconds / 2)) for each in rounds]
        return [(name, one["steps"]) for each, all in done for name, one in zip(each, all, strict=True)]

    def facts(done: list[tuple[str, int]]) -> dict[str, Any]:
        return {"work": [sum(steps / MIXED[name] for name, steps in done)], "copies": len(copies)}

    measure_once(run, "reference cores", facts)
