"""What a run says about its machine and its noise: made-up machines, known answers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("pytest_benchmark", reason="the benchmark extra is not installed")

from made_up_results import series

from autollm.kernels.cache import CACHE_FOLDER
from benchmarks import calibrators, machine, noise, plugin, probe
from benchmarks.compare.verdict import FASTER, verdict
from benchmarks.copies import ONE_THREAD

HOST = "host-with-a-name-of-its-own"


def test_spread_and_drift_of_known_rounds():
    """Nine rounds of 10 units: 1 s, then 2 s, then 4 s. Quartiles 1, 2, 4; thirds 1 and 4."""
    durations = [10.0, 10.0, 10.0, 20.0, 20.0, 20.0, 40.0, 40.0, 40.0]
    assert noise.of_rounds(durations, [10] * 9) == {"spread": 1.5, "drift": 3.0}
    assert noise.of_rounds(durations[::-1], [10] * 9) == {"spread": 1.5, "drift": -0.75}
    rising = [float(seconds) for seconds in range(1, 10)]  # quartiles 3, 5, 7; thirds 2 and 8
    assert noise.of_rounds(rising, [1] * 9) == {"spread": 0.8, "drift": 3.0}
    assert noise.of_rounds([1.0, 2.0, 4.0], [1, 2, 4]) == {"spread": 0.0, "drift": 0.0}, "per unit of work"


QUIET = {"others_busy_cores": 0.0, "steal": 0.0}


def step(spread=0.0, drift=0.0, name="test_step[x]"):
    return {"name": name, "extra_info": {"spread": spread, "drift": drift}}


@pytest.mark.parametrize(
    ("entries", "activity", "why"),
    [
        ([step(0.04)], QUIET, "rounds of the training step spread by 4.0% (limit 3%)"),
        ([step(drift=0.03)], QUIET, "the training step drifted by 3.0% during the run (limit 2%)"),
        ([step(drift=-0.03)], QUIET, "the training step drifted by 3.0% during the run (limit 2%)"),
        ([step()], QUIET | {"others_busy_cores": 0.2}, "other programs kept 0.2 cores busy"),
        ([step()], QUIET | {"steal": 0.02}, "the host took 2.0% of the time away from this virtual machine"),
    ],
)
def test_each_kind_of_noise_is_called_noise(entries, activity, why):
    assert noise.of_run(entries, activity)["why"] == [why]
    assert noise.of_run(entries, activity)["noisy"]


def test_a_quiet_run_is_quiet():
    entries = [step(0.02, -0.01), step(0.9, 0.9, "test_import[x]")]  # which is not what is judged
    found = noise.of_run(entries, {"others_busy_cores": 0.05, "steal": 0.005})
    assert found == {
        "noisy": False, "why": [], "spread": 0.02, "drift": 0.01, "others_busy_cores": 0.05, "steal": 0.005
    }  # fmt: skip
    assert not noise.of_run([], {})["noisy"]


def test_a_run_is_judged_by_its_typical_step():
    assert not noise.of_run([step(0.01), step(0.02), step(0.5)], QUIET)["noisy"]
    assert noise.of_run([step(0.01), step(0.05), step(0.5)], QUIET)["spread"] == 0.05
    drifts = [step(drift=drift) for drift in (-0.01, 0.015, 0.5)]
    assert noise.of_run(drifts, QUIET)["drift"] == 0.015 and not noise.of_run(drifts, QUIET)["noisy"]


def test_what_the_kernel_counts(monkeypatch, tmp_path):
    """user, nice, system, irq and softirq are busy; idle and waiting are not; stolen time is apart."""
    (tmp_path / "stat").write_text("cpu  100 20 30 5000 600 7 8 90 11 12\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    monkeypatch.setattr(noise, "STAT", tmp_path / "stat")
    monkeypatch.setattr(noise.os, "sysconf", lambda name: 10)
    own = SimpleNamespace(user=1.0, system=2.0, children_user=4.0, children_system=8.0, elapsed=99.0)
    monkeypatch.setattr(noise.os, "times", lambda: own)
    assert noise._cpu_seconds() == (16.5, 15.0, 9.0)
    monkeypatch.setattr(noise, "STAT", tmp_path / "missing")
    assert noise._cpu_seconds() is None


def test_what_others_did_is_without_what_we_did(monkeypatch):
    moments, accounts = iter([100.0, 110.0]), iter([(50.0, 30.0, 1.0), (68.0, 43.0, 2.5)])
    loads = iter([1.25, 1.75])
    monkeypatch.setattr(noise.time, "perf_counter", lambda: next(moments))
    monkeypatch.setattr(noise, "_cpu_seconds", lambda: next(accounts))
    monkeypatch.setattr(noise, "_load", lambda: next(loads))
    assert noise.Activity().so_far() == {
        "seconds": 10.0, "load_before": 1.25, "load_after": 1.75, "others_busy_cores": 0.5, "steal": 0.15
    }  # fmt: skip


def test_a_system_that_tells_nothing(monkeypatch):
    monkeypatch.setattr(noise, "_cpu_seconds", lambda: None)
    monkeypatch.setattr(noise, "_load", lambda: None)
    assert set(noise.Activity().so_far()) == {"seconds"}


@pytest.fixture
def cpu(monkeypatch, tmp_path):
    """A made-up core with four caches."""
    monkeypatch.setattr(machine, "CPU", tmp_path)
    caches = (
        ("1", "Data", "48K"),
        ("1", "Instruction", "32K"),
        ("2", "Unified", "2048K"),
        ("3", "Unified", "96M"),
    )
    for i, (level, kind, size) in enumerate(caches):
        folder = tmp_path / "cache" / f"index{i}"
        folder.mkdir(parents=True)
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(f"{text}\n")
    (tmp_path / "cpufreq").mkdir()
    (tmp_path / "cpufreq" / "scaling_governor").write_text("powersave\n")
    return tmp_path


def test_the_caches_of_a_core(cpu):
    facts = machine.describe()["cpu"]
    assert facts["caches"] == {"L1d": "48K", "L1i": "32K", "L2": "2048K", "L3": "96M"}
    assert facts["governor"] == "powersave"
    assert machine.last_level_cache_bytes() == 96 * 2**20


def test_the_last_cache_is_the_largest(cpu):
    (cpu / "cache" / "index3" / "size").write_text("32768K\n")
    assert machine.last_level_cache_bytes() == 32 * 2**20
    (cpu / "cache" / "index3" / "size").write_text("512K\n")
    assert machine.last_level_cache_bytes() == 2 * 2**20


def test_a_machine_that_does_not_tell_its_caches(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CPU", tmp_path)
    monkeypatch.setattr(machine, "_info", dict)
    assert machine.last_level_cache_bytes() == 32 * 2**20
    assert machine.describe()["cpu"]["caches"] == {}


@pytest.mark.parametrize(
    ("brand", "label"),
    [
        ("Intel(R) Core(TM) i7-12700H CPU @ 2.30GHz", "intel-core-i7-12700h-znver9"),
        ("AMD EPYC 9554 64-Core Processor", "amd-epyc-9554-znver9"),
        ("Apple M5", "apple-m5-znver9"),
    ],
)
def test_the_label_is_the_processor(monkeypatch, brand, label):
    monkeypatch.setattr(machine, "_info", lambda: {"brand_raw": brand})
    monkeypatch.setattr(machine.llvm, "get_host_cpu_name", lambda: "znver9")
    assert machine.label() == label


def test_settings_that_change_speed_are_told_and_no_others(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    for name in machine.SETTINGS:
        monkeypatch.setenv(name, "3")
    for name in ("SECRET", "NUMBA_CACHE_DIR", "OMP_DISPLAY_ENV", "PYTHONPATH"):
        monkeypatch.setenv(name, "/home/somebody")
    facts = machine.describe()
    assert facts["environment"] == dict.fromkeys(machine.SETTINGS, "3")
    assert "somebody" not in json.dumps(facts), "no path tells who it was"


def test_all_settings_that_the_suite_or_a_reader_may_make_are_told():
    """Threads, and the processor that CONTRIBUTING.md says how to compile for."""
    assert {*ONE_THREAD, "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"} <= {*machine.SETTINGS}


def test_memory_is_told_in_billions_of_bytes(monkeypatch):
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 10**6}
    monkeypatch.setattr(machine.os, "sysconf", sizes.__getitem__, raising=False)
    assert machine._memory_gb() == 4.1


def test_features_are_those_that_the_processor_has(monkeypatch):
    found = {"sse2": True, "avx512f": False, "avx2": True}
    monkeypatch.setattr(machine.llvm, "get_host_cpu_features", lambda: found)
    assert machine.describe()["cpu"]["llvm_features"] == ["avx2", "sse2"]


def test_a_container_leaves_a_mark(monkeypatch):
    monkeypatch.delenv("container", raising=False)
    monkeypatch.setattr(machine.Path, "exists", lambda path: False)
    assert not machine._container()
    monkeypatch.setattr(machine.Path, "exists", lambda path: path.name == ".dockerenv")
    assert machine._container()
    monkeypatch.setattr(machine.Path, "exists", lambda path: False)
    monkeypatch.setenv("container", "podman")
    assert machine._container()


def test_a_package_that_is_not_there(monkeypatch):
    def version(name):
        if name == "scipy":
            raise machine.PackageNotFoundError
        return "1.0"

    monkeypatch.setattr(machine, "version", version)
    facts = machine.describe()
    assert (facts["scipy"], facts["numba"]) == (None, "1.0")


def test_what_is_told_of_a_machine(monkeypatch, cpu):
    """All of it; the processor by cpuinfo and LLVM, the software by its versions."""
    for name in machine.SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NUMBA_OPT", "2")
    told = {
        "machine": "riscv", "system": "Plan9", "release": "4.0", "python_compiler": "tcc 1",
        "python_implementation": "PyPy", "python_version": "3.99",
    }  # fmt: skip
    for name, value in told.items():
        monkeypatch.setattr(machine.platform, name, lambda value=value: value)
    monkeypatch.setattr(machine, "_info", lambda: {"brand_raw": "Abacus 9", "flags": ["hypervisor", "fpu"]})
    monkeypatch.setattr(machine.llvm, "get_host_cpu_name", lambda: "abacus")
    monkeypatch.setattr(machine.llvm, "get_host_cpu_features", lambda: {"beads": True})
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 6)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: {16, 3, pid}, raising=False)
    monkeypatch.setattr(machine, "_memory_gb", lambda: 7.5)
    monkeypatch.setattr(machine, "_container", lambda: False)
    monkeypatch.setattr(machine, "version", lambda package: f"{package} 1.0")
    assert machine.describe() == {
        "cpu": {
            "model": "Abacus 9", "architecture": "riscv", "llvm_name": "abacus", "llvm_features": ["beads"],
            "cores": 6, "affinity": [0, 3, 16],
            "caches": {"L1d": "48K", "L1i": "32K", "L2": "2048K", "L3": "96M"}, "governor": "powersave",
        },
        "memory_gb": 7.5, "virtual_machine": True, "container": False, "system": "Plan9 4.0",
        "python": "PyPy 3.99", "python_compiler": "tcc 1",
        **{name: f"{name} 1.0" for name in ("numpy", "numba", "llvmlite", "scipy")},
        "environment": {"NUMBA_OPT": "2"},
    }  # fmt: skip
    monkeypatch.setattr(machine, "_info", lambda: {"flags": ["fpu"]})
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    facts = machine.describe()
    assert (facts["virtual_machine"], facts["cpu"]["model"]) == (False, "riscv")


def test_the_host_has_no_name(monkeypatch):
    import platform
    import socket

    for owner, name in ((platform, "node"), (socket, "gethostname"), (machine.platform, "node")):
        monkeypatch.setattr(owner, name, lambda *_: HOST)
    uname = platform.uname()
    monkeypatch.setattr(platform, "uname", lambda: uname._replace(node=HOST))
    assert HOST not in json.dumps(machine.describe()) + machine.label()


def test_a_quiet_core():
    found = probe.judge(np.full(10_000, 0.001))
    assert (found["taken"], found["clock"], found["visible"]) == (0.0, 0.0, pytest.approx(0.02, abs=0.015))
    assert found["told"].startswith("this core is quiet; differences below ")


def test_neighbours_that_take_a_third():
    """Every tenth turn of the loop, of 1 ms, is followed by 5 ms of somebody else."""
    durations = np.tile([0.001] * 9 + [0.006], 700)
    found = probe.judge(durations)
    assert (found["taken"], found["clock"]) == (pytest.approx(1 / 3, abs=0.01), 0.0)
    assert "neighbours take 33% of this core and its clock moves by 0%" in found["told"]


def test_neighbours_that_disturb_most_turns():
    """The best speed is that of the few that nobody disturbed: 4 of 10; the others take twice as long."""
    found = probe.judge(np.tile([0.001] * 4 + [0.002] * 6, 700))
    assert found["taken"] == pytest.approx(1 - 1 / 1.6, abs=0.01)


def test_a_clock_that_moves():
    """Five seconds at 1 ms a turn, then five at 1.25 ms: nobody takes anything."""
    found = probe.judge(np.concatenate([np.full(5_000, 0.001), np.full(4_000, 0.00125)]))
    assert (found["taken"], found["clock"]) == (pytest.approx(0, abs=0.01), pytest.approx(0.25))
    assert found["visible"] == pytest.approx(probe.SHOWN * 0.25, rel=0.2)
    assert "its clock moves by 25%; differences below " in found["told"], "so the core is not quiet"


def test_a_clock_that_moves_and_comes_back():
    found = probe.judge(np.repeat([0.001, 0.00125, 0.001], [3_000, 2_400, 3_000]))
    assert found["clock"] == pytest.approx(0.25)


def test_the_machine_is_looked_at_in_pieces_as_long_as_a_visit():
    assert plugin.FULL.rounds * plugin.FULL.seconds == probe.VISIT
    assert probe.SECONDS > 50 * probe.VISIT, "so many that their spread is known"


def test_a_last_second_that_was_cut_off_says_nothing_about_the_clock():
    """Nine seconds at 1 ms a turn, and then a tenth of one in which turns took 2 ms."""
    found = probe.judge(np.concatenate([np.full(9_000, 0.001), np.full(50, 0.002)]))
    assert (found["taken"], found["clock"]) == (pytest.approx(0, abs=0.001), 0.0)


def test_a_last_visit_that_was_cut_off_says_nothing_about_how_far_visits_lie_apart():
    assert probe.judge(np.full(350, 0.001))["visible"] == probe.LEAST_EFFECT


def test_a_short_look(monkeypatch):
    activity = {"others_busy_cores": 0.5, "seconds": 0.06}
    monkeypatch.setattr(probe, "Activity", lambda: SimpleNamespace(so_far=lambda: activity))
    found = probe.probe(0.05)
    assert activity.items() <= found.items(), "with what else the machine did at that time"
    assert 0 <= found["taken"] < 1 and found["visible"] >= 0.02 and "will not show" in found["told"]
    assert found["seconds"] >= 0.05


@pytest.mark.parametrize(("factor", "least", "most"), [(0.4, 0, 10), (1.6, 30, 40)])
def test_what_is_said_to_show_shows(factor, least, most):
    """Visits that wander by 3 %: what lies well below `visible` does not show, what lies well above does."""
    spread = 0.03
    turns = 1000 * (1 + spread * np.random.default_rng(0).standard_normal(2000))
    durations = np.concatenate([np.full(20, probe.VISIT / 20 / (one / 1000)) for one in turns])
    ratio = 1 + factor * probe.judge(durations)["visible"]
    noisy = {"spread": spread * 2**0.5}  # a visit is the median of two rounds
    words = [
        verdict(series(1000.0, 2 * i, **noisy), series(1000.0 * ratio, 2 * i + 1, **noisy)).word
        for i in range(40)
    ]
    assert least <= words.count(FASTER) <= most


class Clock:
    """A clock that only moves when something runs on it."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def turns(self, milliseconds):
        def run(n, *state):
            self.now += n * milliseconds / 1000

        return run


