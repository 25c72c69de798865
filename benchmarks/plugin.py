"""pytest hooks: rounds spread over the whole run, and one file of results at its end.

A machine's speed drifts over minutes. So a benchmark does not take its rounds in one go: it is
*visited* several times in the course of a run, in turn with all the others, and takes a few rounds
at each visit. pytest sees every visit as a test; the file has one entry per benchmark again.
"""

from __future__ import annotations

import os
import random
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from pytest_benchmark.logger import PytestBenchmarkWarning

from benchmarks import calibrators, machine, noise, probe, summary
from benchmarks.compare.runs import SCHEMA, file_stem, parse
from benchmarks.fingerprint import fingerprint
from benchmarks.workloads import SIZES, WORKLOADS, golden_loss

RESULTS = Path(__file__).parent.parent / "results"


@dataclass(frozen=True)
class Pace:
    """How much is measured: visits to a benchmark, rounds in a visit, seconds in a round."""

    visits: int
    rounds: int
    seconds: float


FULL = Pace(visits=8, rounds=2, seconds=0.05)
SMOKE = Pace(visits=1, rounds=2, seconds=0.002)


class Suite:
    """The plugin that `pytest --benchmark` registers."""

    def __init__(self, config: pytest.Config) -> None:
        if numba.config.DISABLE_JIT or numba.config.BOUNDSCHECK:
            raise pytest.UsageError("--benchmark: unset NUMBA_DISABLE_JIT and NUMBA_BOUNDSCHECK")
        # It warns when nothing was measured, which pytest says itself, and after every failed check:
        # once outside of tests, where filters hold already, and in tests, where the settings' do.
        warnings.simplefilter("ignore", PytestBenchmarkWarning)
        config.addinivalue_line("filterwarnings", "ignore::pytest_benchmark.logger.PytestBenchmarkWarning")
        self.pace = SMOKE if config.option.smoke else FULL
        self.units: dict[str, int] = {}  # how much of each benchmark makes a round
        self.label = config.option.machine_label or machine.label()
        self.activity = noise.Activity()
        self.everything = config.args_source is not pytest.Config.ArgsSource.ARGS  # no file was named
        self.to_do, self.done = 0, 0  # visits
        self.probe: dict[str, Any] = {}  # what was found before measuring
        self.facts: dict[str, Any] = {}
        self.output: dict[str, Any] = {}
        self.target = config.option.benchmark_json or self._new_file()
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.partial = self.target.with_name(f".{self.target.name}.partial")
        config.option.benchmark_json = self.partial
        config.option.benchmark_quiet = not config.option.benchmark_verbose  # our own table is shorter

    def _new_file(self) -> Path:
        name = [file_stem(self.label), time.strftime("%Y%m%d-%H%M%S"), fingerprint()["digest"][:8]]
        return RESULTS / f"{'-'.join([*name, *['smoke'] * (self.pace is SMOKE)])}.json"

    # --- visits ----------------------------------------------------------------------------------

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "visit" in metafunc.fixturenames:
            marker = metafunc.definition.get_closest_marker("visits")
            visits = min(marker.args[0], self.pace.visits) if marker else self.pace.visits
            ids = [f"visit{i}" for i in range(visits)]
            metafunc.parametrize("visit", [(i + 0.5) / visits for i in range(visits)], ids=ids)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: item.callspec.params["visit"])  # type: ignore[attr-defined]
        self.to_do = len(items)

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.everything = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.done += report.when == "call" and report.passed

    @pytest.hookimpl(trylast=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter and reporter.verbosity == 0:
            reporter.showfspath = False  # a file's name at every visit would fill the screen

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        if session.items and not session.config.option.collectonly:
            reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
            seconds = probe.SECONDS if self.pace is FULL else 0.05
            reporter.write_line(f"looking for {seconds:g} s how quiet this machine is")
            self.probe = probe.probe(seconds)
            reporter.write_line(self.probe["told"])

    @pytest.fixture
    def measure(
        self, benchmark: Any, request: pytest.FixtureRequest, visit: float
    ) -> Iterator[Callable[..., None]]:
        """Time `run(n, *state)`, for a fresh `state` in each round and an `n` that makes a round long."""
        name = _without_visit(request.node.nodeid)
        scatter = [np.empty(random.randrange(1, 4096), np.uint8) for _ in range(100)]  # other addresses

        def measure(
            run: Callable[..., Any],
            fresh: Callable[[], tuple[Any, ...]],
            unit: str,
            *,
            per_call: float = 1.0,
            seconds: float = 1.0,
            beside: Mapping[str, calibrators.Loop] | None = None,
            relative_to: Mapping[str, calibrators.Loop] | None = None,
            **facts: Any,
        ) -> None:
            """`per_call` is what one of `n` counts in `unit`, `seconds` how long a round is, relative to
            the others. Before and after the rounds run `beside`, whose speeds are kept with the results,
            and `relative_to`: of these it is our speed relative to theirs. So are the facts."""
            if name not in self.units:
                self.units[name] = _units(run, fresh, seconds * self.pace.seconds)
            n = self.units[name]
            run(max(n // 10, 1), *fresh())  # fills caches that other benchmarks have emptied
            timed, short = calibrators.Timed(run), self.pace.seconds / 5
            with (
                calibrators.around(beside or {}, short) as speeds,
                calibrators.around(relative_to or {}, short, calibrators.worked) as others,
            ):
                benchmark.pedantic(timed, setup=lambda: ((n, *fresh()), {}), rounds=self.pace.rounds)
            facts |= speeds | timed.relative_to(others, per_call)
            benchmark.extra_info.update(facts, unit=unit, work=[n * per_call] * self.pace.rounds)

        yield measure
        del scatter

    @pytest.fixture
    def measure_once(self, benchmark: Any, visit: float) -> Callable[..., None]:
        """Time one `run()` per visit; `facts(result)` are kept with the results."""

        def measure(
            run: Callable[[], Any], unit: str, facts: Callable[[Any], dict[str, Any]] = lambda result: {}
        ) -> None:
            result = benchmark.pedantic(run)
            benchmark.extra_info.update({"unit": unit, "work": [1]} | facts(result))

        return measure

    @pytest.fixture
    def round_seconds(self) -> float:
        """How long a round is meant to take."""
        return self.pace.seconds

    # --- the file --------------------------------------------------------------------------------

    def pytest_benchmark_generate_machine_info(self) -> dict[str, Any]:
        return machine.describe()

    def pytest_benchmark_update_commit_info(self, commit_info: dict[str, Any]) -> None:
        commit_info["project"] = "autollm"  # and not the name of a folder

    # pytest-benchmark calls the next two once for each file that it was asked for.

    @pytest.hookimpl(wrapper=True)
    def pytest_benchmark_generate_json(self, benchmarks: list[Any]) -> Iterator[None]:
        benchmarks[:] = merge_visits(benchmarks)
        return (yield)

    def pytest_benchmark_update_json(self, output_json: dict[str, Any]) -> None:
        self.facts = self.facts or {
            "schema": SCHEMA,
            "label": self.label,
            "smoke": self.pace is SMOKE,
            "complete": self.everything and self.done == self.to_do,
            "fingerprint": fingerprint(),
            "golden": {name: golden_loss(name) for name in WORKLOADS},
            "optimum": {name: WORKLOADS[name].least for name in SIZES},
            "probe": self.probe,
            "noise": noise.of_run(output_json["benchmarks"], self.activity.so_far()),
        }
        output_json["autollm"] = self.facts
        if not self.output and output_json["benchmarks"]:
            self.output = output_json

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        if self.partial.exists():
            os.replace(self.partial, self.target)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.output:
            terminalreporter.section(f"{self.label}: steps per second, and one second of training")
            terminalreporter.write_line(summary.render(parse(self.output, self.target)))
            terminalreporter.write_line(f"\nkept in {_relative(self.target)}")


def _units(run: Callable[..., Any], fresh: Callable[[], tuple[Any, ...]], seconds: float) -> int:
    """How large an `n` makes `run(n)` take about `seconds`."""
    n = 1
    run(n, *fresh())  # compiles
    while True:
        state = fresh()
        start = time.perf_counter()
        run(n, *state)
        elapsed = time.perf_counter() - start
        if elapsed > seconds / 4:
            return max(round(n * seconds / elapsed), 1)
        n = max(2 * n, int(n * seconds / 3 / max(elapsed, 1e-6)))


def merge_visits(benchmarks: list[Any]) -> list[Any]:
    """One benchmark for all visits to it: rounds in order, lists of facts end to end.

    Left out are visits that failed or were cut short. What has been merged stays as it is.
    """
    merged: dict[str, Any] = {}
    for bench in benchmarks:
        facts = bench.extra_info
        if "visits" in facts:
            merged[bench.fullname] = bench
            continue
        is_whole = bench.stats.data and len(facts.get("work", [])) == len(bench.stats.data)
        if bench.has_error or not is_whole:
            continue
        bench.name, bench.fullname = _without_visit(bench.name), _without_visit(bench.fullname)
        bench.params = {key: value for key, value in bench.params.items() if key != "visit"} or None
        bench.param = "-".join(str(value) for value in bench.params.values()) if bench.params else None
        one = merged.setdefault(bench.fullname, bench)
        if one is bench:
            facts["visits"] = 1
            continue
        one.stats.data.extend(bench.stats.data)
        one.extra_info["visits"] += 1
        for key, value in facts.items():
            one.extra_info[key] = one.extra_info[key] + value if isinstance(value, list) else value
    for bench in merged.values():
        bench.extra_info |= noise.of_rounds(bench.stats.data, bench.extra_info["work"])
    return list(merged.values())


def _without_visit(name: str) -> str:
    return re.sub(r"\[visit\d+\]|-visit\d+|visit\d+-", "", name)


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
