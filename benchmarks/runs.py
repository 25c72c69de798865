"""Files of results: reading them, and refusing what is not one."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

SCHEMA = 1
TIMES = {"s": 1.0, "ms": 1e3, "ns": 1e9}  # units of rows that show a time; all others are rates


class BadInput(Exception):
    """A file or option that cannot be used; the message is one line."""


@dataclass(frozen=True)
class Series:
    """What one benchmark measured in one run: units of work per second, one row per visit."""

    unit: str
    speeds: npt.NDArray[np.float64]  # (visits, rounds)
    facts: dict[str, Any]

    @property
    def visits(self) -> npt.NDArray[np.float64]:
        """The median speed of each visit."""
        return np.median(self.speeds, axis=1)

    @property
    def speed(self) -> float:
        """The median over the visits."""
        return float(np.median(self.visits))

    def shown(self) -> float:
        """The median in `unit`: a rate, or a time."""
        return TIMES[self.unit] / self.speed if self.unit in TIMES else self.speed


@dataclass(frozen=True)
class Run:
    """A file of results."""

    path: Path
    label: str
    when: str
    fingerprint: dict[str, str]
    golden: dict[str, float]
    optimum: dict[str, float]
    machine: dict[str, Any]
    noise: dict[str, Any]
    smoke: bool
    series: dict[str, Series]


def parse(content: dict[str, Any], path: Path) -> Run:
    """A run from the contents of its file. KeyError, TypeError or ValueError if they are damaged."""
    ours = content["autollm"]
    series = {}
    for entry in content["benchmarks"]:
        facts = entry["extra_info"]
        speeds = np.array(facts["work"], float) / np.array(entry["stats"]["data"], float)
        if not (np.isfinite(speeds) & (speeds > 0)).all():
            raise ValueError(f"{entry['name']} has rounds without a duration")
        series[entry["name"].removeprefix("test_")] = Series(
            facts["unit"], speeds.reshape(facts["visits"], -1), facts
        )
    return Run(
        path,
        ours["label"],
        re.sub(r"T(\d\d:\d\d).*", r" \1", content["datetime"]),
        ours["fingerprint"],
        ours["golden"],
        ours["optimum"],
        content["machine_info"],
        ours["noise"],
        ours["smoke"],
        series,
    )


def load(path: Path) -> Run:
    """Read a file of results. Raises BadInput for anything else, and says what it is."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'not text'})") from None
    except ValueError as error:
        raise BadInput(f"{path}: not a whole JSON file, cut short or damaged ({error})") from None
    if not isinstance(content, dict) or "benchmarks" not in content:
        raise BadInput(f"{path}: not a file of benchmark results")
    if "autollm" not in content:
        raise BadInput(f"{path}: results of pytest-benchmark, but of another project")
    try:
        if content["autollm"]["schema"] > SCHEMA:
            raise BadInput(f"{path}: written by a newer version of this suite")
        run = parse(content, path)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path}: damaged results ({error!r})") from None
    if not run.series:
        raise BadInput(f"{path}: no benchmark in it")
    return run


def load_all(paths: list[Path]) -> tuple[list[Run], list[str]]:
    """Runs that can be compared with the first, and a line for each file that cannot.

    A folder stands for the results in it. What is wrong with a file of a folder is told, and the file
    left out; what is wrong with a file that was named is an error. The first of the newest fingerprint
    is what a folder's runs are compared with.
    """
    runs: list[Run] = []
    problems: list[str] = []
    named = [path for path in paths if not path.is_dir()]
    for path in [file for path in paths for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]:
        try:
            run = load(path)
            if twin := next((other for other in runs if _same(other, run)), None):
                raise BadInput(f"{path}: the same run as {twin.path}")
            runs.append(run)
        except BadInput as error:
            if path in named:
                raise
            problems.append(str(error))
    if runs:
        wanted = runs[0] if named else max(runs, key=lambda run: run.when)
        for run in runs:
            if run.fingerprint != wanted.fingerprint:
                problems.append(f"{run.path}: {_difference(wanted, run)}")
        runs = [run for run in runs if run.fingerprint == wanted.fingerprint]
    if len(runs) < 2:
        raise BadInput("; ".join([*problems, f"two runs are needed to compare, found {len(runs)}"]))
    return runs, problems


def _same(a: Run, b: Run) -> bool:
    return a.path.resolve() == b.path.resolve() or (
        a.series.keys() == b.series.keys()
        and all(np.array_equal(a.series[name].speeds, b.series[name].speeds) for name in a.series)
    )


def _difference(wanted: Run, run: Run) -> str:
    parts = [name for name in wanted.fingerprint if wanted.fingerprint[name] != run.fingerprint.get(name)]
    parts = [part for part in parts if part != "digest"]
    return f"not comparable with {wanted.path.name}, measured with another {' and '.join(parts)}"