def test_loops_beside_a_visit_count_what_their_turns_do():
    """A turn of the one takes 20 microseconds, one of the other 40, and these count three each."""
    clock = Clock()
    loops = {"a": (clock.turns(0.02), 1.0), "b": (clock.turns(0.04), 3.0)}
    found = calibrators.beside(loops, 0.5, clock)
    assert found == {"a": pytest.approx(50_000.0), "b": pytest.approx(75_000.0)}
    assert clock.now == pytest.approx(1.05, abs=0.05), "each for as long as was asked"


@pytest.mark.skipif(CACHE_FOLDER is None, reason="nothing that is compiled is kept")
@pytest.mark.parametrize("loop", [calibrators.empty, calibrators.fma, calibrators.triad])
def test_the_machine_code_of_a_loop_is_kept_with_that_of_kernels(loop):
    assert Path(loop.stats.cache_path).parent == Path(CACHE_FOLDER)


def test_what_it_costs_to_call_a_loop_hardly_counts():
    """A microsecond, where a turn takes 0.1 microseconds."""
    clock = Clock()

    def run(n):
        clock.now += 1e-6 + n * 1e-7

    (found,) = calibrators.beside({"fma": (run, 1.0)}, 0.01, clock).values()
    assert 0.985e7 < found < 1e7


