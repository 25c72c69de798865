"""Files of results: reading them, and refusing what is not one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

SCHEMA = 1
TIMES = {"s": 1.0, "ms": 1e3, "ns": 1e9}  # units of rows that show a time; all others are rates
PARTS = ("configuration", "data", "source")  # of a fingerprint
CALIBRATORS = ("dispatch", "interpreter", "fma", "memory")  # rows about the machine alone


class InputError(Exception):
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


@dataclass(frozen=True, eq=False)
class Run:
    """A file of results."""

    path: Path
    label: str
    identity: str  # the moment of its end, to the microsecond
    fingerprint: dict[str, str]
    golden: dict[str, float]
    optimum: dict[str, float]
    machine: dict[str, Any]
    noise: dict[str, Any]
    smoke: bool
    series: dict[str, Series]

    @property
    def when(self) -> str:
        """Date, hour and minute (UTC)."""
        return self.identity[:16].replace("T", " ")


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
        content["datetime"],
        ours["fingerprint"],
        ours["golden"],
        ours["optimum"],
        content["machine_info"],
        ours["noise"],
        ours["smoke"],
        series,
    )


def load(path: Path) -> Run:
    """Read a file of results. Raises InputError for anything else, and says what it is."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'not text'})"
        ) from None
    except ValueError as error:
        raise InputError(f"{path}: not a whole JSON file, cut short or damaged ({error})") from None
    if not isinstance(content, dict) or "benchmarks" not in content:
        raise InputError(f"{path}: not a file of benchmark results")
    if "autollm" not in content:
        raise InputError(f"{path}: results of pytest-benchmark, but of another project")
    try:
        if content["autollm"]["schema"] > SCHEMA:
            raise InputError(f"{path}: written by a newer version of this suite")
        run = parse(content, path)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged results ({error!r})") from None
    if not run.series:
        raise InputError(f"{path}: no benchmark in it")
    return run


def load_all(paths: list[Path], any_source: bool = False) -> tuple[list[Run], list[str]]:
    """Runs to be compared with the first of them, and a line for each file that is left out.

    A folder stands for the results in it; what cannot be used there is left out, while a file that was
    named must be good. All runs must have one fingerprint: the first's or, in a folder, the newest's; with
    `any_source` only its configuration and data.
    """
    parts = PARTS[:-1] if any_source else PARTS
    runs: list[Run] = []
    left_out: list[str] = []
    for path in paths:
        for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
            try:
                runs.append(_load_new(file, runs))
            except InputError as error:
                if not path.is_dir():
                    raise
                left_out.append(str(error))
    if runs:
        model = max(runs, key=lambda run: run.identity) if paths[0].is_dir() else runs[0]
        reasons = {run: _difference(model, run, parts) for run in runs}
        left_out += [f"{run.path}: {reason}" for run, reason in reasons.items() if reason]
        runs = [run for run in runs if not reasons[run]]
    if len(runs) < 2:
        raise InputError("; ".join([*left_out, f"two runs are needed to compare, found {len(runs)}"]))
    return runs, left_out


def _load_new(path: Path, runs: list[Run]) -> Run:
    """Load a run that is not among `runs` yet."""
    run = load(path)
    for other in runs:
        if other.identity == run.identity:
            raise InputError(f"{path}: the same run as {other.path}")
    return run


def _difference(model: Run, run: Run, parts: tuple[str, ...]) -> str:
    """Why two runs cannot be compared; nothing if they can."""
    others = [part for part in parts if model.fingerprint[part] != run.fingerprint[part]]
    if not others:
        return ""
    hint = "; --any-source compares versions of this program" if others == ["source"] else ""
    return f"not comparable with {model.path}, it measured another {' and another '.join(others)}{hint}"
