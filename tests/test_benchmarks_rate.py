"""Copies that train at once: one on every core, each where it belongs, and none that stays behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from commands import python
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
def copy(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")  # which is not for copies
    found = copies.Copy(copies.cores()[-1])
    yield found
    found.close()
    assert found.process.poll() is not None


def test_a_copy_trains_as_ordered_on_its_own_core_and_says_why_it_fails(copy):
    assert copy.answer() == {"ready": True}
    if hasattr(os, "sched_getaffinity"):
        assert os.sched_getaffinity(copy.process.pid) == {copies.cores()[-1]}
    copy.order("64x3x32", steps=50)
    told = copy.answer()
    assert told["steps"] == 50 and 0 < told["seconds"] < 60
    copy.order("64x3x32", seconds=0.05)
    told = copy.answer()
    assert told["steps"] > 0 and told["seconds"] >= 0.05
    assert copy.speed("64x3x32", steps=20) > 0
    with pytest.raises(InputError, match="KeyError: 'no-such-workload'"):
        copy.speed("no-such-workload", steps=1)
    with pytest.raises(InputError, match="it has ended"):
        copy.speed("64x3x32", steps=1)


@pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="looks for processes in /proc")
def test_a_copy_computes_in_one_thread_and_gets_no_signal_from_a_terminal(copy):
    """Ctrl-C is for the one that gives the orders."""
    environment = Path(f"/proc/{copy.process.pid}/environ").read_text().split("\0")
    assert {f"{name}=1" for name in copies.ONE_THREAD} <= set(environment)
    assert os.getsid(copy.process.pid) == copy.process.pid
    copy.process.kill()


@needs_pinning
def test_there_is_a_copy_for_every_core_that_may_be_used(monkeypatch):
    assert copies.cores() == sorted(os.sched_getaffinity(0))
    monkeypatch.setattr(copies.os, "sched_getaffinity", lambda pid: {16, 3, 5})
    monkeypatch.setattr(copies, "Copy", lambda core: SimpleNamespace(core=core, answer=lambda: None))
    assert [copy.core for copy in copies.Copies().all] == [3, 5, 16]
    monkeypatch.delattr(copies.os, "sched_getaffinity")
    monkeypatch.setattr(copies.os, "cpu_count", lambda: 3)
    assert copies.cores() == ["any"] * 3


class Ordered:
    """A copy that notes what happens to it."""

    log: ClassVar = []

    def __init__(self, core):
        self.core = core

    def order(self, workload, **amount):
        self.log.append((self.core, workload, amount))

    def answer(self):
        self.log.append((self.core, "answers"))
        return {"steps": self.core}

    def close(self):
        self.log.append((self.core, "closed"))


def test_copies_train_at_once_each_its_own(monkeypatch):
    """All have their orders before anybody is waited for; what each did comes in the order of the cores."""
    monkeypatch.setattr(copies, "cores", lambda: [2, 5])
    monkeypatch.setattr(copies, "Copy", Ordered)
    Ordered.log.clear()
    found = copies.Copies()
    assert len(found) == 2 and Ordered.log == [(2, "answers"), (5, "answers")], "all are warm"
    Ordered.log.clear()
    assert found.train(["a", "b"], 0.5) == [{"steps": 2}, {"steps": 5}]
    orders = [(2, "a", {"seconds": 0.5}), (5, "b", {"seconds": 0.5})]
    assert Ordered.log == [*orders, (2, "answers"), (5, "answers")]
    with pytest.raises(ValueError, match="zip"):
        found.train(["a"], 0.5)
    Ordered.log.clear()
    found.close()
    assert Ordered.log == [(2, "closed"), (5, "closed")]


class Deaf:
    """A process that does not end with its input."""

    def __init__(self):
        self.stdin = self.stdout = SimpleNamespace(close=lambda: None)
        self.killed = False

    def wait(self, seconds=None):
        if not self.killed:
            assert 1 <= seconds <= 10, "a while, but not for ever"
            raise subprocess.TimeoutExpired("worker", seconds)

    def kill(self):
        self.killed = True


def test_a_copy_that_does_not_end_is_ended(monkeypatch):
    monkeypatch.setattr(copies.subprocess, "Popen", lambda *_, **__: Deaf())
    copy = copies.Copy("any")
    copy.close()
    assert copy.process.killed


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "it has ended"),
        ('{"error": "why"}\n', "why"),
        ("Traceback\n", "it said 'Traceback"),
        ('{"steps": 8}\n', ""),
    ],
)
def test_what_a_copy_says(monkeypatch, line, told):
    process = SimpleNamespace(stdout=SimpleNamespace(readline=lambda: line))
    monkeypatch.setattr(copies.subprocess, "Popen", lambda *_, **__: process)
    for root, name in ((None, "PY"), (Path("/clone"), "PY in /clone")):
        copy = copies.Copy("any", "PY", root)
        if told:
            with pytest.raises(InputError) as found:
                copy.answer()
            assert str(found.value).startswith(f"{name}: {told}")
        else:
            assert copy.answer() == {"steps": 8}


def test_a_speed_is_steps_by_seconds(monkeypatch):
    orders = []
    process = SimpleNamespace(
        stdin=SimpleNamespace(write=orders.append, flush=lambda: orders.append("sent")),
        stdout=SimpleNamespace(readline=lambda: '{"steps": 6, "seconds": 1.5}\n'),
    )
    monkeypatch.setattr(copies.subprocess, "Popen", lambda *_, **__: process)
    assert copies.Copy("any").speed("64x3x32", steps=6) == 4.0
    assert (json.loads(orders[0]), orders[1:]) == ({"workload": "64x3x32", "steps": 6}, ["sent"])


def test_a_copy_tells_how_long_it_took(monkeypatch):
    """Not how long it was to take."""
    monkeypatch.setattr(workloads, "run_seconds", lambda *_: Run(7, 0.125, False))
    told = worker.obey({"workload": "64x3x32", "seconds": 0.1})
    assert told == {"steps": 7, "seconds": 0.125}


class Clocks:
    """A processor's time that passes half as fast as the clock's, and one second of both for each step."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(worker, "_seconds", lambda: self.now / 2)
        monkeypatch.setattr(worker.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(workloads, "run_steps", self.run)

    def run(self, steps, model, workload):
        self.now += steps


def test_steps_that_were_ordered_are_timed_by_the_processors_time(monkeypatch):
    Clocks(monkeypatch)
    assert worker.obey({"workload": "64x3x32", "steps": 6}) == {"steps": 6, "seconds": 3.0}


@pytest.mark.skipif(
    time.get_clock_info("process_time").resolution >= 1e-3, reason="processor time is coarse here"
)
def test_to_wait_takes_no_processor_time():
    start = worker._seconds()
    time.sleep(0.05)
    assert worker._seconds() - start < 0.05


def test_each_order_is_for_its_own_workload_and_a_fresh_model(monkeypatch):
    trained = []
    monkeypatch.setattr(workloads, "run_steps", lambda *what: trained.append(what))
    monkeypatch.setattr(workloads, "run_seconds", lambda *what: trained.append(what) or Run(7, 0.125, False))
    monkeypatch.setattr(workloads, "golden_loss", lambda name: {"rnn-32x16x16": 2.5}[name])
    for name in ("64x3x32", "rnn-32x16x16"):
        worker.obey({"workload": name, "steps": 6})
        worker.obey({"workload": name, "seconds": 0.5})
    amounts, models, what = zip(*trained, strict=True)
    assert amounts == (6, 0.5, 6, 0.5) and len(set(map(id, models))) == 4
    assert what == (*[WORKLOADS["64x3x32"]] * 2, *[WORKLOADS["rnn-32x16x16"]] * 2)
    assert worker.obey({"workload": "rnn-32x16x16", "golden": 1}) == {"loss": 2.5} and len(trained) == 4


@pytest.mark.parametrize(("core", "pinned"), [("3", [{3}]), ("any", [])])
def test_a_worker_says_that_it_is_ready_and_then_answers_line_by_line(monkeypatch, capsys, core, pinned):
    found = []
    monkeypatch.setattr(worker.sys, "argv", ["worker.py", core])
    monkeypatch.setattr(worker.sys, "stdin", ['{"a": 1}\n', '{"b": 2}\n', "nonsense\n", '{"c": 3}\n'])
    monkeypatch.setattr(worker.os, "sched_setaffinity", lambda pid, cores: found.append(cores), raising=False)
    monkeypatch.setattr(worker, "find_benchmarks", lambda: None)
    monkeypatch.setattr(worker, "obey", lambda order: order | {"done": True})
    worker.main()
    *answers, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert answers == [{"ready": True}, {"a": 1, "done": True}, {"b": 2, "done": True}]
    assert last["error"].startswith("JSONDecodeError: ") and found == pinned


@pytest.mark.parametrize("has_own", [True, False])
def test_a_version_brings_its_benchmarks_or_is_measured_with_ours(monkeypatch, tmp_path, has_own):
    import autollm
    import autollm.kernels

    for name, owner in (("autollm", autollm), ("kernels", autollm.kernels)):
        monkeypatch.setattr(owner, "__file__", str(tmp_path / name / "__init__.py"))
    (tmp_path / "benchmarks").mkdir()
    if has_own:
        (tmp_path / "benchmarks" / "workloads.py").touch()
    monkeypatch.setattr(worker.sys, "path", ["first"])
    worker.find_benchmarks()
    assert worker.sys.path == ["first", str(tmp_path if has_own else copies.ROOT)]


def test_a_copy_that_is_killed_is_told(copy):
    copy.process.kill()
    copy.process.wait()
    copy.process.stdout.read()  # it may have been ready
    with pytest.raises(InputError, match="it has ended"):
        copy.speed("64x3x32", steps=1)


def test_a_copy_ends_with_its_input():
    """So none outlives the process that started it, however that ended."""
    done = python(str(copies.WORKER), "any")
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
        self.all = [SimpleNamespace(speed=self.alone) for _ in range(count)]
        self.trained, self.seconds = [], []

    def __len__(self):
        return len(self.all)

    def alone(self, name, seconds):
        self.trained.append([name])
        self.seconds.append(seconds)
        return 60.0

    def train(self, names, seconds):
        self.trained.append(list(names))
        self.seconds.append(seconds)
        return [{"steps": 100 + i, "seconds": 2.0} for i in range(len(self.all))]


def once(run, unit, facts):
    once.unit, once.facts = unit, facts(run())


def test_the_rate_is_the_steps_of_all():
    made_up = MadeUp(3)
    test_rate.test_rate(once, 0.05, made_up, "64x3x32")
    assert once.unit == "steps/s"
    assert once.facts == {"work": [303], "copies": 3, "alone": [60.0], "slowest": [50.0]}
    assert made_up.trained == [["64x3x32"], ["64x3x32"] * 3], "one alone, and then all"
    assert made_up.seconds == [0.25] * 2, "five rounds of the others"


def test_the_mixed_rate_gives_every_core_every_model():
    made_up = MadeUp(3)
    test_rate.test_rate_mixed(once, 0.05, made_up)
    assert (once.unit, once.facts["copies"]) == ("reference cores", 3)
    for i in range(3):
        assert sorted(each[i] for each in made_up.trained) == sorted(MIXED)
    expected = sum((100 + i) / MIXED[name] for each in made_up.trained for i, name in enumerate(each))
    assert once.facts["work"] == [pytest.approx(expected)]
    assert made_up.seconds == [0.125] * len(MIXED)
    assert set(MIXED) | set(RATED) <= set(WORKLOADS)


def test_the_summary_of_known_rates():
    rate = entry("rate[64x3x32]", [900.0] * 8, copies=4, alone=[200.0, 300.0], slowest=[200.0, 220.0])
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
    monkeypatch.setattr(copies.subprocess, "Popen", lambda command, env, **_: started.append((command, env)))
    monkeypatch.setenv("PYTHONPATH", before)
    copies.Copy("any", root=root)
    ((command, environment),) = started
    assert environment.get("PYTHONPATH") == found
    assert command == [sys.executable, "-P", str(copies.WORKER), "any"], "nor in that of worker.py"