def test_a_speed_relative_to_others_is_that_of_all_rounds(monkeypatch):
    """20 turns of a millisecond, then 10 of which each counts two: 2000 a second."""
    clock = Clock()
    monkeypatch.setattr(calibrators, "worked", clock)
    timed = calibrators.Timed(clock.turns(1))
    timed(20)
    clock.now += 7  # somebody else's
    timed(10, "state")
    found = timed.relative_to({"of_peak": [8000.0], "of_numpy": [1000.0]}, 2.0)
    assert found == {"of_peak": [pytest.approx(0.25)], "of_numpy": [pytest.approx(2.0)]}


def test_loops_around_a_visit_are_the_means_of_before_and_after(monkeypatch):
    told, asked = iter([{"interpreter": 10.0, "fma": 100.0}, {"interpreter": 20.0, "fma": 300.0}]), []
    monkeypatch.setattr(calibrators, "beside", lambda *given: asked.append(given) or next(told))
    given = calibrators.OF_STEPS, 0.01, Clock()
    with calibrators.around(*given) as means:
        assert means == {}
    assert means == {"interpreter": [15.0], "fma": [200.0]}
    assert asked == [given, given]


def test_the_calibrators_run_when_told():
    for loops in (calibrators.OF_STEPS, calibrators.OF_KERNELS):
        assert all(speed > 0 for speed in calibrators.beside(loops, 0.001, calibrators.worked).values())


def test_the_loops_are_called_what_they_are(monkeypatch):
    """Only that of the interpreter makes objects of Python."""
    loops, made, cell = calibrators.OF_STEPS | calibrators.OF_KERNELS, [], calibrators.Cell
    assert set(loops) == {"interpreter", "fma", "of_peak"}
    monkeypatch.setattr(calibrators, "Cell", lambda v: made.append(v) or cell(v))
    for name, (run, _) in loops.items():
        made.clear()
        run(3)
        assert made == ([0, 1, 2] if name == "interpreter" else []), name


def test_triad_reads_two_arrays_and_writes_the_third():
    a, b, c = (np.full(5, value, np.float32) for value in (9, 1, 2))
    calibrators.triad(a, b, c, 2)
    assert (a == 7).all() and (b == 1).all() and (c == 2).all()
