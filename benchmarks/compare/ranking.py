"""Many machines: who is fastest, and whether a second run confirms a first one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import geometric_mean

from benchmarks.compare.runs import Run
from benchmarks.compare.verdict import NOT_COMPARABLE, SAME, Row, Verdict, differences

# Machines of one kind agree in these facts.
KIND = (
    *("cpu.model", "cpu.llvm_name", "cpu.llvm_features", "cpu.cores", "cpu.affinity"),
    *("python", "numpy", "numba", "llvmlite", "environment"),
)
STRAY = 0.05  # of 95 % intervals so many may miss


@dataclass(frozen=True)
class Standing:
    """A machine's place: its speed at one benchmark and the verdict on it (the first run's is None), and the
    geometric means of its ratios over all training steps, and over all rates; None where nothing compares."""

    run: int  # its number among the runs
    speed: float
    verdict: Verdict | None
    steps: float | None
    rates: float | None


def headline(rows: Sequence[Row]) -> Row | None:
    """The benchmark by which machines are sorted: the first training step that all have."""
    whole = (row for row in rows if row.name.startswith("step[") and None not in row.medians)
    return next(whole, None)


def ranking(rows: Sequence[Row]) -> list[Standing]:
    """All machines, the fastest first; none without a benchmark that all have."""
    row = headline(rows)
    if row is None:
        return []
    standings = [Standing(0, row.medians[0] or 0.0, None, 1.0, 1.0)]
    for i, verdict in enumerate(row.verdicts, 1):
        speed = row.medians[i] or 0.0
        standings.append(Standing(i, speed, verdict, _mean(rows, "step[", i), _mean(rows, "rate", i)))
    return sorted(standings, key=lambda one: -one.speed)


def _mean(rows: Sequence[Row], kind: str, i: int) -> float | None:
    """The geometric mean of a run's ratios over the rows whose names begin so."""
    verdicts = [row.verdicts[i - 1] for row in rows if row.name.startswith(kind)]
    ratios = [one.ratio for one in verdicts if one.ratio is not None]
    return geometric_mean(ratios) if ratios else None


def confirmation(first: Run, second: Run, rows: Sequence[Row]) -> tuple[bool, str]:
    """Whether a second run, on the same kind of machine, confirms the first, and a sentence that says so."""
    other = {
        fact: values
        for fact, values in differences([first, second]).items()
        if fact.startswith(KIND) and fact.split(".")[0] in ("cpu", *KIND)
    }
    if other:
        told = "; ".join(f"{fact} is {a} in A and {b} in B" for fact, (a, b) in other.items())
        return False, f"B cannot confirm A, since the machines are not of one kind: {told}."
    incomplete = [name for name, run in (("A", first), ("B", second)) if not run.complete]
    if incomplete:
        return False, f"B cannot confirm A: {' and '.join(incomplete)} did not make every visit."
    verdicts = {row.name: row.verdicts[0] for row in rows if row.verdicts[0].word != NOT_COMPARABLE}
    if not verdicts:
        return False, "B cannot confirm A: nothing in them can be compared."
    differ = [f"{name} ({one.ratio:.2f})" for name, one in verdicts.items() if one.word != SAME]
    told = f"in {len(verdicts) - len(differ)} of {len(verdicts)} rows no difference is shown"
    if differ:
        told += f", but in {', '.join(differ)}"
    is_confirmed = len(differ) <= STRAY * len(verdicts)
    return is_confirmed, f"B {'confirms' if is_confirmed else 'does not confirm'} A: {told}."
