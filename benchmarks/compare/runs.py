"""Files of results: reading them, and refusing what is not one.

Everything that comes from a file is checked here, once: what a `Run` holds can be used as it is.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from autollm.errors import InputError

SCHEMA = 2
TIMES = {"s": 1.0, "ms": 1e3, "ns": 1e9}  # units of rows that show a time; all others are rates
PARTS = ("configuration", "data", "source")  # of a fingerprint
CALIBRATORS = ("dispatch", "interpreter", "fma", "memory")  # rows about the machine alone
OF_STEPS = ("interpreter", "fma")  # those that run beside each visit to a training step
OF_KERNELS = (
    "of_peak",
    "of_numpy",
)  # speeds relative to fma beside each visit, and to np.dot
MAX_BYTES = 64 * 2**20
LARGEST = 1e30  # no amount, duration or loss is above it, or below its inverse: ratios stay finite
DEEPEST = 20  # levels of dicts and lists in each other

T = TypeVar("T")


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

    def beside(self, calibrator: str) -> Series:
        """What a calibrator did at the moments of these visits."""
        return Series("turns/s", np.array(self.facts[calibrator])[:, None], {})

    def relative(self, other: str) -> float | None:
        """The median of its speed relative to what ran beside its visits; None where nothing did."""
        found = self.facts[other]
        return float(np.median(found)) if found else None

    def shown(self) -> float:
        """The median in `unit`: a rate, or a time."""
        return TIMES[self.unit] / self.speed if self.unit in TIMES else self.speed


@dataclass(frozen=True, eq=False)
class Run:
    """A file of results. All texts in it can be printed on one line."""

    path: Path
    label: str
    identity: str  # the moment of its end, to the microsecond
    fingerprint: dict[str, str]
    golden: dict[str, float]
    optimum: dict[str, float]
    machine: dict[str, Any]
    probe: str  # how quiet the machine was before measuring, in a sentence
    noise: dict[str, Any]
    smoke: bool
    complete: bool
    series: dict[str, Series]

    @property
    def when(self) -> str:
        """Date, hour and minute (UTC)."""
        return self.identity[:16].replace("T", " ")


def plain(text: str) -> str:
    """A text with a space for every character that has no place in a line: breaks, control characters."""
    return "".join(c if c.isprintable() else " " for c in text).strip()


def file_stem(label: str) -> str:
    """How the name of a file of results begins."""
    return re.sub(r"[^a-z0-9]+", "-", label.lower())[:80].strip("-") or "machine"


def parse(content: dict[str, Any], path: Path) -> Run:
    """A run from the contents of its file. Raises ValueError, saying which part is missing or wrong."""
    ours = _part(content, "autollm", dict)
    schema = _part(ours, "schema", int)
    if schema != SCHEMA:
        raise ValueError(
            f"schema {schema} of a {'newer' if schema > SCHEMA else 'older'} version of this suite"
        )
    noise = _printable(_part(ours, "noise", dict))
    _part(noise, "noisy", bool)
    if not all(isinstance(reason, str) for reason in _part(noise, "why", list)):
        raise ValueError("'why' is not a list of texts")
    series = {}
    for entry in _part(content, "benchmarks", list):
        name = _text(entry, "name").removeprefix("test_")
        series[name] = _series(name, entry)
    if not series:
        raise ValueError("no benchmark in it")
    fingerprint = _part(ours, "fingerprint", dict)
    return Run(
        path,
        _text(ours, "label"),
        _text(content, "datetime"),
        {part: _text(fingerprint, part) for part in PARTS},
        _losses(ours, "golden"),
        _losses(ours, "optimum"),
        _printable(_part(content, "machine_info", dict)),
        _text(_part(ours, "probe", dict), "told"),
        noise,
        _part(ours, "smoke", bool),
        _part(ours, "complete", bool),
        series,
    )


def _series(name: str, entry: Any) -> Series:
    """A benchmark's rounds. Raises ValueError unless each has a positive duration and amount of work."""
    facts = _part(entry, "extra_info", dict)
    work = _part(facts, "work", list)
    seconds = _part(_part(entry, "stats", dict), "data", list)
    visits = _part(facts, "visits", int)
    if len(work) != len(seconds) or visits < 1 or not work or len(work) % visits:
        raise ValueError(f"{name}: {len(work)} amounts of work, {len(seconds)} durations, {visits} visits")
    pairs = zip(work, seconds, strict=True)
    speeds = [_positive(f"{name}: work", one) / _positive(f"{name}: duration", s) for one, s in pairs]
    beside = (*OF_STEPS, *OF_KERNELS)
    lists = {key: _part({key: []} | facts, key, list) for key in ("loss", *beside)}
    found = {key: [_positive(f"{name}: {key}", one) for one in values] for key, values in lists.items()}
    if any(len(found[key]) not in (0, visits) for key in beside):
        raise ValueError(f"{name}: not as many calibrators as its {visits} visits")
    return Series(_text(facts, "unit"), np.array(speeds).reshape(visits, -1), facts | found)


def _part(content: Any, key: str, kind: type[T]) -> T:
    """What a dict has under a key, which must be of that kind."""
    if not isinstance(content, dict) or key not in content:
        raise ValueError(f"{key!r} is missing")
    if type(content[key]) is not kind:
        raise ValueError(f"{key!r} is not a {kind.__name__}")
    value: T = content[key]
    return value


def _text(content: Any, key: str) -> str:
    return plain(_part(content, key, str))


def _losses(content: dict[str, Any], key: str) -> dict[str, float]:
    """Positive numbers by the names of workloads."""
    return {plain(name): _positive(key, value) for name, value in _part(content, key, dict).items()}


def _positive(what: str, value: Any) -> float:
    if type(value) not in (int, float) or not 1 / LARGEST < value < LARGEST:
        raise ValueError(f"{what} is {str(value)[:40]!r}, not a number from {1 / LARGEST:g} to {LARGEST:g}")
    return float(value)


def _printable(value: Any, depth: int = 0) -> Any:
    """A value from JSON that can be written again: texts on one line, numbers finite or None."""
    if depth > DEEPEST:
        raise ValueError(f"more than {DEEPEST} levels in each other")
    if isinstance(value, dict):
        return {plain(key): _printable(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list):
        return [_printable(one, depth + 1) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return plain(value) if isinstance(value, str) else value


def load(path: Path) -> Run:
    """Read a file of results. Raises InputError for anything else, and says what it is."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'not text'})"
        ) from None
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: more than {MAX_BYTES >> 20} MB, which no results are")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a whole JSON file, cut short or damaged ({error})") from None
    if not isinstance(content, dict) or "benchmarks" not in content:
        raise InputError(f"{path}: not a file of benchmark results")
    if "autollm" not in content:
        raise InputError(f"{path}: results of pytest-benchmark, but of another project")
    try:
        return parse(content, path)
    except ValueError as error:
        raise InputError(f"{path}: damaged results ({error})") from None


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
