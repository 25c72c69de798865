"""Copies that train at once: one on every core, each where it belongs, and none that stays behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from made_up_results import content, entry

from autollm.errors import InputError
from autollm.learning.training import Run
from benchmarks import copies, summary, test_rate, worker, workloads
from benchmarks.compare.runs import parse
from benchmarks.workloads import MIXED, RATED, WORKLOADS

needs_pinning = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="processes cannot be pinned here"
)


@pytest.fixture
def copy():
    found = copies.Copy(copies.cores()[-1])
    assert found.answer() == {"ready": True}
    yield found
    found.close()
    assert found.process.poll() is not None


@needs_pinning
def test_a_copy_trains_as_ordered_on_its_own_core(copy):
    assert os.sched_getaffinity(copy.process.pid) == {copies.cores()[-1]}
    copy.order("64x3x32", steps=50)
    told = copy.answer()
    assert told["steps"] == 50 and 0 < told["seconds"] < 60
    copy.order("64x3x32", seconds=0.05)
    told = copy.answer()
    assert told["steps"] > 0 and told["seconds"] >= 0.05
    assert copy.speed("64x3x32", steps=20) > 0


@pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="looks for processes in /proc")
def test_a_copy_computes_in_one_thread_and_gets_no_signal_from_a_terminal(copy):
    """Ctrl-C is for the one that gives the orders."""
    environment = Path(f"/proc/{copy.process.pid}/environ").read_text().split("\0")
    assert {f"{name}=1" for name in copies.ONE_THREAD} <= set(environment)
    assert os.getsid(copy.process.pid) == copy.process.pid


@needs_pinning
def test_there_is_a_copy_for_every_core_that_may_be_used(monkeypatch):
    assert copies.cores() == sorted(os.sched_getaffinity(0))
    monkeypatch.setattr(copies.os, "sched_getaffinity", lambda pid: {7, 2, 5})
    monkeypatch.setattr(copies, "Copy", lambda core: SimpleNamespace(core=core, answer=lambda: None))
    assert [copy.core for copy in copies.Copies().all] == [2, 5, 7]


def test_a_copy_tells_how_long_it_took(monkeypatch):
    """Not how long it was to take."""
    monkeypatch.setattr(workloads, "run_seconds", lambda *_: Run(7, 0.125, False))
    told = worker.obey({"workload": "64x3x32", "seconds": 0.1})
    assert told == {"steps": 7, "seconds": 0.125}


def test_a_copy_that_fails_says_why(copy):
    with pytest.raises(InputError, match="KeyError: 'no-such-workload'"):
        copy.speed("no-such-workload", steps=1)
    with pytest.raises(InputError, match="it has ended"):
        copy.speed("64x3x32", steps=1)


def test_a_copy_that_is_killed_is_told(copy):
    copy.process.kill()
    copy.process.wait()
    with pytest.raises(InputError, match="it has ended"):
        copy.speed("64x3x32", steps=1)


def test_a_copy_ends_with_its_input():
    """So none outlives the process that started it, however that ended."""
    done = subprocess.run(
        [sys.executable, "-P", str(copies.WORKER), "any"],
        input="",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, json.loads(done.stdout)) == (0, {"ready": True})


def test_a_python_that_is_not_there():
    with pytest.raises(InputError, match="cannot run /no/such/python: No such file"):
        copies.Copy("any", "/no/such/python")


def test_kernels_of_another_version_are_refused(monkeypatch, tmp_path):
    import autollm.kernels

    monkeypatch.setattr(autollm.kernels, "__file__", str(tmp_path / "kernels" / "__init__.py"))
    with pytest.raises(ImportError, match="its kernels are in"):
        worker.find_benchmarks()


# --- the rows, over made-up copies ------------------------------------------------------------------


class MadeUp:
    """Copies whose steps are known: the i-th makes 100 + i steps in its time of 2 s, a lone one 120."""

    def __init__(self, count):
        self.all = [SimpleNamespace(speed=lambda name, seconds: 60.0) for _ in range(count)]
        self.trained = []

    def __len__(self):
        return len(self.all)

    def train(self, names, seconds):
        self.trained.append(list(names))
        return [{"steps": 100 + i, "seconds": 2.0} for i in range(len(self.all))]


def once(run, unit, facts):
    once.unit, once.facts = unit, facts(run())


def test_the_rate_is_the_steps_of_all():
    made_up = MadeUp(3)
    test_rate.test_rate(once, 0.05, made_up, "64x3x32")
    assert once.unit == "steps/s"
    assert once.facts == {"work": [303], "copies": 3, "alone": [60.0], "slowest": [50.0]}
    assert made_up.trained == [["64x3x32"] * 3]


def test_the_mixed_rate_gives_every_core_every_model():
    made_up = MadeUp(3)
    test_rate.test_rate_mixed(once, 0.05, made_up)
    assert (once.unit, once.facts["copies"]) == ("reference cores", 3)
    for i in range(3):
        assert sorted(each[i] for each in made_up.trained) == sorted(MIXED)
    expected = sum((100 + i) / MIXED[name] for each in made_up.trained for i, name in enumerate(each))
    assert once.facts["work"] == [pytest.approx(expected)]
    assert set(MIXED) | set(RATED) <= set(WORKLOADS)


def test_the_summary_of_known_rates():
    rate = entry("rate[64x3x32]", [900.0] * 8, copies=4, alone=[250.0, 250.0], slowest=[200.0, 220.0])
    mixed = entry("rate_mixed", [3.5] * 8, "reference cores", copies=4)
    run = parse(content() | {"benchmarks": [rate, mixed]}, None)
    lines = [line.split() for line in summary.render(run).splitlines()]
    assert ["64x3x32", "4", "900", "250", "210", "90%"] in lines
    assert "every core another model: 3.5 reference cores" in summary.render(run)


def test_copies_have_trained_everything_before_they_are_measured(monkeypatch):
    made_up = MadeUp(2)
    made_up.close = lambda: made_up.trained.append("closed")
    monkeypatch.setattr(test_rate, "Copies", lambda: made_up)
    waiting = test_rate.copies.__wrapped__()
    assert next(waiting) is made_up
    assert {name for each in made_up.trained for name in each} == set(RATED) | set(MIXED)
    assert next(waiting, None) is None and made_up.trained[-1] == "closed"


@pytest.mark.parametrize(
    ("root", "before", "found"), [("/a", "/b", f"/a{os.pathsep}/b"), ("/a", "", "/a"), (None, "/b", None)]
)
def test_where_a_copy_looks_for_its_version(monkeypatch, root, before, found):
    """In its clone first; never in the folder that it is started in, which an empty entry would mean."""
    started = []
    monkeypatch.setattr(copies.subprocess, "Popen", lambda command, env, **_: started.append(env))
    monkeypatch.setenv("PYTHONPATH", before)
    copies.Copy("any", root=root)
    assert started[0].get("PYTHONPATH") == found
