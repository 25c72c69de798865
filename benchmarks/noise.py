"""Was the run disturbed? How far its rounds spread and drift, and what else the machine did."""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

SPREAD_LIMIT = 0.03  # interquartile range of the rounds, relative to their median
DRIFT_LIMIT = 0.02  # last third of the rounds against the first
BUSY_LIMIT = 0.1  # cores that other programs kept busy
STEAL_LIMIT = 0.01  # share of the time in which a virtual machine was not given its core
STAT = Path("/proc/stat")
JUDGED = "test_step"  # by the benchmarks that start so


class Activity:
    """What the machine does beside us, from now on. Empty where /proc does not exist."""

    def __init__(self) -> None:
        self._start, self._cpu = time.perf_counter(), _cpu_seconds()
        self._load = _load()

    def so_far(self) -> dict[str, float]:
        elapsed, now = time.perf_counter() - self._start, _cpu_seconds()
        facts = {"seconds": elapsed}
        if self._load is not None:
            facts |= {"load_before": self._load, "load_after": _load() or 0.0}
        if self._cpu and now:
            busy, ours, steal = (after - before for before, after in zip(self._cpu, now, strict=True))
            facts |= {"others_busy_cores": max(busy - ours, 0.0) / elapsed, "steal": steal / elapsed}
        return {name: round(value, 3) for name, value in facts.items()}


def _load() -> float | None:
    """The load average of the last minute."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _cpu_seconds() -> tuple[float, float, float] | None:
    """CPU seconds so far: of everybody, of us and our children, and stolen by other machines."""
    try:
        line = STAT.read_text().split("\n", 1)[0].split()
    except OSError:
        return None
    user, nice, system, _idle, _wait, irq, softirq, steal = (int(ticks) for ticks in line[1:9])
    hertz, own = os.sysconf("SC_CLK_TCK"), os.times()
    ours = own.user + own.system + own.children_user + own.children_system
    return (user + nice + system + irq + softirq) / hertz, ours, steal / hertz


def of_rounds(durations: list[float], work: list[float]) -> dict[str, float]:
    """A benchmark's spread (interquartile range) and drift (last third of its rounds against the
    first), in seconds per unit of work, relative to the median."""
    seconds = np.array(durations) / np.array(work)
    third = max(len(seconds) // 3, 1)
    low, middle, high = np.percentile(seconds, [25, 50, 75])
    drift = np.median(seconds[-third:]) / np.median(seconds[:third]) - 1
    return {"spread": round(float((high - low) / middle), 4), "drift": round(float(drift), 4)}


def of_run(entries: list[dict[str, Any]], activity: dict[str, float]) -> dict[str, Any]:
    """Whether a run was noisy, and why it says so."""
    judged = [entry["extra_info"] for entry in entries if entry["name"].startswith(JUDGED)]
    spread = median([info["spread"] for info in judged] or [0.0])
    drift = median([abs(info["drift"]) for info in judged] or [0.0])
    why = []
    if spread > SPREAD_LIMIT:
        why.append(f"rounds of the training step spread by {spread:.1%} (limit {SPREAD_LIMIT:.0%})")
    if drift > DRIFT_LIMIT:
        why.append(f"the training step drifted by {drift:.1%} during the run (limit {DRIFT_LIMIT:.0%})")
    if activity.get("others_busy_cores", 0) > BUSY_LIMIT:
        why.append(f"other programs kept {activity['others_busy_cores']:.1f} cores busy")
    if activity.get("steal", 0) > STEAL_LIMIT:
        why.append(f"the host took {activity['steal']:.1%} of the time away from this virtual machine")
    return {"noisy": bool(why), "why": why, "spread": spread, "drift": drift, **activity}
