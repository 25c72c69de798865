"""Comparing runs: ratios with intervals, a word for each, and what may explain them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.compare.runs import OF_KERNELS, OF_STEPS, Run, Series

CONFIDENCE = 0.95
RESAMPLES = 5000
SHORT = 8  # a list of so many is told in full
LEAST_EFFECT = 0.02  # a smaller difference is never called one

# How rows are ordered: what a user feels first, what the machine alone can do last.
ORDER = (
    *("step", "one_second", "rate", "rate_mixed"),
    *("ceiling", "forward", "forward_backward", "update", "draw", "sampling"),
    *("import", "first_step_warm", "first_step_cold", "prompt_to_prompt", "default_run", "kernel", "product"),
    *("batch", "words"),
)

FASTER, SLOWER, SAME, NOT_COMPARABLE = "faster", "slower", "no difference shown", "not comparable"


@dataclass(frozen=True)
class Verdict:
    """A speed relative to the first run's (above 1: faster), its interval, and the word for it."""

    word: str
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Row:
    """One benchmark: its median in each run (in `unit`), and a verdict for each but the first. Of a kernel,
    its share of the fma calibrator's peak in each run, and of a product its speed relative to np.dot."""

    name: str
    unit: str
    medians: list[float | None]
    verdicts: list[Verdict]
    of_peak: Sequence[float | None] = ()
    of_numpy: Sequence[float | None] = ()


@dataclass(frozen=True)
class Expectation:
    """The training step's ratio, as the calibrators let one expect it, with its interval, and as measured."""

    name: str
    python_share: float
    expected: float
    low: float
    high: float
    measured: float


def compare(runs: list[Run]) -> list[Row]:
    """One row per benchmark that any of the runs has."""
    rows = []
    for name in sorted(dict.fromkeys(name for run in runs for name in run.series), key=_place):
        series = [run.series.get(name) for run in runs]
        rows.append(
            Row(
                name,
                next(s.unit for s in series if s),
                [s.shown() if s else None for s in series],
                [judge(name, runs[0], run) for run in runs[1:]],
                *([s.relative(other) if s else None for s in series] for other in OF_KERNELS),
            )
        )
    return rows


def _place(name: str) -> int:
    """Where a benchmark stands in the table; those of one kind stay as they were measured."""
    kind = name.split("[")[0]
    return ORDER.index(kind) if kind in ORDER else len(ORDER)


def judge(name: str, first: Run, other: Run) -> Verdict:
    """What can be said about one benchmark in two runs."""
    a, b = first.series.get(name), other.series.get(name)
    if a is None or b is None:
        return Verdict(NOT_COMPARABLE, reason="not measured in both")
    if a.unit != b.unit:
        return Verdict(NOT_COMPARABLE, reason=f"measured in {a.unit} and in {b.unit}")
    if first.smoke or other.smoke:
        return Verdict(NOT_COMPARABLE, reason="a smoke run")
    if min(len(a.speeds), len(b.speeds)) < 2:
        return Verdict(NOT_COMPARABLE, reason="visited only once, so nothing is known of its noise")
    measured = name.partition("[")[2].rstrip("]")
    workloads = [one for one in first.golden if f"{measured}-".startswith(f"{one}-")]
    if not all(one in other.golden for one in workloads):
        return Verdict(NOT_COMPARABLE, reason="the golden steps were not made in both")
    if any(abs(other.golden[one] / first.golden[one] - 1) > 1e-3 for one in workloads):
        return Verdict(NOT_COMPARABLE, reason="the golden steps end with another loss")
    return verdict(a, b)


def verdict(a: Series, b: Series) -> Verdict:
    """The ratio of the medians, its bootstrap interval over visits, and a word.

    Rounds of one visit are alike, so it is visits that are drawn again. A difference is shown when
    the whole interval lies farther from 1 than the visits of either run lie apart by themselves: a
    machine that was at half its speed for half of a run has shown nothing.
    """
    from scipy.stats import bootstrap

    def ratio_of(x: Any, y: Any, axis: int = -1) -> Any:
        return _median(y, axis) / _median(x, axis)

    ratio = float(ratio_of(a.visits, b.visits))
    interval = bootstrap(
        (a.visits, b.visits),
        ratio_of,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    low, high = float(interval.low), float(interval.high)
    margin = max(LEAST_EFFECT, spread_of_visits(a), spread_of_visits(b))
    word = FASTER if low > 1 + margin else SLOWER if high < 1 / (1 + margin) else SAME
    return Verdict(word, ratio, low, high)


def _median(values: Any, axis: int) -> Any:
    """np.median, in a quarter of its time for thousands of short rows."""
    ordered = np.sort(values, axis=axis)
    count = ordered.shape[axis]
    return (ordered.take((count - 1) // 2, axis) + ordered.take(count // 2, axis)) / 2


def spread_of_visits(series: Series) -> float:
    """How far apart the middle two thirds of a run's visits lie, relative to their size.

    Of a normal distribution these are all within one standard deviation of its mean.
    """
    low, high = np.percentile(series.visits, [16, 84])
    return float(high / low - 1)


def expectations(first: Run, other: Run) -> list[Expectation]:
    """If a step's Python ran as the interpreter loop does, and its kernels as the multiply-adds do.

    Both were measured beside the step's own visits. Only a difference that was shown is explained, and only
    if the calibrators are known better than that difference is large.
    """
    found = []
    for name, step in first.series.items():
        ceiling, theirs = first.series.get(name.replace("step[", "ceiling[")), other.series.get(name)
        if not name.startswith("step[") or ceiling is None or theirs is None:
            continue
        measured = judge(name, first, other)
        if measured.word not in (FASTER, SLOWER) or not all(s.facts[OF_STEPS[0]] for s in (step, theirs)):
            continue
        python = max(1 - step.speed / ceiling.speed, 0.0)
        interpreter, fma = (verdict(step.beside(name), theirs.beside(name)) for name in OF_STEPS)
        expected, low, high = (
            1 / (python / getattr(interpreter, end) + (1 - python) / getattr(fma, end))
            for end in ("ratio", "low", "high")
        )
        assert measured.ratio is not None
        if high - low < abs(measured.ratio - 1):
            found.append(Expectation(name, python, expected, low, high, measured.ratio))
    return found


def differences(runs: list[Run]) -> dict[str, list[str]]:
    """What is not the same in all machines: a value for each run. Of long lists, what not all have."""
    facts = [_flat(run.machine) for run in runs]
    result = {}
    for key in dict.fromkeys(key for fact in facts for key in fact):
        values = [fact.get(key) for fact in facts]
        if all(value == values[0] for value in values):
            continue
        if all(isinstance(value, list) for value in values) and max(map(len, values)) > SHORT:  # type: ignore[arg-type]
            shared = set.intersection(*(set(value) for value in values))  # type: ignore[arg-type]
            result[key] = [_spell([item for item in value if item not in shared]) for value in values]  # type: ignore[union-attr]
        else:
            result[key] = [_spell(value) for value in values]
    return result


def _flat(facts: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in facts.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _spell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)
