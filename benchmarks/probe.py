"""How quiet is this machine? A fixed loop, repeated for ten seconds before anything is measured, tells."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.compare.verdict import LEAST_EFFECT
from benchmarks.noise import Activity

SECONDS = 10.0
TURNS = 5_000  # of the loop: some tenths of a millisecond
VISIT = 0.1  # seconds, as long as the rounds of a visit together
# A verdict wants its interval to lie farther from 1 than the visits lie apart: with eight visits whose middle
# two thirds span two standard deviations, a difference shows from about 3.2 of these on.
SHOWN = 1.6


def probe(seconds: float = SECONDS) -> dict[str, Any]:
    """Run the loop for so long; what it says about the core and its neighbours, for the file of results."""
    activity, durations = Activity(), []
    start = now = time.perf_counter()
    while now - start < seconds:
        for _ in range(TURNS):
            pass
        last, now = now, time.perf_counter()
        durations.append(now - last)
    return judge(np.array(durations)) | activity.so_far()


def judge(durations: np.ndarray) -> dict[str, Any]:
    """From the durations of one fixed loop, in seconds and in order:

    - `taken`, the part of the time in which the loop did not run: its best speed in a second, against all;
    - `clock`, how far that best speed moves from one second to another;
    - `visible`, the least difference between two runs that would show, with such visits;
    - `told`, all of it in a sentence.
    """
    ends = np.cumsum(durations)
    seconds = [durations[ends // 1 == second] for second in np.unique(ends // 1)]
    whole = [one for one in seconds if len(one) >= len(durations) / len(seconds) / 4]  # not a cut-off last
    best = np.array([np.percentile(one, 5) for one in whole])
    taken = 1 - float(sum(best * [len(one) for one in whole]) / sum(one.sum() for one in whole))
    clock = float(best.max() / best.min() - 1)
    visits = np.unique(ends // VISIT, return_counts=True)[1][:-1] if ends[-1] > 2 * VISIT else np.ones(1)
    low, high = np.percentile(visits, [16, 84])
    visible = max(LEAST_EFFECT, SHOWN * float(high / low - 1))
    told = f"neighbours take {taken:.0%} of this core and its clock moves by {clock:.0%}; differences below "
    if taken < 0.01 and clock < 0.01:
        told = "this core is quiet; differences below "
    return {
        "taken": round(taken, 4),
        "clock": round(clock, 4),
        "visible": round(visible, 4),
        "told": f"{told}{visible:.0%} will not show",
    }
